"""What our face of sse-starlette does with the engine below it."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI

from sse_mw import SSEMiddleware, current_stream
from sse_mw._exchange import Exchange
from sse_mw._producer import Producer
from sse_mw._session import Session
from sse_mw._types import Receive, Scope, Send
from sse_mw._writer import Writer
from sse_mw.compat.sse_starlette import AppStatus, EventSourceResponse
from sse_mw.compat.sse_starlette._serve import engine
from sse_mw.testing._clock import VirtualLoop
from sse_mw.testing._server import Receive as Client
from sse_mw.testing._server import Send as Server
from sse_mw.testing._server import http_scope
from support.compat import INSIDE, OURS, Package, asgi, serving, whole
from support.driver import running

BOTH = pytest.mark.parametrize("library", [OURS, INSIDE], ids=lambda each: each.name)


async def hello() -> AsyncIterator[str]:
    yield "hello"
    await anyio.sleep_forever()


async def failing() -> AsyncIterator[str]:
    yield "hello"
    raise LookupError


@pytest.fixture(autouse=True)
def status() -> Any:
    yield
    AppStatus.should_exit = False
    AppStatus.enable_automatic_graceful_drain_mode()


@BOTH
@pytest.mark.anyio
async def test_a_stream_is_one_of_a_middlewares_and_current_stream_tells_of_it(library: Package) -> None:
    async def source() -> AsyncIterator[str]:
        yield "first"
        yield f"{current_stream().info.mode}, draining: {current_stream().draining}"

    served = await whole(library, lambda: EventSourceResponse(source()))
    assert served.body == b"data: first\r\n\r\ndata: source, draining: False\r\n\r\n"


@pytest.mark.anyio
async def test_in_a_middleware_it_is_that_ones_stream_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await EventSourceResponse(["x"])(scope, receive, send)

    before = engine().stats().opened
    async with running(SSEMiddleware(app, on_close=closed.append)) as run:
        await run.finish()
    assert [info.reason for info in closed] == ["completed"]
    assert engine().stats().opened == before
    assert caplog.text == ""


@pytest.mark.anyio
async def test_a_response_of_another_request_is_not_taken_for_that_of_the_one_around(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An app that calls another in its own process, as clients for tests do."""
    inner = Server()

    async def source() -> AsyncIterator[bytes]:
        yield b"data: outer\n\n"
        await EventSourceResponse(["inner"])(http_scope(), Client(), inner)
        yield b"data: outer again\n\n"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await EventSourceResponse(source())(scope, receive, send)

    async with running(SSEMiddleware(app)) as run:
        await run.finish()
    assert run.send.body == b"data: outer\n\ndata: outer again\n\n"
    assert inner.body == b"data: inner\r\n\r\n"
    assert inner.complete
    assert caplog.text == ""


@pytest.mark.anyio
async def test_a_scope_is_as_it_was_once_the_stream_is_over() -> None:
    scope = http_scope()
    before = dict(scope)
    await EventSourceResponse(["x"])(scope, Client(), Server())
    assert scope == before


@BOTH
@pytest.mark.anyio
async def test_a_drain_that_begins_by_itself_can_be_switched_off_and_on_again(library: Package) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await EventSourceResponse(hello())(scope, receive, send)

    middleware = engine() if not library.inside else SSEMiddleware(app, drain_grace=0)
    AppStatus.disable_automatic_graceful_drain()
    async with running(app if not library.inside else middleware) as run:
        await run.send.wait_for(2)
        middleware._loops.get().begin()  # of this test's own event loop alone
        await anyio.sleep(100)
        assert not run.finished.is_set()
        AppStatus.enable_automatic_graceful_drain_mode()
        await run.finish(1)
    assert run.send.complete


@BOTH
@pytest.mark.anyio
async def test_a_server_that_stops_leaves_the_streams_of_another_alone(library: Package) -> None:
    """Two in one process, in one event loop even."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await EventSourceResponse(hello())(scope, receive, send)

    middleware: Any = engine() if not library.inside else SSEMiddleware(app, drain_grace=0)
    served = middleware if library.inside else app
    first, second = http_scope(server=("127.0.0.1", 1)), http_scope(server=("127.0.0.1", 2))
    async with running(served, first) as stopped, running(served, second) as other:
        await stopped.send.wait_for(2)
        await other.send.wait_for(2)
        middleware._loops.get().of(first).begin()
        await stopped.finish(1)
        await anyio.sleep(100)
        assert stopped.send.complete
        assert not other.finished.is_set()
        assert AppStatus.should_exit is False


def test_it_can_be_patched_for_a_test() -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(AppStatus, "should_exit", True)
        assert AppStatus.should_exit
    assert not AppStatus.should_exit


@pytest.mark.anyio
async def test_a_shutdown_that_is_said_in_another_thread_ends_streams() -> None:
    async with serving(OURS, lambda: EventSourceResponse(hello())) as served:
        await served.send.wait_for(2)
        await anyio.to_thread.run_sync(setattr, AppStatus, "should_exit", True)
        await served.finish()
    assert served.send.complete


@BOTH
@pytest.mark.anyio
async def test_what_fastapi_opens_for_a_request_is_open_while_its_source_runs(library: Package) -> None:
    api = FastAPI()
    opened: list[str] = []

    async def session() -> AsyncIterator[list[str]]:
        opened.append("open")
        yield opened
        opened.append("closed")

    async def endpoint(opened: Annotated[list[str], Depends(session)]) -> EventSourceResponse:
        async def source() -> AsyncIterator[str]:
            for _ in range(3):
                yield opened[-1]
                await anyio.sleep(1)

        return EventSourceResponse(source())

    api.get("/", response_model=None)(endpoint)
    async with running(asgi(library, api)) as run:
        await run.finish()
    assert run.send.body == b"data: open\r\n\r\n" * 3
    assert opened == ["open", "closed"]


@BOTH
def test_an_idle_stream_has_two_tasks(library: Package) -> None:
    async def count() -> int:
        before = len(asyncio.all_tasks())
        app = asgi(library, EventSourceResponse(hello()))
        client = Client()
        request = asyncio.create_task(app(http_scope(), client, Server()))
        await asyncio.sleep(10)
        tasks = len(asyncio.all_tasks()) - before
        client.disconnect()
        await request
        return tasks

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(count()) == 2


@BOTH
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("ending", ["completed", "client_left", "error"])
def test_a_stream_that_has_ended_is_freed_without_the_garbage_collector(
    library: Package, backend: str, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        content: Any = {"completed": ["x"], "client_left": hello(), "error": failing()}[ending]
        await EventSourceResponse(content)(scope, receive, send)

    async def serve() -> list[object]:
        for _ in range(5):
            async with running(asgi(library, app)) as run:
                await run.send.wait_for(2)
                if ending == "client_left":
                    run.disconnect()
                await run.finish()
            run.error = None
        await anyio.sleep(0.1)
        return parts_alive()

    caplog.set_level("CRITICAL", "sse_mw")  # a record kept would keep its exception's frames
    gc.collect()
    before = parts_alive()
    gc.disable()
    try:
        assert [part for part in anyio.run(serve, backend=backend) if part not in before] == []
    finally:
        gc.enable()


def parts_alive() -> list[object]:
    return [thing for thing in gc.get_objects() if type(thing) in (Session, Writer, Exchange, Producer)]
