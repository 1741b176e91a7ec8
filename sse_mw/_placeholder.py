"""What an endpoint under `@sse_route` returns to its framework, which makes a response of it as ever.

The framework's own status, cookies and headers are kept; the body is swapped for the events.
"""

import sys
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from ._negotiate import CONTENT_TYPE
from ._types import Receive, Scope, Send

EVENT_STREAM = CONTENT_TYPE[1].decode()


class Placeholder(str):
    """An empty text, which most frameworks make a response of, and an ASGI app, which Starlette wants."""

    __slots__ = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)


async def respond(send: Send) -> None:
    """Start an event stream, for the middleware to fill."""
    await send({"type": "http.response.start", "status": 200, "headers": [CONTENT_TYPE]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def make_placeholder(arguments: Iterable[object]) -> object:
    """What the framework that called an endpoint with these arguments takes for a response.

    Only a framework that somebody has imported can have called it, so nothing is imported here.
    """
    arguments = tuple(arguments)
    for module, request_class, make in _BY_REQUEST:
        loaded = sys.modules.get(module)
        if loaded is not None and any(isinstance(each, getattr(loaded, request_class)) for each in arguments):
            return make()
    _lift_quarts_timeout()
    return Placeholder()


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _django_response() -> object:
    # A streaming one, which Django's middlewares neither cache nor give an ETag.
    return sys.modules["django.http"].StreamingHttpResponse(_nothing(), content_type=EVENT_STREAM)


def _sanic_response() -> object:
    return sys.modules["sanic.response"].HTTPResponse(content_type=EVENT_STREAM)


# The others take the placeholder.
_BY_REQUEST: list[tuple[str, str, Callable[[], object]]] = [
    ("django.http", "HttpRequest", _django_response),
    ("sanic.request", "Request", _sanic_response),
]


def _lift_quarts_timeout() -> None:
    """Quart gives every response `RESPONSE_TIMEOUT` to be sent in, a minute; a stream takes longer."""
    quart: Any = sys.modules.get("quart")
    if quart is not None and quart.has_request_context():
        quart.after_this_request(_without_timeout)


def _without_timeout(response: Any) -> Any:
    response.timeout = None
    return response
