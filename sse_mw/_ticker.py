"""One look at the time for all streams of an event loop, every `TICK` seconds, instead of a timer for each.

An event stamps `ticker.now` and sets no timer. A stream says when something can be due at the earliest, and is
visited then; at the visit it reads its stamps and says when to come again. While no stream is open nothing runs.
"""

import heapq
import logging
from itertools import islice
from math import ceil, inf
from typing import Protocol

from ._runtime import Backend
from ._stream import TICK

logger = logging.getLogger("sse_mw")

STALL = 0.25
"""Seconds between two ticks from which on the loop counts as having stood still."""

SLICE = 256
"""Streams visited in one turn of the loop: ten thousand pings due at once must not stall it."""

Bucket = dict["Visited", None]


class Visited(Protocol):
    """What a ticker looks after."""

    bucket: Bucket | None
    """Where the ticker keeps it; the ticker's own."""

    def visit(self, now: float) -> float:
        """Do what is due at `now`; return when to come again, `inf` for never. Must not block."""
        ...


class Ticker:
    """The shared tick of one event loop. Used from that loop's thread only."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._lost = 0.0
        self.now = backend.time()
        self.is_running = False
        """Whether `now` goes on."""
        self._count = 0
        self._buckets: dict[int, Bucket] = {}
        self._indexes: list[int] = []
        self._due: Bucket = {}

    def add(self, visited: Visited) -> None:
        """Visit at the next tick. A stream that ends before has cost one dict entry."""
        self._count += 1
        if not self.is_running:
            self.is_running = True
            self.now = self.fresh()
            self.backend.call_later(TICK, self._tick)
        self._put(visited, int(self.now / TICK) + 1)

    def fresh(self) -> float:
        """The time of this moment, by the same clock as `now`."""
        return self.backend.time() - self._lost

    def remove(self, visited: Visited) -> None:
        """Never visit again. Call once for each `add`."""
        self._count -= 1
        self._take(visited)

    def revisit(self, visited: Visited, when: float) -> None:
        """Visit at the time `when` rather than when it was due."""
        index = None if when == inf else ceil(when / TICK)
        if visited.bucket is not None and index is not None and self._buckets.get(index) is visited.bucket:
            return
        self._take(visited)
        if index is not None:
            self._put(visited, index)

    def revisit_all(self) -> None:
        """Visit everything at the next tick, in slices as ever."""
        now = int(self.now / TICK)
        for bucket in [*self._buckets.values()]:
            for visited in [*bucket]:
                self._take(visited)
                self._put(visited, now)

    def _put(self, visited: Visited, index: int) -> None:
        bucket = self._buckets.get(index)
        if bucket is None:
            bucket = self._buckets[index] = {}
            heapq.heappush(self._indexes, index)
        bucket[visited] = None
        visited.bucket = bucket

    def _take(self, visited: Visited) -> None:
        if visited.bucket is not None:
            del visited.bucket[visited]
            visited.bucket = None

    def _tick(self) -> None:
        if not self._count:
            self.is_running = False
            return
        try:
            self._look_at_the_time()
            self._collect_due()
            self._visit_slice()
        finally:
            self.backend.call_later(0 if self._due else TICK, self._tick)

    def _look_at_the_time(self) -> None:
        """Go on with the clock, by a tick at most if the loop stood still.

        Nothing could be done in that time, a send be finished least of all: a client that had read all the while would
        look like one that had stopped.
        """
        now = self.fresh()
        if now > self.now + STALL:
            self._lost += now - self.now - TICK
            now = self.now + TICK
        self.now = now

    def _collect_due(self) -> None:
        current = int(self.now / TICK)
        while self._indexes and self._indexes[0] <= current:
            for visited in self._buckets.pop(heapq.heappop(self._indexes)):
                self._due[visited] = None
                visited.bucket = self._due

    def _visit_slice(self) -> None:
        for visited in list(islice(self._due, SLICE)):
            if visited.bucket is not self._due:
                continue  # an earlier visit of this slice removed it
            self._take(visited)
            try:
                when = visited.visit(self.now)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                logger.exception("A stream's visit failed; the stream is no longer looked after.")
                continue
            self.revisit(visited, when)
