"""sse-starlette in a Starlette app."""

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from .plan import source
from .settings import PING


async def endpoint(request: Request) -> EventSourceResponse:
    return EventSourceResponse(source(request.url.query), ping=PING)


app = Starlette(routes=[Route("/", endpoint)])
