"""How a response becomes a stream of the engine's, with an `SSEMiddleware` around the app or without one.

Where one is around the app, its exchange is used, as `@sse_route` does. Else the response brings its own: one
middleware for the whole process, which keeps what it knows for each event loop and server apart.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TypeAlias

import anyio

from ..._exchange import Exchange, current
from ..._manner import Manner
from ..._middleware import SSEMiddleware
from ..._negotiate import Mark
from ..._options import Options
from ..._stats import CloseReason
from ..._types import Message, Receive, Scope, Send
from ._shutdown import ResponseNotice

logger = logging.getLogger("sse_mw")

ALREADY = "sse_mw"
"""The scope's key that says that a middleware is around."""
ORDER = "sse_mw.compat"

Sender: TypeAlias = Callable[[], Awaitable[object]]
CloseHandler: TypeAlias = Callable[[Message], Awaitable[object]]


@dataclass(slots=True)
class Order:
    """One response, as the engine is asked for it."""

    source: object
    start: Message
    encode: Callable[[object], bytes]
    line_end: bytes
    options: Callable[[Options], Options]
    """What the options are, given those of the middleware."""
    sender: Sender | None = None
    on_disconnect: CloseHandler | None = None
    shutdown_event: anyio.Event | None = None
    reason: CloseReason | None = None
    """Why the stream ended, once it has."""
    error: BaseException | None = None
    """What came of it in place of a whole stream."""
    told: bool = field(default=False, init=False)
    """`on_disconnect` was called."""


@cache
def engine() -> SSEMiddleware:
    """The middleware of responses that have none around them, with sse-starlette's defaults."""
    return SSEMiddleware(_fill_own, send_timeout=None, drain_grace=0)


async def serve(order: Order, scope: Scope, receive: Receive, send: Send) -> None:
    """Stream what is ordered. What its parts have raised is raised once the client has a whole response.

    Raises:
        BaseException: What they raised, maybe before the response has started: then something else can answer.
    """
    exchange = _exchange_of(scope)
    if exchange is not None:
        await _fill(order, exchange, send)
    else:
        if scope["type"] == "websocket":
            receive, send = _denying(receive, send)
            scope = {**scope, "type": "http", "method": "GET"}
        own = engine()
        await own({**scope, "method": scope["method"].upper(), ALREADY: own, ORDER: order}, receive, send)
    if order.error is not None:
        error, order.error = order.error, None
        try:
            raise error
        finally:
            del error  # a cycle


def _exchange_of(scope: Scope) -> Exchange | None:
    """That of the middleware around the app, if it has seen this request: the context may be of another's."""
    exchange = current.get(None)
    if exchange is None or ALREADY not in scope or scope["type"] != "http":
        return None
    # Something in between may have changed the method, and the engine knows HEAD in capitals alone.
    method = scope["method"]
    is_same = method == exchange.scope["method"] and (method == "HEAD" or method.upper() != "HEAD")
    return exchange if is_same else None


async def _fill_own(scope: Scope, receive: Receive, send: Send) -> None:
    """The app inside of `engine`: what it raises is kept, as that is for whoever is around the response."""
    order: Order = scope[ORDER]
    exchange = current.get()
    try:
        await _fill(order, exchange, send)
    except Exception as error:
        if not exchange.has_started:
            raise
        order.error = error


async def _fill(order: Order, exchange: Exchange, send: Send) -> None:
    exchange.mark(Mark(), order.options(exchange.options))
    if exchange.scope["method"] == "HEAD" or (order.sender is None and order.shutdown_event is None):
        await _stream(order, exchange, send)
    else:
        await _stream_beside_tasks(order, exchange, send)
    if order.reason is CloseReason.CLIENT_LEFT and order.on_disconnect is not None:
        await _tell(order, order.on_disconnect, {"type": "http.disconnect"})  # where a send alone has shown it


async def _stream_beside_tasks(order: Order, exchange: Exchange, send: Send) -> None:
    sending = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        if order.sender is not None:
            tasks.start_soon(_run_sender, order.sender, exchange, sending)
        if order.shutdown_event is not None:
            tasks.start_soon(_announce, order.shutdown_event, exchange)
        await _stream(order, exchange, send, on_stop=sending.cancel)
        tasks.cancel_scope.cancel()


async def _stream(order: Order, exchange: Exchange, send: Send, on_stop: Callable[[], object] | None = None) -> None:
    manner = Manner(
        encode=order.encode,
        line_end=order.line_end,
        status=order.start["status"],
        notice=ResponseNotice.of,
        before_disconnect=None if order.on_disconnect is None else partial(_tell, order, order.on_disconnect),
        on_stop=on_stop,
    )
    await exchange.begin(order.source, "EventSourceResponse", manner)
    del manner
    await send(order.start)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    order.reason = await exchange.wait_until_ended()  # at once, unless something between us and the middleware buffers


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


async def _tell(order: Order, on_disconnect: CloseHandler, message: Message) -> None:
    if not order.told:
        order.told = True
        try:
            await on_disconnect(message)
        except Exception as error:
            order.error = error


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
