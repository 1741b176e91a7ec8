"""What single frameworks do in ways of their own, in-process; what all of them share is in tests/conformance."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
import pytest

from sse_mw import SSEMiddleware, sse_route
from support.docs import asgi, stream


async def source() -> AsyncIterator[str]:
    yield "x"


def quart_app() -> Any:
    from quart import Quart

    app = Quart("ways")

    @app.get("/refused")
    @sse_route
    async def refused() -> Any:
        return "Forbidden", 403

    @app.get("/with-status")
    @sse_route
    async def with_status() -> Any:
        return source(), 201

    @app.get("/with-headers")
    @sse_route
    async def with_headers() -> Any:
        return source(), {"x-own": "1"}

    @app.get("/with-both")
    @sse_route
    async def with_both() -> Any:
        return source(), 202, [("x-own", "1")]

    @app.get("/a-tuple")
    @sse_route
    async def a_tuple() -> Any:
        return "one", "two"

    return SSEMiddleware(app)


def test_quarts_tuples_are_responses_and_their_source_is_streamed() -> None:
    app = quart_app()
    assert (asgi(app, "/refused").status, stream(app, "/refused")) == (403, "Forbidden")
    assert (asgi(app, "/with-status").status, stream(app, "/with-status")) == (201, "data: x\n\n")
    assert asgi(app, "/with-headers").headers[b"x-own"] == b"1"
    both = asgi(app, "/with-both")
    assert (both.status, both.headers[b"x-own"], both.body) == (202, b"1", b"data: x\n\n")
    assert stream(app, "/a-tuple") == "data: one\n\ndata: two\n\n"


def test_a_tuple_elsewhere_is_a_collection_of_events() -> None:
    @sse_route
    async def raw(scope: Any) -> Any:
        return "one", 2

    assert stream(SSEMiddleware(raw)) == "data: one\n\ndata: 2\n\n"


def test_a_responder_of_falcons_that_sets_its_response_by_itself_returns_nothing() -> None:
    import falcon.asgi

    class Own:
        @sse_route(ping_interval=2)
        async def on_get(self, req: Any, resp: Any) -> None:
            async def chunks() -> AsyncIterator[bytes]:
                yield b"data: x\n\n"
                await anyio.sleep(3)

            resp.content_type = "text/event-stream"
            resp.stream = chunks()

        @sse_route
        async def on_post(self, req: Any, resp: Any) -> None:
            """Forgotten."""

    falcon_app: Any = falcon.asgi.App()
    falcon_app.add_route("/", Own())
    app = SSEMiddleware(falcon_app)
    assert stream(app) == "data: x\n\n: ping\n\n"
    assert asgi(app, method="POST").status == 500


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_view_behind_a_sync_middleware_of_djangos_may_use_sync_to_async_in_its_source(kind: str) -> None:
    """Where the bridge that the view was called over is gone by then."""
    from asgiref.sync import async_to_sync, sync_to_async

    ran: list[int] = []

    @sse_route
    async def view(request: str) -> AsyncIterator[str]:
        ran.append(await sync_to_async(lambda: 1)())
        yield "x"
        await anyio.sleep(1)
        ran.append(await sync_to_async(lambda: 2)())
        yield "y"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if kind == "sync":
            placeholder: Any = await sync_to_async(lambda: async_to_sync(view)("request"))()
        else:
            placeholder = await view("request")
        await placeholder(scope, receive, send)

    assert stream(SSEMiddleware(app)) == "data: x\n\ndata: y\n\n"
    assert ran == [1, 2]


@pytest.mark.parametrize("annotated", [False, True])
def test_what_is_to_be_framed_is_made_by_fastapi_as_ever(annotated: bool) -> None:
    from fastapi import FastAPI

    api = FastAPI()

    async def plain():  # type: ignore[no-untyped-def]
        return {"a": 1}

    async def with_model() -> dict[str, int]:
        return {"a": 1}

    api.get("/")(sse_route(frame="lines")(with_model if annotated else plain))
    assert stream(SSEMiddleware(api)) == 'data: {"a":1}\n\n'


@pytest.mark.parametrize(
    "returned",
    [AsyncIterator[str] | None, Annotated[AsyncIterator[str], "note"], "AsyncIterator[OnlyForTypeCheckers]"],
    ids=["union", "annotated", "unknown"],
)
def test_fastapi_takes_whatever_annotation_an_endpoint_has_that_returns_a_source(returned: Any) -> None:
    from fastapi import FastAPI

    api = FastAPI()

    async def endpoint() -> Any:
        return source()

    endpoint.__annotations__["return"] = returned
    api.get("/")(sse_route(endpoint))
    assert stream(SSEMiddleware(api)) == "data: x\n\n"
    assert api.openapi()["paths"]["/"]


def test_a_compressed_response_that_was_to_be_framed_is_named(caplog: pytest.LogCaptureFixture) -> None:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    @sse_route(frame="lines")
    async def legacy(request: Request) -> PlainTextResponse:
        return PlainTextResponse("x" * 1000)

    app = SSEMiddleware(Starlette(routes=[Route("/", legacy)], middleware=[Middleware(GZipMiddleware)]))
    assert asgi(app, headers={"accept-encoding": "gzip"}).headers[b"content-encoding"] == b"gzip"
    assert "was to be framed, but something inside has compressed it" in caplog.text
    assert stream(app).startswith("data: xxx")


def test_an_error_of_a_dependencys_cleanup_is_logged_beside_the_sources(caplog: pytest.LogCaptureFixture) -> None:
    from fastapi import Depends, FastAPI

    api = FastAPI()

    async def resource() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise KeyError("the cleanup's")

    @api.get("/")
    @sse_route
    async def endpoint(given: Annotated[int, Depends(resource)]) -> AsyncIterator[str]:
        yield "x"
        raise LookupError("the source's")

    assert stream(SSEMiddleware(api)) == "data: x\n\n"
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError, KeyError]
