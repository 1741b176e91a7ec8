"""BlackSheep: functions, a controller, its middlewares, its OpenAPI document."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any

import anyio
from blacksheep import Application, Cookie, Request, Response, StreamedContent, redirect
from blacksheep.contents import ServerSentEvent
from blacksheep.exceptions import Forbidden, HTTPException
from blacksheep.server.controllers import Controller
from blacksheep.server.normalization import ensure_response
from blacksheep.server.openapi.v3 import OpenAPIHandler
from openapidocs.v3 import Info  # type: ignore[import-untyped]

from sse_mw import sse_route
from sse_mw._types import ASGIApp
from support.conformance.endpoints import Tracker, endpoints, note, seen

CANNOT = {
    "test_what_belongs_to_the_request_is_open_while_the_source_runs": (
        "middlewares and the scopes of services end as the handler returns, before BlackSheep sends the response"
    ),
    "test_a_misplaced_decorator_is_reported": "BlackSheep does not tell the server's side which function it has called",
}
ABSENT = {
    "test_a_background_task_runs_after_every_ending": "there are none; `finally` and `on_close` serve",
}

app = Application()
router = app.router


@router.get("/parameters/{name}")
@sse_route
async def parameters(name: str, count: int) -> AsyncIterator[Any]:
    for _ in range(count):
        yield name


@router.get("/forbidden")
@sse_route
async def forbidden() -> AsyncIterator[Any]:
    raise Forbidden("not you")
    yield


@router.get("/forbidden/plain")
async def forbidden_plain() -> Response:
    raise Forbidden("not you")


@router.get("/redirect")
@sse_route
async def redirected() -> Any:
    return redirect("/elsewhere")


class Headers(Controller):
    @app.controllers_router.get("/headers")
    @sse_route
    async def get(self) -> AsyncIterator[Any]:
        yield "x"


def created(handler: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[Response]]:
    """A decorator that changes the response, which BlackSheep makes of what a handler returns."""

    @wraps(handler)
    async def creating() -> Response:
        response = ensure_response(await handler())
        response.status = 201
        return response

    return creating


@router.get("/status")
@created
@sse_route
async def status() -> AsyncIterator[Any]:
    yield "x"


@router.get("/context")
@sse_route
async def context(request: Request) -> AsyncIterator[Any]:
    try:
        yield "x"
        await anyio.sleep(3600)
    finally:
        note("used", open=resource_of(request)["open"])


@router.post("/echo/before")
@sse_route
async def echo_before(request: Request) -> Any:
    body = await request.text()

    async def source() -> AsyncIterator[str]:
        yield body

    return source()


@router.post("/echo/inside")
@sse_route
async def echo_inside(request: Request) -> AsyncIterator[Any]:
    yield "ready"
    yield await request.text()


def streaming(content_type: bytes, *pieces: bytes, end: bool = True) -> Response:
    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        if not end:
            await anyio.sleep(3600)

    return Response(200, content=StreamedContent(content_type, source))


@router.get("/lines")
@sse_route(frame="lines")
async def lines() -> Response:
    return streaming(b"text/plain", b"on", b"e\ntw", b"o\n")


@router.get("/chunks")
@sse_route(frame="chunks")
async def chunks() -> Response:
    return streaming(b"text/plain", b"on", b"e\ntw", b"o\n")


@router.get("/own")
@sse_route(ping_interval=0.2)
async def own() -> Response:
    return streaming(b"text/event-stream", b"data: x\n\n", end=False)


@sse_route
@router.get("/misplaced")
async def misplaced() -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent("x")


@router.get("/elsewhere")
async def elsewhere() -> str:
    return "elsewhere"


async def header(request: Request, handler: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await handler(request)
    response.add_header(b"x-framework", b"yes")
    if request.path == "/headers":
        response.set_cookie(Cookie("seen", "yes"))
    return response


def resource_of(request: Request) -> dict[str, bool]:
    scope: Any = request.scope
    resource: dict[str, bool] = scope.setdefault("resource", {"open": True})
    return resource


async def resource(request: Request, handler: Callable[[Request], Awaitable[Response]]) -> Response:
    opened = resource_of(request)
    try:
        return await handler(request)
    finally:
        if request.path == "/context":
            opened["open"] = False
            note("released")


async def failed(request: Request, handler: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        return await handler(request)
    except HTTPException:
        raise
    except Exception as error:
        seen(error)
        raise


def make() -> ASGIApp:
    for path, endpoint in endpoints(parameters=False).items():
        router.add("GET", path, endpoint)
        router.add("HEAD", path, endpoint)

    app.middlewares.extend([failed, header, resource])
    OpenAPIHandler(info=Info("conformance", "1")).bind_app(app)
    return Tracker(app)
