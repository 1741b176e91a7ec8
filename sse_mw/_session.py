"""One stream from its start to its end: what to do when time passes, and how it ends, exactly once.

Longer than the other modules, as all that may end a stream has to be seen at once: two endings may come together.

How a stream ends, whatever the reason (the order was tried on sixteen frameworks: cancelling first orphans the
inner tasks of Quart and Django, raising into the app leaves generators to the garbage collector):

1. nothing of the app's is sent any more;
2. the app's `receive` gives the disconnect;
3. the app has a short grace to end by itself;
4. then its task is cancelled, unless it is past its streaming and runs what comes after, a background task say;
5. what it raises by then is of no interest to the server.
"""

import logging
import random
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from math import inf

import anyio

from . import _ours
from ._body import BodyFilter
from ._connection import Connection
from ._drain import Notice
from ._feed import Feed
from ._hooks import Hooks
from ._leaving import Leaving
from ._lint import Linter, lint_headers
from ._negotiate import Plan
from ._options import Options
from ._producer import Producer
from ._receive import Receiver
from ._runtime import Cancellable
from ._stats import CloseReason, Recorder, StreamInfo
from ._stream import DRAIN_WAIT, TICK, Action, Marks, decide
from ._ticker import Bucket
from ._types import Message, Scope, Send
from ._writer import Writer

logger = logging.getLogger("sse_mw")

LAST_WORDS = 1.0
"""Seconds to end a stream in when the server cancels its request."""

CLEANUP_FIRST = 0.5
"""Seconds that the last message of a drained stream waits for its app's cleanup."""

DEAF_LOOK = 1.0
"""Seconds between two looks at a connection whose server does not read it."""


class Session:
    """One stream. Its methods are called from the event loop's thread only."""

    __slots__ = ("_app", "_connection", "_drain", "_ended_at", "_ending", "_hooks", "_info", "_last_sent",
                 "_leaving_app", "_lifetime", "_mode", "_options", "_pings_allowed", "_quiet", "_receiver",
                 "_recorder", "_scope", "_stop_pump", "_streamer", "_ticker", "bucket", "error", "feed", "opened",
                 "reason", "started", "writer")  # fmt: skip

    def __init__(
        self,
        scope: Scope,
        plan: Plan,
        send: Send,
        receiver: Receiver,
        options: Options,
        drain: Notice,
        app: Cancellable,
        recorder: Recorder,
    ) -> None:
        self._scope = scope
        self._connection = Connection(scope, send)
        self._options = options if plan.pings else replace(options, ping_interval=None)
        self._pings_allowed = plan.pings
        self._receiver = receiver
        self._drain = drain
        self._ticker = ticker = drain.ticker
        self._recorder = recorder
        self._quiet = scope["method"] == "HEAD"
        self._lifetime = inf if options.max_duration is None else options.max_duration * random.uniform(0.9, 1.0)
        self._stop_pump: Callable[[], object] | None = None
        self._ended_at = 0.0
        self._ending = False
        hooked = options.on_open or options.on_close or options.on_error
        self._hooks = Hooks(ticker.backend, copy_context(), options.cleanup_timeout) if hooked else None
        self._last_sent: anyio.Event | None = None
        self.feed: Feed | None = None
        self.bucket: Bucket | None = None
        self.started = False
        self.opened = ticker.now
        self.reason: CloseReason | None = None
        self.error: BaseException | None = None
        linter = Linter() if options.debug and plan.framer is None and plan.pings else None
        body_filter = BodyFilter(plan.framer, linter, coded=not plan.pings)
        self.writer = Writer(self._connection.send, ticker, self, body_filter, coalesce=options.coalesce)
        self.writer.tail = plan.line_end * 2  # an empty stream stands at a boundary, as if after an event
        self._app = app
        self._streamer = ticker.backend.current_task()
        self._leaving_app: Leaving | None = None
        self._mode = plan.mode
        self._info: StreamInfo | None = None

    @property
    def info(self) -> StreamInfo:
        """What was known when it started. Made when it is asked for: few streams are."""
        if self._info is None:
            self._info = StreamInfo.of(self._scope, self._mode.value)
        return self._info

    @property
    def _leaving(self) -> Leaving:
        """The app's way out. Made when there is one: most streams are idle for most of the time."""
        if self._leaving_app is None:
            self._leaving_app = Leaving(self._app, self._streamer, self._ticker.backend, self._receiver, self.writer,
                                        self._scope, self._options.cleanup_timeout)  # fmt: skip
        return self._leaving_app

    # The start

    async def start(self, message: Message) -> None:
        """Send the head, and for HEAD the end at once."""
        self._ticker.add(self)
        self._drain.stream_opened(self._scope)
        self.opened = self._ticker.now
        if not self._quiet:
            self._recorder.opened()
            self._call_on_open()
        if self._options.debug:
            for fault in lint_headers(message["headers"]):
                logger.warning("Event stream fault: %s", fault)
        await self.writer.send_start(message)
        self.started = True
        if self._quiet:
            await self._end_ours(CloseReason.COMPLETED)
            return
        self._receiver.watch(self)
        if self._pings_allowed and (self._options.retry is not None or self._options.padding):
            await self._send_opening()

    def _call_on_open(self) -> None:
        if self._hooks is not None:
            self._hooks.call("on_open", self._options.on_open, self.info)

    async def refuse(self, message: Message) -> None:
        """Answer in the app's place, as a drain has begun: a whole response, that asks to come back later."""
        self._ticker.add(self)
        self._drain.stream_opened(self._scope)
        if not self._quiet:
            self._recorder.opened()
            self._call_on_open()
        await self.writer.send_start(message)
        self.started = True
        self._receiver.watch(self)
        await self._end_ours(CloseReason.REFUSED, _ours.farewell(self._options) if message["status"] == 200 else b"")

    async def _send_opening(self) -> None:
        await self.writer.take_turn()
        if self.writer.ended or self.writer.messages:
            self.writer.release()
        else:
            await self.writer.send_ours(_ours.opening(self._options))

    # While it is open

    def visit(self, now: float) -> float:
        """Do what is due at `now`; see `Ticker`."""
        if self.reason is None and self.started and self._connection.is_lost():
            self._client_lost()
        if self.reason is not None:
            return self._visit_ended(now)
        if self.started and self._receiver.needs_pump and (self.feed is None or not self.feed.reads):
            self._stop_pump = self._ticker.backend.spawn(self._receiver.pump)
        if self.writer.held_last is not None and self.writer.claim():
            self._ticker.backend.spawn(self.writer.send_held)
            return now + TICK
        decision = decide(self._options, self._lifetime, self._marks(self.writer.busy_since), now)
        match decision.action:
            case Action.OPEN:
                self._send_soon(_ours.opening(self._options) if self._pings_allowed else b"")
            case Action.PING:
                self._send_soon(_ours.ping(self._options))
            case Action.END if decision.reason is not None and self._is_stuck(decision.reason, now):
                self.end(decision.reason)
                self._give_up_send()
            case Action.END if decision.reason is not None and not self._ending:
                self._ending = True
                self._ticker.backend.spawn(self._end_at_boundary, decision.reason)
            case _:
                pass
        if self._ending:
            return now + TICK  # it waits for a send, which may be stuck
        if self.writer.ended:
            return self._ended_at
        if not self.started:
            return now + TICK  # the head is under way; then somebody is to read, and the opening may be due
        return min(decision.look_again, now + DEAF_LOOK) if self._connection.is_deaf else decision.look_again

    def _is_stuck(self, reason: CloseReason, now: float) -> bool:
        """Whether the send under way is not waited for."""
        since = self.writer.busy_since
        shut = reason is CloseReason.DRAIN and since is not None and now >= since + DRAIN_WAIT
        return shut or reason is CloseReason.SEND_TIMEOUT

    def _visit_ended(self, now: float) -> float:
        since, timeout = self.writer.busy_since, self._options.send_timeout or inf
        if self.reason is CloseReason.CLIENT_LEFT:
            since = None  # the server lets go of what was under way
        if since is not None and now >= since + timeout:
            self._give_up_send()  # the last send, or one that came in its way
            since = None
        if self.feed is not None and self.feed.is_stopping:
            return now + TICK
        return min(self._leaving.visit(now), inf if since is None else since + timeout)

    async def _end_at_boundary(self, reason: CloseReason) -> None:
        """End the stream once the send under way is through, if it stands at a boundary then; else look again."""
        while True:
            await self.writer.take_turn()
            again = decide(self._options, self._lifetime, self._marks(sending_since=None), self._ticker.now)
            if self.reason is None and again.action is Action.END:
                self._end_with(reason, _ours.farewell(self._options))
                break
            self.writer.release()
            # Who has waited sends the rest of the event perhaps; else the next tick looks again.
            if self.reason is not None or self.writer.busy_since is None:
                break
        self._ending = False

    def _marks(self, sending_since: float | None) -> Marks:
        writer = self.writer
        return Marks(
            opened=self.opened,
            app_sent=writer.app_sent,
            app_active=writer.app_active,
            ours_sent=writer.ours_sent,
            sending_since=sending_since,
            head_only=writer.head_only,
            draining_since=self._drain.begun_at,
            at_boundary=writer.at_boundary or not self._pings_allowed,
        )

    def _send_soon(self, block: bytes) -> None:
        self.writer.claim()
        self.writer.pings += 1
        self._ticker.backend.spawn(self.writer.send_ours, block)

    def nobody_reads(self) -> None:
        """The app has stopped reading, or has taken what was kept for it."""
        self._look_soon()

    def _look_soon(self) -> None:
        if self.feed is not None and self.feed.reads and self.reason is None:
            self.feed.read_again()
        else:
            self._ticker.revisit(self, self._ticker.now)

    def feed_from(self, producer: Producer) -> Feed:
        """Have a source of ours write the stream. The app is to wait for it."""
        feed = self.feed = Feed(self, producer, self._receiver, self._ticker.backend)
        if self.reason is not None:
            feed.stop()  # the client had left before the head was out
        return feed

    # The end

    def finishing(self) -> None:
        """The app has given its last message: if it does not return before the next tick, it is sent then."""
        self._look_soon()

    def completed(self) -> None:
        """The app's last message has been sent."""
        self.end(CloseReason.COMPLETED)

    def client_left(self) -> None:
        """The disconnect has come, or a send has failed."""
        # hypercorn on trio tells of it before the last send returns.
        self.end(CloseReason.COMPLETED if self.writer.app_finished else CloseReason.CLIENT_LEFT)

    def _client_lost(self) -> None:
        """The server has not seen that its client has left, and would report that the end is missing."""
        self.client_left()
        if self.writer.claim():
            self._ticker.backend.spawn(self.send_last, b"")

    def cancelled_app(self) -> bool:
        return self._leaving.is_cancelled()

    def end(self, reason: CloseReason, at: float | None = None, *, tell: bool = True) -> None:
        if self.reason is not None:
            return
        self.reason = reason
        self._ended_at = self._ticker.fresh() if at is None else at
        if self.feed is not None:
            self.feed.stop()
        self._leaving.begin(self._ended_at)
        self.writer.end()
        if reason is CloseReason.CLIENT_LEFT:
            self.writer.drop_burst()
        if tell:
            if reason is not CloseReason.CLIENT_LEFT:
                self._receiver.drop_kept()
            self._receiver.disconnect()
        self._ticker.revisit(self, self._ended_at)
        if not self._quiet:
            self._recorder.closed(reason, self.writer.pings)
            if self._hooks is not None:
                self._hooks.call("on_close", self._options.on_close, self.snapshot())

    def snapshot(self) -> StreamInfo:
        """What is known of it at this moment."""
        now = self._ticker.now if self.reason is None else self._ended_at
        return replace(
            self.info,
            reason=self.reason,
            error=self.error,
            duration=now - self.opened,
            messages=self.writer.messages,
            pings=self.writer.pings,
        )

    def _give_up_send(self) -> None:
        self.writer.abandon()
        why = "when its stream was to end" if self.reason is CloseReason.DRAIN else "for send_timeout"
        if self._connection.reset():
            logger.info("%s read nothing %s; its connection was reset.", self.info.client, why)
        else:
            # Nothing tells a client that has left at this very moment from one whose address a proxy has replaced.
            logger.warning("%s read nothing %s; its stream was ended, but its connection could not be reset: unless it "
                           "is closed by now, the server holds what is unsent.", self.info.client, why)  # fmt: skip

    async def _end_ours(self, reason: CloseReason, block: bytes = b"") -> None:
        """End a stream whose client is there, once the send under way is through."""
        with anyio.move_on_after(self._options.send_timeout):
            await self.writer.take_turn()
            if self.reason is None:
                self._end_with(reason, block)
            else:
                self.writer.release()

    def _end_with(self, reason: CloseReason, block: bytes) -> None:
        """With the turn: end the stream. A task of its own says so, since a last send must not be cancelled."""
        self.end(reason)
        self._ticker.backend.spawn(self.send_last, block)

    async def send_last(self, block: bytes) -> None:
        """With the turn, which is given back: a last block of ours, and the end of the body."""
        if self.reason is CloseReason.DRAIN:
            await self._wait_for_cleanup()
        wanted = block and self._pings_allowed and self.writer.at_boundary and not self._quiet
        await self.writer.send_ours(block if wanted else b"", last=True)

    async def _wait_for_cleanup(self) -> None:
        """granian stops its event loop when the last response has ended, whatever the apps are about."""
        while self._is_cleaning_up and self._ticker.now < self._ended_at + CLEANUP_FIRST:
            await anyio.sleep(TICK)
            self.writer.busy_since = self._ticker.now  # this is no slow send

    @property
    def _is_cleaning_up(self) -> bool:
        if self.feed is not None:
            return self.feed.is_stopping or not self._leaving.is_through
        return not self._leaving.is_past_streaming

    async def _send_end(self, sent: anyio.Event) -> None:
        """The end of the body, once the send under way is through."""
        with anyio.move_on_after(self._options.send_timeout) as limit:
            await self.writer.take_turn()
        if limit.cancelled_caught:
            self.writer.drop_burst()
        elif not self.writer.abandoned:
            await self.send_last(_ours.farewell(self._options))
        sent.set()

    # The app's end

    async def app_returned(self) -> None:
        """The app is through. If its stream is not, that is an error, and the client gets a whole response."""
        self._leaving.is_through = True
        if self.writer.app_finished and self.reason is None:
            await self.writer.take_turn()  # the tick may be sending the last message at this moment
            await self.writer.send_held()
        if self.reason is None and self.feed is not None:
            await self.feed.wait()  # the response was another task's to send
        if self.reason is None:
            logger.error("The app of %s %s returned without ending its event stream; it was ended for it.",
                         self.info.method, self.info.path)  # fmt: skip
            await self._end_ours(CloseReason.ERROR)
        await self._settle()

    async def app_raised(self, error: Exception) -> bool:
        """The app failed. Return whether the server is to see the exception: not within a stream."""
        self._leaving.is_through = True
        if self.writer.app_finished and self.writer.held_last is None and self.reason is None:
            await self.writer.take_turn()  # the tick is sending the last message at this moment
            self.writer.release()
        if self.reason is None:
            await self._end_ours(CloseReason.ERROR, await self.report(error))
        elif self.reason is CloseReason.COMPLETED and not self._quiet:
            await self._settle()
            return True
        else:
            self._leaving.log(error, reported=self.error)
        with anyio.CancelScope(shield=self._leaving.is_cancelled()):
            await self._settle()
        return False

    async def report(self, error: BaseException) -> bytes:
        """Say once that the app has failed; what its client is to be told of that."""
        logger.error("The app of %s %s failed in its event stream; it was ended.", self.info.method,
                     self.info.path, exc_info=error)  # fmt: skip
        self.error = error
        if self._hooks is None or not isinstance(error, Exception):
            return b""
        return await self._hooks.last_event(self._options.on_error, error)

    def swallows(self, error: Exception) -> bool:
        """Whether `error` is what an app that we cancelled has left behind, on trio next to its cancellation."""
        if not self._leaving.is_cancelled():
            return False
        self._leaving.log(error)
        return True

    async def app_cancelled(self) -> None:
        """The app was cancelled: by us, as its stream is over, or by the server, which leaves little time."""
        self._leaving.is_through = True
        if self._leaving.is_cancelled():
            with anyio.CancelScope(shield=True):
                await self._settle()
            return
        self.cut()
        with anyio.move_on_after(LAST_WORDS, shield=True):
            if self._last_sent is not None:
                await self._last_sent.wait()
            await self._settle()

    def cut(self) -> None:
        """The server has cancelled the request. Its client gets a whole response nevertheless."""
        if self.reason is None:
            # Before the turn, and in a task: on asyncio a second cancellation gets through every shield.
            self.end(CloseReason.CANCELLED)
            self._last_sent = anyio.Event()
            self._ticker.backend.spawn(self._send_end, self._last_sent)

    def start_failed(self, error: BaseException) -> None:
        """There is no response yet, so the app may start another."""
        self.error = error if isinstance(error, Exception) else None
        self.end(CloseReason.ERROR if isinstance(error, Exception) else CloseReason.CANCELLED, tell=False)
        self.forget()

    def thrown_away(self) -> None:
        """The request was closed from outside, its event loop may be gone: nothing can be awaited or cancelled."""
        self._stop_pump = self.feed = None
        self.writer.thrown_away()

    def forget(self) -> None:
        """Let go of everything. Called once, when the app is through, whatever became of it."""
        self.end(CloseReason.CANCELLED, self._ticker.now)  # without effect if it has ended
        self._receiver.forget()
        self._streamer = None  # its context leads back here
        self._leaving.forget()
        self._ticker.remove(self)
        self._drain.stream_closed()
        if self._stop_pump is not None:
            self._stop_pump()
        self.writer.forget()
        # Cycles: the exception's traceback leads back to here, and the contexts do to the exchange.
        self.error = None
        if self.feed is not None:
            self.feed.forget()
            self.feed = None
        if self._hooks is not None:
            self._hooks.forget()

    async def _settle(self) -> None:
        """Wait for what is still under way, each thing within its own limit."""
        if self.feed is not None:
            await self.feed.wait_until_stopped()
        if self.writer.busy_since is not None:
            with anyio.move_on_after(self._options.send_timeout) as limit:
                await self.writer.take_turn()
                self.writer.release()
            if limit.cancelled_caught:
                self._give_up_send()
        if self._hooks is not None:
            await self._hooks.settle()
