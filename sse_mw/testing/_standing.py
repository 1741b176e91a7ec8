"""An event loop for tests that are plain functions: it runs in a thread, and only while a call of the test's does.

It waits for the next call without letting anything else happen. So on virtual time none passes between two calls, and a
test that is slow to look sees the same as one that is quick.

A call must not hang, whatever the app does: one that blocks the loop is found out, and one that cannot be ended by an
interrupt is left behind, with its thread.
"""

import queue
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from types import FrameType
from typing import Any, TypeVar

import anyio

from ._errors import StreamTimeout
from ._run import run_virtually
from ._threads import OURS
from ._waiting import backends

T = TypeVar("T")

LOOK = 1.0
"""Seconds between two looks at a loop that takes its time."""

BLOCKED = 10.0
"""Seconds in one place after which a loop counts as blocked."""

INTERRUPTED = 2.0
"""Seconds that an interrupted call has to end in."""


class StandingLoop:
    """One, for one thread's calls.

    Args:
        backend: `asyncio` or `trio`.
        virtual: Whether on virtual time.
    """

    def __init__(self, backend: str, *, virtual: bool) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._current: _Call | None = None
        self._failed: BaseException | None = None
        run = partial(run_virtually, backend) if virtual else partial(anyio.run, backend=backend)
        context = copy_context()
        # A daemon, so that a test that never closes it does not keep the process.
        self._thread = threading.Thread(
            target=context.run, args=(self._run, partial(run, self._serve)), name=f"{OURS} loop", daemon=True
        )
        self._thread.start()

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await `function(*args)` there.

        Raises:
            BaseException: What it raises, and what has ended the loop.
            StreamTimeout: The app blocks the loop.
            RuntimeError: The loop is closed, or it is the caller that runs in it.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("The app under test has called the client that calls it, and so waits for itself: give "
                               "it a client of its own")  # fmt: skip
        if self._failed is not None:
            raise self._failed
        if not self._thread.is_alive():
            raise RuntimeError("The client is closed: use it within its `with` block")
        call = _Call(partial(function, *args))
        self._calls.put(call)
        try:
            self._wait(call, BLOCKED)
        except KeyboardInterrupt:
            self._interrupt(call)
            raise
        result: T = call.future.result()
        return result

    @property
    def has_failed(self) -> bool:
        """Whether nothing can be called any more."""
        return self._failed is not None

    def close(self) -> None:
        """End it, and wait for its thread, unless it is stuck."""
        self._calls.put(None)
        if self._failed is None:
            self._thread.join()

    def _wait(self, call: "_Call", patience: float) -> None:
        place: tuple[str, int] | None = None
        stays = 0.0
        while not call.is_done(LOOK):
            before, place = place, self._place()
            stays = stays + LOOK if place is not None and place == before else 0.0
            if stays >= patience:
                self._failed = StreamTimeout(f"the app blocks its event loop: for {stays:g} s it has been at {place}")
                raise self._failed

    def _place(self) -> tuple[str, int] | None:
        """Where the thread is, unless it is where a loop waits."""
        frames: dict[int, FrameType] = getattr(sys, "_current_frames")()  # noqa: B009
        frame = frames.get(self._thread.ident or 0)
        if frame is None or frame.f_code.co_name in ("select", "get_events"):
            return None
        return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}", frame.f_lasti

    def _interrupt(self, call: "_Call") -> None:
        call.cancel()
        if not call.is_done(INTERRUPTED):
            self._failed = RuntimeError("An interrupted call has not ended, and was left behind.")

    def _run(self, run: Callable[[], object]) -> None:
        try:
            run()
        except BaseException as error:  # a Deadlock of the virtual loop leaves by this way, and an exit
            self._failed = error
        finally:
            if self._current is not None and not self._current.future.done():
                self._current.future.set_exception(self._failed or RuntimeError("The event loop has ended."))

    async def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            self._current = call
            await call.answer()


class _Call:
    """What is to be awaited, and what came of it."""

    def __init__(self, function: Callable[[], Awaitable[Any]]) -> None:
        self.future: Future[Any] = Future()
        self.cancel: Callable[[], None] = lambda: None
        self._function = function

    def is_done(self, seconds: float) -> bool:
        """Wait for so long at the most."""
        try:
            self.future.exception(timeout=seconds)
        except TimeoutError:
            return self.future.done()
        return True

    async def answer(self) -> None:
        """In the loop: do it."""
        with anyio.CancelScope() as scope:
            self.cancel = partial(backends.get().call_from_thread, scope.cancel)
            try:
                result = await self._function()
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:
                self.future.set_exception(error)
            else:
                self.future.set_result(result)
        if not self.future.done():
            self.future.set_exception(KeyboardInterrupt())


async def plainly(function: Callable[[], T]) -> T:
    """For a function that awaits nothing, but has to run there."""
    return function()
