"""An app written for sse-starlette on real servers: with the import changed its streams end whole when they stop."""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.client import TooLate
from support.servers import KINDS, Server, ServerKind, free_port, start_process

APP = "support.written_for_the_peer:app"
PATHS = ["/idle", "/ticks", "/threads", "/channel", "/farewell"]
GRANIAN = "granian"
END_OF_EVENT = b"\r\n\r\n"
BY_NAME: dict[str, ServerKind] = {kind.name: kind for kind in KINDS}
SERVERS = [*BY_NAME, GRANIAN]
OURS = "sse_mw.compat.sse_starlette"

pytestmark = pytest.mark.server


def start(name: str, folder: Path, package: str, *, wrapped: bool = False) -> Server:
    environment = {"EVENTS": package, "WRAPPED": "1" if wrapped else ""}
    if name == GRANIAN:
        port = free_port()
        command = [sys.executable, "-m", "granian", "--interface", "asgi", "--port", str(port), APP]
        return start_process(name, command, folder / "log", environment, address=("127.0.0.1", port))
    kind = BY_NAME[name]
    kind.require()
    command = [sys.executable, "-m", kind.module, *kind.options, APP]
    return start_process(name, command, folder / "log", environment)


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("name", SERVERS)
def test_its_streams_end_whole_when_the_server_is_told_to_end(
    name: str, number: signal.Signals, wrapped: bool, tmp_path: Path
) -> None:
    server = start(name, tmp_path, OURS, wrapped=wrapped)
    try:
        clients = {path: server.connect().request(path=path) for path in PATHS}
        for client in clients.values():
            client.read_until(END_OF_EVENT)
        told_at = time.monotonic()
        server.signal(number)
        ends = {path: client.read_end(within=5) for path, client in clients.items()}
        server.wait(within=5)
        took = time.monotonic() - told_at
    finally:
        server.stop()
    assert ends == dict.fromkeys(PATHS, "complete")
    assert took <= 3.5
    assert b"event: shutdown\r\ndata: bye\r\n\r\n" in clients["/farewell"].body
    assert b"event: hello\r\ndata: idle\r\n\r\n" in clients["/idle"].body
    assert clients["/idle"].headers["x-own"] == "1"
    assert "cleaned up idle" in server.output()
    assert "background" in server.output()
    assert "Traceback" not in server.output()
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("name", SERVERS)
def test_a_client_that_stops_reading_is_let_go_and_nobody_else_notices(
    name: str, wrapped: bool, tmp_path: Path
) -> None:
    server = start(name, tmp_path, OURS, wrapped=wrapped)
    try:
        with server.connect(receive_buffer=4096) as stuck, server.connect() as other:
            stuck.request(path="/flood")
            other.request(path="/ticks").read_until(b"id: 5\r\n")
            wait_until(lambda: "cleaned up flood" in server.output(), within=5)
            seen = other.body.count(END_OF_EVENT)
            other.read_until(b"id: %d\r\n" % (seen + 50), within=5)
    finally:
        server.stop()


def wait_until(done: Callable[[], bool], within: float) -> None:
    until = time.monotonic() + within
    while not done():
        assert time.monotonic() < until, f"not within {within} s"
        time.sleep(0.02)


@pytest.mark.differs("a whole response at a shutdown")
@pytest.mark.parametrize("path", ["/idle", "/ticks"])
@pytest.mark.parametrize("name", [name for name in BY_NAME if name.startswith("uvicorn")])
def test_the_peer_cuts_them_off_on_uvicorn(name: str, path: str, tmp_path: Path) -> None:
    server = start(name, tmp_path, "sse_starlette")
    try:
        with server.connect() as client:
            client.request(path=path).head().read_until(END_OF_EVENT)
            server.signal()
            assert client.read_end(within=5) == "truncated"
    finally:
        server.stop()


@pytest.mark.differs("the shutdown of other servers")
@pytest.mark.parametrize("name", ["hypercorn-asyncio", "hypercorn-uvloop", GRANIAN])
def test_the_peer_does_not_notice_the_shutdown_of_others(name: str, tmp_path: Path) -> None:
    """A source that would say farewell does not, in the time in which ours is through."""
    server = start(name, tmp_path, "sse_starlette")
    try:
        with server.connect() as client:
            client.request(path="/farewell").head().read_until(END_OF_EVENT)
            server.signal()
            with pytest.raises(TooLate):
                client.read_until(b"bye", within=2)
    finally:
        server.stop()
