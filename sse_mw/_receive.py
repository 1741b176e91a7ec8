"""The one reader of the server's `receive`.

The rules:

1. Never two calls of the server's `receive` at once.
2. Until a stream has started, a call of the app's is a call of the server's: nothing is read ahead.
3. Once it has started somebody reads on, whether the app does or not, as the disconnect shows nowhere else. A call
   of the app's that is waiting does for that; else a pump of ours reads, ahead of the app by `READ_AHEAD` at most.
4. Each message reaches the app once, in order. A disconnect is for ever: some servers say it once only.
5. A disconnect that is known is returned without a checkpoint, since `is_disconnected()` of Starlette and others polls
   inside a cancelled scope.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from anyio.lowlevel import checkpoint

from ._runtime import Backend, Event
from ._types import Message, Receive

SPINNING = 100
"""Disconnects given to an app that asks on and on, after which it is made to wait for a turn of the loop."""

logger = logging.getLogger("sse_mw")

READ_AHEAD = 1024 * 1024
"""Bytes of request body that are kept for an app that streams before it has read them."""

NO_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}
ONLY_NO_BODY = (NO_BODY,)
"""What most idle streams keep: one for all."""


class Watcher(Protocol):
    """Who looks after the request."""

    def client_left(self) -> None:
        """The disconnect has come."""
        ...

    def nobody_reads(self) -> None:
        """It is to have `pump` run before long."""
        ...


class Receiver:
    """The app's `receive`, and what reads for it. Any number of the app's tasks may call it at once."""

    __slots__ = ("_backend", "_changed", "_kept", "_kept_bytes", "_last_told", "_next", "_reading",
                 "_server_receive", "_tellings", "_watcher", "before_disconnect", "disconnected", "told")  # fmt: skip

    def __init__(self, server_receive: Receive, backend: Backend) -> None:
        self._server_receive = server_receive
        self._backend = backend
        self._watcher: Watcher | None = None
        self._reading = False
        # Two lists, and no deque, which takes 760 bytes. None at all for the one message that an idle stream keeps.
        self._kept: list[Message] | tuple[Message, ...] = ()
        self._next: list[Message] | tuple[()] = ()
        self._kept_bytes = 0
        self._changed: Event | None = None
        self.before_disconnect: Callable[[Message], Awaitable[None]] | None = None
        """Awaited with the server's disconnect, by whoever has read it, before anybody else hears of it."""
        self.disconnected = False
        self.told: object | None = None
        """The task that was given the disconnect, and has not asked again since."""
        self._last_told: object | None = None
        self._tellings = 0

    async def __call__(self) -> Message:
        """The next message for the app: the ASGI `receive` that it is given."""
        while True:
            if self._kept or self._next:
                return self._take_kept()
            if self.disconnected:
                self._tellings += 1
                if not self._tellings % SPINNING:
                    await checkpoint()
                self._tell()
                return {"type": "http.disconnect"}
            if self._reading:
                await self._wait_for_change()
                continue
            try:
                message = await self._read()
            finally:
                self._nobody_reads()
            if not self.disconnected or message["type"] == "http.disconnect":
                if self.disconnected:
                    self._tell()
                return message

    def _tell(self) -> None:
        task = self._backend.current_task()
        self.told = None if task is self._last_told else task
        self._last_told = task

    def watch(self, watcher: Watcher) -> None:
        """From now on tell of the disconnect."""
        self._watcher = watcher
        if self.disconnected:
            watcher.client_left()

    def forget(self) -> None:
        """The request is over: tell nobody, and keep no task, whose context leads back here."""
        self._watcher = self.before_disconnect = None
        self.told = self._last_told = None

    @property
    def needs_pump(self) -> bool:
        return not (self._reading or self.disconnected or self._kept_bytes > READ_AHEAD)

    async def pump(self) -> None:
        """Read on until the disconnect, or until as much is kept as may be."""
        try:
            while self.needs_pump:
                # As `_read` does, without its coroutine: this one is kept for as long as the stream is idle.
                self._reading = True
                try:
                    message = await self._server_receive()
                    await self._received(message)
                except Exception:
                    logger.debug("The server's receive failed, which is taken for a disconnect.", exc_info=True)
                    message = {"type": "http.disconnect"}
                    self._note(message)
                finally:
                    self._has_read()
                if not self.disconnected:
                    self._keep(message)
        finally:
            self._nobody_reads()  # who is to read on may have seen this one reading still

    def _keep(self, message: Message) -> None:
        if isinstance(self._kept, list):
            self._kept.append(message)
        else:
            self._kept = ONLY_NO_BODY if message == NO_BODY and not self._kept else [*self._kept, message]
        self._kept_bytes += len(message.get("body", b""))
        self._tell_waiting()

    def disconnect(self) -> None:
        """Give the app the disconnect from now on: the client has left, or the stream is over."""
        self.disconnected = True
        self._tell_waiting()

    def drop_kept(self) -> None:
        """Forget what the app has not read: its stream was ended, so the disconnect comes next."""
        self._kept = self._next = ()
        self._kept_bytes = 0

    async def _read(self) -> Message:
        self._reading = True
        try:
            # Inside a coroutine of ours, as granian returns an awaitable that is none.
            message = await self._server_receive()
            await self._received(message)
        finally:
            self._has_read()
        return message

    async def _received(self, message: Message) -> None:
        if self.before_disconnect is not None and message["type"] == "http.disconnect":
            await self.before_disconnect(message)
        # Before anybody is woken: a source that waits here is to be cancelled where it waits.
        self._note(message)

    def _has_read(self) -> None:
        self._reading = False
        self._tell_waiting()

    def _note(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self.disconnected = True
            if self._watcher is not None:
                self._watcher.client_left()
            self.disconnect()

    def _take_kept(self) -> Message:
        waiting = self._next or [*self._kept][::-1]
        if not self._next:
            self._next, self._kept = waiting, ()
        message = waiting.pop()
        if message is NO_BODY:
            message = {**NO_BODY}  # it is the app's now
        self._kept_bytes -= len(message.get("body", b""))
        self._nobody_reads()
        return message

    def _nobody_reads(self) -> None:
        if self._watcher is not None:
            self._watcher.nobody_reads()

    def _tell_waiting(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _wait_for_change(self) -> None:
        if self._changed is None:
            self._changed = self._backend.make_event()
        await self._changed.wait()
