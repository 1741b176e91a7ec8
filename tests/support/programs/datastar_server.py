"""Datastar's own response class behind the middleware, and its events from an endpoint under `@sse_route`."""

from collections.abc import AsyncIterator

import anyio
from datastar_py.sse import DatastarEvent
from datastar_py.starlette import DatastarResponse, ServerSentEventGenerator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from sse_mw import SSEMiddleware, sse_route


async def events() -> AsyncIterator[DatastarEvent]:
    try:
        yield ServerSentEventGenerator.patch_elements('<p id="a">one\ntwo</p>')
        await anyio.sleep(0.3)
        yield ServerSentEventGenerator.patch_signals({"count": 1})
        await anyio.sleep_forever()
    finally:
        print("stopped", flush=True)


async def response(request: Request) -> DatastarResponse:
    return DatastarResponse(events())


@sse_route
async def route(request: Request) -> AsyncIterator[bytes]:
    async for event in events():
        yield event.encode()  # it is framed already, and a str would be data


app = SSEMiddleware(Starlette(routes=[Route("/response", response), Route("/route", route)]), ping_interval=0.1)
