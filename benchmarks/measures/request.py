"""A request that is no stream: a small JSON response of a raw ASGI app, bare and wrapped.

What the middleware costs everything else that the app answers. Many short rounds, since it is little; on uvicorn with
16 connections that stay open, and in-process.
"""

import time
from collections.abc import Iterator

import anyio

from ..paired import Sample, interleave
from ..reader import connections, exchange
from ..servers import SUPPORTED, Server, metered, running
from ..tables import Measure, Table, against
from ..variants import PLAIN, PLAIN_WRAPPED
from .per_event import scope

CONNECTIONS = 16
END = b"}"
VARIANTS = [PLAIN, PLAIN_WRAPPED]


def run(rounds: int, requests: int) -> Iterator[Table]:
    apps = {each.name: each.load() for each in VARIANTS}
    series = interleave(apps, lambda name: anyio.run(in_process, apps[name], requests), rounds)
    yield Table("in-process", series, against(PLAIN.name, series))
    if SUPPORTED:
        with running(VARIANTS) as servers:
            series = interleave(servers, lambda name: over_sockets(servers[name], requests), rounds)
        yield Table("uvicorn", series, against(PLAIN.name, series))


async def in_process(app: object, requests: int) -> Sample:
    request = scope(1)

    async def receive() -> object:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: object) -> None:
        pass

    began = time.perf_counter()
    for _ in range(requests):
        await app(dict(request), receive, send)  # type: ignore[operator]
    return {"us_per_request": (time.perf_counter() - began) / requests * 1e6}


def over_sockets(server: Server, requests: int) -> Sample:
    with connections(server.port, CONNECTIONS) as opened, metered(server) as meter:
        exchange(opened, "/", requests, END)
    return {
        "cpu_us_per_request": meter.cpu / requests * 1e6,
        "requests_per_s": requests / meter.seconds,
        "client_busy": meter.client_busy,
    }


MEASURE = Measure(
    title="A request that is no stream",
    about=__doc__,
    run=run,
    full={"rounds": 41, "requests": 1_500},
    quick={"rounds": 9, "requests": 800},
    on_linux_only=False,
)
