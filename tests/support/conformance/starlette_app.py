"""Starlette: functions, a method of an HTTPEndpoint, a mount, an exception handler, a middleware."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from sse_mw import sse_route
from sse_mw._types import ASGIApp, Receive, Scope, Send
from support.conformance.endpoints import Tracker, endpoints, note

CANNOT: dict[str, str] = {}
ABSENT = {
    "test_an_invalid_parameter_is_refused_by_the_framework": "validation is the endpoint's own business",
    "test_the_frameworks_status_is_kept": "a status is said by a response object alone",
    "test_a_background_task_runs_after_every_ending": "a task belongs to a response object; `on_close` serves",
    "test_the_openapi_document_is_still_made": "no OpenAPI",
}


@sse_route
async def parameters(request: Request) -> AsyncIterator[Any]:
    for _ in range(int(request.query_params["count"])):
        yield request.path_params["name"]


@sse_route
async def forbidden(request: Request) -> AsyncIterator[Any]:
    raise HTTPException(403, "not you")
    yield


async def forbidden_plain(request: Request) -> Response:
    raise HTTPException(403, "not you")


@sse_route
async def redirect(request: Request) -> Any:
    return RedirectResponse("/elsewhere")


class Headers(HTTPEndpoint):
    @sse_route
    async def get(self, request: Request) -> AsyncIterator[Any]:
        yield "x"


@sse_route
async def context(request: Request) -> AsyncIterator[Any]:
    try:
        yield "x"
        await anyio.sleep(3600)
    finally:
        note("used", open=request.state.resource["open"])


@sse_route
async def echo_before(request: Request) -> Any:
    body = await request.body()

    async def source() -> AsyncIterator[bytes | str]:
        yield body.decode()

    return source()


@sse_route
async def echo_inside(request: Request) -> AsyncIterator[Any]:
    yield "ready"
    yield (await request.body()).decode()


def streaming(media_type: str, *pieces: str, end: bool = True) -> Any:
    async def source() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece
        if not end:
            await anyio.sleep(3600)

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(source(), media_type=media_type)

    return endpoint


async def misplaced(request: Request) -> AsyncIterator[Any]:
    yield "x"


async def elsewhere(request: Request) -> Response:
    return PlainTextResponse("elsewhere")


class Header(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-framework"] = "yes"
        if request.url.path == "/headers":
            response.set_cookie("seen", "yes")
        return response


class Resource:
    """Inside the BaseHTTPMiddleware, and whatever that buffers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        resource = {"open": True}
        scope.setdefault("state", {})["resource"] = resource
        try:
            await self.app(scope, receive, send)
        finally:
            if scope.get("path") == "/context":
                resource["open"] = False
                note("released")


def make() -> ASGIApp:
    pieces = "on", "e\ntw", "o\n"
    routes = [
        *(Route(path, endpoint) for path, endpoint in endpoints(parameters=True).items()),
        Mount("/parameters", routes=[Route("/{name}", parameters)]),
        Route("/forbidden", forbidden),
        Route("/forbidden/plain", forbidden_plain),
        Route("/redirect", redirect),
        Route("/headers", Headers),
        Route("/context", context),
        Route("/echo/before", echo_before, methods=["POST"]),
        Route("/echo/inside", echo_inside, methods=["POST"]),
        Route("/lines", sse_route(frame="lines")(streaming("text/plain", *pieces))),
        Route("/chunks", sse_route(frame="chunks")(streaming("text/plain", *pieces))),
        Route("/own", sse_route(ping_interval=0.2)(streaming("text/event-stream", "data: x\n\n", end=False))),
        Route("/misplaced", misplaced),
        Route("/elsewhere", elsewhere),
    ]
    sse_route(misplaced)
    return Starlette(routes=routes, middleware=[Middleware(Tracker), Middleware(Header), Middleware(Resource)])
