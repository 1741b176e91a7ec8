"""FastAPI: dependencies, a router, a sync endpoint, the parameters that FastAPI fills in, middlewares.

Annotations are strings here, as `from __future__ import annotations` makes them: FastAPI has to find what they mean.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse

from sse_mw import sse_route
from sse_mw._types import ASGIApp
from support.conformance.endpoints import Tracker, endpoints, note

CANNOT: dict[str, str] = {}
ABSENT: dict[str, str] = {}

PIECES = "on", "e\ntw", "o\n"

api = APIRouter()
echo = APIRouter(prefix="/echo")


async def resource() -> AsyncIterator[dict[str, bool]]:
    held = {"open": True}
    try:
        yield held
    finally:
        held["open"] = False
        note("released")


async def answer_with_a_cookie(response: Response) -> None:
    response.set_cookie("seen", "yes")


@api.get("/parameters/{name}")
@sse_route
def parameters(name: str, count: int) -> Iterator[str]:
    for _ in range(count):
        yield name


@api.get("/forbidden")
@sse_route
async def forbidden() -> AsyncIterator[str]:
    raise HTTPException(403, "not you")
    yield


@api.get("/forbidden/plain")
async def forbidden_plain() -> str:
    raise HTTPException(403, "not you")


@api.get("/redirect")
@sse_route
async def redirect(back: bool = True) -> Any:
    return RedirectResponse("/elsewhere") if back else ["x"]


@api.get("/headers", dependencies=[Depends(answer_with_a_cookie)])
@sse_route
async def headers() -> AsyncIterator[str]:
    yield "x"


@api.get("/status", status_code=201)
@sse_route
async def status() -> AsyncIterator[str]:
    yield "x"


@api.get("/context")
@sse_route
async def context(held: Annotated[dict[str, bool], Depends(resource)]) -> AsyncIterator[str]:
    try:
        yield "x"
        await anyio.sleep(3600)
    finally:
        note("used", open=held["open"])


@api.get("/background")
@sse_route
async def background(tasks: BackgroundTasks) -> AsyncIterator[str]:
    tasks.add_task(note, "background")
    yield "x"
    await anyio.sleep(3600)


@api.get("/background/ends")
@sse_route
async def background_ends(tasks: BackgroundTasks) -> AsyncIterator[str]:
    yield "x"
    tasks.add_task(note, "background")


@echo.post("/before")
@sse_route
async def echo_before(body: Annotated[bytes, Body(media_type="text/plain")]) -> AsyncIterator[str]:
    yield body.decode()


@echo.post("/inside")
@sse_route
async def echo_inside(request: Request) -> AsyncIterator[str]:
    yield "ready"
    yield (await request.body()).decode()


async def pieces(*texts: str) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def unending() -> AsyncIterator[str]:
    yield "data: x\n\n"
    await anyio.sleep(3600)


@api.get("/lines")
@sse_route(frame="lines")
async def lines() -> StreamingResponse:
    return StreamingResponse(pieces(*PIECES), media_type="text/plain")


@api.get("/chunks")
@sse_route(frame="chunks")
def chunks() -> StreamingResponse:
    return StreamingResponse(pieces(*PIECES), media_type="text/plain")


@api.get("/own")
@sse_route(ping_interval=0.2)
async def own() -> StreamingResponse:
    return StreamingResponse(unending(), media_type="text/event-stream")


@sse_route
@api.get("/misplaced")
async def misplaced() -> AsyncIterator[str]:
    yield "x"


@api.get("/elsewhere", response_class=PlainTextResponse)
async def elsewhere() -> str:
    return "elsewhere"


async def add_header(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers["x-framework"] = "yes"
    return response


def make() -> ASGIApp:
    app = FastAPI()
    for path, endpoint in endpoints(parameters=False).items():
        # FastAPI answers HEAD where it is told to.
        app.get(path)(app.head(path)(endpoint))
    api.include_router(echo)
    app.include_router(api)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    app.middleware("http")(add_header)
    app.add_middleware(Tracker)
    return app
