"""What the tests of the run command share: how it is started, and what its fixtures look like."""

import os
import re
from pathlib import Path
from typing import Protocol

import sse_mw
from support.servers import Server

HERE = Path(__file__).parent
SOURCE = Path(sse_mw.__file__).parent.parent
READY = "(Ctrl-C ends it)"
ADDRESS = re.compile(r"https?://127\.0\.0\.1:(\d+)")


class Run(Protocol):
    """Start `python -m sse_mw run ARGUMENTS`; returns once it serves."""

    def __call__(self, *arguments: str, bind: str = "127.0.0.1:0") -> Server: ...


class Refused(Protocol):
    """Run `python -m sse_mw run ARGUMENTS`, which must fail; returns the one line that it says."""

    def __call__(self, *arguments: str) -> str: ...


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"}
