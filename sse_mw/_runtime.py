"""The one module that knows which async library runs: asyncio (and uvloop) or trio, behind one small contract.

Longer than the other modules, as what the one library does is best read beside what the other does.

anyio would serve, but not at this price: its cancel scope costs a request 7 µs and its task group 77 µs on
asyncio, and a request that is no stream would pay too.
"""

import asyncio
import inspect
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import cached_property
from types import TracebackType
from typing import Any, Generic, Protocol, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread

logger = logging.getLogger("sse_mw")

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
TaskFunction: TypeAlias = Callable[..., Coroutine[Any, Any, None]]


class Cancellable(Protocol):
    """A block in the app's task that can be cancelled from outside it.

    A context manager and no function that awaits, since each coroutine between the server and the app would cost every
    wait of the app's.
    """

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool | None:
        """End an exception that `cancel()` alone has brought. Other cancellations pass through."""
        ...

    def cancel(self) -> None:
        """Cancel what the block awaits, once. Without effect before the block and after it."""
        ...

    @property
    def task(self) -> object:
        """The task that the block runs in."""
        ...


class Event(Protocol):
    """Something that happens once."""

    def set(self) -> None:
        """It has happened."""
        ...

    async def wait(self) -> object:
        """Return once it has. Any number of tasks may wait."""
        ...

    def is_set(self) -> bool: ...


class Interruptible(Protocol):
    """A task that can be cancelled where it waits, once: what its `finally` blocks await afterwards goes on."""

    def interrupt(self) -> bool:
        """Cancel it, and return whether that was delivered, or will be. If not, try again.

        Not before it has begun. Scopes of anyio's that it has shielded are respected: then it is not delivered.
        """
        ...

    def abandon(self) -> None:
        """Nobody waits for it any longer: it must not keep its event loop from coming to an end."""
        ...


class Backend(Protocol):
    """What the package asks of an async library. Every method is called from the loop's own thread."""

    clock: Callable[[], float]
    """Seconds that pass while the loop stands still, too; from any beginning."""

    make_event: Callable[[], "Event"]
    """The library's own. `anyio.Event` has to find out which library runs, and takes as long as ten events."""

    def time(self) -> float:
        """The loop's monotonic clock, in seconds."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Call `callback` after `delay` seconds; 0 means after what is ready now has had its turn."""
        ...

    def spawn(self, function: TaskFunction, *args: Any, context: Context | None = None) -> Callable[[], object]:
        """Run `function` as a task of its own, and return what cancels it. It must not raise.

        `context` is the context that it runs in, an empty one by default.
        """
        ...

    def spawn_interruptible(self, function: TaskFunction, context: Context) -> "Interruptible":
        """Run `function` as a task of its own that can be interrupted. It must not raise."""
        ...

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the event loop soon. The one method that any thread may call."""
        ...

    async def run_in_thread(self, function: Callable[[], T]) -> T:
        """Call `function` in a worker thread, of which there are `max_threads` at most; who comes late waits."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether the event loop has not been closed. Any thread may ask."""
        ...

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is the one in which the event loop runs."""
        ...

    def current_task(self) -> object | None:
        """The running task; `None` in a callback of the loop's, and where no loop runs."""
        ...

    def is_finished(self, task: object) -> bool: ...

    def is_ending(self, task: object) -> bool:
        """Whether a task is finished, or somebody has cancelled it, as far as that shows."""
        ...

    def waits_for_thread(self, task: object) -> bool:
        """Whether a task waits for a worker thread, which no cancellation reaches."""
        ...

    def was_cancelled(self, error: BaseException) -> bool:
        """Whether `error`, just caught in the current task, is the cancellation of that task."""
        ...

    def cancel_again(self) -> None:
        """A cancellation of the current task has just been caught: have it come again at the next checkpoint."""
        ...

    async def checkpoint(self) -> None:
        """Let every other ready task have its turn."""
        ...

    async def run_in_task(self, call: Coroutine[Any, Any, T]) -> T:
        """Await `call` in a task of the library's, as the running one is not."""
        ...

    def cancellable(self) -> Cancellable | None:
        """For a block in the running task; `None` if that is no task of the library's, which could be cancelled."""
        ...


def _nothing() -> None:
    """For a loop to call, if it is there."""


class Threads:
    """The worker threads of one event loop's sync sources, apart from those that frameworks run endpoints in."""

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._thread = threading.get_ident()
        self._wanted = 0
        self._warned = False
        self._limiter: anyio.CapacityLimiter | None = None

    async def run_in_thread(self, function: Callable[[], T]) -> T:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._max_threads)
        self._wanted += 1
        if self._wanted == self._max_threads + 1 and not self._warned:
            self._warned = True
            logger.warning("All threads for sync sources are held by open streams; further ones wait. (max_threads=%d)",
                           self._max_threads)  # fmt: skip
        try:
            return await anyio.to_thread.run_sync(function, limiter=self._limiter)
        finally:
            self._wanted -= 1

    @property
    def is_alive(self) -> bool:
        try:
            self.call_from_thread(_nothing)
        except RuntimeError:  # trio's RunFinishedError is one too
            return False
        return True

    @property
    def is_here(self) -> bool:
        return threading.get_ident() == self._thread

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        raise NotImplementedError


def _clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """A loop whose time is of another kind, for tests say, is asked; uvloop's own stands still within a turn."""
    kind = type(loop)
    is_usual = (
        getattr(kind, "time", None) is asyncio.BaseEventLoop.time or kind.__module__.partition(".")[0] == "uvloop"
    )
    return time.monotonic if is_usual else _weak(loop)


def _weak(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    bound = weakref.WeakMethod(loop.time)

    def clock() -> float:
        time_of_loop = bound()
        return 0.0 if time_of_loop is None else time_of_loop()

    return clock


class AsyncioBackend(Threads):
    """asyncio on any of its loops. Holds the loop weakly, so that a stopped one can be collected."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_threads: int) -> None:
        super().__init__(max_threads)
        self._loop = weakref.ref(loop)
        self.clock = _clock_of(loop)
        self.make_event: Callable[[], Event] = asyncio.Event
        self._tasks: set[asyncio.Task[None]] = set()
        self._discard = self._tasks.discard
        self._no_context = Context()

    @cached_property
    def _scope_of(self) -> "ScopeOf | None":
        return find_scope_of()

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        # An empty context: a timer must not keep the context variables of the request that started it alive.
        asyncio.get_running_loop().call_later(delay, callback, context=Context())

    def spawn(self, function: TaskFunction, *args: Any, context: Context | None = None) -> Callable[[], object]:
        return self._start(function(*args), context or Context()).cancel

    def spawn_interruptible(self, function: TaskFunction, context: Context) -> "Interruptible":
        if self._scope_of is None:
            interruptible = ScopedInterruptible(function)
            self._start(interruptible.run(), context)
            return interruptible
        return AsyncioInterruptible(self._start(function(), context), self._scope_of)

    def _start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(coroutine, context=context)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._discard, context=self._no_context)
        return task

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        loop = self._loop()
        if loop is None:
            raise RuntimeError("The event loop is gone.")
        loop.call_soon_threadsafe(callback)

    def current_task(self) -> object | None:
        return asyncio.current_task()

    def is_finished(self, task: object) -> bool:
        return isinstance(task, asyncio.Task) and task.done()

    def is_ending(self, task: object) -> bool:
        return isinstance(task, asyncio.Task) and (task.done() or task.cancelling() > 0)

    def waits_for_thread(self, task: object) -> bool:
        # What `run_in_executor` returns is tied to its thread by a callback. Nothing public tells; if these names go,
        # the tests of a2wsgi notice.
        callbacks = getattr(getattr(task, "_fut_waiter", None), "_callbacks", None) or ()
        return any(getattr(callback[0], "__qualname__", "").startswith("_chain_future") for callback in callbacks)

    def was_cancelled(self, error: BaseException) -> bool:
        task = asyncio.current_task()
        return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0

    def cancel_again(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
            task.cancel()

    async def checkpoint(self) -> None:
        await asyncio.sleep(0)

    async def run_in_task(self, call: Coroutine[Any, Any, T]) -> T:
        task: asyncio.Task[T] = asyncio.get_running_loop().create_task(call)
        try:
            return await task
        except asyncio.CancelledError:
            if not task.done():  # it is the server that cancels
                task.cancel()
                await asyncio.wait([task])
            raise

    def cancellable(self) -> "AsyncioCancellable | None":
        task = asyncio.current_task()
        if task is None or (type(task) is not asyncio.Task and not _is_steered_by_asyncio(task)):
            return None
        return AsyncioCancellable(task)


ScopeOf = Callable[["asyncio.Task[Any]"], Any]
"""The innermost of the scopes of anyio's that a task is in; `None` if it is in none."""


def find_scope_of() -> ScopeOf | None:
    """Nothing public tells a task's scopes. `None` if anyio no longer keeps them where it did; a test notices."""
    from anyio._backends import _asyncio

    states: Any = getattr(_asyncio, "_task_states", None)
    # The backend's own class: `anyio.CancelScope` wants a task to be running, and there are servers without.
    if states is None or not hasattr(_asyncio.CancelScope(), "_parent_scope"):
        return None

    def scope_of(task: "asyncio.Task[Any]") -> Any:
        state = states.get(task)
        return None if state is None else state.cancel_scope

    return scope_of


class AsyncioInterruptible:
    """By `Task.cancel`, when that reaches what anyio would cancel: not through a shield, nor when a result has come.

    A scope around the task would see to that, with another in it to cancel once only: 1.6 KiB for each stream.
    """

    __slots__ = ("_scope_of", "_task")

    def __init__(self, task: "asyncio.Task[Any]", scope_of: ScopeOf) -> None:
        self._task = task
        self._scope_of = scope_of

    def interrupt(self) -> bool:
        task = self._task
        if task is asyncio.current_task() or task.done() or self._has_result or self._is_shielded:
            return False
        return task.cancel()

    @property
    def _has_result(self) -> bool:
        waiter = getattr(self._task, "_fut_waiter", None)
        return isinstance(waiter, asyncio.Future) and waiter.done()

    @property
    def _is_shielded(self) -> bool:
        """Or in a scope that is cancelled already, whose own cleanup this would cut off."""
        scope = self._scope_of(self._task)
        while scope is not None and not (scope.shield or scope.cancel_called):
            scope = scope._parent_scope
        return scope is not None

    def abandon(self) -> None:
        pass  # who closes a loop cancels its tasks


class ScopedInterruptible:
    """In scopes of anyio's."""

    def __init__(self, function: TaskFunction) -> None:
        self._function = function
        self._outer, self._inner = anyio.CancelScope(), anyio.CancelScope()
        self._task: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        self._task = asyncio.current_task()
        with self._outer, self._inner:
            await self._function()

    def interrupt(self) -> bool:
        assert self._task is not None
        before = self._task.cancelling()
        self._inner.shield = False
        self._outer.cancel()
        self._inner.shield = True  # anyio would cancel it again and again
        return self._task.cancelling() > before

    def abandon(self) -> None:
        pass


def _is_steered_by_asyncio(task: "asyncio.Task[Any]") -> bool:
    """Not with granian's `--task-impl rust`, whose tasks are none: they cannot be cancelled, or even printed."""
    try:
        task.get_loop()
    except RuntimeError:
        return False
    return True


class AsyncioCancellable:
    __slots__ = ("_before", "_requested", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task: asyncio.Task[Any] | None = task
        self._before = task.cancelling()
        self._requested = False

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool:
        task, self.task = self.task, None
        if not self._requested or task is None:
            return False
        # Not the server's own cancellation, alone or on top of ours.
        is_ours = isinstance(error, asyncio.CancelledError) and task.cancelling() <= self._before + 1
        task.uncancel()
        return is_ours

    def cancel(self) -> None:
        if self.task is not None and not self._requested:
            self._requested = True
            self.task.cancel()


class TrioBackend(Threads):
    """trio, whose tasks of ours are system tasks: they live outside the app's nurseries."""

    def __init__(self, token: Any, max_threads: int) -> None:
        import trio

        super().__init__(max_threads)
        self._trio = trio
        self._token = weakref.ref(token)
        self.clock: Callable[[], float] = trio.current_time
        self.make_event: Callable[[], Event] = trio.Event
        self._calling = False
        self._next_call: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self._trio.current_time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        if self._calling and self._next_call is None:
            self._next_call = delay, callback  # the task that calls goes on with it: another takes as long as a tick
        else:
            self._trio.lowlevel.spawn_system_task(self._wait_and_call, delay, callback, context=Context())

    async def _wait_and_call(self, delay: float, callback: Callable[[], None]) -> None:
        following: tuple[float, Callable[[], None]] | None = (delay, callback)
        while following is not None:
            delay, callback = following
            if not delay:
                await self._trio.lowlevel.checkpoint()  # who is ready now may come after this task in the next turn
            await self._trio.sleep(delay)
            self._calling, self._next_call = True, None
            try:
                callback()
            finally:
                self._calling = False
            following, self._next_call = self._next_call, None

    def spawn(self, function: TaskFunction, *args: Any, context: Context | None = None) -> Callable[[], object]:
        scope = self._trio.CancelScope()

        async def run_in_scope() -> None:
            with scope:
                await function(*args)

        self._trio.lowlevel.spawn_system_task(run_in_scope, name=function, context=context or Context())
        return scope.cancel

    def spawn_interruptible(self, function: TaskFunction, context: Context) -> "TrioInterruptible":
        interruptible = TrioInterruptible(self._trio, function)
        self._trio.lowlevel.spawn_system_task(interruptible.run, context=context)
        return interruptible

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        token = self._token()
        if token is None:
            raise RuntimeError("The event loop is gone.")
        token.run_sync_soon(callback)

    def current_task(self) -> object | None:
        return self._trio.lowlevel.current_task()

    def is_finished(self, task: object) -> bool:
        return isinstance(task, self._trio.lowlevel.Task) and task.coro.cr_frame is None

    def is_ending(self, task: object) -> bool:
        return self.is_finished(task)

    def waits_for_thread(self, task: object) -> bool:
        return False  # trio's own threads are waited for by a cancelled task, and nothing lies in between

    def was_cancelled(self, error: BaseException) -> bool:
        return isinstance(error, self._trio.Cancelled)

    def cancel_again(self) -> None:
        pass  # trio delivers a cancellation at every checkpoint

    async def checkpoint(self) -> None:
        await self._trio.lowlevel.checkpoint()

    async def run_in_task(self, call: Coroutine[Any, Any, T]) -> T:
        return await call

    def cancellable(self) -> "TrioCancellable":
        return TrioCancellable(self._trio)


class TrioInterruptible:
    """trio cancels at every checkpoint, unless shielded: the shield is opened for a moment.

    In that moment only a task that waits can be reached. One that was reached is ready to run then.
    """

    def __init__(self, trio: Any, function: TaskFunction) -> None:
        self._trio = trio
        self._function = function
        self._outer, self._inner = trio.CancelScope(), trio.CancelScope()

    async def run(self) -> None:
        with self._outer, self._inner:
            await self._function()

    def interrupt(self) -> bool:
        ready = self._trio.lowlevel.current_statistics().tasks_runnable
        self._outer.cancel()
        self._inner.shield = False
        self._inner.shield = True
        return bool(self._trio.lowlevel.current_statistics().tasks_runnable > ready)

    def abandon(self) -> None:
        self._inner.shield = False  # trio waits for its tasks before it comes to an end


class TrioCancellable:
    __slots__ = ("_scope", "task")

    def __init__(self, trio: Any) -> None:
        self._scope = trio.CancelScope()
        self.task: object = trio.lowlevel.current_task()

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool | None:
        swallowed: bool | None = self._scope.__exit__(kind, error, traceback)
        return swallowed

    def cancel(self) -> None:
        self._scope.cancel()


def mark_coroutine_function(function: F) -> F:
    """Have a plain function that returns an awaitable pass for a coroutine function, as asgiref's adapters ask for."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:
        function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return function


class PerLoop(Generic[T]):
    """One object per running event loop, made when it is first asked for, gone when its loop is.

    Threads may ask at once, each for its own loop.
    """

    __slots__ = ("_by_loop", "_latest", "_lock", "_make", "_max_threads")

    def __init__(self, make: Callable[[Backend], T], max_threads: int) -> None:
        self._make = make
        self._max_threads = max_threads
        self._by_loop: WeakKeyDictionary[Any, T] = WeakKeyDictionary()
        self._latest: tuple[Callable[[], Any], Callable[[], T | None]] = (_nothing, _nothing)
        self._lock = threading.RLock()  # a signal handler that asks may have interrupted who holds it

    def get(self) -> T:
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_task():
            return self._find(trio.lowlevel.current_trio_token(), TrioBackend)
        loop = asyncio.get_running_loop()
        latest_loop, latest = self._latest  # at once, as other threads replace it
        found = latest() if latest_loop() is loop else None
        return self._find(loop, AsyncioBackend) if found is None else found

    def all(self) -> list[T]:
        """Every loop's, from any thread."""
        with self._lock:
            return list(self._by_loop.values())

    def _find(self, loop: Any, backend: Callable[[Any, int], Backend]) -> T:
        with self._lock:
            found = self._by_loop.get(loop)
            if found is None:
                found = self._by_loop[loop] = self._make(backend(loop, self._max_threads))
            self._latest = weakref.ref(loop), weakref.ref(found)
            return found
