"""What real servers serve in the tests: streams of every kind, wrapped, and a journal of what became of them.

The journal's times are of the system's monotonic clock, so that a client in another process can compare its own.
"""

import gc
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from sse_mw import SSEMiddleware, StreamInfo, sse_route
from sse_mw._types import ASGIApp, Receive, Scope, Send

journal: list[dict[str, Any]] = []
made: dict[str, int] = {}


def note(what: str, path: str, **more: Any) -> None:
    journal.append({"what": what, "path": path, "at": time.monotonic(), **more})


async def events(name: str, gap: float, chunk: bytes = b"data: x\n\n") -> AsyncIterator[bytes]:
    """One event each `gap` seconds, for ever; its end is in the journal."""
    try:
        while True:
            made[name] = made.get(name, 0) + 1
            yield chunk
            if gap:
                await anyio.sleep(gap)
    finally:
        note("finally", name)


def raw(name: str, gap: float, chunk: bytes = b"data: x\n\n") -> ASGIApp:
    """An ASGI app with no framework, that listens for nothing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        source = events(name, gap, chunk)
        try:
            async for event in source:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        finally:
            with anyio.CancelScope(shield=True):
                await source.aclose()  # type: ignore[attr-defined]

    return app


@sse_route
async def source(scope: Scope) -> AsyncIterator[str]:
    yield "x"
    await anyio.sleep(3600)


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await anyio.sleep_forever()


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    raise LookupError("in mid-stream")


async def lines(scope: Scope, receive: Receive, send: Send) -> None:
    """A legacy app."""
    headers = [(b"content-type", b"application/x-ndjson")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(5):
        await send({"type": "http.response.body", "body": b'{"line":%d}\n' % number, "more_body": True})
        await anyio.sleep(0.05)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def nested(request: Request) -> Response:
    return StreamingResponse(events("/nested/", 3600), media_type="text/event-stream")


class Through(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


def with_layers(count: int) -> ASGIApp:
    app = Starlette(routes=[Route("/", nested)])
    for _ in range(count):
        app.add_middleware(Through)
    return app


async def read_journal(request: Request) -> Response:
    return JSONResponse({"journal": journal, "made": made})


async def counts(request: Request) -> Response:
    """What the process holds, by kind, once it has collected its garbage."""
    gc.collect()
    kinds: dict[str, int] = {}
    for thing in gc.get_objects():
        name = f"{type(thing).__module__}.{type(thing).__qualname__}"
        kinds[name] = kinds.get(name, 0) + 1
    return JSONResponse(
        {"tasks": _count_tasks(), "descriptors": _count_descriptors(), "kinds": kinds,
         "stats": {"open": app.stats().open, "closed": dict(app.stats().closed)}}
    )  # fmt: skip


def _count_descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def _count_tasks() -> int:
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return int(trio.lowlevel.current_statistics().tasks_living)
    import asyncio

    return len(asyncio.all_tasks())


def closed(info: StreamInfo) -> None:
    note("closed", info.path, reason=info.reason, made=made.get(info.path, 0), pings=info.pings)


inner = Starlette(
    routes=[
        Route("/journal", read_journal),
        Route("/counts", counts),
        Mount("/idle", raw("/idle/", 3600)),
        Mount("/source", source),
        Mount("/paced", raw("/paced/", 0.1)),
        Mount("/busy", raw("/busy/", 0)),
        Mount("/flood", raw("/flood/", 0, b"data: " + b"x" * 60_000 + b"\n\n")),
        Mount("/nested", with_layers(3)),
        Mount("/silent", silent),
        Mount("/fails", fails),
        Mount("/lines", lines),
    ]
)


app = SSEMiddleware(inner, send_timeout=1.0, on_close=closed, frame={"application/x-ndjson": "lines"})
pinging = SSEMiddleware(inner, ping_interval=0.2, on_close=closed)
limited = SSEMiddleware(inner, max_duration=0.5, on_close=closed)
