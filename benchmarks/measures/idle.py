"""Streams that are open and silent, on uvicorn, each variant in a new process: memory, tasks, and CPU for pings.

Memory is what the server's resident set grew by, all garbage collected before and after, and 20 streams opened and
closed before the first reading. Bare ASGI has no pings; "bare, pings by hand" is the loop that one would write. The CPU
of pings is taken over one interval of them, or several. sse-starlette and fastapi.sse are told the interval too, the
latter by its private constant. Starlette alone has no pings. One round is a reading of each; none is thrown away, as
each starts a process.
"""

import json
from collections.abc import Iterator

from ..paired import Sample, interleave
from ..reader import drain, streams
from ..servers import Server, metered, running
from ..tables import Measure, Table, against
from ..variants import BARE, PINGING, STARLETTE, STREAMS, Variant, available

SILENCE = "/?kind=silence"
WARM_UP = 20
VARIANTS = [BARE, PINGING, *STREAMS[1:]]


def run(
    rounds: int, counts: list[int], slow_ping: float, slow_window: float, fast_ping: float, fast_window: float
) -> Iterator[Table]:
    chosen = {each.name: each for each in available(VARIANTS)}
    few, many = counts
    slow = interleave(chosen, lambda name: hold(chosen[name], counts, slow_ping, slow_window), rounds, warm_up=False)
    for count in counts:
        series = {
            name: {key: values[f"{key} {count}"] for key in ("kib_per_stream", "tasks_per_stream")}
            for name, values in slow.items()
        }
        yield Table(f"memory, {count:,} streams", series, against(BARE.name, series))
    series = {name: {"cpu_percent": values["cpu_percent"]} for name, values in slow.items()}
    yield Table(f"{many:,} streams, a ping each {slow_ping:g} s", series, against(PINGING.name, series))
    pinging = [name for name in chosen if name not in (BARE.name, STARLETTE.name)]
    fast = interleave(pinging, lambda name: hold(chosen[name], [few], fast_ping, fast_window), rounds, warm_up=False)
    series = {name: {"cpu_percent": values["cpu_percent"]} for name, values in fast.items()}
    yield Table(f"{few:,} streams, a ping each {fast_ping:g} s", series, against(PINGING.name, series))


def hold(variant: Variant, counts: list[int], ping: float, seconds: float) -> Sample:
    """Open so many streams, then so many, and watch the last of them for a while."""
    with running([variant], controlled=True, ping=ping) as servers:
        server = servers[variant.name]
        with streams(server.port, SILENCE, WARM_UP):
            pass
        server.wait_until_quiet()
        return _open(server, counts, _reading(server), seconds)


def _open(server: Server, counts: list[int], before: tuple[int, int], seconds: float, opened: int = 0) -> Sample:
    count, *others = counts
    with streams(server.port, SILENCE, count - opened) as (_, poll):
        drain(poll, 0.3)
        sample = _per_stream(count, before, _reading(server))
        if others:
            return sample | _open(server, others, before, seconds, count)
        with metered(server) as meter:
            drain(poll, seconds)
    return sample | {"cpu_percent": 100 * meter.cpu / meter.seconds}


def _per_stream(count: int, before: tuple[int, int], after: tuple[int, int]) -> Sample:
    return {
        f"kib_per_stream {count}": (after[0] - before[0]) / 1024 / count,
        f"tasks_per_stream {count}": (after[1] - before[1]) / count,
    }


def _reading(server: Server) -> tuple[int, int]:
    """Bytes resident and tasks, once all garbage is collected."""
    tasks = json.loads(server.get("/control").partition(b"\r\n\r\n")[2])["tasks"]
    return server.resident(), tasks


MEASURE = Measure(
    title="Idle streams",
    about=__doc__,
    run=run,
    full={"rounds": 1, "counts": [2_000, 10_000], "slow_ping": 15, "slow_window": 15, "fast_ping": 1, "fast_window": 8},
    quick={"rounds": 1, "counts": [500, 2_000], "slow_ping": 3, "slow_window": 3, "fast_ping": 1, "fast_window": 2},
)
