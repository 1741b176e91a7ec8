"""Streams that are open when their server is told to end, and a lifespan that says how far it came."""

import os
from collections.abc import AsyncIterator

import anyio

from sse_mw import SSEMiddleware, sse_route
from sse_mw._types import ASGIApp, Receive, Scope, Send


@sse_route
async def idle(scope: Scope, receive: Receive, send: Send) -> AsyncIterator[str]:
    yield "x"
    await anyio.sleep(3600)


@sse_route
async def busy(scope: Scope, receive: Receive, send: Send) -> AsyncIterator[str]:
    while True:
        yield "x" * 1000
        await anyio.sleep(0.001)


async def passed_through(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
    await anyio.sleep(3600)


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
    else:
        endpoints: dict[str, ASGIApp] = {"/idle": idle, "/busy": busy, "/passed-through": passed_through}
        await endpoints[scope["path"]](scope, receive, send)


app = SSEMiddleware(inner, drain_grace=float(os.environ.get("GRACE", "1")))
