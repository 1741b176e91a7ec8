"""Apps under test, with nothing of the test tools in them."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import EventSourceResponse as FastAPIEventSourceResponse
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from sse_mw import ServerSentEvent, SSEMiddleware, current_stream, sse_route
from sse_mw._types import ASGIApp, Receive, Scope, Send
from support.driver import body, start

ended: list[str] = []


def fastapi() -> FastAPI:
    """An endless clock, a stream that fails, and an ordinary answer."""
    api = FastAPI()

    @api.get("/clock")
    @sse_route
    async def clock(count: int = 0) -> AsyncIterator[Any]:  # pyright: ignore[reportUnusedFunction]
        try:
            yield {"data": f"from {count}", "id": current_stream().last_event_id or "0"}
            while True:
                await anyio.sleep(20)
                yield {"event": "tick", "data": {"count": count}}
                count += 1
        finally:
            await anyio.lowlevel.checkpoint()
            ended.append("clock")

    @api.get("/fails")
    @sse_route
    async def fails(late: bool = True) -> AsyncIterator[str]:  # pyright: ignore[reportUnusedFunction]
        if late:
            yield "one"
        raise LookupError("no more")

    @api.get("/json")
    async def plain() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        return JSONResponse({"detail": "none"}, 404, {"X-One": "1"})

    @api.post("/echo")
    @sse_route
    async def echo(given: dict[str, Any]) -> AsyncIterator[Any]:  # pyright: ignore[reportUnusedFunction]
        yield ServerSentEvent(given)

    return api


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """An endless stream, which heeds the disconnect by itself."""
    assert scope["type"] == "http"
    await send(start())
    await send(body(b"data: 1\n\n: ping\n\ndata: 2\n\n"))
    while (await receive())["type"] != "http.disconnect":
        pass


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """An endless stream that never notices that its client has left."""
    assert scope["type"] == "http"
    await send(start())
    while True:
        await send(body(b"data: x\n\n"))
        await anyio.sleep(1)


async def of_the_peer(request: Request) -> EventSourceResponse:
    async def source() -> AsyncIterator[dict[str, str]]:
        try:
            yield {"data": "first"}
            await anyio.sleep_forever()
        finally:
            ended.append("peer")

    return EventSourceResponse(source(), sep="\n")


def of_fastapi() -> FastAPI:
    api = FastAPI()

    @api.get("/", response_class=FastAPIEventSourceResponse)
    async def endpoint() -> AsyncIterator[str]:  # pyright: ignore[reportUnusedFunction]
        try:
            yield "first"
            await anyio.sleep_forever()
        finally:
            ended.append("fastapi.sse")

    return api


def of_starlette() -> Starlette:
    async def endpoint(request: Request) -> StreamingResponse:
        async def source() -> AsyncIterator[str]:
            try:
                yield 'data: "first"\n\n'
                await anyio.sleep_forever()
            finally:
                ended.append("starlette")

        return StreamingResponse(source(), media_type="text/event-stream")

    return Starlette(routes=[Route("/", endpoint)])


def with_lifespan(events: list[str], *, fails: str | None = None) -> ASGIApp:
    """Notes its lifespan, and answers with its state."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, str]]:
        events.append("startup")
        if fails == "startup":
            raise LookupError("no database")
        yield {"pool": "open"}
        events.append("shutdown")
        if fails == "shutdown":
            raise LookupError("no database any more")

    @sse_route
    async def endpoint(request: Request) -> AsyncIterator[str]:
        yield request.state.pool
        await anyio.sleep_forever()

    return SSEMiddleware(Starlette(routes=[Route("/", endpoint)], lifespan=lifespan))
