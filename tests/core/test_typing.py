"""What users' type checkers see: mypy --strict and pyright read this file with the others, and it runs as well."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, assert_type

import pytest
from fastapi import FastAPI
from litestar import Litestar, get
from litestar.params import FromPath
from quart import Quart
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.routing import Route

from sse_mw import ServerSentEvent, SSEMiddleware, Stream, StreamInfo, current_stream, sse_route
from sse_mw._types import Receive, Scope, Send
from sse_mw.testing._server import Receive as Client
from sse_mw.testing._server import Send as Server
from sse_mw.testing._server import http_scope


@dataclass
class Order:
    total: int


def test_an_event_knows_the_type_of_its_data() -> None:
    event = ServerSentEvent(Order(3), event="order")
    assert_type(event, ServerSentEvent[Order])
    assert_type(event.data, Order)
    assert_type(ServerSentEvent("x").data, str)
    assert_type(ServerSentEvent(id="7").data, None)


async def typed() -> AsyncIterator[ServerSentEvent[Order]]:
    yield ServerSentEvent(Order(3))


async def wider() -> AsyncIterator[ServerSentEvent[object]]:
    async for event in typed():
        yield event  # covariant


def closed(info: StreamInfo) -> None: ...


api = FastAPI()
quart = Quart("typing")


@api.get("/fastapi/{number}")
@sse_route
async def of_fastapi(number: int) -> AsyncIterator[ServerSentEvent[Order]]:
    yield ServerSentEvent(Order(number))


@quart.get("/quart/<int:number>")
@sse_route(ping_interval=None, retry=3000, on_close=closed)
async def of_quart(number: int) -> AsyncIterator[str]:
    yield str(number)


@get("/litestar/{number:int}")
@sse_route
async def of_litestar(number: FromPath[int]) -> AsyncIterator[int]:
    yield number


class OfStarlette(HTTPEndpoint):
    @sse_route
    async def get(self, request: Request) -> AsyncIterator[str]:
        yield request.url.path

    @sse_route(idle_timeout=60)
    def post(self, request: Request) -> Iterator[str]:
        yield request.url.path


@sse_route
async def raw(scope: Scope, receive: Receive) -> AsyncIterator[str | None]:
    stream = current_stream()
    assert_type(stream, Stream)
    assert_type(stream.last_event_id, str | None)
    yield stream.last_event_id


@sse_route(frame="lines")
async def legacy(scope: Scope, receive: Receive, send: Send) -> None: ...


def test_decorated_functions_are_what_frameworks_and_the_middleware_take() -> None:
    assert Route("/", OfStarlette) is not None
    assert Litestar([of_litestar]) is not None
    for app in (SSEMiddleware(raw), SSEMiddleware(legacy), SSEMiddleware(api)):
        assert_type(app, SSEMiddleware)
    assert raw.__name__ == "raw"


@pytest.mark.anyio
async def test_and_they_run() -> None:
    server = Server()
    app: Any = SSEMiddleware(raw)
    await app(http_scope(headers={"Last-Event-ID": "7"}), Client(), server)
    assert server.body == b"data: 7\n\n"
