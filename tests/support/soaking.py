"""What a soak's server serves: streams of every kind, on middleware that ends them in every way, and a count of it all.

Nothing of the app's own grows with the streams that it has served: what grows is a leak.
"""

import gc
import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sse_mw import SSEMiddleware, StreamInfo, sse_route
from sse_mw._types import ASGIApp, Receive, Scope, Send
from support.paced import stamps

PAGE = os.sysconf("SC_PAGE_SIZE")
EVENT_STREAM = "text/event-stream"
LINES = 5
GAP = 0.02

ended: Counter[str] = Counter()
"""Streams by the reason of their end, of all middleware there ever was."""


class OneLine(logging.Formatter):
    """An app's failure without its traceback, so that any traceback in the server's output is one too many."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return f"because of {ei[1]!r}"


def log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("sse_mw: %(levelname)s: %(message)s"))
    logger = logging.getLogger("sse_mw")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


async def start(send: Send, content_type: str = EVENT_STREAM) -> None:
    headers = [(b"content-type", content_type.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def body(send: Send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


# Passed through


async def paced(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send)
    async for event in stamps(GAP):
        await body(send, event)


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send)
    while True:
        await body(send, b"data: " + os.urandom(1) * 60_000 + b"\n\n")
        await anyio.sleep(0.005)  # a soak of everything, and not of the loopback's throughput


async def finite(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send)
    for number in range(LINES):
        await body(send, b"data: %d\n\n" % number)
    await body(send, b"", more=False)


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send)
    await body(send, b"data: 1\n\n")
    raise LookupError("in mid-stream")


async def forgets(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send)
    await body(send, b"data: 1\n\n")


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send)
    await anyio.sleep_forever()


async def lines(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, "application/x-ndjson")
    for number in range(LINES):
        await body(send, b'{"line":%d}\n' % number)
        await anyio.sleep(0.001)
    await body(send, b"", more=False)


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, "text/plain")
    await body(send, b"plain", more=False)


async def missing(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await body(send, b"", more=False)


async def in_starlette(request: Request) -> Response:
    return StreamingResponse(stamps(GAP), media_type=EVENT_STREAM)


# From sources


@sse_route
async def source(scope: Scope) -> AsyncIterator[Any]:
    """It has much to clean up, and does so with an await."""
    try:
        number = 0
        while True:
            yield {"data": "x" * 100, "id": str(number)}
            number += 1
            await anyio.sleep(GAP)
    finally:
        await checkpoint()


@sse_route
def in_thread(scope: Scope) -> Iterator[str]:
    while True:
        yield "x"
        time.sleep(GAP)


@sse_route
async def source_fails(scope: Scope) -> AsyncIterator[str]:
    yield "x"
    raise LookupError("in a source")


@sse_route
async def source_ends(scope: Scope) -> AsyncIterator[str]:
    for number in range(LINES):
        yield str(number)


endpoints: dict[str, ASGIApp] = {
    "paced": paced,
    "flood": flood,
    "finite": finite,
    "fails": fails,
    "forgets": forgets,
    "silent": silent,
    "lines": lines,
    "plain": plain,
    "starlette": Starlette(routes=[Route("/{path:path}", in_starlette, methods=["GET", "POST"])]),
    "source": source,
    "thread": in_thread,
    "source-fails": source_fails,
    "source-ends": source_ends,
}


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    # A stranger may ask for anything, one that looks for a server which had this port before.
    await endpoints.get(scope["path"].rpartition("/")[2], missing)(scope, receive, send)


# Around them


def on_close(info: StreamInfo) -> None:
    ended[str(info.reason)] += 1


async def on_close_later(info: StreamInfo) -> None:
    await checkpoint()
    on_close(info)


main = SSEMiddleware(
    inner,
    ping_interval=0.5,
    send_timeout=1.0,
    drain_grace=0.5,
    on_close=on_close,
    on_error=lambda error: {"event": "error", "data": "sorry"},
    frame={"application/x-ndjson": "lines"},
)
limited = SSEMiddleware(inner, ping_interval=0.05, max_duration=0.4, retry=1000, padding=100, on_close=on_close_later)
quiet = SSEMiddleware(inner, ping_interval=None, idle_timeout=0.2, on_close=on_close)
waves: dict[str, SSEMiddleware] = {}
"""Middleware made for a few streams each, and drained while the others go on."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    match scope["path"].split("/")[1:]:
        case ["counts"]:
            await answer(send, counts())
        case ["limited", *_]:
            await limited(scope, receive, send)
        case ["quiet", *_]:
            await quiet(scope, receive, send)
        case ["wave", name, _]:
            wave = waves.get(name) or waves.setdefault(name, SSEMiddleware(inner, drain_grace=0.1, on_close=on_close))
            await wave(scope, receive, send)
        case ["drain", name]:
            await waves[name].drain()
            await answer(send, {"open": waves[name].stats().open})
        case ["forget", name]:
            await answer(send, {"opened": waves.pop(name).stats().opened})
        case _:
            await main(scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    for moment in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{moment}.complete"})


async def answer(send: Send, content: Any) -> None:
    await start(send, "application/json")
    await body(send, json.dumps(content).encode(), more=False)


def counts() -> dict[str, Any]:
    """What the process holds, once its garbage is collected."""
    import asyncio

    gc.collect()
    process = Path("/proc/self")
    return {
        "open": sum(each.stats().open for each in (main, limited, quiet, *waves.values())),
        "ended": ended,
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len([*(process / "fd").iterdir()]),
        "threads": threading.active_count(),
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks(),  # of bytes and strings too, which the collector does not know
        "memory": int((process / "statm").read_text().split()[1]) * PAGE,
    }


log_to_stderr()
