"""A stream that a source of ours feeds: the app waits in its `send` meanwhile, and is told how it ended.

The waiting app is the one that reads on for the disconnect, so that a stream has one task of ours and no more.
"""

import logging
from collections.abc import Awaitable
from typing import Protocol

from anyio import CancelScope

from ._producer import Producer
from ._receive import Receiver
from ._runtime import Backend, Cancellable, Event
from ._stats import CloseReason
from ._writer import Writer

logger = logging.getLogger("sse_mw")


class Fed(Protocol):
    """The stream, as its feed sees it."""

    writer: Writer
    reason: CloseReason | None
    error: BaseException | None

    async def report(self, error: BaseException) -> bytes:
        """The app has failed, which is said once; what its client is to be told of that."""
        ...

    def end(self, reason: CloseReason) -> None:
        """Nothing of the source's is sent any more."""
        ...

    async def send_last(self, block: bytes) -> None:
        """With the turn, which is given back: a last block of ours, and the end of the body."""
        ...

    def cut(self) -> None:
        """The request was cancelled by somebody else."""
        ...


class Feed:
    """Made when the response has started. Any task of the app's may wait for its end."""

    __slots__ = ("_backend", "_changed", "_producer", "_receiver", "_stream", "_waiting", "is_over")

    def __init__(self, stream: Fed, producer: Producer, receiver: Receiver, backend: Backend) -> None:
        self._stream: Fed | None = stream
        self._producer = producer
        self._receiver = receiver
        self._backend = backend
        self._waiting: tuple[Cancellable, ...] = ()
        """What the app's tasks wait in: one, as a rule."""
        self._changed: Event | None = None
        self.is_over = False
        """The source has ended and cleaned up, or nobody waits for that any longer."""
        stream.writer.drains = True
        producer.open(stream.writer, self)

    def raise_error(self) -> None:
        """To be called once the wait is over.

        Raises:
            BaseException: What the source raised in the stream: it is for the app's own error handling to see.
        """
        # No local name for the error, which would be a cycle through its traceback.
        producer, stream = self._producer, self._stream
        if stream is not None and producer.error is not None and stream.error is producer.error:
            raise producer.error

    async def wait(self) -> None:
        """In a task of the app's: read on until the source has ended and cleaned up, or nobody waits for that."""
        waiting = self.join()
        try:
            with waiting:
                while not self.is_over:  # and then it is cancelled
                    await self.read_on()
        except BaseException:
            await self.cut()
            raise
        finally:
            self.leave(waiting)

    # What `wait` consists of, for who keeps no coroutine of its for as long as the stream is open

    def join(self) -> Cancellable:
        """Begin to wait, in what is returned, which is cancelled once it is over."""
        waiting = self._backend.cancellable()
        assert waiting is not None, "apps run in tasks of the library's, and their tasks are such"
        self._waiting = (*self._waiting, waiting)
        return waiting

    def read_on(self) -> Awaitable[None]:
        """Read what the client sends; return once nobody may, or somebody is to again."""
        return self._receiver.pump() if self._receiver.needs_pump else self._change()

    async def cut(self) -> None:
        """Who waits was cancelled by somebody else. The source cleans up, and is waited for."""
        if self._stream is not None:
            self._stream.cut()
        with CancelScope(shield=True):
            await self._producer.wait_until_done()

    def leave(self, waiting: Cancellable) -> None:
        """Wait no more. The rest of the app's response is nothing to be sent."""
        self._waiting = tuple(other for other in self._waiting if other is not waiting)
        if self._stream is not None:
            self._stream.writer.app_finished = True

    async def _change(self) -> None:
        """Return once there may be something to read again."""
        if self._changed is None:
            self._changed = self._backend.make_event()
        await self._changed.wait()

    def stop(self) -> None:
        """The stream has ended."""
        self._producer.stop()

    @property
    def has_ended(self) -> bool:
        """The stream has, whatever the source is about."""
        return self._stream is None or self._stream.reason is not None

    @property
    def is_stopping(self) -> bool:
        """Its cleanup is still waited for. Once it is not, the app is let go."""
        if self._producer.is_done:
            self._let_app_go()
        return not self._producer.is_done

    async def wait_until_stopped(self) -> None:
        await self._producer.wait_until_done()

    @property
    def reads(self) -> bool:
        """Whether a waiting app reads on, or would."""
        return bool(self._waiting)

    def read_again(self) -> None:
        """Somebody else who has read has stopped."""
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    def forget(self) -> None:
        """The request is over, though the source may not be."""
        self._stream = None

    async def source_ended(self) -> None:
        """In the source's task, after its cleanup."""
        stream, error, block = self._stream, self._producer.error, b""
        if stream is None:
            return  # it was abandoned
        if stream.reason is None and error is not None:
            try:
                block = await stream.report(error)
            except BaseException:  # everybody waits for this task
                logger.exception("on_error failed.")
        if self._producer.is_cancelled:
            stream.cut()
        await stream.writer.take_turn()
        if stream.reason is None:
            stream.end(CloseReason.COMPLETED if error is None else CloseReason.ERROR)
            self._let_app_go()  # the last send has a limit of its own
            await stream.send_last(block)
        else:
            stream.writer.release()
            self._let_app_go()

    def _let_app_go(self) -> None:
        self.is_over = True
        for waiting in self._waiting:
            waiting.cancel()
