"""Who owns a source: one task, from its first step to its cleanup, in the context of the endpoint that gave it.

Longer than the other modules, as every step of that task may be the one in which it is stopped.

The rules:

1. Every step of the source and its cleanup are awaited by this task, so that a context variable's token, a cancel scope
   or a tracing span may be held across a `yield`.
2. Its first event, its failure or its end is known before the response starts, if it comes within `open_timeout`.
3. The events go straight to the stream's writer: no queue, no switch of tasks.
4. Once it is to stop it is cancelled where it waits, once: a `finally` with an `await` in it comes to its end. After
   `cleanup_timeout` nobody waits for that any longer.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import Context
from math import inf
from typing import Protocol, cast

from ._manner import PLAIN, Manner
from ._options import Options
from ._runtime import Backend, Event, Interruptible
from ._source import Source
from ._stream import DISCONNECT_GRACE, TICK
from ._ticker import Bucket, Ticker
from ._types import Scope
from ._writer import BODY, Writer

logger = logging.getLogger("sse_mw")


class Reader(Protocol):
    """The stream that a source's events go to."""

    async def source_ended(self) -> None:
        """It has ended and cleaned up. In the source's task, or in another if it was abandoned."""
        ...


class Producer:
    """One source at work. Its methods are called from the event loop's thread only."""

    __slots__ = ("_backend", "_begun", "_changed", "_cleanup_by", "_closing", "_context", "_deadline", "_interrupted",
                 "_manner", "_options", "_reader", "_running", "_scope", "_source", "_stopped_at", "_task", "_ticker",
                 "_visited", "_writer", "bucket", "error", "is_cancelled", "is_done", "is_known")  # fmt: skip

    def __init__(self, source: Source, ticker: Ticker, context: Context, options: Options, scope: Scope,
                 manner: Manner = PLAIN) -> None:  # fmt: skip
        self._source = source
        self._ticker = ticker
        self._backend: Backend = ticker.backend
        self._context = context
        self._options = options
        self._scope = scope
        self._manner = manner
        self._begun = self._closing = False
        self._visited = False
        self._deadline = self._cleanup_by = inf
        self._running: Interruptible | None = None
        self._interrupted = False
        self._stopped_at: float | None = None
        self._task: object = None
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._changed: Event | None = None
        self.bucket: Bucket | None = None
        self.error: BaseException | None = None
        """What the source raised, if it was not stopped before."""
        self.is_cancelled = False
        """Somebody else has cancelled its task: its event loop is coming to its end."""
        self.is_known = False
        """What it begins with is known, or has taken `open_timeout`."""
        self.is_done = False
        """It has ended and cleaned up, or nobody waits for that any longer."""

    # Before the response starts

    def start(self) -> None:
        """Have the source make its first event."""
        if self._running is None and self._stopped_at is None:
            if self._options.open_timeout is not None:
                self._deadline = self._ticker.fresh() + self._options.open_timeout
                self._look_again()
            self._spawn()

    def _spawn(self) -> None:
        running = self._backend.spawn_interruptible(self._run, self._context)
        if not self.is_done:  # an eager task may be through
            self._running = running

    def close_unstarted(self) -> None:
        """There is nobody to make events for: have the source clean up."""
        self.is_known = True
        self.stop()

    def client_left(self) -> None:
        """Before the response has started: there is nobody to make events for."""
        self.stop()

    def nobody_reads(self) -> None:
        """Who waits for the first event reads, for as long as that takes."""

    async def first(self) -> None:
        """Wait until it is known what the source begins with, or for `open_timeout`.

        Raises:
            BaseException: What the source raised instead of a first event.
        """
        try:
            while not self.is_known:
                await self._change()
        except BaseException:
            self.stop()
            raise
        if self.error is not None and self._writer is None:
            self.stop()
            raise self.error

    # While it streams

    def open(self, writer: Writer, reader: Reader) -> None:
        """The response has started: write to `writer`, and tell `reader` of the end."""
        self._writer = writer
        self._reader = reader
        self._tell()

    def stop(self) -> None:
        """End the source, wherever it is. Without effect if it has ended."""
        if self._stopped_at is None and not self.is_done:
            self._stopped_at = self._ticker.fresh()
            self._limit_cleanup(self._stopped_at)
            self._source.stop()
            if self._manner.on_stop is not None:
                self._manner.on_stop()
            self._tell()
            if not self._begun and self._running is None:
                self._spawn()
            elif self._writer is None or self._writer.busy_since is None:
                self._try_to_interrupt()
            if not self.is_done:
                self._look_again()

    def fail(self, error: Exception) -> bool:
        """End the source as if it had raised `error`; without effect, and `False`, if it is ending already."""
        if self._stopped_at is not None or self.is_done or self.error is not None:
            return False
        self.error = error
        self.stop()
        return True

    async def wait_until_open(self) -> None:
        """Wait until the response has started, or never will."""
        while self._writer is None and not self.is_done:
            await self._change()

    async def wait_until_done(self) -> None:
        """Wait for the source's end and cleanup, or for what `cleanup_timeout` leaves of it."""
        while not self.is_done:
            await self._change()

    def visit(self, now: float) -> float:
        """Do what is due at `now`; see `Ticker`."""
        if self.is_done:
            return inf
        if now >= self._cleanup_by:
            self._abandon()
            return inf
        if self._stopped_at is None:
            if now < self._deadline:
                return min(self._deadline, self._cleanup_by)
            self._know()
            return self._cleanup_by
        # In the grace a send that is under way may come back by itself.
        if not self._interrupted and now >= self._stopped_at + DISCONNECT_GRACE:
            self._try_to_interrupt()
        return self._cleanup_by if self._interrupted else now + TICK

    @property
    def _name(self) -> str:
        return f"{self._scope['method']} {self._scope['path']}"

    def _limit_cleanup(self, since: float) -> None:
        self._cleanup_by = min(self._cleanup_by, since + self._options.cleanup_timeout)

    def _abandon(self) -> None:
        logger.warning("The source of %s has not ended within cleanup_timeout; it was abandoned.", self._name)
        if self._running is not None:
            self._running.abandon()
        self._finish()
        reader, self._reader = self._reader, None
        if self._stopped_at is None and reader is not None:  # it has failed, so its stream is still to be ended
            self._backend.spawn(reader.source_ended)

    def _look_again(self) -> None:
        if not self._visited:
            self._visited = True
            self._ticker.add(self)
        else:
            self._ticker.revisit(self, self._ticker.now)

    def _try_to_interrupt(self) -> None:
        if self._begun and not self._closing and self._source.interruptible and self._running is not None:
            self._interrupted = self._running.interrupt()

    # Its own task

    async def _run(self) -> None:
        """To the last event, in one coroutine, as each is kept for as long as the source waits; then its cleanup."""
        self._begun = True
        self._task = self._backend.current_task()
        try:
            if self._stopped_at is None:
                # No `async for`, which would ask for the iterator a second time, and give no place to throw into it.
                items = aiter(self._source)
                encode = self._manner.encode
                writer: Writer | None = None
                block = encode(await anext(items))
                self._know()
                while True:
                    try:
                        if writer is None:
                            writer = await self._wait_for_writer()
                            if writer is None:
                                break
                        if block and not writer.hold(block):
                            await writer.send({"type": BODY, "body": block, "more_body": True})
                        if writer.ended:
                            break
                    except BaseException as error:
                        if self._is_stopped or not self._backend.was_cancelled(error):
                            raise
                        block = await self._throw(items, error)
                    else:
                        block = encode(await anext(items))
        except StopAsyncIteration:
            pass
        except BaseException as error:
            self._caught(error)
        await self._end()

    async def _end(self) -> None:
        try:
            try:
                await self._close()
            except BaseException as error:
                self._caught(error)
            self._know()
            try:
                await self._wait_for_writer()
            except BaseException as error:
                self._caught(error)
        finally:
            self._finish()
        reader = self._reader
        # Cycles, since the exchange is in the context.
        self._reader = self._running = self._task = None
        self._manner = PLAIN
        self._context = Context()
        if reader is not None:
            await reader.source_ended()

    def _caught(self, error: BaseException) -> None:
        if not self._is_running:
            self._finish()
            raise error  # closed from outside, as the event loop has gone: nothing can be awaited
        self._fail(error)

    @property
    def _is_stopped(self) -> bool:
        return self._stopped_at is not None

    @property
    def _is_running(self) -> bool:
        try:
            return self._backend.current_task() is self._task
        except RuntimeError:
            return False

    async def _throw(self, items: AsyncIterator[object], error: BaseException) -> bytes:
        """A scope that the source holds across its `yield` was cancelled: that is for the source to see."""
        if not isinstance(items, AsyncGenerator):
            raise error
        return self._manner.encode(await cast("AsyncGenerator[object, None]", items).athrow(error))

    async def _wait_for_writer(self) -> Writer | None:
        """The stream's writer once it is open; `None` if it never is."""
        while self._writer is None and self._stopped_at is None and not self.is_done:
            await self._change()
        return self._writer

    async def _close(self) -> None:
        self._closing = True
        if self.error is not None:
            self._limit_cleanup(self._ticker.fresh())
            self._look_again()
        if self._interrupted:
            # One that came as the source had just given an event is still to be delivered: here, not in the cleanup.
            try:
                await self._backend.checkpoint()
            except BaseException:
                logger.debug("The interruption of %s came after its last event.", self._name)
        await self._source.aclose()

    def _fail(self, error: BaseException) -> None:
        """Keep what the source raised, unless that is only its interruption."""
        if isinstance(error, Exception | KeyboardInterrupt | SystemExit):
            if self._stopped_at is not None:
                logger.error("The source of %s failed after its stream had ended.", self._name, exc_info=error)
            elif self.error is None:
                self.error = error
        elif self._backend.was_cancelled(error):
            self.is_cancelled = True  # by us, perhaps; then nobody asks
        elif self.error is None and not self._interrupted:
            self.error = RuntimeError(f"The source of {self._name} raised {type(error).__name__} by itself")
            self.error.__cause__ = error

    def _know(self) -> None:
        self.is_known = True
        self._tell()

    def _finish(self) -> None:
        self.is_done = self.is_known = True
        if self._visited:
            self._visited = False
            self._ticker.remove(self)
        self._tell()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = self._backend.make_event()
        await self._changed.wait()
