"""What one event costs in-process: passed through and from `@sse_route`, next to bare ASGI apps and the peers.

    python benchmarks/per_event.py [--events 20000] [--rounds 15] [--backend asyncio|trio|uvloop]

One round runs every variant once, in an order that changes with each round, and the table shows medians over the
rounds with their quartiles, so that a noisy machine disturbs all variants alike.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse as FastAPIEventSourceResponse
from fastapi.sse import ServerSentEvent as FastAPIEvent
from sse_starlette import EventSourceResponse
from starlette.responses import StreamingResponse

from sse_mw import SSEMiddleware, sse_route

EVENT = b"data: 0123456789abcdef\n\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}


def raw_app(count: int) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for _ in range(count):
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def generator_app(count: int) -> Any:
    """A raw ASGI app around an async generator of encoded events: what `@sse_route` is measured against."""

    async def source() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield EVENT

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        async for event in source():
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def route_app(count: int, item: Any) -> Any:
    @sse_route
    async def source(scope: Any) -> AsyncIterator[Any]:
        for _ in range(count):
            yield item

    return SSEMiddleware(source)


def fastapi_app(count: int) -> Any:
    app = FastAPI()

    @app.get("/", response_class=FastAPIEventSourceResponse)
    async def source() -> AsyncIterator[FastAPIEvent]:
        for _ in range(count):
            yield FastAPIEvent(raw_data="0123456789abcdef")

    return app


def starlette_app(count: int) -> Any:
    async def source() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield EVENT

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await StreamingResponse(source(), media_type="text/event-stream")(scope, receive, send)

    return app


def peer_app(count: int) -> Any:
    async def source() -> AsyncIterator[dict[str, str]]:
        for _ in range(count):
            yield {"data": "0123456789abcdef"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await EventSourceResponse(source(), sep="\n")(scope, receive, send)

    return app


def variants(count: int) -> dict[str, Any]:
    return {
        "bare": raw_app(count),
        "bare, wrapped": SSEMiddleware(raw_app(count)),
        "bare generator": generator_app(count),
        "@sse_route, bytes": route_app(count, EVENT),
        "@sse_route, str": route_app(count, "0123456789abcdef"),
        "@sse_route, mapping": route_app(count, {"data": "0123456789abcdef"}),
        "starlette": starlette_app(count),
        "starlette, wrapped": SSEMiddleware(starlette_app(count)),
        "sse-starlette": peer_app(count),
        "fastapi.sse": fastapi_app(count),
    }


async def measure(app: Callable[..., Any], count: int) -> float:
    """Microseconds per event of one stream."""
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "headers": [],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        pass

    began = time.perf_counter()
    await app(scope, receive, send)
    return (time.perf_counter() - began) / count * 1e6


def run(backend: str, events: int, rounds: int) -> dict[str, list[float]]:
    options: dict[str, Any] = {"use_uvloop": backend == "uvloop"} if backend != "trio" else {}
    apps = variants(events)
    results: dict[str, list[float]] = {name: [] for name in apps}

    async def main() -> None:
        for _ in range(rounds + 1):
            for name in random.sample(list(apps), len(apps)):
                results[name].append(await measure(apps[name], events))

    anyio.run(main, backend="trio" if backend == "trio" else "asyncio", backend_options=options)
    return {name: times[1:] for name, times in results.items()}  # the first round warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--backend", choices=["asyncio", "trio", "uvloop"], default="asyncio")
    parser.add_argument("--json", action="store_true", help="print the raw times as JSON")
    arguments = parser.parse_args()
    results = run(arguments.backend, arguments.events, arguments.rounds)
    if arguments.json:
        print(json.dumps(results))
        return
    packages = ", ".join(f"{name} {version(name)}" for name in ("starlette", "sse-starlette", "fastapi", "anyio"))
    print(f"{arguments.backend}; {packages}; {arguments.events} events a stream, {arguments.rounds} rounds\n")
    print(f"{'µs per event':22}{'median':>8}{'quartiles':>16}{'over bare':>12}")
    for name, times in results.items():
        low, _, high = statistics.quantiles(times, n=4)
        paired = statistics.median(mine - bare for mine, bare in zip(times, results["bare"], strict=True))
        print(f"{name:22}{statistics.median(times):8.3f}{low:8.3f}{high:8.3f}{paired:12.3f}")


if __name__ == "__main__":
    main()
