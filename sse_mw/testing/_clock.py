"""Virtual time for both backends: a test that waits an hour takes no time, one that waits for nothing fails.

Rules, the same on asyncio and trio:

1. When no task can run and no I/O is ready, the clock jumps to the next deadline.
2. While a worker thread is busy the clock runs as fast as the real one: a thread's work takes real time, and
   jumping meanwhile would fire timeouts that nobody waited for.
   A thread of an executor or of anyio's is known to be busy; any other that has just begun is taken for busy for a
   moment, as it may be about to wake the loop.
3. With no deadline to jump to and no thread that could wake the loop the test is stuck for ever: it fails
   with `Deadlock` instead. (On trio that is raised inside the test, which cannot be arranged on asyncio:
   there the loop itself raises it.)

The clock cannot see that bytes are under way: a test with sockets or subprocesses needs the real one.
"""

import asyncio
import inspect
import selectors
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import partial, wraps
from math import inf
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple, overload
from weakref import WeakKeyDictionary

import anyio

from ..exceptions import InvalidOption

if TYPE_CHECKING:
    from trio.testing import MockClock

T = TypeVar("T")
P = ParamSpec("P")
Args = TypeVarTuple("Args")

DEADLOCK = "virtual time: every task waits, no deadline is set and no thread is busy, so nothing can ever happen"
THREAD_SLICE = 0.001
MOMENT = 1e-7
POOLS = ("concurrent.futures.thread", "trio._core._thread_cache")
# A wake-up from a thread that we do not know of may be under way: look once more, really waiting, before
# giving up.
LAST_LOOK = 0.5
NEWCOMER = 0.1
"""Seconds for which a thread that nobody knows of is waited for."""


class Deadlock(AssertionError):
    """On virtual time: the test waits for something that cannot happen any more."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock starts at 0 and jumps over every wait.

    For whatever takes a `loop_factory`: `asyncio.Runner`, `anyio.run`, a test plugin's settings.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._busy = 0
        self._newcomers = Newcomers()
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Set the clock on; for the selector alone. Tests let time pass by `sse_mw.testing.advance`."""
        self._now += seconds

    def has_busy_threads(self) -> bool:
        """Whether a worker thread may be about to wake the loop."""
        threads = threading.enumerate()
        return self._busy > 0 or any(_works_for(thread, self) for thread in threads) or self._newcomers.among(threads)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Args], T], *args: *Args) -> asyncio.Future[T]:
        """As any loop's; the thread is known to be busy meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self._busy += 1
        future.add_done_callback(self._one_less_busy)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """As any loop's."""
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


class Newcomers:
    """Threads that have begun since this was made, and not long ago."""

    def __init__(self) -> None:
        self._first_seen = WeakKeyDictionary(dict.fromkeys(threading.enumerate(), -inf))

    def among(self, threads: list[threading.Thread]) -> bool:
        """Whether there is one among all threads."""
        now = time.monotonic()
        return any(now < self._first_seen.setdefault(thread, now) + NEWCOMER for thread in threads
                   if not _is_of_a_pool(thread))  # fmt: skip


def _is_of_a_pool(thread: threading.Thread) -> bool:
    """Whether it is an executor's, anyio's or trio's, whose work is known, and which may be idle for ever."""
    target = getattr(thread, "_target", None)
    return hasattr(thread, "idle_workers") or getattr(target, "__module__", "") in POOLS


def run_virtually(backend: str, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run an async function on virtual time, from a synchronous test."""
    if backend == "trio":  # not through anyio, which ignored the clock before version 4.8
        return import_trio().run(function, clock=virtual_clock())  # type: ignore[no-any-return]
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(function())


def import_trio() -> Any:
    """trio with its test tools.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import trio
        import trio.testing  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise ImportError("The backend trio was asked for, and is not installed: pip install trio") from error
    return trio


def virtual_clock() -> "MockClock":
    """A trio clock by the same rules. trio's own autojump knows rule 1 alone, and the class cannot be
    subclassed.
    """
    trio = import_trio()
    clock: Any = trio.testing.MockClock(autojump_threshold=0)
    idle_since: list[float] = []
    newcomers = Newcomers()

    def autojump() -> None:
        deadline = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if trio.testing.active_thread_count() or newcomers.among(threading.enumerate()):
            time.sleep(THREAD_SLICE)
            clock.jump(min(THREAD_SLICE, max(deadline, 0)))
        elif deadline < inf:
            clock.jump(max(deadline, 0))
        else:
            _look_once_more(idle_since)
            return
        idle_since.clear()

    clock._autojump = autojump
    made: MockClock = clock
    return made


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


# What tests say


def check_backend(backend: object) -> None:
    """Whether it is one of the two.

    Raises:
        InvalidOption: It is not.
    """
    if backend not in ("asyncio", "trio"):
        raise InvalidOption(f"backend={backend!r:.80} is unknown: give asyncio or trio")


def virtual_backend(backend: str = "asyncio") -> tuple[str, dict[str, Any]]:
    """What anyio's fixture `anyio_backend` returns, to run tests on virtual time.

    Args:
        backend: `asyncio` or `trio`.

    Raises:
        InvalidOption: It is neither.
        ImportError: trio is not installed.
    """
    check_backend(backend)
    if backend == "trio":
        return "trio", {"clock": virtual_clock()}
    return "asyncio", {"loop_factory": VirtualLoop}


@overload
def virtual_time(function: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T]: ...
@overload
def virtual_time(*, backend: str = "asyncio") -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, T]]: ...
def virtual_time(function: Any = None, /, *, backend: str = "asyncio") -> Any:
    """Make an async test a plain one, which runs in an event loop of its own, on virtual time.

    No plugin for async tests is needed, and none gets in the way; its async fixtures are not available either.

    Args:
        function: The test, a coroutine function. Its parameters stay, so fixtures are passed as ever.
        backend: `asyncio` or `trio`.

    Raises:
        InvalidOption: The function is no coroutine function, or the backend is unknown.
        Deadlock: When it runs: it waits for what cannot happen.
    """
    check_backend(backend)
    if function is None:
        return partial(_on_virtual_time, backend=backend)
    return _on_virtual_time(function, backend)


def _on_virtual_time(function: Callable[P, Coroutine[Any, Any, T]], backend: str) -> Callable[P, T]:
    if not inspect.iscoroutinefunction(function):
        raise InvalidOption(f"virtual_time was given {function!r:.80}, which is no coroutine function: put it next to "
                            "an `async def`, below other decorators")  # fmt: skip

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtually(backend, partial(function, *args, **kwargs))

    return run


def is_virtual() -> bool:
    """Whether the running event loop has such a clock."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return type(trio.lowlevel.current_clock()).__name__ == "MockClock"
    return isinstance(asyncio.get_running_loop(), VirtualLoop)


async def advance(seconds: float) -> None:
    """Let virtual time pass, and with it whatever is due by then: pings, timeouts, sources' sleeps.

    Args:
        seconds: How much. What is due by then has happened when this returns.

    Raises:
        InvalidOption: It is no number of seconds above 0.
        RuntimeError: The running event loop has a real clock.
    """
    check_seconds("seconds", seconds)
    if not is_virtual():
        raise RuntimeError("advance() needs a virtual clock, and the running event loop has the real one: run the test "
                           "under @sse_mw.testing.virtual_time, or with sse_mw.testing.virtual_backend()")  # fmt: skip
    await anyio.sleep(seconds)
    await settle()


async def settle() -> None:
    """On a virtual clock, return when no other task can run: it stands still as long as one can."""
    await anyio.sleep(MOMENT)


def check_seconds(name: str, value: object) -> None:
    """Whether a duration can be meant.

    Raises:
        InvalidOption: It cannot.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < inf:
        raise InvalidOption(f"{name}={value!r:.80} cannot be meant: give a number of seconds above 0")


def check_count(name: str, value: object, *, minimum: int, unit: str) -> None:
    """Whether a number of things can be meant.

    Raises:
        InvalidOption: It cannot.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise InvalidOption(f"{name}={value!r:.80} cannot be meant: give a whole number of {unit} from {minimum} on")
