"""A stream whose events say when they were due, and who listens to it: how late they come.

The times are of the system's monotonic clock, which all processes share.
"""

import socket
import statistics
import threading
import time
from collections.abc import AsyncIterator
from typing import Self

import anyio

from support.client import Address

GAP = 0.01
"""Seconds between two events."""
PATIENCE = 30.0
"""Seconds without any event until the listener gives up."""


async def stamps(gap: float = GAP) -> AsyncIterator[bytes]:
    """Events that hold the moment at which they were due, for ever.

    Not the one at which they were made: while a server stands still nothing is made, and it would look punctual.
    """
    due = time.monotonic()
    while True:
        yield b"data: %.6f\n\n" % due
        due += gap
        await anyio.sleep(max(0, due - time.monotonic()))


class Listener:
    """Reads a stream of `stamps` in a thread of its own, and keeps how late each came."""

    def __init__(self, address: Address, path: str) -> None:
        self._socket = socket.create_connection(address, PATIENCE)
        self._socket.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._leaving = False
        self._late: list[tuple[float, float]] = []
        self._failure: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving = True  # seen at the next event
        self._thread.join(PATIENCE)
        self._socket.close()

    def between(self, start: float, end: float) -> list[float]:
        """How late the events were that were due in this time, and have come, in seconds."""
        late = [seconds for due, seconds in list(self._late) if start <= due < end]
        assert self._failure is None, self._failure
        assert len(late) > 1, "hardly any event came in this time"
        return late

    def _read(self) -> None:
        seen = b""
        while not self._leaving and self._failure is None:
            try:
                received = self._socket.recv(65536)
            except OSError as error:  # a timeout is one too
                received, self._failure = b"", f"the paced stream: {error!r}"
            now = time.monotonic()
            if not received:
                self._failure = self._failure or "the paced stream has ended"
            *events, seen = (seen + received).split(b"\n\n")
            self._late += [(due, now - due) for due in map(_due_at, events) if due is not None]


def _due_at(event: bytes) -> float | None:
    """The stamp of an event, whatever of HTTP comes before it; `None` for a comment."""
    _, found, stamp = event.rpartition(b"data: ")
    return float(stamp) if found else None


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def summary(seconds: list[float]) -> str:
    """For people: median, p99 and the worst, in milliseconds."""
    figures = {"median": statistics.median(seconds), "p99": p99(seconds), "worst": max(seconds)}
    return ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in figures.items())
