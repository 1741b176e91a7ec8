"""From a few streams to many, on uvicorn: the server's CPU for one event, the events of all streams taken together.

The more streams, the less each of them sends, so that there are about 4,000 events a second in all, however many
streams: what is seen is whether an event gets dearer when many streams are open. A package for which these are too many
events falls behind, and its events a second say so. fastapi.sse falls behind with 1,000 streams already, and is left
out at 10,000: they do not all come up, and hold the server for minutes after their clients have left. No round is
thrown away, as each of them lets its streams settle.
"""

from collections.abc import Iterator
from functools import partial

from ..paired import Sample, interleave
from ..reader import drain, streams
from ..servers import Server, metered, running
from ..tables import Measure, Table, against
from ..variants import BARE, FASTAPI, ROUTE, SSE_STARLETTE, WRAPPED, available

EVENTS_PER_S = 4_000
SETTLE = 0.5
FASTAPI_MOST = 1_000
VARIANTS = [BARE, WRAPPED, ROUTE, SSE_STARLETTE, FASTAPI]


def run(rounds: int, counts: list[int], seconds: float) -> Iterator[Table]:
    with running(available(VARIANTS), controlled=True) as servers:
        for count in counts:
            names = [name for name in servers if name != FASTAPI.name or count <= FASTAPI_MOST]
            series = interleave(names, partial(sample, servers, count, seconds), rounds, warm_up=False)
            yield Table(f"{count:,} streams", series, against(BARE.name, series))


def sample(servers: dict[str, Server], count: int, seconds: float, name: str) -> Sample:
    server, pause = servers[name], count / EVENTS_PER_S
    with streams(server.port, f"/?kind=ticks&pause={pause}", count) as (_, poll):
        drain(poll, SETTLE)
        with metered(server) as meter:
            events, _ = drain(poll, max(seconds, pause))
    server.get("/control?over")
    server.wait_until_quiet()
    return {
        "cpu_us_per_event": meter.cpu / events * 1e6,
        "events_per_s": events / meter.seconds,
        "client_busy": meter.client_busy,
    }


MEASURE = Measure(
    title="From 10 streams to 10,000",
    about=__doc__,
    run=run,
    full={"rounds": 3, "counts": [10, 100, 1_000, 10_000], "seconds": 1.5},
    quick={"rounds": 1, "counts": [10, 100, 1_000], "seconds": 0.5},
)
