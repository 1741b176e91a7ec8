"""Ten thousand streams opened and aborted leave nothing behind: counted, kind by kind."""

import json
import socket
import struct
import time
from typing import Any

import pytest

from support.servers import Server, StartServer

CYCLES = 10_000
PATIENCE = 10
"""Seconds."""
BATCH = 50
# trio keeps up to a thousand cancelled deadlines before it prunes their heap; the journal of the app under test, a
# list of dicts, grows by two for each stream.
ALLOWED = {
    "builtins.dict": 2 * CYCLES + 200,
    **dict.fromkeys(("builtins.tuple", "trio.CancelScope", "trio._core._run.CancelReason"), 1100),
}
REQUEST = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


def counts(server: Server) -> Any:
    # hypercorn on trio keeps a connection that was to be kept alive for five seconds after its client has closed it.
    with server.connect() as client:
        client.request(path="/counts", headers={"Connection": "close"}).read_end(within=30)
        return json.loads(client.body)


def open_and_abort(server: Server, path: bytes, count: int) -> None:
    clients = [socket.create_connection(server.address, 10) for _ in range(count)]
    for client in clients:
        client.sendall(REQUEST % path)
    for index, client in enumerate(clients):
        received = b""
        while b"\n\n" not in received:
            received += client.recv(65536)
        if index % 2:  # half of them vanish, half of them say good-bye
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()


def at_rest(server: Server) -> Any:
    """The counts once no stream is open and tasks and descriptors have come to rest."""
    last, now = None, counts(server)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and (now["stats"]["open"] or last is None or grown(last, now)):
        last, now = now, counts(server)
    return now


def back_to(server: Server, before: Any) -> Any:
    """The counts once they are what they were, as a server takes its time to put away connections; or as they stay."""
    now = counts(server)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and (now["stats"]["open"] or grown(before, now)):
        now = counts(server)
    return now


def grown(before: Any, after: Any) -> dict[str, int]:
    """What there is more of."""
    more = {what: after[what] - before[what] for what in ("tasks", "descriptors") if after[what] > before[what]}
    for kind, count in after["kinds"].items():
        if count - before["kinds"].get(kind, 0) > ALLOWED.get(kind, 100):
            more[kind] = count - before["kinds"].get(kind, 0)
    return more


@pytest.mark.timeout(180)
@pytest.mark.parametrize("path", [b"/idle/", b"/source/"], ids=["passed through", "from a source"])
def test_ten_thousand_streams_leave_no_task_descriptor_or_object(server: StartServer, path: bytes) -> None:
    running = server("support.streams:app")
    open_and_abort(running, path, BATCH)
    before = at_rest(running)
    cycles = CYCLES if path == b"/idle/" else CYCLES // 4
    for _ in range(cycles // BATCH):
        open_and_abort(running, path, BATCH)
    after = back_to(running, before)
    assert after["stats"] == {"open": 0, "closed": {"client_left": cycles + BATCH}}
    assert grown(before, after) == {}
