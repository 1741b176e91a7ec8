"""Falcon under ASGI: resources with responders, a hook, a middleware, an error handler."""

from collections.abc import AsyncIterator, Callable
from inspect import iscoroutinefunction
from typing import Any

import anyio
import falcon
import falcon.asgi
from falcon.asgi import Request, Response
from falcon.util import wrap_sync_to_async_unsafe

from sse_mw import sse_route
from sse_mw._types import ASGIApp
from support.conformance.endpoints import Tracker, endpoints, note, seen

CANNOT = {
    "test_what_belongs_to_the_request_is_open_while_the_source_runs": (
        "process_response, which is the last that Falcon calls, comes before it sends the response"
    ),
}
ABSENT = {
    "test_the_openapi_document_is_still_made": "no OpenAPI",
    "test_a_misplaced_decorator_is_reported": "a responder is found by its name, not by a decorator",
}


class Parameters:
    @sse_route
    async def on_get(self, req: Request, resp: Response, name: str) -> AsyncIterator[Any]:
        for _ in range(req.get_param_as_int("count", required=True)):
            yield name


class Forbidden:
    @sse_route
    async def on_get(self, req: Request, resp: Response) -> AsyncIterator[Any]:
        raise falcon.HTTPForbidden(description="not you")
        yield

    async def on_get_plain(self, req: Request, resp: Response) -> None:
        raise falcon.HTTPForbidden(description="not you")


class Redirect:
    @sse_route
    async def on_get(self, req: Request, resp: Response) -> AsyncIterator[Any]:
        raise falcon.HTTPFound("/elsewhere")
        yield


async def with_cookie(req: Request, resp: Response, resource: object, params: dict[str, Any]) -> None:
    resp.set_cookie("seen", "yes")


class Headers:
    @falcon.before(with_cookie)
    @sse_route
    async def on_get(self, req: Request, resp: Response) -> AsyncIterator[Any]:
        yield "x"


class Status:
    @sse_route
    async def on_get(self, req: Request, resp: Response) -> AsyncIterator[Any]:
        resp.status = falcon.HTTP_201
        yield "x"


class Context:
    @sse_route
    async def on_get(self, req: Request, resp: Response) -> AsyncIterator[Any]:
        try:
            yield "x"
            await anyio.sleep(3600)
        finally:
            note("used", open=req.context.resource["open"])


class Background:
    """What is scheduled for the time after the response."""

    @sse_route
    async def on_get(self, req: Request, resp: Response) -> AsyncIterator[Any]:
        resp.schedule(self.task)
        yield "x"
        await anyio.sleep(3600)

    @sse_route
    async def on_get_ends(self, req: Request, resp: Response) -> AsyncIterator[Any]:
        resp.schedule(self.task)
        yield "x"

    async def task(self) -> None:
        note("background")


class Echo:
    @sse_route
    async def on_post_before(self, req: Request, resp: Response) -> Any:
        return [(await req.stream.read()).decode()]

    @sse_route
    async def on_post_inside(self, req: Request, resp: Response) -> AsyncIterator[Any]:
        yield "ready"
        yield (await req.stream.read()).decode()


class Streams:
    """Responses of Falcon's own."""

    @sse_route(frame="lines")
    async def on_get_lines(self, req: Request, resp: Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = pieces("on", "e\ntw", "o\n")

    @sse_route(frame="chunks")
    async def on_get_chunks(self, req: Request, resp: Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = pieces("on", "e\ntw", "o\n")

    @sse_route(ping_interval=0.2)
    async def on_get_own(self, req: Request, resp: Response) -> Response:
        resp.content_type = "text/event-stream"
        resp.stream = pieces("data: x\n\n", end=False)
        return resp  # which says that there is a response already

    async def on_get_elsewhere(self, req: Request, resp: Response) -> None:
        resp.text = "elsewhere"


async def pieces(*given: str, end: bool = True) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece.encode()
    if not end:
        await anyio.sleep(3600)


class Middleware:
    async def process_request(self, req: Request, resp: Response) -> None:
        req.context.resource = {"open": True}

    async def process_response(self, req: Request, resp: Response, resource: object, req_succeeded: bool) -> None:
        resp.set_header("x-framework", "yes")
        if req.path == "/context":
            req.context.resource["open"] = False
            note("released")


async def failed(req: Request, resp: Response, error: Exception, params: dict[str, Any]) -> None:
    seen(error)
    raise falcon.HTTPInternalServerError from error


def resource_of(endpoint: Callable[..., Any]) -> object:
    """A resource with this one responder, for GET and HEAD; a sync one Falcon has to be told of."""
    responder = staticmethod(endpoint if iscoroutinefunction(endpoint) else wrap_sync_to_async_unsafe(endpoint))
    return type("Resource", (), {"on_get": responder, "on_head": responder})()


def make() -> ASGIApp:
    app = falcon.asgi.App(middleware=Middleware())
    app.add_error_handler(Exception, failed)
    for path, endpoint in endpoints(parameters=True).items():
        app.add_route(path, resource_of(endpoint))
    app.add_route("/parameters/{name}", Parameters())
    app.add_route("/forbidden", Forbidden())
    app.add_route("/forbidden/plain", Forbidden(), suffix="plain")
    app.add_route("/redirect", Redirect())
    app.add_route("/headers", Headers())
    app.add_route("/status", Status())
    app.add_route("/context", Context())
    app.add_route("/background", Background())
    app.add_route("/background/ends", Background(), suffix="ends")
    app.add_route("/echo/before", Echo(), suffix="before")
    app.add_route("/echo/inside", Echo(), suffix="inside")
    for name in "lines", "chunks", "own", "elsewhere":
        app.add_route(f"/{name}", Streams(), suffix=name)
    return Tracker(app)
