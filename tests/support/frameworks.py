"""Frameworks that stream in their own ways, wrapped, and a journal of what became of their streams.

One is loaded at a time, whichever `FRAMEWORK` in the server's environment names. With `?bare` its app is reached
without the middleware.
"""

import os
from collections.abc import AsyncIterator, Iterator
from time import sleep
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sse_mw import SSEMiddleware
from sse_mw._types import ASGIApp, Receive, Scope, Send
from support.streams import Through, closed, events, note, read_journal

EVENT_STREAM = "text/event-stream"
CLEANING = 0.1


async def cleaning() -> AsyncIterator[bytes]:
    """A source that awaits in its `finally`."""
    try:
        yield b"data: x\n\n"
        await anyio.sleep(3600)
    finally:
        note("finally", "/cleans")
        await anyio.sleep(CLEANING)
        note("cleaned", "/cleans")


async def ending() -> AsyncIterator[bytes]:
    yield b"data: x\n\n"


async def failing() -> AsyncIterator[bytes]:
    yield b"data: x\n\n"
    await anyio.sleep(0.02)
    raise LookupError("in mid-stream")


async def background(path: str) -> None:
    note("background starts", path)
    await anyio.sleep(0.1)
    note("background ends", path)


def source(name: str) -> AsyncIterator[bytes]:
    sources = {"idle": lambda: events("/idle", 3600), "cleans": cleaning, "ends": ending, "fails": failing}
    return sources[name]()


def quart() -> ASGIApp:
    from quart import Quart
    from quart import Response as QuartResponse

    app = Quart("streams")

    @app.get("/<name>")
    async def stream(name: str) -> QuartResponse:
        response = QuartResponse(source(name), content_type=EVENT_STREAM)
        response.timeout = None
        return response

    return app


def litestar() -> ASGIApp:
    from litestar import Litestar, get
    from litestar.background_tasks import BackgroundTask as LitestarTask
    from litestar.response import ServerSentEvent, Stream

    def stream_of(name: str) -> Any:
        @get(f"/{name}", media_type=EVENT_STREAM)
        async def stream() -> Stream:
            return Stream(source(name), media_type=EVENT_STREAM, background=LitestarTask(background, f"/{name}"))

        return stream

    def events_of(name: str) -> Any:
        @get(f"/events/{name}")
        async def stream() -> ServerSentEvent:
            return ServerSentEvent(source(name), background=LitestarTask(background, f"/events/{name}"))

        return stream

    names = ("idle", "ends", "fails")
    return Litestar([*map(stream_of, names), *map(events_of, names)])


def django() -> ASGIApp:
    import django  # type: ignore[import-untyped]
    from django.conf import settings  # type: ignore[import-untyped]
    from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
    from django.http import StreamingHttpResponse  # type: ignore[import-untyped]
    from django.urls import path  # type: ignore[import-untyped]

    async def stream(request: Any, name: str) -> Any:
        return StreamingHttpResponse(source(name), content_type=EVENT_STREAM)

    # `ROOT_URLCONF` may be the patterns themselves.
    settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=(path("<name>", stream),), SECRET_KEY="x", LOGGING_CONFIG=None)
    django.setup()
    return get_asgi_application()  # type: ignore[no-any-return]


def flask() -> ASGIApp:
    from a2wsgi import WSGIMiddleware
    from flask import Flask
    from flask import Response as FlaskResponse

    app = Flask("streams")

    def ticks() -> Iterator[bytes]:
        try:
            for _ in range(80):
                yield b"data: x\n\n"
                sleep(0.01)
        finally:
            note("finally", "/ticks")

    @app.get("/ticks")
    def stream() -> FlaskResponse:
        return FlaskResponse(ticks(), content_type=EVENT_STREAM)

    @app.get("/ordinary")
    def ordinary() -> str:
        return "here"

    return WSGIMiddleware(app, workers=10)  # type: ignore[arg-type]


def fastapi() -> ASGIApp:
    from fastapi import FastAPI
    from fastapi.sse import EventSourceResponse, ServerSentEvent

    app = FastAPI()

    @app.get("/{name}", response_class=EventSourceResponse)
    async def stream(name: str) -> AsyncIterator[ServerSentEvent]:
        async for _ in source(name):
            yield ServerSentEvent(raw_data="x")

    return app


def sse_starlette() -> ASGIApp:
    from sse_starlette import EventSourceResponse

    async def stream(request: Request) -> Response:
        return EventSourceResponse(source(request.path_params["name"]))

    return Starlette(routes=[Route("/{name}", stream)], middleware=[Middleware(Through)] * 3)


def starlette() -> ASGIApp:
    async def stream(request: Request) -> Response:
        task = BackgroundTask(background, request.url.path)
        return StreamingResponse(source(request.path_params["name"]), media_type=EVENT_STREAM, background=task)

    return Starlette(routes=[Route("/{name}", stream)], middleware=[Middleware(Through)] * 3)


bare: ASGIApp = globals()[os.environ["FRAMEWORK"]]()
wrapped = SSEMiddleware(bare, on_close=closed)
its_journal = Starlette(routes=[Route("/journal", read_journal)])


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan" or scope["path"] == "/journal":
        await its_journal(scope, receive, send)
    else:
        await (bare if scope["query_string"] == b"bare" else wrapped)(scope, receive, send)
