"""Floods for clients that freeze, a paced stream beside them, and a journal of both.

No framework: what anyio's task group has cancelled, Starlette's response in it with its last event, lies on asyncio
until the garbage is collected, which is neither the server's doing nor ours. The journal's times are of the system's
monotonic clock.
"""

import gc
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio

from sse_mw import SSEMiddleware, StreamInfo, sse_route
from sse_mw._types import ASGIApp, Receive, Scope, Send
from support.paced import stamps

# What a server holds for a client is an event at least: so large that its memory shows.
SIZE = int(os.environ.get("SIZE", "500000"))
# A tenth of a second between two: twenty clients' floods must fill their buffers within a second or so, and not keep
# the server from everything else by themselves.
GAP = 0.1

handed_over: dict[str, list[float]] = {}
"""When each event of a flood was given to be sent. The last is the one that got stuck."""
closed: dict[str, tuple[float, str | None, Any]] = {}

logging.basicConfig()
logging.getLogger("sse_mw").setLevel(logging.INFO)


@sse_route
async def source(scope: Scope) -> AsyncIterator[str]:
    while True:
        handed_over.setdefault(scope["path"], []).append(time.monotonic())
        yield "x" * SIZE
        await anyio.sleep(GAP)


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, b"text/event-stream")
    while True:
        handed_over.setdefault(scope["path"], []).append(time.monotonic())
        body = b"data: " + b"x" * SIZE + b"\n\n"  # each its own: a server may keep it without a copy
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await anyio.sleep(GAP)


async def paced(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, b"text/event-stream")
    async for event in stamps():
        await send({"type": "http.response.body", "body": event, "more_body": True})


async def journal(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"].endswith("/collected"):
        gc.collect()
    await start(send, b"application/json")
    # The process that serves: hypercorn's is a child of the one that was started.
    body = json.dumps({"process": os.getpid(), "handed_over": handed_over, "closed": closed}).encode()
    await send({"type": "http.response.body", "body": body})


async def start(send: Send, content_type: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    endpoints: dict[str, ASGIApp] = {"flood": flood, "source": source, "paced": paced, "journal": journal}
    await endpoints[scope["path"].split("/")[1]](scope, receive, send)


def on_close(info: StreamInfo) -> None:
    closed[info.path] = (time.monotonic(), info.reason, info.client)


app = SSEMiddleware(inner, send_timeout=float(os.environ.get("SEND_TIMEOUT", "30")), on_close=on_close)
