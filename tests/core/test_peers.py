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
from sse_mw.testing._server import http_scope
from support.driver import Recorded, running

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
    async with running(app) as run:
        await run.send.wait_for_bytes(b"first")
        before = len(run.send.chunks)
        await anyio.sleep(seconds)
        return len(run.send.chunks) - before


@pytest.mark.parametrize("library", [sse_starlette_app, fastapi_app])
async def test_an_app_that_pings_by_itself_gets_no_second_ping(library: type) -> None:
    """Each at its default, which is 15 seconds everywhere: the app's own comes first, and ours is not due then."""
    assert await pings(library([]), 1000) == 66
    assert await pings(SSEMiddleware(library([])), 1000) == 66


@pytest.mark.parametrize("library", [sse_starlette_app, fastapi_app])
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_its_source_ends_when_the_client_leaves(library: type, spec_version: str) -> None:
    ended: list[str] = []
    middleware = Recorded(library(ended))
    async with running(middleware, http_scope(spec_version=spec_version)) as run:
        await run.send.wait_for_bytes(b"first")
        await anyio.sleep(1)
        left_at = anyio.current_time()
        run.disconnect()
        await run.finish()
        assert run.finished_at - left_at <= 0.1
    assert ended == ["finally"]
    assert run.error is None
    assert middleware.reasons == ["client_left"]
