"""What the frameworks want of an endpoint, and how they say things. The place for what a new one needs.

Only a framework that somebody has imported can have called an endpoint, so nothing is imported here.

A source's endpoint returns a placeholder, which its framework makes a response of as ever: its own status, cookies and
headers are kept, and the body is swapped for the events.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from typing import Any, Self, TypeAlias

from ._negotiate import CONTENT_TYPE
from ._types import Receive, Scope, Send

EVENT_STREAM = CONTENT_TYPE[1].decode()

Begun: TypeAlias = Callable[[], Awaitable[None]]
"""Waits for a source's first event, and raises what it raised instead."""


class Placeholder(str):
    """An empty text, which most frameworks make a response of, and an ASGI app, which Starlette wants."""

    __slots__ = ("_begun",)
    _begun: Begun | None

    def __new__(cls, begun: Begun | None) -> Self:
        placeholder = super().__new__(cls)
        placeholder._begun = begun
        return placeholder

    def __await__(self) -> Generator[Any, Any, str]:
        """Litestar awaits what a sync handler on its event loop gives, if it can: the place to wait for the source."""
        if self._begun is not None:
            yield from self._begun().__await__()
        return ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)


async def respond(send: Send) -> None:
    """Start an event stream, for the middleware to fill."""
    await send({"type": "http.response.start", "status": 200, "headers": [CONTENT_TYPE]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def make_placeholder(arguments: Iterable[object], begun: Begun | None = None) -> object:
    """What the framework that called an endpoint with these arguments takes for a response.

    `begun` is given where the endpoint could not wait for the first event, as it was called on the event loop itself.
    """
    arguments = tuple(arguments)
    for module, request_class, make in _BY_REQUEST:
        loaded = sys.modules.get(module)
        if loaded is not None and any(isinstance(each, getattr(loaded, request_class)) for each in arguments):
            return make(begun)
    _lift_quarts_timeout()
    return Placeholder(begun)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _django_response(begun: Begun | None) -> object:
    # A streaming one, which Django's middlewares neither cache nor give an ETag.
    return sys.modules["django.http"].StreamingHttpResponse(_nothing(), content_type=EVENT_STREAM)


def _sanic_response(begun: Begun | None) -> object:
    response = sys.modules["sanic.response"].HTTPResponse(content_type=EVENT_STREAM)
    return response if begun is None else _when(begun, response)


async def _when(begun: Begun, response: object) -> object:
    """What Sanic awaits of a sync handler."""
    await begun()
    return response


# The others take the placeholder.
_BY_REQUEST: list[tuple[str, str, Callable[[Begun | None], object]]] = [
    ("django.http", "HttpRequest", _django_response),
    ("sanic.request", "Request", _sanic_response),
]


def _lift_quarts_timeout() -> None:
    """Quart gives every response `RESPONSE_TIMEOUT` to be sent in, a minute; a stream takes longer."""
    if _serves_request("quart"):
        sys.modules["quart"].after_this_request(_without_timeout)


def _without_timeout(response: Any) -> Any:
    response.timeout = None
    return response


def is_response(given: Any, arguments: Iterable[object]) -> bool:
    """Whether an endpoint has returned a response, or what stands for one, or has set one up elsewhere."""
    if isinstance(given, Placeholder):
        return True
    if _is_response_tuple(given):
        return isinstance(given[0], str | bytes | Mapping) or _has_status_and_headers(given[0])
    if given is None:
        return any(map(_is_falcons_with_content, arguments))
    return _has_status_and_headers(given)


def split_response(given: Any) -> tuple[object, tuple[object, ...]]:
    """The source in what an endpoint has returned, and the status and headers that Flask and Quart take beside it."""
    if _is_response_tuple(given):
        return given[0], given[1:]
    return given, ()


def _has_status_and_headers(given: object) -> bool:
    return hasattr(given, "headers") and (hasattr(given, "status_code") or hasattr(given, "status"))


def _is_response_tuple(given: Any) -> bool:
    """Body and status, body and headers, or all three, in a request of Flask's or Quart's."""
    size = len(given) if given.__class__ is tuple else 0
    if size not in (2, 3) or not any(map(_serves_request, ("flask", "quart"))):
        return False
    is_status = isinstance(given[1], int)
    return (is_status and size == 2) or isinstance(given[-1], Mapping | list)


def _serves_request(framework: str) -> bool:
    module: Any = sys.modules.get(framework)
    return module is not None and bool(module.has_request_context())


def _is_falcons_with_content(argument: object) -> bool:
    """Falcon's responders return nothing: they set their response's content."""
    falcon: Any = sys.modules.get("falcon.asgi")
    if falcon is None or not isinstance(argument, falcon.Response):
        return False
    return any(getattr(argument, name, None) is not None for name in ("stream", "sse", "text", "data", "media"))
