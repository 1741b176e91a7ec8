"""What an event costs, in instructions: a count, and so the same on a machine that is busy with something else.

Counted by valgrind, through uvicorn's own request cycle. Two streams of different lengths are compared, so that neither
Python's start nor the stream's counts. Limits are over the same app without the middleware, whose event takes 7,100; a
plain `async` wrapper around its `send` takes 1,100 more, an `asyncio.Lock` 6,800, sse-starlette 51,000.
"""

import atexit
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

VALGRIND = shutil.which("valgrind")
LENGTHS = [(500, 2_500), (700, 2_700), (900, 2_900)]
"""Of the streams compared. The later ones are run only after a count that is too high: what a process does for once is
spread over the events, what each event costs shows in all.
"""
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
    counts = []
    for few, many in LENGTHS:
        added = per_event(variant, pause, few, many) - per_event("bare", pause, few, many)
        counts.append(added)
        print(f"{variant}, a pause each {pause}, {few} and {many} events: {added:+} instructions per event")
        if added <= at_most:
            return
    pytest.fail(f"More than {at_most} instructions each time: {counts}.")


@cache
def per_event(variant: str, pause: int, few: int, many: int) -> int:
    # Compiles what this variant imports, late modules too: the first stream counted would do it for the other.
    subprocess.run([sys.executable, str(SCRIPT), variant, str(few), str(pause)], check=True, env=environment())
    return (instructions(variant, many, pause) - instructions(variant, few, pause)) // (many - few)


def instructions(variant: str, events: int, pause: int) -> int:
    assert VALGRIND is not None
    options = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    command = [VALGRIND, *options, sys.executable, str(SCRIPT), variant, str(events), str(pause)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = re.search(r"I\s+refs:\s+([\d,]+)", ran.stderr)
    assert found is not None, ran.stderr[-2000:]
    return int(found[1].replace(",", ""))


@cache
def environment() -> dict[str, str]:
    # Coverage's own hooks would be counted too.
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST", "PYTHONDONTWRITE"))
    }
    ours |= {"PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": mkdtemp(prefix="sse_mw-counted-")}
    atexit.register(shutil.rmtree, ours["PYTHONPYCACHEPREFIX"])
    return ours
