"""Litestar's ServerSentEvent response."""

from typing import Any

from litestar import Litestar, Request, get
from litestar.response import ServerSentEvent

from .plan import source


@get("/")
async def endpoint(request: Request[Any, Any, Any]) -> ServerSentEvent:
    return ServerSentEvent(source(request.scope["query_string"]))


app = Litestar([endpoint])
