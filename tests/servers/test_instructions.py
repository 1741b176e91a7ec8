"""What an event costs, in instructions: a count, and so the same on a machine that is busy with something else.

Counted by valgrind, through uvicorn's own request cycle. Two streams of different lengths are compared, so that neither
Python's start nor the stream's counts. Limits are over the same app without the middleware, whose event takes 7,100; a
plain `async` wrapper around its `send` takes 1,100 more, an `asyncio.Lock` 6,800, sse-starlette 51,000.
"""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

VALGRIND = shutil.which("valgrind")
FEW, MANY = 500, 2_500
SCRIPT = Path(__file__).parent.parent / "support" / "counted.py"

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(VALGRIND is None, reason="valgrind is not installed"),
    pytest.mark.timeout(300),
]


@pytest.mark.parametrize(
    ("variant", "pause", "at_most"),
    [
        ("passed through", 0, 1_000),
        ("passed through", 100, 1_000),
        ("from a source", 0, 1_000),
        ("one by one", 0, 4_500),
        ("passed through", 1, 6_000),
    ],
)
def test_an_event_takes_few_more_instructions_than_without_the_middleware(
    variant: str, pause: int, at_most: int
) -> None:
    added = per_event(variant, pause) - per_event("bare", pause)
    print(f"{variant}, a pause each {pause}: {added:+} instructions per event")
    assert added <= at_most


@cache
def per_event(variant: str, pause: int) -> int:
    return (instructions(variant, MANY, pause) - instructions(variant, FEW, pause)) // (MANY - FEW)


def instructions(variant: str, events: int, pause: int) -> int:
    assert VALGRIND is not None
    options = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    command = [VALGRIND, *options, sys.executable, str(SCRIPT), variant, str(events), str(pause)]
    # Coverage's own hooks would be counted too.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**environment, "PYTHONHASHSEED": "0"}
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = re.search(r"I\s+refs:\s+([\d,]+)", ran.stderr)
    assert found is not None, ran.stderr[-2000:]
    return int(found[1].replace(",", ""))
