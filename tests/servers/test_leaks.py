"""Ten thousand streams opened and aborted leave nothing behind: counted, kind by kind."""

import json
import socket
import struct
import time
from typing import Any

import pytest

from support.servers import Server, StartServer

CYCLES = 10_000
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


def settled(server: Server, before: Any = None) -> Any:
    """The counts once no stream is open, and the server has put away what was its own.

    That is when they are down to what they were `before`, or have come to rest; after ten seconds as they are.
    """
    until = time.monotonic() + 10
    last, now = None, counts(server)
    while time.monotonic() < until:
        known = before or last
        if not now["stats"]["open"] and known and all(now[what] <= known[what] for what in ("tasks", "descriptors")):
            break
        last, now = now, counts(server)
    return now


@pytest.mark.timeout(180)
def test_ten_thousand_streams_leave_no_task_descriptor_or_object(server: StartServer) -> None:
    running = server("support.streams:app")
    open_and_abort(running, b"/idle/", BATCH)
    before = settled(running)
    for _ in range(CYCLES // BATCH):
        open_and_abort(running, b"/idle/", BATCH)
    after = settled(running, before)
    assert after["stats"]["open"] == 0
    assert after["stats"]["closed"] == {"client_left": CYCLES + BATCH}
    assert after["tasks"] <= before["tasks"]
    assert after["descriptors"] <= before["descriptors"]
    grown = {
        kind: count - before["kinds"].get(kind, 0)
        for kind, count in after["kinds"].items()
        if count - before["kinds"].get(kind, 0) > ALLOWED.get(kind, 100)
    }
    assert not grown
