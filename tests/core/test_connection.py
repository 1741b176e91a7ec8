"""A connection beside ASGI: freeing the right one and no other, and seeing its client leave though nobody reads."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import MethodType

import anyio
import pytest

from sse_mw._connection import HUNG_UP, Connection
from sse_mw._types import Message
from sse_mw.testing._server import Receive as ASGIReceive
from sse_mw.testing._server import http_scope
from support.driver import Recorded, Run, chunks_app


async def send(message: Message) -> None:
    """A server's, which shows nothing."""


class Cycle:
    """A server's request, whose `send` shows its transport, as uvicorn's does. `Transport` stands for asyncio's."""

    def __init__(self, transport: object) -> None:
        self.transport = transport

    async def send(self, message: Message) -> None: ...


class Transport:
    def __init__(self, server: socket.socket) -> None:
        self.socket = server
        self.reading = True
        self.closing = False

    def get_extra_info(self, name: str) -> object:
        return {"socket": self.socket}.get(name)

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        if self.closing:
            raise AttributeError("as asyncio's transports of TLS do then")
        return self.reading

    def abort(self) -> None:
        self.socket.close()


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
        assert Connection(http_scope(client=names[0], server=names[1]), send).reset()
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
    assert not Connection(scope, send).reset()
    client.sendall(b"still there")
    assert server.recv(11) == b"still there"


def test_a_transport_that_shows_is_reset_whatever_the_scope_says_of_the_client(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, server = pair
    scope = http_scope(client=("203.0.113.7", 80), server=server.getsockname()[:2])
    assert Connection(scope, Cycle(Transport(server)).send).reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_shared_connection_is_not_reset_though_its_transport_shows(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, server = pair
    assert not Connection(http_scope(http_version="2"), Cycle(Transport(server)).send).reset()
    client.sendall(b"still there")
    assert server.recv(11) == b"still there"


def test_a_client_that_leaves_while_nobody_reads_is_seen(pair: tuple[socket.socket, socket.socket]) -> None:
    if HUNG_UP is None:
        pytest.skip("platform: poll tells of no hang-up here")
    client, server = pair
    transport = Transport(server)
    connection = Connection(http_scope(), Cycle(transport).send)
    client.sendall(b"GET / HTTP/1.1")  # a second request, which lies there
    transport.reading = False
    assert connection.is_deaf
    assert not connection.is_lost()
    client.close()
    assert connection.is_lost()
    transport.reading = True
    assert not connection.is_lost(), "the server sees it by itself"


def test_a_transport_that_closes_is_a_client_that_has_left(pair: tuple[socket.socket, socket.socket]) -> None:
    _, server = pair
    transport = Transport(server)
    transport.closing = True
    assert Connection(http_scope(), Cycle(transport).send).is_lost()


@pytest.mark.anyio
async def test_the_server_gets_the_end_of_a_stream_whose_client_it_has_not_seen_leave() -> None:
    if HUNG_UP is None:
        pytest.skip("platform: poll tells of no hang-up here")
    client, server = socket.socketpair()
    run = Run(ASGIReceive())
    transport = Transport(server)
    transport.reading = False
    cycle = Cycle(transport)
    cycle.send = MethodType(lambda _, message: run.send(message), cycle)  # type: ignore[method-assign]
    middleware = Recorded(chunks_app(b"data: x\n\n", end=False))
    with server, anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(middleware, http_scope(), run.receive, cycle.send)
            await run.send.wait_for_bytes(b"data: x\n\n")
            await anyio.sleep(3)
            client.close()
    assert middleware.reasons == ["client_left"]
    assert middleware.closed[0].duration < 5
    assert run.send.complete


@pytest.mark.parametrize("shown", [None, object(), type("Twisted", (), {"abort": None})()])
def test_what_is_no_transport_of_an_event_loop_is_not_asked(shown: object) -> None:
    connection = Connection(http_scope(client=None), Cycle(shown).send)
    assert not connection.is_deaf
    assert not connection.is_lost()
    assert not connection.reset()


@pytest.mark.parametrize("broken", [None, object()])
def test_a_transport_without_a_socket_is_aborted_all_the_same(broken: object) -> None:
    aborted: list[bool] = []

    class Odd(Transport):
        def __init__(self) -> None:
            self.reading, self.closing = False, False
            self.socket = broken  # type: ignore[assignment]

        def abort(self) -> None:
            aborted.append(True)

    connection = Connection(http_scope(), Cycle(Odd()).send)
    assert not connection.is_lost()
    assert connection.reset()
    assert aborted == [True]
