"""A hundred sync sources that block, and what other endpoints of the same server notice of them."""

import http.client
import statistics
import time
from contextlib import ExitStack

import pytest

from support.servers import KINDS, Server, StartServer

SERVERS = [kind for kind in KINDS if kind.name in ("uvicorn-httptools-uvloop", "hypercorn-trio")]
SOURCES = 100
REQUESTS = 300
P99 = 0.05
"""Seconds."""


@pytest.mark.parametrize("server_kind", SERVERS, indirect=True, ids=lambda kind: kind.name)
def test_a_hundred_blocking_sources_leave_other_endpoints_alone(server: StartServer) -> None:
    running = server("support.blocking:app")
    with ExitStack() as clients:
        streams = [clients.enter_context(running.connect().request(path="/blocking")) for _ in range(SOURCES)]
        for stream in streams:
            stream.read_until(b"data: x\n\ndata: x\n\n", within=15)
        took = {path: latencies(running, path) for path in ("/async", "/sync")}
    for path, seconds in took.items():
        print(f"{path}: median {statistics.median(seconds) * 1000:.1f} ms, p99 {p99(seconds) * 1000:.1f} ms")
    assert p99(took["/async"]) < P99
    assert p99(took["/sync"]) < P99
    assert "Traceback" not in running.output()


def latencies(running: Server, path: str) -> list[float]:
    connection = http.client.HTTPConnection(*running.address, timeout=10)
    took: list[float] = []
    for _ in range(REQUESTS):
        began = time.monotonic()
        connection.request("GET", path)
        assert connection.getresponse().read() == b'"here"'
        took.append(time.monotonic() - began)
    connection.close()
    return took


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]
