"""Clients that come to harm or do the unusual, on real servers: the source ends, and the server has nothing to say."""

import json
import shutil
import socket
import subprocess
import time
from statistics import median
from typing import Any

import h11
import pytest

from support.client import RawClient
from support.journal import journal, wait_for
from support.servers import Server, StartServer

FAULTS = "support.faults:streams"
SECOND = b"GET /journal HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def ended(running: Server, path: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many streams are over and cleaned up; their ends, which were their clients' doing."""
    wait_for(running, "finally", path, count=count)
    ends = wait_for(running, "closed", path, count=count)
    assert {end["reason"] for end in ends} == {"client_left"}
    return ends


def took(ends: list[dict[str, Any]], left_at: list[float]) -> float:
    """Seconds from when a client left to the end of its stream: the median, as the machine may be busy."""
    return median(float(end["at"]) - left for end, left in zip(ends, left_at, strict=True))


def test_the_kill_of_a_client_ends_its_source_within_100_ms(server: StartServer) -> None:
    curl = shutil.which("curl") or pytest.skip("needs curl")
    running = server(FAULTS)
    said = running.output()
    left_at: list[float] = []
    for attempt in range(7):
        with subprocess.Popen([curl, "-sN", f"{running.url}/idle/"], stdout=subprocess.PIPE) as client:
            try:
                assert client.stdout is not None
                assert b"data: x\n" in iter(client.stdout.readline, b"")
            finally:
                left_at.append(time.monotonic())
                client.kill()
        ended(running, "/idle/", attempt + 1)
    assert took(ended(running, "/idle/", 7), left_at) <= 0.1
    assert running.output() == said


def test_a_client_that_shuts_down_its_sending_side_has_left(server: StartServer) -> None:
    running = server(FAULTS)
    said = running.output()
    for path in ("/idle/", "/busy/"):
        left_at: list[float] = []
        for attempt in range(5):
            with running.connect().request(path=path) as client:
                client.read_events(1)
                left_at.append(time.monotonic())
                client._socket.shutdown(socket.SHUT_WR)
                assert client.read_end() != "complete", "its connection goes, and nobody says that the stream is over"
            ended(running, path, attempt + 1)
        assert took(ended(running, path, 5), left_at) <= 0.1
    assert running.output() == said


def test_a_reset_in_the_midst_of_a_busy_stream_ends_it_at_once(server: StartServer) -> None:
    running = server(FAULTS)
    said = running.output()
    left_at: list[float] = []
    for attempt in range(5):
        client = running.connect().request(path="/busy/")
        client.read_events(50)
        left_at.append(time.monotonic())
        client.abort()
        ended(running, "/busy/", attempt + 1)
    assert took(ended(running, "/busy/", 5), left_at) <= 0.1
    assert running.output() == said, "asyncio warns of writes to a connection that is gone"


def test_a_reset_while_the_server_waits_for_its_client_to_read_ends_the_stream_at_once(server: StartServer) -> None:
    running = server(FAULTS)
    said = running.output()
    left_at: list[float] = []
    for attempt in range(3):
        client = running.connect(receive_buffer=4096).request(path="/flood/").head()
        before = -1
        while (made := journal(running)["made"].get("/flood/", 0)) != before:  # the buffers are filling
            before = made
            time.sleep(0.1)
        left_at.append(time.monotonic())
        client.abort()
        ended(running, "/flood/", attempt + 1)
    assert took(ended(running, "/flood/", 3), left_at) <= 0.1
    assert running.output() == said


def test_a_client_that_has_pipelined_a_request_and_leaves_ends_its_stream(server: StartServer) -> None:
    """Servers read no further, and uvicorn's httptools tells the second request alone: a ping finds it out."""
    running = server("support.streams:pinging")
    left_at: list[float] = []
    for leave in (RawClient.close, RawClient.abort):
        client = running.connect().request(path="/idle/")
        client.read_events(1)
        client._socket.sendall(SECOND)
        client.read_until(b": ping")  # the server has had its time to take the request in
        left_at.append(time.monotonic())
        leave(client)
        ended(running, "/idle/", len(left_at))
    for end, left in zip(ended(running, "/idle/", 2), left_at, strict=True):
        assert end["at"] - left < 1.5
    assert "Traceback" not in running.output()


def test_a_pipelined_request_is_answered_once_the_stream_is_over(server: StartServer) -> None:
    running = server(FAULTS)
    for path, reason in (("/short/", "completed"), ("/limited/", "max_duration")):
        with running.connect().request(path=path) as client:
            client._socket.sendall(SECOND)
            stream, answer = responses(client._socket, count=2)
        assert b"data: x\n\n" in stream
        last = json.loads(answer)["journal"][-1]
        assert (last["what"], last["path"], last["reason"]) == ("closed", path, reason), "not before"
    assert "Traceback" not in running.output()


def responses(connection: socket.socket, count: int) -> list[bytes]:
    """The bodies of so many responses on one connection, which the server closes after them."""
    parser = h11.Connection(h11.CLIENT)
    connection.settimeout(5)
    while received := connection.recv(65536):
        parser.receive_data(received)
    return [_body(parser) for _ in range(count)]


def _body(parser: h11.Connection) -> bytes:
    if parser.our_state is h11.DONE:
        parser.start_next_cycle()
    # The parser must know of a request; this one was sent long since.
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "localhost")]))
    parser.send(h11.EndOfMessage())
    body = b""
    while not isinstance(event := parser.next_event(), h11.EndOfMessage):
        assert event is not h11.NEED_DATA, "a response that was cut off"
        body += bytes(event.data) if isinstance(event, h11.Data) else b""
    return body
