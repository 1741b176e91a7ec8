"""FastAPI's own EventSourceResponse, with events that hold raw data: strings it would encode as JSON."""

from collections.abc import AsyncIterator

import fastapi.routing
from fastapi import FastAPI, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from .plan import source
from .settings import PING

if PING is not None:
    fastapi.routing._PING_INTERVAL = PING  # type: ignore[attr-defined]  # it has no setting for it

app = FastAPI()


@app.get("/", response_class=EventSourceResponse)
async def endpoint(request: Request) -> AsyncIterator[ServerSentEvent]:
    async for text in source(request.url.query):
        yield ServerSentEvent(raw_data=text)
