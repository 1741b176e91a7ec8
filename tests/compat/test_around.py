"""What stands between a response and its server: middlewares, requests that an app makes of itself, the process."""

import signal
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sse_mw import SSEMiddleware
from sse_mw._types import ASGIApp, Message, Receive, Scope, Send
from sse_mw.compat.sse_starlette import AppStatus, EventSourceResponse
from sse_mw.testing import connect

pytestmark = pytest.mark.anyio
WRAPPED = pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])


@pytest.fixture(autouse=True)
def status() -> Any:
    yield
    AppStatus.should_exit = False


async def numbers(request: Request) -> Response:
    async def source() -> AsyncIterator[str]:
        for number in (1, 2):
            yield str(number)

    return EventSourceResponse(source())


async def batch(request: Request) -> Response:
    """An endpoint that makes a request of its own app's."""
    parts: list[bytes] = []

    async def capture(message: Message) -> None:
        parts.append(message.get("body", b""))

    await request.app({**request.scope, "path": "/numbers"}, request.receive, capture)
    return JSONResponse(b"".join(parts).decode())


async def outer(request: Request) -> Response:
    """The same from inside of a stream."""

    async def source() -> AsyncIterator[str]:
        answer = await batch(request)
        yield bytes(answer.body).decode()

    return EventSourceResponse(source())


class Quota(BaseHTTPMiddleware):
    """Answers in the response's place."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        await call_next(request)
        return JSONResponse({"quota": "exceeded"}, request.app.state.status)


def app_of(wrapped: bool, **state: Any) -> ASGIApp:
    app = Starlette(routes=[Route("/numbers", numbers), Route("/batch", batch), Route("/outer", outer)])
    if "status" in state:
        app.add_middleware(Quota)
        app.state.status = state["status"]
    return SSEMiddleware(app) if wrapped else app


@WRAPPED
async def test_a_request_that_an_app_makes_of_itself_has_a_stream_of_its_own(wrapped: bool) -> None:
    async with connect(app_of(wrapped), "/batch") as stream:
        assert await stream.json() == "data: 1\r\n\r\ndata: 2\r\n\r\n"
    async with connect(app_of(wrapped), "/outer") as stream:
        assert [event.json() async for event in stream] == ["data: 1\r\n\r\ndata: 2\r\n\r\n"]


@WRAPPED
@pytest.mark.parametrize("status", [200, 201, 429])
async def test_what_a_middleware_answers_in_its_place_is_what_the_client_gets(wrapped: bool, status: int) -> None:
    async with connect(app_of(wrapped, status=status), "/numbers") as stream:
        assert stream.status == status
        assert await stream.json() == {"quota": "exceeded"}


async def test_an_end_that_is_taken_back_at_once_is_none() -> None:
    async def hello(scope: Scope, receive: Receive, send: Send) -> None:
        async def source() -> AsyncIterator[str]:
            yield "hello"
            await anyio.sleep_forever()

        await EventSourceResponse(source())(scope, receive, send)

    async with connect(hello, lifespan=False) as stream:
        await stream.receive()
        AppStatus.should_exit = True
        AppStatus.should_exit = False
        await stream.advance(1)
        assert not AppStatus.should_exit
        assert stream.closed_by is None
    async with connect(hello, lifespan=False) as stream:
        assert (await stream.receive()).data == "hello"


async def test_before_any_stream_uvicorns_word_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server:
        should_exit = True

        def handle_exit(self, *_: object) -> None:
            pass

    monkeypatch.setattr("sse_mw.compat.sse_starlette._shutdown._all", list)
    monkeypatch.setattr(signal, "getsignal", lambda number: Server().handle_exit)
    assert AppStatus.should_exit
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)
    assert not AppStatus.should_exit


def test_a_subclass_that_overrides_what_is_never_called_is_told_so() -> None:
    with pytest.warns(UserWarning, match=r"Own\._stream_response is never called: it is internal"):
        type("Own", (EventSourceResponse,), {"_stream_response": numbers})


async def test_a_close_handler_that_hangs_does_not_hold_its_request_for_ever() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def failing(message: Message) -> None:
            if message.get("body"):
                raise OSError
            await send(message)

        async def hang(message: Message) -> None:
            await anyio.sleep_forever()

        response = EventSourceResponse(["x"], client_close_handler_callable=hang, cleanup_timeout=3)
        await response(scope, receive, failing)

    async with connect(app, lifespan=False) as stream:
        await stream.wait_closed(within=10)
