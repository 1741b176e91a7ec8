"""Starlette's own StreamingResponse, the same wrapped, and a source in its place."""

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from sse_mw import SSEMiddleware, sse_route

from .plan import encoded, source
from .settings import OPTIONS, UNCOALESCED


async def streaming(request: Request) -> StreamingResponse:
    return StreamingResponse(source(request.url.query, encoded), media_type="text/event-stream")


@sse_route
async def events(request: Request) -> AsyncIterator[str]:
    return source(request.url.query)


bare = Starlette(routes=[Route("/", streaming)])
wrapped = SSEMiddleware(bare, **OPTIONS)
wrapped_uncoalesced = SSEMiddleware(bare, **UNCOALESCED)
route = SSEMiddleware(Starlette(routes=[Route("/", events)]), **OPTIONS)
