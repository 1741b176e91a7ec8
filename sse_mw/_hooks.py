"""The user's hooks: run in the request's context, and whatever they raise stays here."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context

import anyio

from ._event import encode_item
from ._options import ErrorHook, Hook
from ._runtime import Backend
from ._stats import StreamInfo

logger = logging.getLogger("sse_mw")


class Hooks:
    """The hooks of one stream. A coroutine function's call goes on as a task of its own."""

    __slots__ = ("_backend", "_context", "_idle", "_running", "_timeout")

    def __init__(self, backend: Backend, context: Context, timeout: float) -> None:
        self._backend = backend
        self._context = context
        self._timeout = timeout
        self._running = 0
        self._idle: anyio.Event | None = None

    def call(self, name: str, hook: Hook | None, info: StreamInfo) -> None:
        """Call the hook, if there is one, and do not wait for what it awaits."""
        if hook is None:
            return
        if self._in_callback:
            self._start(name, self._call_in_task(hook, info))
            return
        result = self._guarded(name, lambda: self._context.copy().run(hook, info))
        if inspect.isawaitable(result):
            self._guarded(name, lambda: self._start(name, result))

    @property
    def _in_callback(self) -> bool:
        """In a bare callback of asyncio's, where anyio does not know which library runs: a task is to call the hook."""
        try:
            return self._backend.current_task() is None
        except RuntimeError:
            return False  # the request was thrown away together with its event loop

    async def _call_in_task(self, hook: Hook, info: StreamInfo) -> None:
        result = hook(info)
        if inspect.isawaitable(result):
            await result

    def forget(self) -> None:
        """The request is over. What is running goes on, in contexts of its own."""
        self._context = Context()

    async def settle(self) -> None:
        """Wait for what is running, as long as may be."""
        if self._running:
            self._idle = anyio.Event()
            with anyio.move_on_after(self._timeout) as limit:
                await self._idle.wait()
            if limit.cancelled_caught:
                logger.warning(
                    "A hook has not returned for cleanup_timeout; the request goes on to its end without it."
                )

    async def last_event(self, hook: ErrorHook | None, error: Exception) -> bytes:
        """What `on_error` wants to tell the client of the error, encoded; nothing by default."""
        if hook is None:
            return b""
        item = self._guarded("on_error", lambda: hook(error))
        try:
            with anyio.move_on_after(self._timeout):
                item = await item if inspect.isawaitable(item) else item
                return b"" if item is None else encode_item(item)
        except Exception:
            logger.exception("on_error failed.")
        return b""

    def _start(self, name: str, result: Awaitable[object]) -> None:
        self._backend.spawn(self._finish, name, result, context=self._context.copy())
        self._running += 1

    def _guarded(self, name: str, call: Callable[[], object]) -> object:
        try:
            return call()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a CancelledError too: that of a future whose result the hook asked for
            logger.exception("%s failed.", name)
            return None

    async def _finish(self, name: str, result: Awaitable[object]) -> None:
        try:
            await result
        except BaseException as error:
            if self._backend.was_cancelled(error):
                raise
            logger.exception("%s failed.", name)
        finally:
            self._running -= 1
            if not self._running and self._idle is not None:
                self._idle.set()
