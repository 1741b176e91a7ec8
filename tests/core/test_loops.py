"""One middleware on many event loops: in threads at once, one after another, stopped in the middle."""

import asyncio
import gc
import threading
import weakref
from typing import Any

import anyio
import pytest

from sse_mw import SSEMiddleware
from sse_mw._types import Message
from support.asgi import Receive as Client
from support.asgi import Send as Server
from support.asgi import http_scope
from support.driver import Recorded, chunks_app, running


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
