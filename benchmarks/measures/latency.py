"""Latency on uvicorn: 100 streams at once with 10 events a second each, from the source to the client.

Each event holds the time at which its source made it, and the client, on another core, takes the time when it has read
it; on Linux both read the same monotonic clock. The streams do not tick in step. No round is thrown away, as each of
them lets its streams settle first. The 99th percentile is the machine's as much as the package's: whatever else runs on
a core holds it for milliseconds.
"""

import statistics
from collections.abc import Iterator

from ..paired import Sample, interleave
from ..reader import delays, drain, streams
from ..servers import Server, running
from ..tables import Measure, Table
from ..variants import ASGI, available

SETTLE = 0.3


def run(rounds: int, seconds: float, count: int, pause: float) -> Iterator[Table]:
    target = f"/?kind=ticks&pause={pause}"
    with running(available(ASGI), controlled=True) as servers:
        series = interleave(servers, lambda name: sample(servers[name], target, count, seconds), rounds, warm_up=False)
    yield Table(f"{count} streams, {count / pause:,.0f} events a second", series)


def sample(server: Server, target: str, count: int, seconds: float) -> Sample:
    with streams(server.port, target, count) as (_, poll):
        drain(poll, SETTLE)
        found = delays(poll, seconds)
    server.get("/control?over")
    server.wait_until_quiet()
    hundredths = statistics.quantiles(found, n=100)
    return {"p50_ms": hundredths[49] * 1e3, "p99_ms": hundredths[98] * 1e3}


MEASURE = Measure(
    title="Latency",
    about=__doc__,
    run=run,
    full={"rounds": 5, "seconds": 2.0, "count": 100, "pause": 0.1},
    quick={"rounds": 1, "seconds": 0.8, "count": 100, "pause": 0.1},
)
