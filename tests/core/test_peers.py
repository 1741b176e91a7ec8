"""Apps that make their event streams with other libraries: no second ping, and the library's own rules hold."""

from collections.abc import AsyncIterator

import anyio
import pytest
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse as FastAPIEventSourceResponse
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from sse_mw import SSEMiddleware
from sse_mw._types import ASGIApp
from sse_mw.testing import connect

pytestmark = pytest.mark.anyio


def sse_starlette_app(ended: list[str], ping: int = 15) -> ASGIApp:
    async def endpoint(request: Request) -> EventSourceResponse:
        async def source() -> AsyncIterator[dict[str, str]]:
            try:
                yield {"data": "first"}
                await anyio.sleep_forever()
            finally:
                ended.append("finally")

        return EventSourceResponse(source(), ping=ping)

    return Starlette(routes=[Route("/", endpoint)])


def fastapi_app(ended: list[str]) -> ASGIApp:
    app = FastAPI()

    @app.get("/", response_class=FastAPIEventSourceResponse)
    async def endpoint() -> AsyncIterator[str]:  # pyright: ignore[reportUnusedFunction]
        try:
            yield "first"
            await anyio.sleep_forever()
        finally:
            ended.append("finally")

    return app


async def pings(app: ASGIApp, seconds: float) -> int:
    """How many pings, of anybody's, a client sees."""
    async with connect(app) as stream:
        await stream.receive()
        await stream.advance(seconds)
        assert len(stream.events) == 1
        return len(stream.pings)


@pytest.mark.parametrize("library", [sse_starlette_app, fastapi_app])
async def test_an_app_that_pings_by_itself_gets_no_second_ping(library: type) -> None:
    """Each at its default, which is 15 seconds everywhere: the app's own comes first, and ours is not due then."""
    assert await pings(library([]), 160) == 10
    assert await pings(SSEMiddleware(library([])), 160) == 10


@pytest.mark.parametrize("library", [sse_starlette_app, fastapi_app])
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_its_source_ends_when_the_client_leaves(library: type, spec_version: str) -> None:
    ended: list[str] = []
    asgi = {"version": "3.0", "spec_version": spec_version}
    async with connect(SSEMiddleware(library(ended)), scope={"asgi": asgi}) as stream:
        await stream.receive()
        await stream.advance(1)
        stream.disconnect()
        assert await stream.wait_closed(within=0.1) == "client_left"
        assert ended == ["finally"]
