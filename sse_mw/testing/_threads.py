"""Threads that nobody accounts for, and which may be about to wake the event loop: a database driver's, an adapter's.

Nothing tells whether such a thread is at work, but where it is does. A place in which it stays is where it waits for
work; when it is found elsewhere, it works.
"""

import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

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
    """Threads that begin after this is made, but for the asking one and those whose work is known: anyio's and trio's.

    Whatever an older one does, it is not for the event loop that this is made for.
    """

    def __init__(self) -> None:
        self._waits_at: WeakKeyDictionary[threading.Thread, set[Place]] = WeakKeyDictionary()
        self._last_seen: WeakKeyDictionary[threading.Thread, tuple[Place, float]] = WeakKeyDictionary()
        self._older = WeakSet(threading.enumerate())

    def at_work(self) -> bool:
        """Whether one of them is."""
        threads = self._threads()
        if not threads:
            return False
        frames: dict[int, FrameType] = getattr(sys, "_current_frames")()  # noqa: B009
        return any(self._is_at_work(thread, frames.get(thread.ident or 0)) for thread in threads)

    def pause_before(self, jump: float) -> float:
        """Seconds, real ones, to wait before virtual time jumps by so many."""
        is_any = any(_executor_of(thread) is None for thread in self._threads())
        return min(jump * PACE, LONGEST_PAUSE) if is_any else 0.0

    def _threads(self) -> list[threading.Thread]:
        if threading.active_count() == 1:
            return []
        return [thread for thread in threading.enumerate() if thread not in self._older and _is_strange(thread)]

    def _is_at_work(self, thread: threading.Thread, frame: FrameType | None) -> bool:
        executor = _executor_of(thread)
        if executor is not None:
            return executor._idle_semaphore._value < len(executor._threads)  # type: ignore[no-any-return]
        return frame is not None and self._is_new_at(thread, (frame.f_code, frame.f_lasti))

    def _is_new_at(self, thread: threading.Thread, place: Place) -> bool:
        now = time.monotonic()
        waits_at = self._waits_at.setdefault(thread, set())
        if place in waits_at:
            return False
        before, since = self._last_seen.get(thread, (None, now))
        if before != place:
            self._last_seen[thread] = place, now
        elif now > since + SETTLED:
            waits_at.add(place)
            return False
        return True


def _is_strange(thread: threading.Thread) -> bool:
    is_known = hasattr(thread, "idle_workers") or _module_of(thread) == "trio._core._thread_cache"
    return not (is_known or thread is threading.current_thread() or thread.name.startswith(OURS))


def _executor_of(thread: threading.Thread) -> Any:
    """The standard library's that a thread belongs to, which knows how many of its threads have nothing to do."""
    if _module_of(thread) != "concurrent.futures.thread":
        return None
    arguments: tuple[Any, ...] = getattr(thread, "_args", ())
    return arguments[0]() if arguments else None


def _module_of(thread: threading.Thread) -> str:
    target: Any = getattr(thread, "_target", None)
    return str(getattr(target, "__module__", ""))
