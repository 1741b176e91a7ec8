"""Virtual time for both backends: a test that waits an hour takes no time, one that waits for nothing fails.

Rules, the same on asyncio and trio:
1. When no task can run and no I/O is ready, the clock jumps to the next deadline.
2. While a worker thread is busy the clock runs as fast as the real one: a thread's work takes real time, and
   jumping meanwhile would fire timeouts that nobody waited for.
3. With no deadline to jump to and no thread that could wake the loop the test is stuck for ever: it fails
   with `Deadlock` instead. (On trio that is raised inside the test, which cannot be arranged on asyncio:
   there the loop itself raises it.)

For tests with sockets or subprocesses there is `@pytest.mark.real_time`: the clock cannot see that bytes are
under way.
"""

import asyncio
import selectors
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from math import inf
from typing import Any, TypeVar, TypeVarTuple

import trio
import trio.testing

T = TypeVar("T")
Args = TypeVarTuple("Args")

DEADLOCK = "virtual time: every task waits, no deadline is set and no thread is busy, so nothing can ever happen"
THREAD_SLICE = 0.001
# A wake-up from a thread that we do not know of may be under way: look once more, really waiting, before
# giving up.
LAST_LOOK = 0.5


class Deadlock(AssertionError):
    """The test waits for something that cannot happen any more."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock starts at 0 and jumps over every wait."""

    def __init__(self) -> None:
        self._now = 0.0
        self._busy = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def has_busy_threads(self) -> bool:
        return self._busy > 0 or any(_works_for(thread, self) for thread in threading.enumerate())

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Args], T], *args: *Args) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._busy += 1
        future.add_done_callback(self._one_less_busy)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        self._busy += 1  # it waits for a helper thread, under a timeout that must not be jumped to
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._busy -= 1

    def _one_less_busy(self, _: object) -> None:
        self._busy -= 1


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
        if timeout is None:
            return super().select(LAST_LOOK) or self._give_up()
        self._loop.advance(timeout)
        return ready

    def _wait_for_threads(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        patience = THREAD_SLICE if timeout is None else min(timeout, THREAD_SLICE)
        started = time.monotonic()
        ready = super().select(patience)
        # No more than was asked for: a machine that is busy with something else must not let timeouts pass.
        self._loop.advance(min(time.monotonic() - started, patience))
        return ready

    def _give_up(self) -> Any:
        # This leaves through run_until_complete, so no frame of the test is in the traceback: name them.
        waiting = [f"\n  {task.get_name()}: {_innermost(task.get_coro())}" for task in asyncio.all_tasks(self._loop)]
        raise Deadlock(DEADLOCK + "".join(waiting))


def _innermost(awaited: Any) -> str:
    place = "?"
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        awaited = awaited.cr_await
    return place


def _deadlock() -> Any:
    raise Deadlock(DEADLOCK)


def _works_for(thread: threading.Thread, loop: asyncio.AbstractEventLoop) -> bool:
    # anyio's own worker threads (anyio.to_thread) do not pass through run_in_executor. They have no public
    # face; these two attributes have been there since anyio 3, and test_virtual_time.py notices if they go.
    idle_workers = getattr(thread, "idle_workers", None)
    return idle_workers is not None and getattr(thread, "loop", None) is loop and thread not in idle_workers


def run_virtually(backend: str, function: Callable[[], Any]) -> Any:
    """Run an async function on virtual time, from a synchronous test."""
    if backend == "trio":  # not through anyio, which ignored the clock before version 4.8
        return trio.run(function, clock=virtual_clock())
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(function())


def virtual_clock() -> trio.testing.MockClock:
    """A trio clock by the same rules. trio's own autojump knows rule 1 alone, and the class cannot be
    subclassed.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)
    jump_to_deadline: Callable[[], None] = getattr(clock, "_autojump")  # noqa: B009  private
    idle_since: list[float] = []

    def autojump() -> None:
        deadline = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if trio.testing.active_thread_count():
            time.sleep(THREAD_SLICE)
            clock.jump(min(THREAD_SLICE, max(deadline, 0)))
        elif deadline < inf:
            jump_to_deadline()
        else:
            _look_once_more(idle_since)
            return
        idle_since.clear()

    vars(clock)["_autojump"] = autojump
    return clock


def _look_once_more(idle_since: list[float]) -> None:
    idle_since.append(time.monotonic())
    if idle_since[-1] - idle_since[0] < LAST_LOOK:
        time.sleep(THREAD_SLICE)
        return
    idle_since.clear()
    _raise_in_main_task()


def _raise_in_main_task() -> None:
    # What trio does to deliver a KeyboardInterrupt. Raising here would crash the run loop, and the test
    # runner with it.
    from trio._core._run import GLOBAL_RUN_CONTEXT

    main_task: Any = getattr(GLOBAL_RUN_CONTEXT.runner, "main_task")  # noqa: B009
    main_task._attempt_abort(_deadlock)
