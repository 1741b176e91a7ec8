"""Short streams on uvicorn: ten events that are all ready, read to their end, on connections that stay open.

What a stream costs beside its events: its start, its supervision, its end. 16 connections ask again as soon as a
stream has ended.
"""

from collections.abc import Iterator

from ..paired import Sample, interleave
from ..reader import IncompleteError, connections, exchange
from ..servers import Server, metered, running
from ..tables import Measure, Table, against
from ..variants import (
    AIOHTTP,
    ASGI,
    BARE,
    COMPAT,
    FASTAPI,
    SSE_STARLETTE,
    STARLETTE,
    STARLETTE_ROUTE,
    STARLETTE_WRAPPED,
    available,
)

EVENTS = 10
CONNECTIONS = 16
TARGET = f"/?count={EVENTS}&ready={EVENTS}"
IN_STARLETTE = [each.name for each in (STARLETTE_WRAPPED, STARLETTE_ROUTE, COMPAT, SSE_STARLETTE, FASTAPI)]


def run(rounds: int, streams: int) -> Iterator[Table]:
    with running(available([*ASGI, AIOHTTP])) as servers:
        series = interleave(servers, lambda name: sample(servers[name], streams), rounds)
    bases = against(BARE.name, series)
    if STARLETTE.name in series:
        bases[STARLETTE.name] = [name for name in IN_STARLETTE if name in series]
    yield Table(f"streams of {EVENTS} events", series, bases)


def sample(server: Server, count: int) -> Sample:
    with connections(server.port, CONNECTIONS) as opened, metered(server) as meter:
        received = exchange(opened, TARGET, count)
    if received != count * EVENTS:
        raise IncompleteError(f"{server.variant.name}: {received} events in {count} streams of {EVENTS}")
    return {
        "cpu_us_per_stream": meter.cpu / count * 1e6,
        "streams_per_s": count / meter.seconds,
        "client_busy": meter.client_busy,
    }


MEASURE = Measure(
    title="Short streams",
    about=__doc__,
    run=run,
    full={"rounds": 9, "streams": 1_500},
    quick={"rounds": 3, "streams": 300},
)
