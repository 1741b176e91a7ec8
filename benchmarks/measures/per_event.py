"""What one event costs in-process: one stream whose events are all ready at once; a `send` that does next to nothing.

So this is the package alone, without a server. The frameworks run as whole apps, with their routing and the
middleware that they always have. Compare `@sse_route` with "bare generator", and the others with "bare ASGI".
"""

import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import anyio

from ..paired import Sample, interleave
from ..tables import Measure, Table, against
from ..variants import ASGI, BARE, GENERATOR, ROUTE, ROUTE_UNCOALESCED, UNCOALESCED, available

BACKENDS = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


def scope(events: int) -> dict[str, Any]:
    query = f"count={events}&ready={events}".encode()
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/", "raw_path": b"/", "query_string": query, "root_path": "",
        "headers": [(b"host", b"bench")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "extensions": {},
    }  # fmt: skip


class Client:
    """Both ends of the ASGI interface: whoever listens learns of the response's end, as from a server."""

    def __init__(self) -> None:
        self._asked = False
        self._over = anyio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._asked:
            await self._over.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        if not message.get("more_body", True):
            self._over.set()


async def stream(app: Any, events: int) -> float:
    """Microseconds per event of one stream."""
    client, request = Client(), scope(events)
    began = time.perf_counter()
    await app(request, client.receive, client.send)
    return (time.perf_counter() - began) / events * 1e6


def run(rounds: int, events: int, backends: list[str]) -> Iterator[Table]:
    for name in backends:
        if name != "asyncio" and find_spec(name) is None:
            print(f"left out: {name}, which is not installed")
            continue
        series = _on(name, rounds, events)
        routes = [each.name for each in (ROUTE, ROUTE_UNCOALESCED) if each.name in series]
        yield Table(name, series, against(BARE.name, series) | {GENERATOR.name: routes})


def _on(backend: str, rounds: int, events: int) -> dict[str, dict[str, list[float]]]:
    kind, options = BACKENDS[backend]
    chosen = available([BARE, GENERATOR, *ASGI[1:], *UNCOALESCED])
    apps = {each.name: each.load() for each in chosen if each.on_trio or backend != "trio"}

    def sample(name: str) -> Sample:
        return {"us_per_event": anyio.run(stream, apps[name], events, backend=kind, backend_options=options)}

    return interleave(apps, sample, rounds)


MEASURE = Measure(
    title="One event, in-process",
    about=__doc__,
    run=run,
    full={"rounds": 15, "events": 10_000, "backends": list(BACKENDS)},
    quick={"rounds": 3, "events": 3_000, "backends": list(BACKENDS)},
    on_linux_only=False,
)
