"""Sanic under ASGI: functions, a blueprint, a class-based view, its middleware and its signal."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import wraps
from types import SimpleNamespace
from typing import Any, TypeAlias

import anyio
from sanic import Blueprint, Config, HTTPResponse, Request, Sanic, redirect, text
from sanic.exceptions import Forbidden
from sanic.response import ResponseStream
from sanic.views import HTTPMethodView

from sse_mw import sse_route
from sse_mw._types import ASGIApp
from support.conformance.endpoints import endpoints, note, seen

CANNOT = {
    "test_what_belongs_to_the_request_is_open_while_the_source_runs": (
        "the last that Sanic calls under ASGI is its response middleware, before it sends the response"
    ),
    "test_a_misplaced_decorator_is_reported": "Sanic does not tell the server's side which function it has called",
}
ABSENT = {
    "test_an_invalid_parameter_is_refused_by_the_framework": "validation is the handler's own business",
    "test_a_background_task_runs_after_every_ending": "a background task starts at once; `on_close` serves",
    "test_the_openapi_document_is_still_made": "OpenAPI is the extensions'",
}

App: TypeAlias = Sanic[Config, SimpleNamespace]
blueprint = Blueprint("its")


class Parameters(HTTPMethodView):
    @sse_route
    async def get(self, request: Request, name: str) -> AsyncIterator[Any]:
        for _ in range(int(request.args["count"][0])):
            yield name


@blueprint.get("/forbidden")
@sse_route
def forbidden(request: Request) -> Iterator[Any]:
    """A sync handler, which Sanic calls on its event loop: it awaits what that gives."""
    raise Forbidden("not you")
    yield


@blueprint.get("/forbidden/plain")
async def forbidden_plain(request: Request) -> HTTPResponse:
    raise Forbidden("not you")


@blueprint.get("/redirect")
@sse_route
async def redirected(request: Request) -> Any:
    return redirect("/elsewhere")


def changed(change: Callable[[HTTPResponse], object]) -> Callable[..., Any]:
    """A decorator that changes a handler's response."""

    def decorate(handler: Callable[[Request], Awaitable[HTTPResponse]]) -> Callable[..., Any]:
        @wraps(handler)
        async def changing(request: Request) -> HTTPResponse:
            response = await handler(request)
            change(response)
            return response

        return changing

    return decorate


@blueprint.get("/headers")
@changed(lambda response: response.add_cookie("seen", "yes"))
@sse_route
async def headers(request: Request) -> AsyncIterator[Any]:
    yield "x"


@blueprint.get("/status")
@changed(lambda response: setattr(response, "status", 201))
@sse_route
async def status(request: Request) -> AsyncIterator[Any]:
    yield "x"


@blueprint.get("/context")
@sse_route
async def context(request: Request) -> AsyncIterator[Any]:
    try:
        yield "x"
        await anyio.sleep(3600)
    finally:
        note("used", open=request.ctx.resource["open"])


@blueprint.on_request
async def open_resource(request: Request) -> None:
    request.ctx.resource = {"open": True}


@blueprint.on_response  # type: ignore[untyped-decorator]
async def close_resource(request: Request, response: HTTPResponse) -> None:
    if request.path == "/context":
        request.ctx.resource["open"] = False
        note("released")


@blueprint.post("/echo/before")
@sse_route
async def echo_before(request: Request) -> Any:
    body = request.body.decode()

    async def source() -> AsyncIterator[str]:
        yield body

    return source()


@blueprint.post("/echo/inside", stream=True)
@sse_route
async def echo_inside(request: Request) -> AsyncIterator[Any]:
    yield "ready"
    await request.receive_body()  # type: ignore[no-untyped-call]
    yield request.body.decode()


@blueprint.get("/lines")
@sse_route(frame="lines")
async def lines(request: Request) -> None:
    await respond(request)


@blueprint.get("/chunks")
@sse_route(frame="chunks")
async def chunks(request: Request) -> None:
    await respond(request)


async def respond(request: Request) -> None:
    response: Any = await request.respond(content_type="text/plain")
    for piece in "on", "e\ntw", "o\n":
        await response.send(piece)
    await response.eof()


@blueprint.get("/own")
@sse_route(ping_interval=0.2)
async def own(request: Request) -> ResponseStream:
    async def stream(response: Any) -> None:
        await response.write("data: x\n\n")
        await anyio.sleep(3600)

    return ResponseStream(stream, content_type="text/event-stream")


async def misplaced(request: Request) -> Any:
    yield "x"


@blueprint.get("/elsewhere")
async def elsewhere(request: Request) -> HTTPResponse:
    return text("elsewhere")


async def header(request: Request, response: HTTPResponse) -> None:
    response.headers["x-framework"] = "yes"


async def failed(exception: Exception, **_: Any) -> None:
    seen(exception)


def make() -> ASGIApp:
    app: App = Sanic("conformance", configure_logging=False)
    for path, endpoint in endpoints(parameters=True).items():
        app.add_route(endpoint, path, methods=["GET", "HEAD"], name=path.strip("/"))
    app.add_route(Parameters.as_view(), "/parameters/<name>")
    app.add_route(misplaced, "/misplaced")
    sse_route(misplaced)
    app.blueprint(blueprint)
    app.on_response(header)  # type: ignore[no-untyped-call]
    app.signal("http.lifecycle.exception")(failed)
    return app
