"""Quart: functions, a blueprint, a class-based view, its hooks and its signal."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
from quart import Blueprint, Quart, Response, abort, after_this_request, g, got_request_exception, redirect, request
from quart.views import MethodView

from sse_mw import sse_route
from sse_mw._types import ASGIApp
from support.conformance.endpoints import Tracker, endpoints, note, seen

CANNOT = {
    "test_what_belongs_to_the_request_is_open_while_the_source_runs": (
        "Quart runs the teardown functions as soon as it has the response, before it sends it"
    ),
    "test_a_misplaced_decorator_is_reported": "Quart does not tell the server's side which function it has called",
}
ABSENT = {
    "test_an_invalid_parameter_is_refused_by_the_framework": "validation is the endpoint's own business",
    "test_a_background_task_runs_after_every_ending": "a background task starts at once; `on_close` serves",
    "test_the_openapi_document_is_still_made": "no OpenAPI",
}

blueprint = Blueprint("its", __name__)


@blueprint.get("/parameters/<name>")
@sse_route
async def parameters(name: str) -> AsyncIterator[Any]:
    for _ in range(int(request.args["count"])):
        yield name


@blueprint.get("/forbidden")
@sse_route
async def forbidden() -> AsyncIterator[Any]:
    abort(403)
    yield


@blueprint.get("/forbidden/plain")
async def forbidden_plain() -> str:
    abort(403)


@blueprint.get("/redirect")
@sse_route
async def redirected() -> AsyncIterator[Any]:
    abort(redirect("/elsewhere"))  # type: ignore[arg-type]
    yield


@blueprint.get("/headers")
@sse_route
async def headers() -> AsyncIterator[Any]:
    @after_this_request
    def with_cookie(response: Any) -> Any:
        response.set_cookie("seen", "yes")
        return response

    yield "x"


class Status(MethodView):
    init_every_request = False

    @sse_route
    def get(self) -> Any:
        @after_this_request
        def with_status(response: Any) -> Any:
            response.status_code = 201
            return response

        return self.source()

    def source(self) -> Iterator[str]:
        yield "x"


@blueprint.get("/context")
@sse_route
async def context() -> AsyncIterator[Any]:
    try:
        yield "x"
        await anyio.sleep(3600)
    finally:
        note("used", open=g.resource["open"])


@blueprint.before_request
def open_resource() -> None:
    g.resource = {"open": True}


@blueprint.teardown_request
def close_resource(error: BaseException | None) -> None:
    if request.path == "/context":
        g.resource["open"] = False
        note("released")


@blueprint.post("/echo/before")
@sse_route
async def echo_before() -> Any:
    body = await request.get_data(as_text=True)

    async def source() -> AsyncIterator[str | bytes]:
        yield body

    return source()


@blueprint.post("/echo/inside")
@sse_route
async def echo_inside() -> AsyncIterator[Any]:
    yield "ready"
    yield await request.get_data(as_text=True)


async def pieces(*given: str, end: bool = True) -> AsyncIterator[str]:
    for piece in given:
        yield piece
    if not end:
        await anyio.sleep(3600)


@blueprint.get("/lines")
@sse_route(frame="lines")
async def lines() -> Response:
    return Response(pieces("on", "e\ntw", "o\n"), content_type="text/plain")


@blueprint.get("/chunks")
@sse_route(frame="chunks")
async def chunks() -> Response:
    return Response(pieces("on", "e\ntw", "o\n"), content_type="text/plain")


@blueprint.get("/own")
@sse_route(ping_interval=0.2)
async def own() -> Response:
    return Response(pieces("data: x\n\n", end=False), content_type="text/event-stream")


@sse_route
@blueprint.get("/misplaced")
async def misplaced() -> AsyncIterator[Any]:
    yield "x"


@blueprint.get("/elsewhere")
async def elsewhere() -> str:
    return "elsewhere"


@blueprint.after_app_request
def header(response: Any) -> Any:
    response.headers["x-framework"] = "yes"
    return response


async def failed(sender: Quart, exception: Exception, **_: Any) -> None:
    seen(exception)


def make() -> ASGIApp:
    app = Quart("conformance")
    app.config["RESPONSE_TIMEOUT"] = 0.5  # ends no source, however long that takes
    for path, endpoint in endpoints(parameters=False).items():
        app.add_url_rule(path, path.strip("/"), endpoint)
    app.register_blueprint(blueprint)
    app.add_url_rule("/status", view_func=Status.as_view("status"))
    got_request_exception.connect(failed, app)
    app.asgi_app = Tracker(app.asgi_app)  # type: ignore[assignment, method-assign]
    return app
