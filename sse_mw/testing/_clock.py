"""Virtual time for both backends: a test that waits an hour takes no time, one that waits for nothing fails.

Rules, the same on asyncio and trio:

1. When no task can run and no I/O is ready, the clock jumps to the next deadline.
2. While a worker thread is at work the clock runs as fast as the real one: a thread's work takes real time, and
   jumping meanwhile would fire timeouts that nobody waited for.
3. With no deadline to jump to and no thread that could wake the loop the test is stuck for ever: it fails with
   `Deadlock` instead. So it does when the clock has jumped on and on for `LIMIT` seconds, real ones: something ticks,
   pings say, and the test waits for something else. The error is raised where the test waits, if that can be.

The clock cannot see that bytes are under way: a test with sockets or subprocesses needs the real one.
"""

import asyncio
import selectors
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from math import inf
from typing import Any, TypeVar, TypeVarTuple

from ._threads import Strangers

T = TypeVar("T")
Args = TypeVarTuple("Args")

DEADLOCK = "virtual time: every task waits, no deadline is set and no thread is busy, so nothing can ever happen"
ENDLESS = "virtual time: the clock has jumped on and on for {:g} s, and what the test waits for did not come"
THREAD_SLICE = 0.001
# A wake-up from a thread that we do not know of may be under way: look once more, really waiting, before
# giving up.
LAST_LOOK = 0.5
LIMIT = 30.0
ANYIOS_RUNNER = "_run_tests_and_fixtures"
CLOSING = 2.0
"""The limit for what an app does when its test is over, and it is cancelled."""


class Deadlock(AssertionError):
    """On virtual time: the test waits for something that cannot happen any more, or that never comes."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock starts at 0 and jumps over every wait.

    For whatever takes a `loop_factory`: `asyncio.Runner`, `anyio.run`, a test plugin's settings.

    Args:
        limit: Seconds, real ones, that one run of the loop may take in jumps until it fails with `Deadlock`.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit = limit
        self._now = 0.0
        self._busy = 0
        self._run_from = time.monotonic()
        self._waited_for: Any = None
        self._has_given_up = False
        self.strangers = Strangers()
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def run_forever(self) -> None:
        """As any loop's; its limit begins anew."""
        self._run_from, self._has_given_up = time.monotonic(), False
        super().run_forever()

    def run_until_complete(self, future: Any) -> Any:
        """As any loop's."""
        self._waited_for = asyncio.ensure_future(future, loop=self)
        try:
            return super().run_until_complete(self._waited_for)
        finally:
            self._waited_for = None

    def advance(self, seconds: float) -> None:
        """Set the clock on; for the selector alone. Tests let time pass by `sse_mw.testing.advance`."""
        self._now += seconds

    def has_run_too_long(self) -> bool:
        """Whether the limit has passed."""
        return time.monotonic() > self._run_from + self.limit

    def has_deadline(self) -> bool:
        """Whether something is to be done at some time: who sleeps for ever sets a timer that never comes."""
        scheduled: list[asyncio.TimerHandle] = getattr(self, "_scheduled")  # noqa: B009  private
        return bool(scheduled) and scheduled[0].when() < inf

    def has_busy_threads(self) -> bool:
        """Whether a worker thread may be about to wake the loop."""
        works = self._busy > 0 or any(_works_for(thread, self) for thread in threading.enumerate())
        return works or self.strangers.at_work()

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Args], T], *args: *Args) -> asyncio.Future[T]:
        """As any loop's; the thread is known to be busy meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self._busy += 1
        future.add_done_callback(self._one_less_busy)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """As any loop's, but a thread that is at work still is not waited for: the test is over."""
        executor: Executor | None = getattr(self, "_default_executor", None)
        if executor is not None and self._busy:
            executor.shutdown(wait=False)
            return
        self._busy += 1  # it waits for a helper thread, under a timeout that must not be jumped to
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._busy -= 1

    def _one_less_busy(self, _: object) -> None:
        self._busy -= 1

    def give_up(self, why: str) -> None:
        """Raise a `Deadlock` in the test, if it waits for something that can be given one; else out of the loop."""
        # Out of the loop no frame of the test is in the traceback: name them.
        tasks = asyncio.all_tasks(self)
        error = Deadlock(why + "".join(f"\n  {task.get_name()}: {_innermost(task.get_coro())}" for task in tasks))
        future = None if self._has_given_up else _pending_future(self._test_of(tasks))
        self._has_given_up = True
        self._run_from = time.monotonic()
        if future is None:
            raise error
        future.set_exception(error)

    def _test_of(self, tasks: "set[asyncio.Task[Any]]") -> Any:
        """The task that runs the test: anyio's runner has one of its own, and waits for it."""
        runners = (task for task in tasks if ANYIOS_RUNNER in getattr(task.get_coro(), "__qualname__", ""))
        return next(runners, self._waited_for)


def _pending_future(task: Any) -> "asyncio.Future[Any] | None":
    """What a task waits for in the end."""
    awaited: Any = task
    while hasattr(awaited, "get_coro"):
        awaited = awaited._fut_waiter
    is_plain = type(awaited).__name__ == "Future" and not awaited.done()
    return awaited if is_plain else None


class _JumpingSelector(selectors.DefaultSelector):
    """Where the loop would sleep it jumps (rule 1), waits for a thread (2) or gives up (3)."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._loop.has_busy_threads():
            return self._wait_for_threads(timeout)
        if not self._loop.has_deadline():
            ready = super().select(LAST_LOOK)
            if not ready:
                self._loop.give_up(DEADLOCK)
        elif self._loop.has_run_too_long():
            self._loop.give_up(ENDLESS.format(self._loop.limit))
        else:
            ready = self._jump(timeout or 0)
        return ready

    def _jump(self, seconds: float) -> list[tuple[selectors.SelectorKey, int]]:
        pause = self._loop.strangers.pause_before(seconds)
        ready = super().select(pause) if pause else []
        if not ready and not (pause and self._loop.has_busy_threads()):
            self._loop.advance(seconds)
        return ready

    def _wait_for_threads(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        patience = THREAD_SLICE if timeout is None else min(timeout, THREAD_SLICE)
        started = time.monotonic()
        ready = super().select(patience)
        # No more than was asked for: a machine that is busy with something else must not let timeouts pass.
        self._loop.advance(min(time.monotonic() - started, patience))
        return ready


def _innermost(awaited: Any) -> str:
    place = "?"
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        awaited = awaited.cr_await
    return place


def _works_for(thread: threading.Thread, loop: asyncio.AbstractEventLoop) -> bool:
    # anyio's own worker threads (anyio.to_thread) do not pass through run_in_executor. They have no public
    # face; these two attributes have been there since anyio 3, and test_virtual_time.py notices if they go.
    idle_workers = getattr(thread, "idle_workers", None)
    return idle_workers is not None and getattr(thread, "loop", None) is loop and thread not in idle_workers
