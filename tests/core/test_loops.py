"""One middleware on many event loops: in threads at once, one after another, stopped in the middle."""

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sse_mw import SSEMiddleware, current_stream, sse_route
from sse_mw._exchange import Exchange
from sse_mw._producer import Producer
from sse_mw._session import Session
from sse_mw._types import Message, Receive, Scope, Send
from sse_mw._writer import Writer
from sse_mw.testing._clock import VirtualLoop
from sse_mw.testing._server import Receive as Client
from sse_mw.testing._server import Send as Server
from sse_mw.testing._server import http_scope
from support.driver import Recorded, body, chunks_app, running, sending, start


async def one_stream(middleware: SSEMiddleware) -> bytes:
    async with running(middleware) as run:
        await run.finish()
    return run.send.body


@pytest.mark.parametrize("backends", [["asyncio", "asyncio"], ["trio", "trio"], ["asyncio", "trio"] * 4])
def test_several_loops_in_several_threads_at_once(backends: list[str]) -> None:
    middleware = SSEMiddleware(chunks_app(b"data: 1\n\n", b"data: 2\n\n", gap=0.1), ping_interval=0.06)
    bodies: list[bytes] = []

    def serve(backend: str) -> None:
        bodies.extend(anyio.run(one_stream, middleware, backend=backend) for _ in range(3))

    threads = [threading.Thread(target=serve, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bodies) == 3 * len(backends)
    assert {body.replace(b": ping\n\n", b"") for body in bodies} == {b":\n\ndata: 1\n\ndata: 2\n\n"}
    assert middleware.stats().closed == {"completed": 3 * len(backends)}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_stops_in_mid_stream_does_not_poison_the_next_one(backend: str) -> None:
    middleware = Recorded(chunks_app(b"data: 1\n\n", end=False))

    async def stop_in_mid_stream() -> None:
        never: Any = anyio.Event()

        async def receive() -> Message:
            await never.wait()
            raise AssertionError

        async def send(message: Message) -> None:
            await anyio.lowlevel.checkpoint()

        with anyio.move_on_after(0.1):
            await middleware(http_scope(), receive, send)

    for round_ in range(1, 4):
        anyio.run(stop_in_mid_stream, backend=backend)
        assert middleware.stats().open == 0
        assert middleware.reasons == ["cancelled"] * round_


def test_a_loop_that_is_gone_is_let_go() -> None:
    middleware = SSEMiddleware(chunks_app(b"data: 1\n\n"))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(one_stream(middleware))
    loop.close()
    seen = weakref.ref(loop)
    del loop
    asyncio.set_event_loop(None)
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("drained", [True, False])
def test_a_loop_in_which_a_source_waited_for_a_drain_is_let_go(drained: bool) -> None:
    @sse_route
    async def waits(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        await current_stream().wait_draining()

    middleware = SSEMiddleware(waits)

    async def serve() -> None:
        async with running(middleware) as run:
            await run.send.wait_for_bytes(b"data: x")
            if drained:
                middleware.drain()
                await run.finish()

    anyio.run(serve)
    gc.collect()
    assert not middleware._loops.all()


def test_a_request_that_is_thrown_away_with_its_loop_is_counted_as_ended() -> None:
    middleware = Recorded(chunks_app(b"data: 1\n\n", end=False))
    client = Client()

    async def leave_it_hanging() -> Any:
        call = middleware(http_scope(), client, Server())
        asyncio.get_running_loop().call_later(0.5, asyncio.get_running_loop().stop)
        return call, asyncio.ensure_future(call)

    loop = asyncio.new_event_loop()
    call, task = loop.run_until_complete(leave_it_hanging())
    loop.run_forever()
    assert middleware.stats().open == 1
    loop.close()
    call.close()
    assert middleware.stats().open == 0
    assert middleware.reasons == ["cancelled"]
    del task


@pytest.mark.parametrize(
    "ending", ["completed", "client_left", "send_timeout", "idle_timeout", "max_duration", "error", "cancelled"]
)
def test_a_hook_may_ask_anyio_for_the_time_whatever_has_ended_the_stream(
    ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In a loop that anyio has not started, and in no task of it where the tick has ended the stream."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"data: 1\n\n"))
        if ending == "send_timeout":
            server.block()
            await send(body(b"data: 2\n\n"))
        if ending == "error":
            raise LookupError
        if ending != "completed":
            await asyncio.sleep(100)
        await send(body(b"", more=False))

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        request = asyncio.create_task(middleware(http_scope(), client, server))
        if ending == "client_left":
            loop.call_later(1, client.disconnect)
        if ending == "cancelled":
            loop.call_later(1, request.cancel)
        if ending == "send_timeout":
            loop.call_later(10, server.unblock)
        await asyncio.wait([request])

    limits = {ending: 5.0} if ending in ("send_timeout", "idle_timeout", "max_duration") else {}
    middleware = Recorded(app, **limits)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        client, server = runner.run(make_ends())
        runner.run(serve())
    assert middleware.reasons == [ending]
    assert len(middleware.closed_at) == 1, "the hook has got to its end"
    assert "on_close failed" not in caplog.text


async def make_ends() -> tuple[Client, Server]:
    return Client(), Server()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("ending", ["completed", "client_left", "error", "idle_timeout"])
@pytest.mark.parametrize("mode", ["supervise", "source"])
def test_a_stream_that_has_ended_is_freed_without_the_garbage_collector(
    backend: str, ending: str, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(send: Send) -> None:
        await send(body(b"data: 1\n\n"))
        if ending == "error":
            raise LookupError
        if ending != "completed":
            await anyio.sleep_forever()
        await send(body(b"", more=False))

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "1"
        if ending == "error":
            raise LookupError
        if ending != "completed":
            await anyio.sleep_forever()

    app: Any = source if mode == "source" else sending(script)
    middleware = SSEMiddleware(app, idle_timeout=0.05 if ending == "idle_timeout" else None)

    async def serve() -> list[object]:
        for _ in range(5):
            async with running(middleware) as run:
                await run.send.wait_for(2)
                if ending == "client_left":
                    run.disconnect()
                await run.finish()
        await anyio.sleep(0.1)
        return parts_alive()

    caplog.set_level("CRITICAL", "sse_mw")  # a record kept would keep its exception's frames
    assert left_behind(serve, backend) == []
    assert middleware.stats().closed == {ending: 5}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_stream_that_a_child_task_has_sent_is_freed_without_the_garbage_collector(backend: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """As Starlette does it."""

        async def stream() -> None:
            await send(start())
            await send(body(b"data: 1\n\n"))
            await send(body(b"", more=False))
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream)
            while (await receive())["type"] != "http.disconnect":
                pass

    async def serve() -> list[object]:
        for _ in range(5):
            async with running(SSEMiddleware(app)) as run:
                await run.finish()
        await anyio.sleep(0.1)
        return parts_alive()

    assert left_behind(serve, backend) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("answers", [True, False])
def test_a_request_that_is_no_stream_is_freed_without_the_garbage_collector(backend: str, answers: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if answers:
            await send(start(headers=[(b"content-type", b"text/html")]))
            await send(body(b"<p>", more=False))

    async def serve() -> list[object]:
        for _ in range(5):
            async with running(SSEMiddleware(app)) as run:
                await run.finish()
        return parts_alive()

    assert left_behind(serve, backend) == []


def parts_alive() -> list[object]:
    # By type: other tests leave objects behind that raise when anything else is asked of them.
    return [thing for thing in gc.get_objects() if type(thing) in (Session, Writer, Exchange, Producer)]


def left_behind(serve: Callable[[], Awaitable[list[object]]], backend: str) -> list[object]:
    gc.collect()
    before = parts_alive()  # other tests' exceptions keep some
    gc.disable()
    try:
        return [part for part in anyio.run(serve, backend=backend) if part not in before]
    finally:
        gc.enable()


if sys.version_info >= (3, 12):

    def test_eager_tasks_leave_nothing_of_what_ends_at_once() -> None:
        @sse_route
        async def source(scope: Scope) -> AsyncIterator[str]:
            yield "x"

        async def serve_one(app: SSEMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)

        async def serve() -> int:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            middleware = SSEMiddleware(source)

            async def receive() -> Message:
                await asyncio.sleep(60)
                raise AssertionError

            async def send(message: Message) -> None: ...

            for method in ["HEAD", "GET"] * 5:
                await asyncio.create_task(serve_one(middleware, http_scope(method), receive, send))
            await asyncio.sleep(0.3)  # two ticks, whose timers come first
            gc.collect()
            return sum(type(each) is Producer for each in gc.get_objects())

        assert asyncio.run(serve()) == 0
