"""Freeing a connection: the right one, and no other."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sse_mw._abort import abort_connection
from support.asgi import http_scope


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's and a server's end of one TCP connection."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as listener:
        try:
            listener.bind((request.param, 0))
        except OSError:
            pytest.skip("platform: no IPv6 here")
        listener.listen()
        with socket.socket(family) as client:
            client.connect(listener.getsockname())
            server, _ = listener.accept()
            with server:
                client.settimeout(2)
                yield client, server


@pytest.mark.parametrize("ports", [int, str])
def test_the_connection_is_reset_and_nothing_else_is(
    pair: tuple[socket.socket, socket.socket], ports: type[int | str]
) -> None:
    client, server = pair
    with socket.create_connection(server.getsockname()[:2]) as other:
        before = descriptors()
        names = [(end[0], ports(end[1])) for end in (client.getsockname(), server.getsockname())]
        assert abort_connection(http_scope(client=names[0], server=names[1]))
        assert descriptors() == before, "the duplicate is closed again"
        server.close()
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""
        other.settimeout(0.05)
        with pytest.raises(TimeoutError):
            other.recv(1)


@pytest.mark.parametrize(
    "changes",
    [
        {"http_version": "2"},
        {"http_version": "3"},
        {"client": None},
        {"server": None},
        {"client": ("203.0.113.7", 80)},
        {"server": ("/run/app.sock", None)},
        {"client": ["nonsense"]},
    ],
)
def test_what_cannot_be_found_is_left_alone(
    pair: tuple[socket.socket, socket.socket], changes: dict[str, object]
) -> None:
    client, server = pair
    scope = http_scope(client=client.getsockname()[:2], server=server.getsockname()[:2])
    scope.update(changes)
    assert not abort_connection(scope)
    client.sendall(b"still there")
    assert server.recv(11) == b"still there"
