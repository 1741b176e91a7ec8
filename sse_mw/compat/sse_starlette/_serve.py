"""How a response becomes a stream of the engine's, with an `SSEMiddleware` around the app or without one.

Where one is around the app, its exchange is used, as `@sse_route` does. Else the response brings its own: one
middleware for the whole process, which keeps what it knows for each event loop and server apart.

Coroutines are most of an idle stream's memory, so what needs to await nothing is a plain function that hands one on.
"""

import logging
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Any, TypeAlias

import anyio

from ..._exchange import Exchange, current
from ..._manner import Manner
from ..._middleware import SSEMiddleware
from ..._negotiate import Mark
from ..._options import Options
from ..._stats import CloseReason
from ..._types import Message, Receive, Scope, Send
from ._shutdown import ResponseNotice
from .event import encoder

logger = logging.getLogger("sse_mw")

ALREADY = "sse_mw"
"""The scope's key that says that a middleware is around."""
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}

Sender: TypeAlias = Callable[[], Awaitable[object]]
CloseHandler: TypeAlias = Callable[[Message], Awaitable[object]]


@dataclass(slots=True)
class Outcome:
    """What has become of a response; all that is kept of its order while the stream is open."""

    reason: CloseReason | None = None
    """Why the stream has ended."""
    error: Exception | None = None
    """What is to be raised once all is over, where nothing else has raised it."""
    told: bool = False
    """The close handler was called."""


@dataclass(slots=True)
class Order:
    """One response, as the engine is asked for it."""

    source: Any
    start: Message
    sep: str
    content_type: bytes
    options: Callable[[Options], Options]
    """What the options are, given those of the middleware."""
    sender: Sender | None = None
    on_disconnect: CloseHandler | None = None
    shutdown_event: anyio.Event | None = None
    outcome: Outcome = field(default_factory=Outcome)
    token: "Token[Order | None] | None" = None
    """Of `_ordered`."""


_ordered: ContextVar[Order | None] = ContextVar("sse_mw.order")
"""What `engine` is called for."""


MANY = 4096
"""Threads: each sync source has one for as long as it is open, where sse-starlette takes one for each step."""

_making = threading.Lock()


@cache
def _made() -> SSEMiddleware:
    return SSEMiddleware(_serve_own, send_timeout=None, drain_grace=0, max_threads=MANY)


def engine() -> SSEMiddleware:
    """The middleware of responses that have none around them, with sse-starlette's defaults."""
    with _making:
        return _made()


def serve(order: Order, scope: Scope, receive: Receive, send: Send) -> Awaitable[Any]:
    """Stream what is ordered. Await it; then what is to be raised is in the outcome, if it was not raised.

    Raises:
        BaseException: What the source or the sender has raised, maybe before the response has started: then something
            else can answer.
    """
    exchange = _exchange_of(scope)
    if exchange is not None:
        return _fill(order, exchange, send)
    if scope["type"] == "websocket":
        receive, send = _denying(receive, send)
        scope = {**scope, "type": "http", "method": "GET"}
    elif not scope["method"].isupper():
        scope = {**scope, "method": scope["method"].upper()}
    own = engine()
    if ALREADY in scope:  # another middleware's, whose the request stays
        scope = {**scope}
    # Else no copy of the scope, which is larger than all that the engine keeps of a request.
    scope[ALREADY] = own
    order.token = _ordered.set(order)
    return own(scope, receive, send)


def leave(scope: Scope) -> None:
    """What comes later in the same request is no business of the middleware that its response has brought."""
    if scope.get(ALREADY) is engine():
        del scope[ALREADY]


def _exchange_of(scope: Scope) -> Exchange | None:
    """That of the middleware around the app, if it has seen this request: the context may be of another's."""
    exchange = current.get(None)
    if exchange is None or ALREADY not in scope or scope["type"] != "http":
        return None
    # A request that the app makes of itself, in-process, is another one.
    if scope["path"] != exchange.scope["path"] or exchange.has_source or exchange.has_started:
        return None
    # Something in between may have changed the method, and the engine knows HEAD in capitals alone.
    method = scope["method"]
    is_same = method == exchange.scope["method"] and (method == "HEAD" or method.upper() != "HEAD")
    return exchange if is_same else None


def _serve_own(scope: Scope, receive: Receive, send: Send) -> Awaitable[Any]:
    """The app inside of `engine`."""
    order = _ordered.get()
    assert order is not None, "serve has set it"
    _forget(order)
    return _fill(order, current.get(), send)


def _forget(order: Order) -> None:
    token, order.token = order.token, None
    assert token is not None, "serve has set it"
    try:
        _ordered.reset(token)
    except ValueError:  # the engine has made a task for a server whose own is none
        _ordered.set(None)


def _fill(order: Order, exchange: Exchange, send: Send) -> Awaitable[None]:
    exchange.mark(Mark(), order.options(exchange.options))
    if exchange.scope["method"] == "HEAD" or (order.sender is None and order.shutdown_event is None):
        return _stream(order, exchange, send)
    return _stream_beside_tasks(order, exchange, send)


async def _stream(order: Order, exchange: Exchange, send: Send, on_stop: Callable[[], object] | None = None) -> None:
    outcome, on_disconnect = order.outcome, order.on_disconnect
    try:
        await exchange.begin(order.source, "EventSourceResponse", _manner(order, on_stop))
        exchange.is_waited_for = exchange.is_here
        await send(order.start)
        del order  # it is not to be kept for as long as the stream is open
        feed = exchange.feed
        is_held_back = feed is None  # by something between us and the middleware, which has all that is to be sent now
        if is_held_back:
            exchange.is_waited_for = False  # or it would take the stream for ended
            await send(END)
            await exchange.wait_until_open()
            feed = exchange.feed
        if feed is not None:
            if not feed.has_ended:
                # `feed.wait`, without its coroutine, which would be kept for as long as the stream is open.
                waiting = feed.join()
                try:
                    with waiting:
                        while not feed.is_over:
                            await feed.read_on()
                except BaseException:
                    await feed.cut()
                    raise
                finally:
                    feed.leave(waiting)
            await feed.wait_until_stopped()
            feed.raise_error()
        if not is_held_back:
            await send(END)
        outcome.reason = exchange.reason
    except BaseException as error:
        outcome.reason = exchange.cancelled_for
        if exchange.has_started and isinstance(error, Exception):
            outcome.error = error  # a middleware of our own keeps it to itself
        raise
    if outcome.reason is CloseReason.CLIENT_LEFT and on_disconnect is not None:
        with anyio.move_on_after(exchange.options.cleanup_timeout):
            await _tell(outcome, on_disconnect, {"type": "http.disconnect"})  # where a send alone has shown it


async def _stream_beside_tasks(order: Order, exchange: Exchange, send: Send) -> None:
    sending = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        if order.sender is not None:
            tasks.start_soon(_run_sender, order.sender, exchange, sending)
        if order.shutdown_event is not None:
            tasks.start_soon(_announce, order.shutdown_event, exchange)
        await _stream(order, exchange, send, on_stop=sending.cancel)
        tasks.cancel_scope.cancel()


def _manner(order: Order, on_stop: Callable[[], object] | None) -> Manner:
    if on_stop is None and order.on_disconnect is None:
        return _plain_manner(order.sep, order.start["status"], order.content_type)
    manner = _plain_manner.__wrapped__(order.sep, order.start["status"], order.content_type)
    manner.on_stop = on_stop
    if order.on_disconnect is not None:
        manner.before_disconnect = partial(_tell, order.outcome, order.on_disconnect)
    return manner


@lru_cache(64)
def _plain_manner(sep: str, status: int, content_type: bytes) -> Manner:
    return Manner(encoder(sep), sep.encode(), status, content_type, notice=ResponseNotice.of)


async def _run_sender(sender: Sender, exchange: Exchange, scope: anyio.CancelScope) -> None:
    """Its return means nothing; its failure is the stream's, as long as there is one."""
    try:
        with scope:
            await sender()
    except Exception as error:
        if not exchange.fail(error):
            logger.debug("A data sender failed after its stream had ended.", exc_info=error)


async def _announce(shutdown_event: anyio.Event, exchange: Exchange) -> None:
    await exchange.drain.wait()
    shutdown_event.set()


async def _tell(outcome: Outcome, on_disconnect: CloseHandler, message: Message) -> None:
    if not outcome.told:
        outcome.told = True
        try:
            await on_disconnect(message)
        except Exception as error:
            outcome.error = error


def _denying(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """The two ends of a WebSocket's handshake as those of a request: the response denies it, in a body of any length.

    (ASGI, "WebSocket Denial Response".)
    """

    async def receive_as_http() -> Message:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send_as_denial(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    return receive_as_http, send_as_denial
