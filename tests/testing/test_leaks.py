"""What an app under test leaves behind is named."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import copy_context
from typing import Any

import anyio
import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from sse_mw import SSEMiddleware
from sse_mw._types import Receive, Scope, Send
from sse_mw.testing import Client, Leaked, connect, virtual_time
from sse_mw.testing._run import run_virtually
from support.driver import body, start

pytestmark = pytest.mark.anyio


async def left_alone() -> None:
    await anyio.sleep_forever()


async def brief() -> None:
    await anyio.sleep(0.3)


async def numbers() -> AsyncGenerator[int]:
    yield 1
    yield 2


def answering(work: Any) -> Any:
    """An app that does its work in the midst of its answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send(start())
        await work()
        await send(body(b"data: x\n\n", more=False))

    return app


async def test_a_task_that_is_left_behind_is_named(anyio_backend_name: str) -> None:
    left: list[Any] = []
    scope = trio.CancelScope()

    async def in_scope() -> None:
        with scope:
            await left_alone()

    async def work() -> None:
        if anyio_backend_name == "trio":
            trio.lowlevel.spawn_system_task(in_scope, name="the forgotten", context=copy_context())
        else:
            left.append(asyncio.create_task(left_alone(), name="the forgotten"))

    where = r"task 'the forgotten' at .*test_leaks\.py:\d+ in left_alone\n\(check_leaks=False"
    with pytest.raises(Leaked, match=rf"GET / has left behind:\n  {where}"):
        async with connect(answering(work)) as stream:
            await stream.wait_closed()
    async with connect(answering(work), check_leaks=False) as stream:
        await stream.wait_closed()
    scope.cancel()
    for task in left:
        task.cancel()


@virtual_time  # on asyncio: trio's nurseries hold every task
async def test_a_task_of_the_lifespans_is_named_too() -> None:
    left: list[asyncio.Task[None]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        left.append(asyncio.create_task(left_alone()))
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})

    with pytest.raises(Leaked, match=r"the lifespan has left behind:\n  task 'left_alone'"):
        async with Client(app):
            pass
    left[0].cancel()


async def test_a_task_that_ends_soon_is_none_and_the_tests_own_are_not_counted(anyio_backend_name: str) -> None:
    async def work() -> None:
        if anyio_backend_name == "asyncio":
            task = asyncio.create_task(brief())
            task.add_done_callback(finished.append)

    finished: list[Any] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(left_alone)
        generator = numbers()
        await anext(generator)
        async with connect(answering(work)) as stream:
            tasks.start_soon(left_alone)
            await stream.wait_closed()
        await generator.aclose()
        tasks.cancel_scope.cancel()
    assert len(finished) == (anyio_backend_name == "asyncio")


@pytest.mark.filterwarnings("ignore:Async generator.*numbers.*garbage collected")  # trio says so by itself
@pytest.mark.parametrize("kept", [False, True], ids=["thrown away", "kept"])
async def test_a_generator_that_is_not_closed_is_named(kept: bool) -> None:
    held: list[Any] = []

    async def work() -> None:
        generator = numbers()
        await anext(generator)
        if kept:
            held.append(generator)

    how = "open" if kept else "thrown away"
    with pytest.raises(Leaked, match=rf"async generator numbers \(.*test_leaks\.py:\d+\), {how} at .* in numbers"):
        async with connect(answering(work)) as stream:
            await stream.wait_closed()
    for generator in held:
        await generator.aclose()


async def test_a_generator_that_is_closed_is_none() -> None:
    async def work() -> None:
        generator = numbers()
        await anext(generator)
        await generator.aclose()
        assert [number async for number in numbers()] == [1, 2]

    async with connect(answering(work)) as stream:
        await stream.wait_closed()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_event_loops_own_hooks_are_as_they_were(backend: str) -> None:
    async def main() -> None:
        before = sys.get_asyncgen_hooks()
        async with connect(answering(left_alone), within=1, check_leaks=False):
            assert sys.get_asyncgen_hooks() != before
            async with connect(answering(left_alone), within=1, check_leaks=False):
                pass
            assert sys.get_asyncgen_hooks() != before
        assert sys.get_asyncgen_hooks() == before

    run_virtually(backend, main)


async def test_a_source_of_starlettes_own_is_not_left_behind_by_a_client_that_stopped_reading() -> None:
    async def source() -> AsyncIterator[str]:
        while True:
            yield "data: x\n\n"
            await anyio.sleep(1)

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(source(), media_type="text/event-stream")

    async with connect(SSEMiddleware(Starlette(routes=[Route("/", endpoint)]), send_timeout=5)) as stream:
        await stream.receive()
        stream.freeze()
        assert await stream.wait_closed() == "send_timeout"
