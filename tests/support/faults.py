"""A server that is killed, and what it serves: numbered events, which go on after the last one that a client has seen.

It notes on stdout who came, with what `Last-Event-ID`, and who left: the notes outlive the process.
"""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from sse_mw import SSEMiddleware, StreamInfo, current_stream, sse_route
from sse_mw._types import Scope
from support.streams import closed, raw, read_journal

RETRY = 1000
"""Milliseconds."""
GAP = 0.2
"""Seconds between two events."""


def note(what: str, **more: Any) -> None:
    print(json.dumps({"what": what, "at": time.monotonic(), **more}), flush=True)


@sse_route
async def numbers(request: Request) -> AsyncIterator[dict[str, str]]:
    last = current_stream().last_event_id
    note("opened", client=request.url.query, last=last)
    number = int(last or 0)
    while True:
        number += 1
        yield {"id": str(number), "data": str(number)}
        await anyio.sleep(GAP)


async def page(request: Request) -> Response:
    """An empty page, for scripts of the same origin."""
    return HTMLResponse("<!doctype html><link rel=icon href=data:,>")


def noted(info: StreamInfo) -> None:
    note("closed", reason=info.reason)


counted = Starlette(routes=[Route("/", page), Route("/numbers", numbers)])
app = SSEMiddleware(counted, retry=RETRY, drain_grace=0, on_close=noted)


@sse_route
async def short(scope: Scope) -> AsyncIterator[str]:
    yield "x"
    await anyio.sleep(GAP)


@sse_route(max_duration=0.5)
async def limited(scope: Scope) -> AsyncIterator[str]:
    yield "x"
    await anyio.sleep_forever()


streams = SSEMiddleware(
    Starlette(
        routes=[
            Route("/journal", read_journal),
            Mount("/idle", raw("/idle/", 3600)),
            Mount("/busy", raw("/busy/", 0.001)),
            Mount("/flood", raw("/flood/", 0.001, b"data: " + b"x" * 60_000 + b"\n\n")),
            Mount("/short", short),
            Mount("/limited", limited),
        ]
    ),
    on_close=closed,
)
"""Busy ones that await as well. Another keeps the loop from telling that its client has left, and asyncio warns."""
