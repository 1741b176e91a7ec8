"""nginx and haproxy: events come through at once, and what happens to a client, a server or the proxy itself shows.

nginx has the settings that it proxies with by default: it buffers, and is told not to. haproxy
needs two options, or it holds back what is small, and keeps a stream whose client has left until it is written to.
"""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from support.client import RawClient
from support.journal import entries, wait_for
from support.proxies import HAPROXY_OPTIONS, PROXIES, Proxy, ProxyKind, StartProxy, haproxy, nginx
from support.restarts import notes, start_at
from support.servers import KINDS, Server, ServerKind, StartServer, free_port

APP = "support.streams:app"
NUMBERS = "support.faults:app"
CLIENTS = 5
TIMEOUTS = {nginx: "proxy_read_timeout 1s;", haproxy: f"{HAPROXY_OPTIONS}\n    timeout server 1s"}
LATER = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 13\r\n\r\nretry: 3000\n\n"
WHILE_DOWN = {
    nginx: r"""error_page 502 503 504 =200 @later; }}
        location @later {{ default_type text/event-stream; return 200 "retry: 3000\n\n";""",
    haproxy: f"{HAPROXY_OPTIONS}\n    errorfile 503 {{folder}}/later.http",
}
ONE_KIND = pytest.mark.parametrize("server_kind", KINDS[:1], indirect=True, ids=lambda kind: kind.name)


@pytest.fixture(params=PROXIES, ids=lambda kind: kind.name)
def proxy_kind(request: pytest.FixtureRequest) -> ProxyKind:
    kind: ProxyKind = request.param
    return kind


@pytest.fixture
def proxy(proxy_kind: ProxyKind, tmp_path: Path) -> Iterator[StartProxy]:
    port = free_port()
    with ExitStack() as running:
        yield partial(_start, running, proxy_kind, tmp_path, port)


def _start(
    running: ExitStack, kind: ProxyKind, folder: Path, port: int, upstream: Server, *, options: str = ""
) -> Proxy:
    return running.enter_context(kind.run(upstream, folder, port, options))


def resume(front: Proxy, last: int) -> RawClient:
    return front.connect().request(path="/numbers", headers={"Last-Event-ID": str(last)} if last else {})


def numbers(client: RawClient, after: int) -> list[int]:
    """The numbers that come, which go on after what the client has seen."""
    client.read_until(b"id: %d\n\n" % (after + 2))
    found = data(client)
    assert found == list(range(after + 1, after + 1 + len(found)))
    return found


def wait_for_notes(server: Server, what: str, count: int) -> list[dict[str, Any]]:
    until = time.monotonic() + 5
    while len(found := notes(server, what)) < count:
        assert time.monotonic() < until, server.output()
        time.sleep(0.02)
    return found


def data(client: RawClient) -> list[int]:
    """The numbers of the whole events so far."""
    return [int(number) for number in re.findall(rb"id: (\d+)\n\n", client.body)]


def test_events_come_through_one_by_one(server: StartServer, proxy: StartProxy) -> None:
    """The median gap, as the machine may be busy: of two that come together one would have none."""
    with proxy(server(APP)).connect() as client:
        client.request(path="/paced/").read_events(12)
        times = [at for at, _ in client.pieces]
    gaps = [late - early for early, late in pairwise(times)]
    assert 0.05 <= median(gaps) <= 0.15, gaps


def test_the_head_comes_through_though_the_source_is_silent(server: StartServer, proxy: StartProxy) -> None:
    front = proxy(server(APP))
    took: list[float] = []
    for _ in range(3):
        with front.connect() as client:
            began = time.monotonic()
            client.request(path="/silent/").read_until(b":\n\n")
            took.append(time.monotonic() - began)
    assert min(took) < 0.2


def test_a_client_that_leaves_the_proxy_leaves_the_app(server: StartServer, proxy: StartProxy) -> None:
    running = server(APP)
    front = proxy(running)
    for count, leave in enumerate((RawClient.close, RawClient.abort), 1):
        client = front.connect().request(path="/idle/")
        client.read_events(1)
        leave(client)
        wait_for(running, "finally", "/idle/", count=count)
    assert {entry["reason"] for entry in entries(running, "closed", "/idle/")} == {"client_left"}


def test_the_death_of_a_proxy_ends_the_sources_behind_it_and_clients_go_on_through_the_next(
    server: StartServer, proxy: StartProxy
) -> None:
    running = server(NUMBERS)
    seen = [0] * CLIENTS
    for count, number in enumerate((signal.SIGKILL, signal.SIGTERM), 1):
        front = proxy(running)
        streams = [resume(front, last) for last in seen]
        seen = [numbers(stream, after=last)[-1] for stream, last in zip(streams, seen, strict=True)]
        died_at = time.monotonic()
        front.end(number)
        ends = wait_for_notes(running, "closed", count * CLIENTS)[-CLIENTS:]
        assert {end["reason"] for end in ends} == {"client_left"}
        assert median(end["at"] - died_at for end in ends) <= 0.2
        for stream in streams:
            assert stream.read_end() != "complete"
            stream.close()
    assert "Traceback" not in running.output()


@ONE_KIND
@pytest.mark.parametrize("proxy_kind", [nginx], indirect=True, ids=lambda kind: kind.name)
def test_a_reload_of_nginx_leaves_streams_open(server: StartServer, proxy: StartProxy) -> None:
    """The old worker stays for those that it has, and goes with the last of them."""
    running = server(APP)
    front = proxy(running)
    with front.connect().request(path="/paced/") as stream:
        stream.read_events(3)
        old = front.reload()
        with front.connect().request(path="/paced/") as another:
            another.read_events(3)
            stream.read_events(stream.body.count(b"\n\n") + 5)
            assert old < front.workers(), "the old one has its streams still"
    until = time.monotonic() + 5
    while old & front.workers():
        assert time.monotonic() < until, "the old worker does not end"
        time.sleep(0.02)
    wait_for(running, "finally", "/paced/", count=2)


def test_a_restart_of_the_server_behind_a_proxy_gives_each_client_a_whole_response_and_the_next_stream(
    server: StartServer, server_kind: ServerKind, proxy: StartProxy
) -> None:
    port = free_port()
    running = start_at(port, server, server_kind, NUMBERS)
    front = proxy(running)
    streams = [resume(front, 0) for _ in range(CLIENTS)]
    for stream in streams:
        numbers(stream, after=0)
    running.signal(signal.SIGTERM)
    running.wait(5)
    for stream in streams:
        assert stream.read_end() == "complete"
        assert b"retry: " in stream.body.rpartition(b"data: ")[2], "when to come back"
        stream.close()
    start_at(port, server, server_kind, NUMBERS)
    for stream in streams:
        last = data(stream)[-1]
        with resume(front, last) as again:
            numbers(again, after=last)
    assert "Traceback" not in running.output()


@ONE_KIND
def test_pings_keep_a_silent_stream_from_the_proxys_timeouts(
    server: StartServer, proxy: StartProxy, proxy_kind: ProxyKind
) -> None:
    front = proxy(server(APP), options=TIMEOUTS[proxy_kind])
    with front.connect().request(path="/silent/") as client:
        assert client.read_end() == "truncated", "without pings, for the time being"
    front.end(signal.SIGTERM)
    with proxy(server("support.streams:pinging"), options=TIMEOUTS[proxy_kind]).connect() as client:
        client.request(path="/silent/").read_events(11)  # 0.2 s each: twice as long


@ONE_KIND
def test_a_proxy_can_ask_event_sources_to_come_back_while_there_is_no_server(
    server: StartServer, proxy: StartProxy, proxy_kind: ProxyKind, tmp_path: Path
) -> None:
    """A browser's EventSource gives up for good on any status but 200, and so on a proxy's own 502 or 503."""
    running = server(APP)
    running.stop()
    (tmp_path / "later.http").write_bytes(LATER.encode())
    for options, status in (("", 502 if proxy_kind is nginx else 503), (WHILE_DOWN[proxy_kind], 200)):
        front = proxy(running, options=options.format(folder=tmp_path))
        with front.connect().request(path="/idle/") as client:
            assert client.read_end() == "complete"
        assert client.status == status
        front.end(signal.SIGTERM)
        if options:
            assert client.headers["content-type"] == "text/event-stream"
            assert client.body == b"retry: 3000\n\n"
