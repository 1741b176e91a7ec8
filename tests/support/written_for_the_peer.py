"""An app written for sse-starlette. `EVENTS` says which package its one import takes, `WRAPPED` that a middleware is
around it; nothing else changes.
"""

import os
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.routing import Route

sse: Any = import_module(os.environ["EVENTS"])


async def idle() -> AsyncIterator[dict[str, str]]:
    try:
        yield {"event": "hello", "data": "idle"}
        await anyio.sleep_forever()
    finally:
        print("cleaned up idle", flush=True)


async def ticks() -> AsyncIterator[dict[str, Any]]:
    number = 0
    while True:
        yield {"data": number, "id": str(number)}
        number += 1
        await anyio.sleep(0.02)


async def flood() -> AsyncIterator[str]:
    try:
        while True:
            yield "x" * 60_000
            await anyio.sleep(0.001)
    finally:
        print("cleaned up flood", flush=True)


def in_threads() -> Iterator[str]:
    while True:
        yield "from a thread"
        time.sleep(0.02)


async def until(shutdown: anyio.Event) -> AsyncIterator[dict[str, str]]:
    yield {"data": "first"}
    await shutdown.wait()
    await anyio.sleep(0.2)
    yield {"event": "shutdown", "data": "bye"}


async def produce(sending: Any) -> None:
    async with sending:
        while True:
            await sending.send({"data": "from a channel"})
            await anyio.sleep(0.02)


async def say(text: str) -> None:
    """As a background task: a sync one would have a thread of anyio's, which now and then keeps granian from ending."""
    print(text, flush=True)


async def plain(request: Request) -> Any:
    source = {"idle": idle, "ticks": ticks, "threads": in_threads}[request.path_params["source"]]
    background = BackgroundTask(say, "background")
    return sse.EventSourceResponse(source(), background=background, headers={"X-Own": "1"})


async def farewell(request: Request) -> Any:
    shutdown = anyio.Event()
    return sse.EventSourceResponse(until(shutdown), shutdown_event=shutdown, shutdown_grace_period=2)


async def channel(request: Request) -> Any:
    sending, receiving = anyio.create_memory_object_stream[Any](10)
    return sse.EventSourceResponse(receiving, data_sender_callable=partial(produce, sending))


async def flooding(request: Request) -> Any:
    return sse.EventSourceResponse(flood(), send_timeout=1)


app: Any = Starlette(
    routes=[
        Route("/farewell", farewell),
        Route("/channel", channel),
        Route("/flood", flooding),
        Route("/{source}", plain),
    ],
)
if os.environ.get("WRAPPED"):
    from sse_mw import SSEMiddleware

    app = SSEMiddleware(app, drain_grace=1)
