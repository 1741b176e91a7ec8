"""Flask, a WSGI framework, behind a2wsgi: functions, a blueprint, a class-based view, its hooks and its signal."""

import time
from collections.abc import Iterator
from typing import Any

from a2wsgi import WSGIMiddleware
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    after_this_request,
    g,
    got_request_exception,
    redirect,
    request,
)
from flask.views import MethodView

from sse_mw import sse_route
from sse_mw._types import ASGIApp
from support.conformance.endpoints import Tracker, endpoints, note, seen

CANNOT = {
    "test_what_belongs_to_the_request_is_open_while_the_source_runs": (
        "Flask runs the teardown functions once it has given its response to WSGI, whose thread waits for no event"
    ),
    "test_a_misplaced_decorator_is_reported": "WSGI does not tell the server's side which function was called",
}
ABSENT = {
    "test_an_invalid_parameter_is_refused_by_the_framework": "validation is the view's own business",
    "test_a_background_task_runs_after_every_ending": (
        "there are none, and what call_on_close registers runs once WSGI is through with the placeholder"
    ),
    "test_the_openapi_document_is_still_made": "no OpenAPI",
}

blueprint = Blueprint("its", __name__)


@blueprint.get("/parameters/<name>")
@sse_route
def parameters(name: str) -> Iterator[Any]:
    for _ in range(int(request.args["count"])):
        yield name


@blueprint.get("/forbidden")
@sse_route
def forbidden() -> Iterator[Any]:
    abort(403)
    yield


@blueprint.get("/forbidden/plain")
def forbidden_plain() -> str:
    abort(403)


@blueprint.get("/redirect")
@sse_route
def redirected() -> Any:
    return redirect("/elsewhere")


@blueprint.get("/headers")
@sse_route
def headers() -> Iterator[Any]:
    @after_this_request
    def with_cookie(response: Response) -> Response:
        response.set_cookie("seen", "yes")
        return response

    yield "x"


class Status(MethodView):
    init_every_request = False

    @sse_route
    def get(self) -> Any:
        @after_this_request
        def with_status(response: Response) -> Response:
            response.status_code = 201
            return response

        return self.source()

    def source(self) -> Iterator[str]:
        yield "x"


@blueprint.get("/context")
@sse_route
def context() -> Iterator[Any]:
    try:
        for _ in range(1000):
            yield "x"
            time.sleep(0.01)
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
def echo_before() -> Any:
    return [request.get_data(as_text=True)]


@blueprint.post("/echo/inside")
@sse_route
def echo_inside() -> Iterator[Any]:
    yield "ready"
    yield request.get_data(as_text=True)


def pieces(*given: str, end: bool = True) -> Iterator[str]:
    yield from given
    if not end:
        time.sleep(1)  # in a thread of the server's, which waits for it at its end


@blueprint.get("/lines")
@sse_route(frame="lines")
def lines() -> Response:
    return Response(pieces("on", "e\ntw", "o\n"), content_type="text/plain")


@blueprint.get("/chunks")
@sse_route(frame="chunks")
def chunks() -> Response:
    return Response(pieces("on", "e\ntw", "o\n"), content_type="text/plain")


@blueprint.get("/own")
@sse_route(ping_interval=0.2)
def own() -> Response:
    return Response(pieces("data: x\n\n", end=False), content_type="text/event-stream")


@sse_route
@blueprint.get("/misplaced")
def misplaced() -> Iterator[Any]:
    yield "x"


@blueprint.get("/elsewhere")
def elsewhere() -> str:
    return "elsewhere"


@blueprint.after_app_request
def header(response: Response) -> Response:
    response.headers["x-framework"] = "yes"
    return response


def failed(sender: Flask, exception: Exception, **_: Any) -> None:
    seen(exception)


def make() -> ASGIApp:
    app = Flask("conformance")
    for path, endpoint in endpoints(parameters=False).items():
        app.add_url_rule(path, path.strip("/"), endpoint)
    app.register_blueprint(blueprint)
    app.add_url_rule("/status", view_func=Status.as_view("status"))
    got_request_exception.connect(failed, app)
    return Tracker(WSGIMiddleware(app))  # type: ignore[arg-type]
