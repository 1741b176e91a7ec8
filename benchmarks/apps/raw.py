"""Raw ASGI: written by hand, wrapped, and as a source."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

from sse_mw import SSEMiddleware, sse_route

from .plan import END, START, TEXT, Epoch, Plan, encoded, source
from .settings import OPTIONS, PING, UNCOALESCED

EVENT = encoded(TEXT).encode()


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """The least that an app can do: no pings, and a client that leaves is noticed only where it waits for that."""
    plan = Plan.of(scope["query_string"])
    await send(START)
    await KINDS[plan.kind](plan, receive, send)
    await send(END)


async def _texts(plan: Plan, receive: Any, send: Any) -> None:
    for _ in range(plan.turns):
        for _ in range(plan.ready):
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        if plan.pause is not None:
            await asyncio.sleep(plan.pause)


async def _ticks(plan: Plan, receive: Any, send: Any) -> None:
    assert plan.pause is not None
    epoch = Epoch.number
    await asyncio.sleep(plan.pause * random.random())
    while Epoch.number == epoch:
        body = encoded(str(time.perf_counter_ns())).encode()
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(plan.pause)


async def _silence(plan: Plan, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


KINDS = {"texts": _texts, "ticks": _ticks, "silence": _silence}


async def pinging(scope: Any, receive: Any, send: Any) -> None:
    """A silent stream with pings written by hand: what a bare app must do to have any."""
    await send(START)
    message = {"type": "http.request"}
    while message["type"] != "http.disconnect":
        try:
            message = await asyncio.wait_for(receive(), PING or 15.0)
        except TimeoutError:
            await send({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})


async def generator(scope: Any, receive: Any, send: Any) -> None:
    """An async generator of encoded events, sent by hand: what `@sse_route` is measured against."""
    await send(START)
    async for event in source(scope["query_string"], encoded):
        await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
    await send(END)


async def endpoint(scope: Any) -> AsyncIterator[str]:
    return source(scope["query_string"])


async def plain(scope: Any, receive: Any, send: Any) -> None:
    """An app without any stream: a small JSON response."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"27")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"name": "value", "ok":  1}'})


wrapped = SSEMiddleware(bare, **OPTIONS)
wrapped_uncoalesced = SSEMiddleware(bare, **UNCOALESCED)
route = SSEMiddleware(sse_route(endpoint), **OPTIONS)
route_uncoalesced = SSEMiddleware(sse_route(endpoint), **UNCOALESCED)
plain_wrapped = SSEMiddleware(plain, **OPTIONS)
