"""Every way to launch a server, and what has to hold on each. The docstrings become docs/guide/servers.md."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from uuid import uuid4

import pytest

from support.client import RawClient, connected
from support.h2_client import H2Client
from support.matrix.launches import Fresh, Launch, Launched
from support.servers import TESTS

STREAMS = {"idle": 50, "passed-through": 50, "busy": 10}
RETRY = b"retry: "


def path_of(endpoint: str) -> str:
    """A path of its own, by which the journal tells it."""
    return f"/{endpoint}/{uuid4().hex}"


@pytest.mark.parametrize("endpoint", ["idle", "pinged"])
def test_a_client_that_leaves_an_idle_stream_ends_it_within_100_ms(launched: Launched, endpoint: str) -> None:
    """Disconnect: a client that leaves an idle stream ends it, and its source, within 100 ms (median of several)."""
    took: list[float] = []
    for attempt in range(7):
        path = path_of(endpoint)
        client = launched.connect().request(path=path)
        client.read_until(b"\n\n")
        left_at = time.monotonic()
        client.abort() if attempt % 2 else client.close()
        ended = launched.wait_for("closed", path)
        assert ended["reason"] == "client_left"
        if endpoint == "idle":
            ended = launched.wait_for("finally", path)
        took.append(ended["at"] - left_at)
    assert median(took) <= 0.1


def test_a_silent_stream_is_pinged(launched: Launched) -> None:
    """Ping: the head of a silent stream leaves at once, and then it is pinged at its interval."""
    took: list[float] = []
    for _ in range(3):  # the quickest counts, as the machine may be busy with other tests
        with launched.connect() as client:
            began = time.monotonic()
            client.request(path="/pinged").read_until(b":\n\n")
            took.append(client.pieces[0][0] - began)
            assert client.read_events(4) == [b":"] + [b": ping"] * 3
    assert min(took) < 0.3


def test_a_source_says_good_bye_when_its_server_is_told_to_end(fresh: Fresh) -> None:
    """Farewell: a source is told that the server shuts down, and its last event reaches the client."""
    running = fresh(grace=5)
    with running.connect() as client:
        clients = [client, *(client.sibling() for _ in range(20) if isinstance(client, H2Client))]
        for each in clients:
            each.request(path="/good-bye").read_until(b"data: x\n\n")
        running.server.signal(signal.SIGTERM)
        for each in clients:
            assert each.read_end(within=10) == "complete"
            assert each.body.endswith(b"event: bye\ndata: back soon\n\n")
    running.server.wait(within=5 + running.launch.own_seconds)


def test_a_client_that_stops_reading_is_let_go(launched: Launched) -> None:
    """Stuck client: one that stops reading is let go at `send_timeout`, which is said once; on HTTP/1.1 its connection
    is freed, on HTTP/2 the other streams of its connection go on."""
    path = path_of("flood")
    client = launched.connect(receive_buffer=4096)
    with client:
        if isinstance(client, H2Client):
            client.frozen = True
        client.request(path=path).head()
        assert launched.wait_for("closed", path, within=10)["reason"] == "send_timeout"
        if isinstance(client, H2Client):
            sibling = client.sibling().request(path="/paced")
            sibling.read_events(10)
        else:
            assert client.read_end(within=5) in ("reset", "truncated")
    said = launched.server.wait_for_output("read nothing for send_timeout")
    assert said.count("read nothing for send_timeout") == 1


def test_head_is_answered_with_the_headers_alone(launched: Launched) -> None:
    """HEAD: the headers of GET and nothing else; the source is not started."""
    path = path_of("idle")
    with launched.connect() as client:
        assert client.request("HEAD", path).read_end() == "complete"
        assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert client.body == b""
    with launched.connect() as client:
        client.request(path="/ticks").read_end()
    assert not launched.entries("started", path)


def test_an_http_1_0_client_gets_a_plain_body(launched: Launched) -> None:
    """HTTP/1.0: the events as they are, and their end when the connection closes."""
    with connected(launched.address, tls=launched.launch.tls) as connection:
        connection.sendall(b"GET /ticks HTTP/1.0\r\nHost: localhost\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0]
    # On a slow moment of the machine's the stream is opened by a comment.
    assert body.removeprefix(b":\n\n") == b"".join(b"data: %d\n\n" % number for number in range(5))


def test_a_failure_in_mid_stream_ends_a_whole_response(launched: Launched) -> None:
    """Failure: an app that raises in mid-stream is logged once, and its client gets a whole response."""
    path = path_of("fails")
    with launched.connect() as client:
        assert client.request(path=path).read_end() == "complete"
        assert client.body == b"data: x\n\n"
    assert launched.wait_for("closed", path)["reason"] == "error"
    output = launched.server.wait_for_output("LookupError: in mid-stream")
    assert output.count("LookupError: in mid-stream") == 1
    assert "Exception in ASGI" not in output


def test_a_pipelined_request_hides_no_disconnect(launched: Launched) -> None:
    """Pipelined: a client that has sent a second request behind its stream, and leaves, is noticed."""
    path = path_of("pinged")
    request = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connected(launched.address, tls=launched.launch.tls) as connection:
        connection.sendall(request % path.encode() + request % b"/ticks")
        received = b""
        while b": ping" not in received:
            received += connection.recv(65536)
    assert launched.wait_for("closed", path)["reason"] == "client_left"


def told_to_end(fresh: Fresh, folder: Path, grace: float, number: int) -> float:
    """Whether all is well; how long the server took to end, in seconds."""
    running = fresh(grace=grace)
    curls = running.curls(folder, STREAMS)
    try:
        curls.wait_until_begun()
        told_at = time.monotonic()
        running.server.signal(number)
        running.server.wait(within=grace + 10)
        took = time.monotonic() - told_at
        codes = curls.exit_codes()
    finally:
        curls.kill()
    assert codes == [0] * sum(STREAMS.values())
    if running.launch.waits_for_cleanup:
        assert len(running.entries("cleaned up", "/idle")) == STREAMS["idle"]
    output = running.server.output()
    assert output.count("lifespan shutdown") == running.launch.processes
    assert "Traceback" not in output
    for body in curls.bodies().values():
        assert RETRY in body.rpartition(b"data: ")[2]
    return took - running.launch.own_seconds


def told_to_end_in_time(fresh: Fresh, folder: Path, grace: float, number: int) -> None:
    """In time once of three times, as the machine may be busy with other tests; whole each time."""
    took: list[float] = []
    while not took or (took[-1] >= grace + 1 and len(took) < 3):
        took.append(told_to_end(fresh, folder / f"curls-{len(took)}", grace, number))
    assert min(took) < grace + 1


@pytest.mark.parametrize("grace", [0, 1])
def test_sigterm_ends_the_server_in_time_and_every_response_whole(fresh: Fresh, tmp_path: Path, grace: int) -> None:
    """SIGTERM: with 100 idle streams and 10 busy ones the server ends within `drain_grace` + 1 s (tried with 0 and 1),
    each client (curl) gets a whole response and a `retry:`, the sources clean up, the lifespan's shutdown runs, and no
    traceback is printed."""
    told_to_end_in_time(fresh, tmp_path, grace, signal.SIGTERM)


@pytest.mark.parametrize("grace", [0, 1])
def test_sigint_ends_the_server_in_time_and_every_response_whole(fresh: Fresh, tmp_path: Path, grace: int) -> None:
    """SIGINT: the same."""
    told_to_end_in_time(fresh, tmp_path, grace, signal.SIGINT)


def test_recycling_ends_streams_whole(fresh: Fresh) -> None:
    """Recycling: a server that starts its app anew, or ends after so many requests, ends its streams whole first."""
    running = fresh(requests=8, grace=0)
    clients = [running.connect().request(path="/idle") for _ in range(5)]
    for client in clients:
        client.read_until(b"data: x\n\n")
    recycle(running)
    for client in clients:
        with client:
            assert client.read_end(within=10) == "complete"
            assert RETRY in client.body
    if running.launch.recycling != "requests":
        read_from_the_next(running)
    assert "Traceback" not in running.server.output()


def recycle(running: Launched) -> None:
    match running.launch.recycling:
        case "requests":
            for _ in range(8):
                with RawClient(running.address) as client:
                    client.request(path="/ticks").read_end()
        case "touch":
            (running.journal.parent / "touched.py").write_text("changed = True\n")
        case _:
            os.kill(running.server.pid, signal.SIGHUP)


def read_from_the_next(running: Launched) -> None:
    """The app that was started anew streams."""
    until = time.monotonic() + 20
    while True:
        try:
            with RawClient(running.address) as client:
                client.request(path="/ticks").read_end()
                if b"data: 0" in client.body:
                    return
        except (OSError, AssertionError):
            pass  # the old one refuses, or nobody listens yet
        assert time.monotonic() < until, running.server.output()
        time.sleep(0.05)


def in_process(launch: Launch, scenario: str) -> None:
    environment = {**os.environ, "GRACE": "0.1", "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "support.matrix.in_process", launch.name, scenario]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(90)
def test_twenty_starts_and_stops_in_one_process(launch: Launch) -> None:
    """20 starts: in one process, in one event loop and in several, the same port and another: each server streams, each
    is drained when it stops, and nothing is left."""
    in_process(launch, "cycles")


@pytest.mark.timeout(90)
def test_two_event_loops_in_two_threads(launch: Launch) -> None:
    """Two loops: two servers with one app in two threads; the one that ends drains its own streams alone."""
    in_process(launch, "loops")
