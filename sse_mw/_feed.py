"""A stream that a source of ours feeds: the app waits in its `send` meanwhile, and is told how it ended.

The waiting app is the one that reads on for the disconnect, so that a stream has one task of ours and no more.
"""

import logging
from typing import Protocol

from anyio import CancelScope

from ._producer import Producer
from ._receive import Receiver
from ._runtime import Backend, Event
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

    __slots__ = ("_backend", "_producer", "_receiver", "_stream", "_waiting")

    def __init__(self, stream: Fed, producer: Producer, receiver: Receiver, backend: Backend) -> None:
        self._stream: Fed | None = stream
        self._producer = producer
        self._receiver = receiver
        self._backend = backend
        self._waiting: list[WaitingApp] = []
        stream.writer.drains = True
        producer.open(stream.writer, self._ended)

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
        waiting = WaitingApp(self._backend)
        self._waiting.append(waiting)
        try:
            # Here and not in a function of its, as each coroutine is kept for as long as the stream is open.
            with waiting.reader:
                while not waiting.is_over:  # and then it is cancelled
                    if self._receiver.needs_pump:
                        await self._receiver.pump()
                    else:
                        await waiting.change()
        except BaseException:
            if self._stream is not None:
                self._stream.cut()
            with CancelScope(shield=True):
                await self._producer.wait_until_done()
            raise
        finally:
            self._waiting.remove(waiting)
            if self._stream is not None:
                self._stream.writer.app_finished = True  # the rest of the app's response is nothing to be sent

    def stop(self) -> None:
        """The stream has ended."""
        self._producer.stop()

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
        self._waiting[0].look_again()

    def forget(self) -> None:
        """The request is over, though the source may not be."""
        self._stream = None

    async def _ended(self) -> None:
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
        for waiting in self._waiting:
            waiting.go()


class WaitingApp:
    """One wait of one task of the app's."""

    __slots__ = ("_backend", "_changed", "is_over", "reader")

    def __init__(self, backend: Backend) -> None:
        reader = backend.cancellable()
        assert reader is not None, "apps run in tasks of the library's, and their tasks are such"
        self.reader = reader
        """What it waits in, to be cancelled."""
        self._backend = backend
        self._changed: Event | None = None
        self.is_over = False

    async def change(self) -> None:
        """Return once there may be something to read again."""
        self._changed = self._backend.make_event()
        await self._changed.wait()

    def go(self) -> None:
        """The source is through: what is waited for is of no interest any more."""
        self.is_over = True
        self.reader.cancel()

    def look_again(self) -> None:
        if self._changed is not None:
            self._changed.set()
