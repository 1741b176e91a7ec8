"""Threads that nobody accounts for, and which may be about to wake the event loop: a database driver's, an adapter's.

Nothing tells whether such a thread is at work, but where it is does. A place in which it stays is where it waits for
work; when it is found elsewhere, it works.
"""

import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

SETTLED = 0.5
"""Seconds, real ones, that a thread stays in a place until it counts as waiting there."""

PACE = 0.01
"""Real seconds for each second of virtual time, while there is such a thread: it may just be going to work."""

LONGEST_PAUSE = 0.05
"""Seconds, real ones, before one jump."""

OURS = "sse_mw.testing"
"""The name of threads that stand still whenever somebody could ask."""

Place: TypeAlias = tuple[CodeType, int]


class Strangers:
    """All threads but the main one, the asking one, and those of whose work is known: anyio's and trio's."""

    def __init__(self) -> None:
        self._waits_at: WeakKeyDictionary[threading.Thread, set[Place]] = WeakKeyDictionary()
        self._last_seen: WeakKeyDictionary[threading.Thread, tuple[Place, float]] = WeakKeyDictionary()
        for thread, place in self._places():
            self._waits_at[thread] = {place}  # whatever it does, it is not for this loop

    def at_work(self) -> bool:
        """Whether one of them is."""
        now = time.monotonic()
        return any(self._is_at_work(thread, place, now) for thread, place in self._places())

    def pause_before(self, jump: float) -> float:
        """Seconds, real ones, to wait before virtual time jumps by so many."""
        if not any(map(_is_strange, threading.enumerate())):
            return 0.0
        return min(jump * PACE, LONGEST_PAUSE)

    def _is_at_work(self, thread: threading.Thread, place: Place, now: float) -> bool:
        waits_at = self._waits_at.setdefault(thread, set())
        if place in waits_at:
            return False
        before, since = self._last_seen.get(thread, (None, now))
        if before != place:
            self._last_seen[thread] = place, now
        elif now > since + SETTLED and not _is_of_a_pool(thread):
            waits_at.add(place)
            return False
        return True

    def _places(self) -> list[tuple[threading.Thread, Place]]:
        threads = [thread for thread in threading.enumerate() if _is_strange(thread)]
        frames: dict[int, FrameType] = getattr(sys, "_current_frames")() if threads else {}  # noqa: B009
        found = [(thread, frames.get(thread.ident or 0)) for thread in threads]
        return [(thread, (frame.f_code, frame.f_lasti)) for thread, frame in found
                if frame is not None and frame.f_code.co_qualname != "_worker"]  # an executor's that waits  # fmt: skip


def _is_strange(thread: threading.Thread) -> bool:
    is_known = hasattr(thread, "idle_workers") or _module_of(thread) == "trio._core._thread_cache"
    is_here = thread in (threading.main_thread(), threading.current_thread())
    return not (is_known or is_here or thread.name.startswith(OURS))


def _is_of_a_pool(thread: threading.Thread) -> bool:
    """Whether it is an executor's, which is at work wherever it is, but in one place."""
    return _module_of(thread) == "concurrent.futures.thread"


def _module_of(thread: threading.Thread) -> str:
    target: Any = getattr(thread, "_target", None)
    return str(getattr(target, "__module__", ""))
