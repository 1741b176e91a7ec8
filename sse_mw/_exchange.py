"""One request: the `receive` and `send` that the app is given, and what becomes of its response.

An endpoint under `@sse_route` finds the exchange of its request in a context variable, and leaves its mark there.

Longer than the other modules, as all that a response may become, and from whichever side, is decided on one object.
"""

import logging
from collections.abc import Awaitable
from concurrent.futures import Future
from contextvars import Context, ContextVar, copy_context

import anyio

from ._asgiref import outlive_bridges
from ._drain import Drains, Notice
from ._feed import Feed
from ._frameworks import Begun
from ._manner import PLAIN, Manner
from ._misplaced import check as check_misplaced
from ._negotiate import Mark, Mode, is_coded, negotiate, passes, refusal
from ._options import Options
from ._ours import spread
from ._producer import Producer
from ._receive import Receiver
from ._runtime import Cancellable, mark_coroutine_function
from ._session import Session
from ._source import make_source
from ._stats import CloseReason, Recorder, StreamInfo
from ._ticker import Ticker
from ._types import Message, Receive, Scope, Send
from ._writer import START
from .exceptions import InvalidSource

logger = logging.getLogger("sse_mw")

SOON = 0.25
"""Seconds before its response for which nobody looks whether a source's client is still there."""

current: ContextVar["Exchange"] = ContextVar("sse_mw.exchange")
"""The exchange of the request that the running code serves."""


def _nothing() -> None:
    """There is no pump to stop or to wake."""


async def _drop(message: Message) -> None:
    """What the framework says of its placeholder while the source's stream is open, and after."""


class Exchange:
    """Made for each HTTP request, and nothing more than that until the app starts its response."""

    __slots__ = ("_drain", "_drains", "_forward", "_is_over", "_mark", "_passes", "_producer", "_receive", "_receiver",
                 "_recorder", "_replaced", "_send", "cancelled_for", "is_waited_for", "options", "running", "scope",
                 "session")  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send, options: Options, recorder: Recorder,
                 drains: Drains, running: Cancellable) -> None:  # fmt: skip
        self.scope = scope
        self.options = options
        self.running = running
        self._receive = receive
        self._send = send
        self._recorder = recorder
        self._drains = drains
        self._forward: Send = self._before_start
        # Everything else is made when it is needed: most requests are no streams.
        self._receiver: Receiver | None = None
        self._drain: Notice | None = None
        self._mark: Mark | None = None
        self._producer: Producer | None = None
        self._replaced: Producer | None = None
        self.session: Session | None = None
        self._is_over = self._passes = False
        self.is_waited_for = False
        """Who gives the source waits for its end, in a task of the app's; else who starts the response does."""
        self.cancelled_for: CloseReason | None = None
        """Why we have cancelled the app while it was starting its response."""

    @property
    def _ticker(self) -> Ticker:
        return self._drains.ticker

    @property
    def receiver(self) -> Receiver:
        """The one reader of the server's `receive`."""
        if self._receiver is None:
            self._receiver = Receiver(self._receive, self._ticker.backend)
        return self._receiver

    @mark_coroutine_function
    def receive(self) -> Awaitable[Message]:
        """The app's `receive`."""
        return self.receiver()

    @mark_coroutine_function
    def send(self, message: Message) -> Awaitable[None]:
        """The app's `send`. A plain function, which costs an event no frame of its own; adapters want it marked."""
        return self._forward(message)

    def _before_start(self, message: Message) -> Awaitable[None]:
        if message["type"] != START:
            return self._send(message)  # early hints, a push, debug messages
        if self._mark is None:
            check_misplaced(self.scope, message)
            if passes(message, self.options.rules):
                self._passes = True
                self._forward = self._pass
                return self._send(message)
        return self._start_response(message)

    def _pass(self, message: Message) -> Awaitable[None]:
        # Another start: the one before was given up, before it was awaited, say.
        return self._before_start(message) if message["type"] == START else self._send(message)

    async def _start_response(self, message: Message) -> None:
        producer = self._producer
        if producer is not None and self._mark is not None and self._mark.has_source:
            await self._first_of(producer)  # of interest where the endpoint itself could not wait
        plan = negotiate(self.scope, message, self.options.rules, self._mark)
        if producer is not None and plan.mode is not Mode.SOURCE:
            producer.stop()  # something has answered in the endpoint's place
        if plan.mode is Mode.PASS:
            if producer is None and self._mark is not None and self._mark.frame is not None:
                self._warn_of_coding(plan.start)
            self._passes = True
            self._forward = self._send
            await self._send(plan.start)
            return
        session = self.session = Session(
            self.scope, plan, self._send, self.receiver, self.options, self.drain, self.running, self._recorder
        )
        self._forward = _drop if plan.mode is Mode.SOURCE else session.writer.send
        try:
            if self.drain.begun_at is not None:
                await self._refuse(session)
                return
            await session.start(plan.start)
        except BaseException as error:
            if not session.started:
                self.cancelled_for = session.reason if session.cancelled_app() else None
                session.start_failed(error)
                self.session = None
                self._forward = self._before_start
            raise
        if producer is not None and plan.mode is Mode.SOURCE and self.scope["method"] != "HEAD":
            feed = session.feed_from(producer)
            self._mark = None
            if self.is_waited_for:
                return
            del message, plan  # not to be kept for as long as the stream is open
            await feed.wait()
            feed.raise_error()

    async def _refuse(self, session: Session) -> None:
        if self._producer is not None:
            self._producer.stop()
        await session.refuse(refusal(self.scope, spread(self.options)))

    def _warn_of_coding(self, start: Message) -> None:
        if 200 <= start["status"] < 300 and is_coded(start["headers"]):
            logger.warning("The response of %s %s was to be framed, but something inside has compressed it: have that "
                           "leave it alone, or compress around the middleware.", self.scope["method"],
                           self.scope["path"])  # fmt: skip

    @property
    def drain(self) -> Notice:
        """What the request's stream is told of the end of serving by: the drain of its server, as a rule."""
        if self._drain is None:
            self._drain = self._drains.of(self.scope)
        return self._drain

    @property
    def has_source(self) -> bool:
        """Whether an endpoint has given a source."""
        return self._producer is not None

    @property
    def has_started(self) -> bool:
        """Whether the app has started its response."""
        return self.session is not None or self._passes

    @property
    def info(self) -> StreamInfo:
        """What is known of the request's stream."""
        return StreamInfo.of(self.scope, "pending") if self.session is None else self.session.snapshot()

    @property
    def is_here(self) -> bool:
        """Whether the caller is in the event loop's own thread."""
        return self._ticker.backend.is_here

    # What `@sse_route` calls, from any thread

    def mark(self, mark: Mark, options: Options) -> None:
        """What the endpoint that was called wants of its response."""
        self._mark = mark
        self.options = options

    async def begin(self, given: object, name: str, manner: Manner = PLAIN) -> None:
        """Take what an endpoint has returned for the source of the response's events, and wait for the first.

        Raises:
            InvalidSource: It is no source, or the request has its event stream already.
            BaseException: What the source raised instead of a first event.
        """
        if self._ticker.backend.is_here:
            await self._start(given, name, copy_context(), manner)
        else:  # another event loop, as asgiref runs one to have a sync framework call an async endpoint
            self.begin_in_thread(given, name, manner)

    def begin_in_thread(self, given: object, name: str, manner: Manner = PLAIN) -> Begun | None:
        """As `begin`, for an endpoint that is no coroutine.

        In the event loop's own thread it cannot wait; what waits in its place is returned, if anybody can await it.
        """
        context = copy_context()
        if self._ticker.backend.is_here:
            producer = self._take(given, name, context, manner)
            return lambda: self._first_of(producer)
        started: Future[None] = Future()
        spawn = self._ticker.backend.spawn

        def start() -> None:
            spawn(self._start_for_thread, given, name, context, manner, started)

        self._ticker.backend.call_from_thread(start)
        started.result()
        return None

    async def _start_for_thread(
        self, given: object, name: str, context: Context, manner: Manner, started: "Future[None]"
    ) -> None:
        try:
            await self._start(given, name, context, manner)
        except BaseException as error:
            started.set_exception(error)
        else:
            started.set_result(None)

    async def _start(self, given: object, name: str, context: Context, manner: Manner) -> None:
        producer = self._take(given, name, context, manner)
        # The disconnect shows nowhere else. What comes of the request's body meanwhile is kept for the app.
        self.receiver.watch(producer)
        timeout = self.options.open_timeout
        if self.receiver.needs_pump and (timeout is None or timeout > SOON):
            stop_pump = self._ticker.backend.spawn(self.receiver.pump)
        else:
            stop_pump = _nothing
        try:
            await self._first_of(producer)
        finally:
            stop_pump()

    async def _first_of(self, producer: Producer) -> None:
        try:
            await producer.first()
        except BaseException:
            self._mark = None  # whatever the response is going to be, it is not of this source
            raise

    def _take(self, given: object, name: str, context: Context, manner: Manner) -> Producer:
        if self._is_over:
            raise InvalidSource(f"{name} gave a source when its request was over already")
        if self.has_started:
            raise InvalidSource(f"{name} gave a source in a request whose response has started: a request has one")
        backend = self._ticker.backend
        outlive_bridges(context)
        source = make_source(given, name, context, backend)
        if self._producer is not None:
            self._producer.stop()
            self._replaced = self._producer
        # A thread enters the context by itself, so that it must not be the task's too.
        task_context = context if source.interruptible else context.copy()
        self._producer = Producer(source, self._ticker, task_context, self.options, self.scope, manner)
        self._mark = Mark(
            has_source=True, status=manner.status, content_type=manner.content_type, line_end=manner.line_end
        )
        self.is_waited_for = False
        self.receiver.before_disconnect = manner.before_disconnect
        if manner.notice is not None:
            self._drain = manner.notice(self._drains.of(self.scope))
        if self.scope["method"] == "HEAD":
            self._producer.close_unstarted()
        else:
            self._producer.start()
        return self._producer

    def fail(self, error: Exception) -> bool:
        """End the source, and its stream, as if it had raised `error`; whether it had not ended by itself before."""
        return self._producer is not None and self._producer.fail(error)

    @property
    def feed(self) -> Feed | None:
        """What the stream gets its source's events from, once it is open."""
        return None if self.session is None else self.session.feed

    async def wait_until_open(self) -> None:
        """Wait until the source's stream is open, or never will be."""
        if self._producer is not None:
            await self._producer.wait_until_open()

    @property
    def reason(self) -> CloseReason | None:
        """Why the stream has ended, if it has."""
        return None if self.session is None else self.session.reason

    # The app's end

    async def is_for_the_server(self, error: BaseException) -> bool:
        """Do what an exception means for the stream, and return whether the server is to see it."""
        if isinstance(error, GeneratorExit):
            self._thrown_away()
        elif self.session is None:
            return True
        elif isinstance(error, Exception):
            return await self._app_raised(self.session, error)
        else:
            await self.session.app_cancelled()
        return True

    async def _app_raised(self, session: Session, error: Exception) -> bool:
        try:
            return await session.app_raised(error)
        except GeneratorExit:
            self._thrown_away()
            raise
        except BaseException as cancelled:
            if not isinstance(cancelled, Exception):
                await session.app_cancelled()
            raise

    def _thrown_away(self) -> None:
        """The request was closed from outside, its event loop may be gone: nothing can be awaited or cancelled."""
        self._producer = None
        if self.session is not None:
            self.session.thrown_away()

    def is_through(self) -> bool:
        """The app has returned or raised; whether there is something to `close`."""
        self._is_over = True
        if self.session is None:
            self._forward = self._send  # and no method of this object's own, which would be a cycle
        return self._producer is not None or self.session is not None

    async def close(self) -> None:
        """The request is over: so is a source whose stream never started."""
        try:
            await self._close_sources()
        finally:
            if self.session is not None:
                self.session.forget()

    async def _close_sources(self) -> None:
        producers = [producer for producer in (self._replaced, self._producer) if producer is not None]
        for producer in producers:
            producer.stop()
        for producer in producers:
            if not producer.is_done:  # a scope costs as much as twenty events
                with anyio.CancelScope(shield=True):
                    await producer.wait_until_done()
            producer.error = None  # its traceback leads back here: a cycle
