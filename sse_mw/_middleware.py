"""`SSEMiddleware`: the scope guard, an exchange for each request, and what the app's end means for its stream."""

import logging
from collections.abc import Awaitable, Generator
from contextlib import suppress
from contextvars import Token
from typing import Any

import anyio

from ._drain import Drains
from ._exchange import Exchange, current
from ._options import ErrorHook, FrameRules, Hook, Options, PingEvent
from ._runtime import Backend, PerLoop
from ._stats import Recorder, Stats
from ._stream import TICK
from ._ticker import Ticker
from ._types import ASGIApp, Receive, Scope, Send
from .exceptions import InvalidOption

logger = logging.getLogger("sse_mw")


class Drained:
    """What `SSEMiddleware.drain` returns; need not be awaited."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        # On whichever loops they are: there is no event that they all could set.
        while self._recorder.read().open:  # noqa: ASYNC110
            await anyio.sleep(TICK)


class SSEMiddleware:
    """Wraps an ASGI app; every event stream that the app answers with is looked after from then on.

    A response is an event stream if its content type is `text/event-stream` (WHATWG HTML, "Server-sent events").
    Every other response passes as it is, as WebSockets and lifespan do. Put it outermost: a middleware around it may
    hold back what it sends.

    One instance serves any number of requests at once, on any number of event loops in any number of threads,
    asyncio and trio alike; nothing is shared between instances.

    Args:
        app: Any ASGI 3 app.
        ping_interval: Seconds without anything sent after which a ping goes out, between two events and never
            inside one. `None`: no pings.
        ping_event: What a ping is: `None` for the comment `: ping`; a name, for an event of that name with empty data;
            a `ServerSentEvent` or a mapping of its fields; complete bytes; or a function without arguments that
            returns one of these, called for each ping.
        padding: Bytes to fill up the stream's start and each ping with, as a comment, for proxies and virus
            scanners that hold back small writes. 0: none.
        send_timeout: Seconds that one send may take until a client counts as one that has stopped reading.
            Its stream is ended and, on HTTP/1.1, its connection reset. `None`: for ever.
        idle_timeout: Seconds of silence of the app's after which the stream is ended. `None`: for ever.
        max_duration: Seconds after which a stream is ended, less up to a tenth, chosen for each stream at random so
            that not all clients come back at once; they are told when to by a `retry` field. `None`: for ever.
        open_timeout: Seconds that the response of an endpoint under `@sse_route` waits for the first event, so that
            what the endpoint raises until then is the framework's own error response. `None`: for ever.
        cleanup_timeout: Seconds that a cancelled app or source and the hooks have for cleaning up until a warning is
            logged, and nobody waits for them any longer.
        drain_grace: Seconds that open streams have to end by themselves when the server shuts down, until they are
            ended. 0: none.
        max_threads: Worker threads for sync generators and iterables under `@sse_route`, for each event loop; one
            holds a thread for as long as it is open. Further ones wait for a thread.
        retry: Milliseconds that clients are to wait before they reconnect, sent as the stream's first field.
            `None`: whatever the client thinks right.
        coalesce: Whether messages that the app sends without waiting for anything in between go to the server as one,
            64 KiB at most, as soon as it waits. What it sends one by one goes out at once either way.
        frame: Which responses that are no event streams become some, and how: `"lines"`, an event for each line of
            the body, or `"chunks"`, one for each of its body messages. Keys are media types (`application/x-ndjson`,
            `text/*`), for clients that send `Accept: text/event-stream`, or path patterns (`/legacy/*`), for all
            clients; the value of a path pattern may be a mapping of media types in turn, for clients that ask.
            The first that matches response and client decides.
        on_open: Called with a `StreamInfo` before a stream starts, or is refused.
        on_close: Called with a `StreamInfo` when a stream has ended: once, whatever ended it.
            Either hook may be a coroutine function. What they raise is logged and has no other effect.
        on_error: Called with the exception of an app that failed in its stream; may return a last event for the
            client, as anything that a source may yield, or `None`. May be a coroutine function. By default clients
            learn nothing.
        debug: Check what the app sends against the standard, and log each kind of fault once a stream.

    Raises:
        InvalidOption: An option cannot be meant.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        ping_interval: float | None = 15.0,
        ping_event: PingEvent | None = None,
        padding: int = 0,
        send_timeout: float | None = 30.0,
        idle_timeout: float | None = None,
        max_duration: float | None = None,
        open_timeout: float | None = 0.1,
        cleanup_timeout: float = 30.0,
        drain_grace: float = 5.0,
        max_threads: int = 256,
        retry: int | None = None,
        coalesce: bool = True,
        frame: FrameRules | None = None,
        on_open: Hook | None = None,
        on_close: Hook | None = None,
        on_error: ErrorHook | None = None,
        debug: bool = False,
    ) -> None:
        if not callable(app):
            raise InvalidOption(f"app={app!r:.80} cannot be wrapped: give an ASGI app, app(scope, receive, send)")
        self.app = app
        self._options = Options(
            ping_interval=ping_interval,
            ping_event=ping_event,
            padding=padding,
            send_timeout=send_timeout,
            idle_timeout=idle_timeout,
            max_duration=max_duration,
            open_timeout=open_timeout,
            cleanup_timeout=cleanup_timeout,
            drain_grace=drain_grace,
            max_threads=max_threads,
            retry=retry,
            coalesce=coalesce,
            frame=frame,
            on_open=on_open,
            on_close=on_close,
            on_error=on_error,
            debug=debug,
        )
        self._warned = False
        self._recorder = Recorder()
        self._draining = False
        self._loops = PerLoop(self._make_drains, max_threads)

    def stats(self) -> Stats:
        """Count this middleware's streams, over all its loops. May be called from any thread."""
        return self._recorder.read()

    def _make_drains(self, backend: Backend) -> Drains:
        drains = Drains(Ticker(backend))
        if self._draining:
            drains.begin()
        return drains

    def drain(self) -> Awaitable[None]:
        """Have every stream of this middleware end within `drain_grace`, on all its event loops, and refuse new ones.

        What happens by itself when a server shuts down, for what else comes to an end. May be called from any thread,
        any number of times; a drain that has begun goes on. Awaiting what it returns waits for the last stream's end.
        """
        self._draining = True
        for drains in self._loops.all():
            with suppress(RuntimeError):  # its event loop is gone, and its streams with it
                drains.ticker.backend.call_from_thread(drains.begin)
        return Drained(self._recorder)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """The ASGI interface (ASGI 3.0)."""
        if scope["type"] != "http" or (scope.setdefault("sse_mw", self) is not self and self._warn_of_another()):
            return await self.app(scope, receive, send)
        drains = self._loops.get()
        if drains.is_empty:
            drains.note(scope)
        backend = drains.ticker.backend
        running = backend.cancellable()
        if running is None:
            return await backend.run_in_task(self(scope, receive, send))
        exchange = Exchange(scope, receive, send, self._options, self._recorder, drains, running)
        token = current.set(exchange)
        try:
            # No coroutine of ours between this one and the app's: each would cost every wait of the app's.
            with running:
                try:
                    result = await self.app(scope, exchange.receive, exchange.send)
                    if exchange.session is not None:
                        await exchange.session.app_returned()
                    return result
                except BaseException as error:
                    if await exchange.is_for_the_server(error):
                        raise
                finally:
                    _leave(token)
                    if exchange.is_through():
                        await exchange.close()
        except Exception as error:
            if exchange.session is None or not exchange.session.swallows(error):
                raise

    def _warn_of_another(self) -> bool:
        if not self._warned:
            self._warned = True
            logger.warning(
                "An SSEMiddleware around this one looks after the streams, with its options: remove one of them."
            )
        return True


def _leave(token: Token[Exchange]) -> None:
    try:
        current.reset(token)
    except ValueError:
        logger.debug("A request was thrown away, and so closed in another context.")
