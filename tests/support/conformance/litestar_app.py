"""Litestar: handlers with dependencies and guards, a controller, sync handlers, hooks, and tasks of the handlers'."""

from collections.abc import AsyncIterator, Iterator
from inspect import iscoroutinefunction
from typing import Annotated, Any

import anyio
from litestar import Controller, Litestar, MediaType, Request, Response, get, post, route
from litestar.background_tasks import BackgroundTask
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException, LitestarException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.logging import LoggingConfig
from litestar.openapi import OpenAPIConfig
from litestar.params import FromPath, FromQuery, QueryParameter, RawBody
from litestar.response import Redirect, Stream

from sse_mw import MiddlewareMissing, sse_route
from sse_mw._types import ASGIApp, Receive, Scope, Send
from support.conformance.endpoints import endpoints, note, seen

CANNOT = {
    "test_what_belongs_to_the_request_is_open_while_the_source_runs": (
        "Litestar closes what its dependencies opened before it sends a response, those of its own streams too"
    ),
}
ABSENT = {
    "test_a_misplaced_decorator_is_reported": "Litestar's decorators return no function, which @sse_route refuses",
}

PIECES = "on", "e\ntw", "o\n"


async def resource() -> AsyncIterator[dict[str, bool]]:
    held = {"open": True}
    try:
        yield held
    finally:
        held["open"] = False
        note("released")


def refuse(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    raise PermissionDeniedException("not you")


@get("/parameters/{name:str}", sync_to_thread=True)
@sse_route
def parameters(name: FromPath[str], count: Annotated[int, QueryParameter(le=10)]) -> Iterator[str]:
    for _ in range(count):
        yield name


@get("/forbidden")
@sse_route
async def forbidden() -> AsyncIterator[str]:
    raise PermissionDeniedException("not you")
    yield


@get("/forbidden/plain", guards=[refuse])
async def forbidden_plain() -> str:
    return "never"


@get("/redirect")
@sse_route
async def redirect(back: FromQuery[bool] = True) -> Any:
    return Redirect("/elsewhere") if back else ["x"]


@get("/context", dependencies={"held": Provide(resource)})
@sse_route
async def context(held: NamedDependency[dict[str, bool]]) -> AsyncIterator[str]:
    try:
        yield "x"
        await anyio.sleep(3600)
    finally:
        note("used", open=held["open"])


class Small(Controller):
    """Endpoints that are methods."""

    @get("/headers", response_cookies=[Cookie(key="seen", value="yes")])
    @sse_route
    async def headers(self) -> AsyncIterator[str]:
        yield "x"

    @get("/status", status_code=201, sync_to_thread=True)
    @sse_route
    def status(self) -> Iterator[str]:
        yield "x"


@get("/background", background=BackgroundTask(note, "background"))
@sse_route
async def background() -> AsyncIterator[str]:
    yield "x"
    await anyio.sleep(3600)


@get("/background/ends", background=BackgroundTask(note, "background"))
@sse_route
async def background_ends() -> AsyncIterator[str]:
    yield "x"


@post("/echo/before")
@sse_route
async def echo_before(body: RawBody) -> AsyncIterator[str]:
    yield body.decode()


@post("/echo/inside")
@sse_route
async def echo_inside(request: Request[Any, Any, Any]) -> AsyncIterator[str]:
    yield "ready"
    yield (await request.body()).decode()


async def pieces(*texts: str) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def unending() -> AsyncIterator[str]:
    yield "data: x\n\n"
    await anyio.sleep(3600)


@get("/lines", media_type=MediaType.TEXT)
@sse_route(frame="lines")
async def lines() -> Stream:
    return Stream(pieces(*PIECES))


@get("/chunks", media_type=MediaType.TEXT, sync_to_thread=True)
@sse_route(frame="chunks")
def chunks() -> Stream:
    return Stream(pieces(*PIECES))


@get("/own", media_type="text/event-stream")
@sse_route(ping_interval=0.2)
async def own() -> Stream:
    return Stream(unending())


@get("/elsewhere")
async def elsewhere() -> str:
    return "elsewhere"


async def add_header(response: Response[Any]) -> Response[Any]:
    response.headers["x-framework"] = "yes"
    return response


async def track(error: Exception, scope: Any) -> None:
    """What Litestar makes a response of."""
    if not isinstance(error, HTTPException | MiddlewareMissing):
        seen(error)


def tracker(app: ASGIApp) -> Any:
    """An error tracker's middleware: `after_exception` is not called for what fails after the response's start."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except LitestarException as error:
            seen(error.__cause__ or error)
            raise

    return middleware


def make() -> Any:
    handlers = [
        # Litestar answers HEAD where it is told to.
        route(path, http_method=["GET", "HEAD"], sync_to_thread=None if iscoroutinefunction(endpoint) else True)(
            endpoint
        )
        for path, endpoint in endpoints(parameters=False).items()
    ]
    return Litestar(
        [*handlers, parameters, forbidden, forbidden_plain, redirect, context, Small, background, background_ends,
         echo_before, echo_inside, lines, chunks, own, elsewhere],
        after_request=add_header,
        after_exception=[track],
        middleware=[tracker],
        logging_config=LoggingConfig(log_exceptions="always"),  # else it logs none
        openapi_config=OpenAPIConfig("conformance", "1", path="/"),
    )  # fmt: skip
