"""What every server of the matrix serves. Its journal is a file, as several worker processes may write it."""

import json
import logging
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio

from sse_mw import SSEMiddleware, StreamInfo, current_stream, sse_route
from sse_mw._types import ASGIApp, Receive, Scope, Send

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
JOURNAL = os.environ.get("JOURNAL", os.devnull)


def note(what: str, path: str, **more: Any) -> None:
    """A line, whose time is of the system's monotonic clock, which all processes share."""
    line = json.dumps({"what": what, "path": path, "at": time.monotonic(), **more}) + "\n"
    with open(JOURNAL, "a") as journal:  # noqa: PTH123 (one write in append mode, so that lines stay whole)
        journal.write(line)


@sse_route
async def idle(scope: Scope) -> AsyncIterator[str]:
    note("started", scope["path"])
    try:
        yield "x"
        await anyio.sleep(3600)
    finally:
        note("finally", scope["path"])
        await anyio.sleep(0.05)
        note("cleaned up", "/idle")


@sse_route
async def busy(scope: Scope) -> AsyncIterator[str]:
    while True:
        yield "x" * 1000
        await anyio.sleep(0.001)


@sse_route
async def paced(scope: Scope) -> AsyncIterator[str]:
    while True:
        yield "x"
        await anyio.sleep(0.02)


@sse_route
async def flood(scope: Scope) -> AsyncIterator[str]:
    while True:
        yield "x" * 60_000


@sse_route(ping_interval=0.2)
async def pinged(scope: Scope) -> AsyncIterator[str]:
    await anyio.sleep(3600)
    yield "never"


@sse_route
async def ticks(scope: Scope) -> AsyncIterator[str]:
    for number in range(5):
        yield str(number)


@sse_route
async def says_good_bye(scope: Scope) -> AsyncIterator[Any]:
    yield "x"
    await current_stream().wait_draining()
    yield {"event": "bye", "data": "back soon"}


async def passed_through(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
    await anyio.sleep(3600)


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
    raise LookupError("in mid-stream")


ENDPOINTS: dict[str, ASGIApp] = {
    "idle": idle,
    "busy": busy,
    "paced": paced,
    "flood": flood,
    "pinged": pinged,
    "ticks": ticks,
    "good-bye": says_good_bye,
    "passed-through": passed_through,
    "fails": fails,
}


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        print("lifespan startup", flush=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await ENDPOINTS[scope["path"].split("/")[1]](scope, receive, send)


def closed(info: StreamInfo) -> None:
    note("closed", info.path, reason=info.reason)


app = SSEMiddleware(inner, send_timeout=1.0, drain_grace=float(os.environ.get("GRACE", "1")), on_close=closed)
