"""No framework: the decorated functions are ASGI apps by themselves, and a dictionary is the router."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs

import anyio

from sse_mw import sse_route
from sse_mw._types import ASGIApp, Receive, Scope, Send
from support.conformance.endpoints import endpoints, note, seen

CANNOT: dict[str, str] = {}
ABSENT = {
    "test_an_invalid_parameter_is_refused_by_the_framework": "nothing validates",
    "test_a_refusal_before_the_first_event_is_the_frameworks_own": "no exception means a status",
    "test_a_redirect_before_the_first_event_is_the_frameworks_own": "no exception means a status",
    "test_the_frameworks_status_is_kept": "nobody but the endpoint could set one",
    "test_a_background_task_runs_after_every_ending": "there are none; `finally` and `on_close` serve",
    "test_the_openapi_document_is_still_made": "no OpenAPI",
    "test_a_misplaced_decorator_is_reported": "there is no other decorator",
}

TEXT = [(b"content-type", b"text/plain")]


@sse_route
async def parameters(scope: Scope) -> AsyncIterator[Any]:
    name = scope["path"].rpartition("/")[2]
    for _ in range(int(parse_qs(scope["query_string"].decode())["count"][0])):
        yield name


@sse_route
async def headers(scope: Scope, receive: Receive, send: Send) -> AsyncIterator[Any]:
    yield "x"


@sse_route
async def context(scope: Scope) -> AsyncIterator[Any]:
    try:
        yield "x"
        await anyio.sleep(3600)
    finally:
        note("used", open=scope["resource"]["open"])


async def read(receive: Receive) -> str:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return str(body, "utf-8")


@sse_route
async def echo_before(scope: Scope, receive: Receive) -> Any:
    body = await read(receive)

    async def source() -> AsyncIterator[str]:
        yield body

    return source()


@sse_route
async def echo_inside(scope: Scope, receive: Receive) -> AsyncIterator[Any]:
    yield "ready"
    yield await read(receive)


def answering(content_type: bytes, *pieces: bytes, end: bool = True) -> ASGIApp:
    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not end:
            await anyio.sleep(3600)
        await send({"type": "http.response.body", "body": b""})

    return endpoint


PIECES = b"on", b"e\ntw", b"o\n"
OWN: dict[str, Callable[..., Any]] = {
    "/headers": headers,
    "/context": context,
    "/echo/before": echo_before,
    "/echo/inside": echo_inside,
    "/lines": sse_route(frame="lines")(answering(b"text/plain", *PIECES)),
    "/chunks": sse_route(frame="chunks")(answering(b"text/plain", *PIECES)),
    "/own": sse_route(ping_interval=0.2)(answering(b"text/event-stream", b"data: x\n\n", end=False)),
    "/elsewhere": answering(b"text/plain", b"elsewhere"),
}


def make() -> ASGIApp:
    routes: dict[str, Callable[..., Any]] = {**endpoints(parameters=True), **OWN}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """With what an app has around its endpoints: a header, a resource, and somebody who is told of errors."""

        async def with_header(message: Any) -> None:
            if message["type"] == "http.response.start":
                cookie = [(b"set-cookie", b"seen=yes")] if scope["path"] == "/headers" else []
                message = {**message, "headers": [*message["headers"], (b"x-framework", b"yes"), *cookie]}
            await send(message)

        if scope["type"] == "lifespan":
            await headers(scope, receive, send)
            return
        scope["resource"] = resource = {"open": True}
        endpoint: Callable[..., Any] = parameters if scope["path"].startswith("/parameters/") else routes[scope["path"]]
        try:
            await endpoint(scope, receive, with_header)
        except Exception as error:
            seen(error)
            raise
        finally:
            if scope["path"] == "/context":
                resource["open"] = False
                note("released")

    return app
