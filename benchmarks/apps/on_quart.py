"""Quart has no events of its own: an async generator as its documentation has it, without the timeout."""

from typing import Any

from quart import Quart, make_response, request

from .plan import encoded, source

app = Quart(__name__)


@app.get("/")
async def endpoint() -> Any:
    response: Any = await make_response(source(request.query_string, encoded), {"content-type": "text/event-stream"})
    response.timeout = None
    return response
