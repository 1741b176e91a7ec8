"""Real servers, real sockets: what a client sees, and what becomes of the app."""

import socket
import time
from itertools import pairwise
from statistics import median
from typing import Any

import pytest

from support.client import RawClient
from support.journal import entries, journal
from support.servers import Server, StartServer

APP = "support.streams:app"


def wait_for(server: Server, what: str, path: str, *, count: int = 1, within: float = 5.0) -> dict[str, Any]:
    """The entry of the journal that makes it `count` of this kind."""
    until = time.monotonic() + within
    while len(found := entries(server, what, path)) < count:
        assert time.monotonic() < until, f"no {what!r} of {path} in {journal(server)}"
        time.sleep(0.02)
    return found[count - 1]


@pytest.mark.parametrize("path", ["/idle/", "/nested/", "/silent/"])
def test_a_client_that_leaves_an_idle_stream_ends_its_source_within_100_ms(server: StartServer, path: str) -> None:
    """The median of several, as the machine may be busy with other tests."""
    running = server(APP)
    what = "closed" if path == "/silent/" else "finally"
    left_at: list[float] = []
    for attempt in range(7):
        client = running.connect().request(path=path).head()
        client.read_until(b"\n\n")
        left_at.append(time.monotonic())
        client.close() if attempt % 2 else client.abort()
        wait_for(running, what, path, count=attempt + 1)
    ended_at = [entry["at"] for entry in entries(running, what, path)]
    assert median(ended - left for ended, left in zip(ended_at, left_at, strict=True)) <= 0.1
    assert {entry["reason"] for entry in entries(running, "closed", path)} == {"client_left"}


def test_the_head_leaves_at_once_though_the_source_is_silent(server: StartServer) -> None:
    running = server(APP)
    with running.connect() as client:
        began = time.monotonic()
        client.request(path="/silent/").head()
        assert time.monotonic() - began <= 0.2
        client.read_until(b":\n\n", within=0.2)


def test_a_busy_source_stops_within_one_event(server: StartServer) -> None:
    running = server(APP)
    client = running.connect().request(path="/busy/").head()
    client.read_events(100)
    client.abort()
    at_close = wait_for(running, "closed", "/busy/")
    wait_for(running, "finally", "/busy/")
    assert at_close["reason"] == "client_left"
    assert journal(running)["made"]["/busy/"] - at_close["made"] <= 1


def test_a_client_that_stops_reading_is_gone_at_the_send_timeout_plus_a_tick(server: StartServer) -> None:
    running = server(APP)
    client = running.connect(receive_buffer=4096).request(path="/flood/").head()
    before = journal(running)["made"]["/flood/"]
    while (made := journal(running)["made"]["/flood/"]) != before:  # the buffers are filling
        before = made
        time.sleep(0.1)
    entry = wait_for(running, "closed", "/flood/", within=5)
    ended = wait_for(running, "finally", "/flood/")
    assert entry["reason"] == "send_timeout"
    assert ended["at"] - entry["at"] <= 0.3
    assert client.read_end(within=2) in ("reset", "truncated"), "its connection is freed"
    client.close()


def test_the_send_timeout_is_kept_to_a_tick(server: StartServer) -> None:
    """From when the app's last send began, as its journal has it, to the close: one second, and a tick or two."""
    running = server(APP)
    with running.connect(receive_buffer=4096) as client:
        client.request(path="/flood/").head()
        last = (0, time.monotonic())
        while time.monotonic() - last[1] < 3:
            state = journal(running)
            if any(entry["what"] == "closed" for entry in state["journal"]):
                break
            if state["made"]["/flood/"] != last[0]:
                last = (state["made"]["/flood/"], time.monotonic())
        entry = wait_for(running, "closed", "/flood/")
    assert 0.9 <= entry["at"] - last[1] <= 1.15


def test_pings_come_on_a_silent_stream(server: StartServer) -> None:
    running = server("support.streams:pinging")
    with running.connect() as client:
        client.request(path="/silent/").head()
        assert client.read_events(4) == [b":"] + [b": ping"] * 3
        times = [at for at, _ in client.pieces]
        gaps = [late - early for early, late in pairwise(times)]
        assert all(0.15 <= gap <= 0.4 for gap in gaps), gaps


@pytest.mark.parametrize("path", ["/fails/", "/idle/"])
def test_a_stream_that_we_end_is_complete_and_says_nothing_on_stderr_but_the_log(
    server: StartServer, path: str
) -> None:
    running = server("support.streams:limited")
    with running.connect() as client:
        client.request(path=path)
        assert client.read_end() == "complete"
        assert client.body.startswith(b"data: ")
    assert wait_for(running, "closed", path)["reason"] == ("error" if path == "/fails/" else "max_duration")
    assert "ASGI callable returned without" not in running.output()
    assert "Exception in ASGI" not in running.output()


def test_a_legacy_response_is_upgraded_line_by_line(server: StartServer) -> None:
    running = server(APP)
    with running.connect() as client:
        client.request(path="/lines/", headers={"Accept": "text/event-stream"})
        assert client.read_end() == "complete"
        assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert client.body == b"".join(b'data: {"line":%d}\n\n' % number for number in range(5))
        assert len(client.pieces) == 5, "one by one"


def test_head_has_the_headers_alone(server: StartServer) -> None:
    running = server(APP)
    with running.connect() as client:
        client.request("HEAD", "/paced/").head()
        assert client.headers["content-type"] == "text/event-stream"
        assert client.read_end() == "complete"
        assert client.body == b""
    assert wait_for(running, "finally", "/paced/")


def test_a_half_open_connection_is_pinged_until_it_breaks(server: StartServer) -> None:
    """The client closes its end without reading what has come: the next ping meets a reset."""
    running = server("support.streams:pinging")
    client = running.connect().request(path="/silent/").head()
    client._socket.shutdown(socket.SHUT_RD)
    client.close()
    assert wait_for(running, "closed", "/silent/")["reason"] == "client_left"


def test_hundreds_of_streams_open_and_end_at_once(server: StartServer) -> None:
    running = server(APP)
    clients: list[RawClient] = [running.connect().request(path="/idle/") for _ in range(200)]
    for client in clients:
        client.read_events(1)
    for client in clients:
        client.abort()
    wait_for(running, "closed", "/idle/", count=200, within=10)
    assert {entry["reason"] for entry in entries(running, "closed", "/idle/")} == {"client_left"}
