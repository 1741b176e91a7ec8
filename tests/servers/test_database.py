"""Streams beside a database whose pool has two connections: an open stream holds none, if it is written so."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.servers import KINDS, Server, StartServer

SERVERS = [kind for kind in KINDS if kind.name in ("uvicorn-h11-asyncio", "hypercorn-asyncio")]
STREAMS = 50

pytestmark = pytest.mark.parametrize("server_kind", SERVERS, indirect=True, ids=lambda kind: kind.name)


@pytest.fixture
def serve(server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Server]:
    monkeypatch.setenv("DATABASE", str(tmp_path / "orders.db"))
    return lambda: server("support.database:app")


def checked_out(running: Server) -> dict[str, int]:
    with running.connect() as client:
        client.request(path="/pool").read_end()
        counts: dict[str, int] = json.loads(client.body)
        return counts


def test_fifty_open_streams_of_each_form_hold_no_connection(serve: Callable[[], Server]) -> None:
    running = serve()
    with ExitStack() as clients:
        for form in ("two-phase", "two-phase-async", "function-scope"):
            for _ in range(STREAMS):
                client = clients.enter_context(running.connect().request(path=f"/{form}/1"))
                client.read_until(b"data: otter\n\n")
            assert checked_out(running) == {"sync": 0, "async": 0}
    assert "Traceback" not in running.output()


def test_fifty_streams_that_look_again_and_again_share_two_connections(serve: Callable[[], Server]) -> None:
    running = serve()
    with ExitStack() as clients:
        streams = [clients.enter_context(running.connect().request(path="/in-between/1")) for _ in range(STREAMS)]
        for client in streams:
            client.read_until(b"data: otter\n\n" * 3)
    assert "Traceback" not in running.output()


def test_the_first_phase_still_answers_for_itself(serve: Callable[[], Server]) -> None:
    with serve().connect() as client:
        client.request(path="/two-phase/2").read_end()
        assert (client.status, client.body) == (404, b'{"detail":"no such order"}')


def test_a_session_that_the_stream_holds_empties_the_pool(serve: Callable[[], Server]) -> None:
    """What the page warns of."""
    running = serve()
    with ExitStack() as clients:
        for _ in range(2):
            clients.enter_context(running.connect().request(path="/held/1")).read_until(b"data: otter\n\n")
        assert checked_out(running)["async"] == 2
        third = clients.enter_context(running.connect().request(path="/held/1"))
        third.read_end()
    assert b"otter" not in third.body
    running.wait_for_output("QueuePool limit of size 2 overflow 0 reached")
