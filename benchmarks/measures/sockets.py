"""Events over sockets: one stream at a time, read by a client on another core.

"Paced": one event in a turn of the server's event loop, `await asyncio.sleep(0)`, and the next. "Burst": 100 events
ready at once, a turn of the loop, and so on. The server's CPU is that of all its processes, by the kernel's clocks;
events per second are by the wall, and say less, since they hold what the kernel does for both sides.
"""

from collections.abc import Iterator
from functools import partial

from ..paired import Sample, interleave
from ..reader import IncompleteError, connections, exchange
from ..servers import KINDS, UVICORN, Server, metered, running
from ..tables import Measure, Table, against
from ..variants import AIOHTTP, ASGI, BARE, ROUTE, UNCOALESCED, WRAPPED, Variant, available

READY = {"paced": 1, "burst": 100}


def run(rounds: int, events: int) -> Iterator[Table]:
    for kind in KINDS:
        chosen = available(variants(kind))
        with running(chosen, kind) as servers:
            for mode, ready in READY.items():
                target = f"/?count={events}&ready={ready}&pause=0"
                names = [each.name for each in chosen if mode == "burst" or each not in UNCOALESCED]

                series = interleave(names, partial(sample, servers, target, events), rounds)
                yield Table(f"{kind}, {mode}", series, against(BARE.name, series))


def variants(kind: str) -> list[Variant]:
    if kind == UVICORN:
        return [*ASGI, AIOHTTP, *UNCOALESCED]
    return ASGI if kind in ("hypercorn", "granian") else [BARE, WRAPPED, ROUTE]


def sample(servers: dict[str, Server], target: str, events: int, name: str) -> Sample:
    server = servers[name]
    with connections(server.port, 1) as opened, metered(server) as meter:
        received = exchange(opened, target, 1)
    if received != events:
        raise IncompleteError(f"{server.variant.name}: {received} events instead of {events}")
    return {
        "cpu_us_per_event": meter.cpu / events * 1e6,
        "events_per_s": events / meter.seconds,
        "client_busy": meter.client_busy,
    }


MEASURE = Measure(
    title="Events over sockets",
    about=__doc__,
    run=run,
    full={"rounds": 9, "events": 10_000},
    quick={"rounds": 3, "events": 2_000},
)
