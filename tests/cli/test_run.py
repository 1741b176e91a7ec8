"""The run command serves real applications, wrapped, and ends cleanly."""

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from cli.launch import Run
from support.client import Address, RawClient, TooLate
from support.servers import Server

pytestmark = pytest.mark.server

STARTING = 20.0  # seconds: with workers the first request waits for one of them, on a machine that may be busy
EVENTS = [f"data: {number}".encode() for number in range(5)]


def ticks(client: RawClient) -> list[bytes]:
    """The five events; what the middleware adds are comments."""
    with client.request(path="/ticks"):
        assert client.read_end(STARTING) == "complete"
    return [block for block in client.body.split(b"\n\n") if block.startswith(b"data")]


def wait_for_body(address: Address, expected: bytes, within: float = 15.0) -> bool:
    """Ask until the answer holds what is expected; a server that reloads may not answer at all."""
    until = time.monotonic() + within
    body = b""
    while expected not in body and time.monotonic() < until:
        with contextlib.suppress(TooLate, OSError), RawClient(address).request() as client:
            client.read_end(within=1.0)
            body = client.body
        time.sleep(0.05)
    return expected in body


def about(client: RawClient) -> dict[str, object]:
    with client.request(path="/"):
        client.read_end(STARTING)
    found: dict[str, object] = json.loads(client.body)
    return found


def started_workers(server: Server, count: int) -> set[int]:
    """The processes that say that they have started, once there are so many."""
    while len(found := re.findall(r"startup in (\d+)", server.output())) < count:
        time.sleep(0.01)  # pytest's timeout ends it
    return {int(pid) for pid in found}


@pytest.mark.parametrize(
    "arguments",
    [
        ("run_apps:app",),
        ("run_apps:make", "--factory"),
        ("run_apps:noting",),
        ("run_apps:app", "--worker-class", "uvloop"),
        ("run_apps:app", "--worker-class", "trio"),
        ("run_apps:app", "--workers", "2"),
        ("run_apps:app", "--workers", "2", "--worker-class", "trio"),
        ("run_apps:make", "--factory", "--workers", "2"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_serves_and_a_signal_ends_it_cleanly(run: Run, arguments: tuple[str, ...], number: signal.Signals) -> None:
    server = run(*arguments)
    assert ticks(server.connect()) == EVENTS
    server.signal(number)
    assert server.wait() == 0
    first, *rest = server.output().splitlines()
    assert "running on http://127.0.0.1:" in server.output()
    words = {line.split(" in ")[0] for line in (first, *rest) if line.startswith(("startup", "shutdown"))}
    assert words == {"startup", "shutdown"}
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("arguments", [(), ("--worker-class", "trio"), ("--workers", "2")], ids=" ".join)
def test_it_ends_cleanly_with_streams_open(run: Run, arguments: tuple[str, ...]) -> None:
    server = run("run_apps:app", *arguments)
    with server.connect() as first, server.connect() as second:
        for client in (first, second):
            client.request(path="/silent").read_until(b"data: only\n\n", STARTING)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("worker_class", ["asyncio", "uvloop", "trio"])
def test_a_second_signal_ends_the_open_streams_at_once(run: Run, worker_class: str) -> None:
    server = run("run_apps:app", "--worker-class", worker_class)
    with server.connect().request(path="/silent") as client:
        client.read_until(b"data: only\n\n")
        server.signal(signal.SIGINT)
        client.expect_silence(0.5)
        server.signal(signal.SIGINT)
        assert client.read_end(within=1.0) == "complete"
        assert server.wait() == 0
    assert "Traceback" not in server.output()


def test_a_signal_to_all_processes_cuts_no_stream_off(run: Run) -> None:
    server = run("run_apps:app", "--workers", "2", "--drain-grace", "2")
    with server.connect().request(path="/silent") as client:
        client.read_until(b"data: only\n\n", STARTING)
        for worker in started_workers(server, 2):
            os.kill(worker, signal.SIGTERM)  # as systemd does
        server.signal(signal.SIGTERM)
        client.expect_silence(1.0)
        assert client.read_end() == "complete"
        assert server.wait() == 0


def test_one_line_tells_the_url(run: Run) -> None:
    server = run("run_apps:app")
    lines = [line for line in server.output().splitlines() if "http" in line]
    assert lines == [f"sse_mw: running on {server.url}: run_apps:app (Ctrl-C ends it)"]


def test_each_worker_wraps_by_itself(run: Run) -> None:
    server = run("run_apps:app", "--workers", "2", "--ping-interval", "0.1", "--frame", "application/x-ndjson=lines")
    for _ in range(6):  # whichever of the two answers
        with server.connect().request(path="/silent") as client:
            client.read_until(b": ping\n\n", STARTING)
        with server.connect().request(path="/legacy", headers={"Accept": "text/event-stream"}) as client:
            client.read_until(b'data: {"n": 2}\n\n', STARTING)


def test_the_workers_serve_and_the_parent_does_not(run: Run) -> None:
    server = run("run_apps:app", "--workers", "2")
    pids = {about(server.connect())["pid"] for _ in range(20)}
    workers = started_workers(server, 2)
    assert pids <= workers
    assert server.pid not in workers


def test_the_options_reach_the_middleware(run: Run) -> None:
    server = run("run_apps:app", "--max-duration", "0.3", "--ping-interval", "off")
    with server.connect().request(path="/silent") as client:
        assert client.read_end(STARTING) == "complete"
    assert b": ping" not in client.body


@pytest.mark.parametrize("rule", ["application/x-ndjson=lines", "/leg*=lines"])
def test_a_legacy_response_is_upgraded_from_the_command_line(run: Run, rule: str) -> None:
    server = run("run_apps:app", "--frame", rule)
    with server.connect().request(path="/legacy", headers={"Accept": "text/event-stream"}) as client:
        assert client.read_end(STARTING) == "complete"
    assert client.headers["content-type"].startswith("text/event-stream")
    assert [line for line in client.body.split(b"\n") if line.startswith(b"data")] == [
        b'data: {"n": 1}',
        b'data: {"n": 2}',
    ]


def test_it_listens_on_several_addresses(run: Run) -> None:
    server = run("run_apps:app", "--bind", "127.0.0.1:0")
    urls = [word.rstrip(":") for word in server.output().split() if word.startswith("http")]
    ports = [int(url.rsplit(":", 1)[1]) for url in urls]
    assert len(set(ports)) == 2
    for port in ports:
        assert ticks(RawClient(("127.0.0.1", port))) == EVENTS


@pytest.mark.parametrize("worker_class", ["asyncio", "trio"])
def test_it_serves_a_unix_socket_and_removes_it_at_the_end(run: Run, tmp_path: Path, worker_class: str) -> None:
    path = tmp_path / "socket"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))  # left behind by a server that crashed
    stale.close()
    server = run("run_apps:app", "--worker-class", worker_class, bind=f"unix:{path}")
    assert f"running on unix:{path}" in server.output()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(b"GET /ticks HTTP/1.0\r\nHost: x\r\n\r\n")
        received = b""
        while piece := client.recv(65536):
            received += piece
    assert b"data: 4" in received
    server.signal()
    assert server.wait() == 0
    assert not path.exists()


@pytest.mark.parametrize("arguments", [(), ("--worker-class", "trio"), ("--workers", "2")], ids=" ".join)
def test_a_certificate_makes_it_https_and_offers_http_2(
    run: Run, certificate: tuple[str, str], arguments: tuple[str, ...]
) -> None:
    cert, key = certificate
    server = run("run_apps:app", "--certfile", cert, "--keyfile", key, *arguments)
    assert "running on https://127.0.0.1:" in server.output()
    context = ssl.create_default_context(cafile=cert)
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(server.address, 5) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            assert client.selected_alpn_protocol() == "h2"
    server.signal()
    assert server.wait() == 0
    assert "Traceback" not in server.output()


def test_a_change_reloads_and_a_broken_one_is_shown_until_the_next(run: Run, tmp_path: Path) -> None:
    source = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%s"})
"""
    module = tmp_path / "changing.py"
    module.write_text(source % "one")
    server = run("changing:app", "--app-dir", str(tmp_path), "--reload")
    for written, expected in ((None, b"one"), ("def app(:", b"SyntaxError"), (source % "two!", b"two!")):
        if written is not None:
            module.write_text(written)
        assert wait_for_body(server.address, expected)
    server.signal()
    assert server.wait() == 0
