"""The app of `on_sse_starlette` with one import changed: bare, and in the middleware."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from sse_mw import SSEMiddleware
from sse_mw.compat.sse_starlette import EventSourceResponse

from .plan import source
from .settings import OPTIONS, PING


async def endpoint(request: Request) -> EventSourceResponse:
    return EventSourceResponse(source(request.url.query), ping=PING)


app = Starlette(routes=[Route("/", endpoint)])
wrapped = SSEMiddleware(Starlette(routes=[Route("/", endpoint)]), **OPTIONS)
