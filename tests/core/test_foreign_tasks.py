"""A server that steers the app's coroutine by itself, in what looks like a task of asyncio's and is none."""

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from typing import Any

import pytest

from sse_mw import SSEMiddleware, sse_route
from sse_mw._types import ASGIApp, Scope
from sse_mw.testing._server import Receive, Send, http_scope
from support.driver import Recorded, body, chunks_app


class ForeignTask(asyncio.Task):  # type: ignore[type-arg]
    """Like that of granian's `--task-impl rust`: never initialised, so that asyncio's own methods raise."""

    def __init__(self) -> None:
        pass

    def done(self) -> bool:
        return False

    def cancel(self, msg: Any = None) -> bool:
        return False

    def cancelling(self) -> int:
        return 0


async def steer(call: Coroutine[Any, Any, Any], cancel: asyncio.Event | None = None) -> Any:
    """Run a coroutine as such a server does. If `cancel` is set, it is cancelled where it waits."""
    loop, task = asyncio.get_running_loop(), ForeignTask()
    error: BaseException | None = None
    while True:
        own = asyncio.current_task()
        assert own is not None
        _leave_task(loop, own)
        _enter_task(loop, task)
        try:
            waits_for = call.throw(error) if error else call.send(None)
        except StopIteration as done:
            return done.value
        finally:
            _leave_task(loop, task)
            _enter_task(loop, own)
        error = None
        if waits_for is None:
            await asyncio.sleep(0)
            continue
        waits_for._asyncio_future_blocking = False
        cancelled = asyncio.ensure_future(cancel.wait() if cancel else asyncio.Event().wait())
        await asyncio.wait([waits_for, cancelled], return_when=asyncio.FIRST_COMPLETED)
        if cancelled.done() and cancel is not None:
            cancel.clear()
            error = asyncio.CancelledError()
        cancelled.cancel()


seen: list[str] = []


@sse_route
async def idle(scope: Scope) -> AsyncIterator[str]:
    try:
        yield "x"
        await asyncio.sleep(3600)
    finally:
        seen.append("finally")


APPS = [idle, chunks_app(b"data: x\n\n", end=False)]


@pytest.mark.parametrize("app", APPS, ids=["source", "passed through"])
def test_a_client_that_leaves_ends_its_stream(app: ASGIApp) -> None:
    async def serve() -> None:
        seen.clear()
        receive, send = Receive(), Send()
        middleware = Recorded(app)
        serving = asyncio.create_task(steer(middleware(http_scope(), receive, send)))
        await send.wait_for_bytes(b"data: x\n\n")
        receive.disconnect()
        await asyncio.wait_for(serving, 5)
        assert middleware.reasons == ["client_left"]
        assert seen == (["finally"] if app is idle else [])

    asyncio.run(serve())


@pytest.mark.parametrize("app", APPS, ids=["source", "passed through"])
def test_a_request_that_the_server_cancels_is_whole(app: ASGIApp) -> None:
    async def serve() -> None:
        receive, send, cancel = Receive(), Send(), asyncio.Event()
        middleware = Recorded(app)
        serving = asyncio.create_task(steer(middleware(http_scope(), receive, send), cancel))
        await send.wait_for_bytes(b"data: x\n\n")
        cancel.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(serving, 5)
        assert send.complete
        assert middleware.reasons == ["cancelled"]

    asyncio.run(serve())


def test_what_the_app_returns_and_raises_comes_through() -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> str:
        if scope["path"] == "/fails":
            raise LookupError("as it is")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send(body(b"", more=False))
        return "returned"

    async def serve() -> None:
        middleware = Recorded(app)
        assert await steer(middleware(http_scope(), Receive(), Send())) == "returned"
        with pytest.raises(LookupError, match="as it is"):
            await steer(middleware(http_scope(path="/fails"), Receive(), Send()))

    asyncio.run(serve())


def test_a_server_that_steps_the_app_without_any_task() -> None:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0.05)
        yield "b"

    def step(app: Coroutine[Any, Any, Any], done: "asyncio.Future[None]", _: object = None) -> None:
        loop = asyncio.get_running_loop()
        try:
            waits_for = app.send(None)
        except StopIteration:
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)
        else:
            if waits_for is None:
                loop.call_soon(step, app, done)
            else:
                waits_for._asyncio_future_blocking = False
                waits_for.add_done_callback(partial(step, app, done))

    async def serve(app: ASGIApp) -> bytes:
        sent: list[bytes] = []

        async def receive() -> Any:
            await asyncio.get_running_loop().create_future()

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(step, SSEMiddleware(app)(http_scope(), receive, send), done)
        await asyncio.wait_for(done, 5)
        return b"".join(sent)

    assert asyncio.run(serve(chunks_app(b"data: x\n\n"))) == b"data: x\n\n"
    assert asyncio.run(serve(source)) == b"data: a\n\ndata: b\n\n"
