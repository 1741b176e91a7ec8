"""The client: non-blocking sockets under epoll that throw away what they read and count `data:`.

It parses no HTTP beyond the end of a response, so that it takes a fraction of what the server takes; the measures
print how busy it was.
"""

import re
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

CHUNKED_END = b"\n0\r\n\r\n"
FIELD = b"data:"
STAMP = re.compile(rb"data: (\d+)[\r\n]")
PIECE = 262_144
PATIENCE = 60.0
PORTS = 20_000  # streams from one client address, which has about 28,000 ports
RESET = struct.pack("ii", 1, 0)


class IncompleteError(Exception):
    """A response ended, or stopped, before it was complete."""


def allow_many_sockets() -> None:
    """Here, and in the servers started from now on."""
    import resource  # which Windows lacks

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Connection:
    """One connection, and what it has read."""

    __slots__ = ("events", "received", "socket", "tail")

    def __init__(self, port: int, host: int = 1) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        self.socket.bind((f"127.0.0.{host}", 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.events = 0
        self.received = 0
        self.tail = b""

    def request(self, request: bytes) -> None:
        self.tail = b""
        self.socket.send(request)

    def read(self) -> bytes:
        """Read what is there; with the last bytes of before, in which an event's field may have begun."""
        piece = self.socket.recv(PIECE)
        if not piece:
            raise IncompleteError("the server closed a connection")
        window = self.tail + piece
        self.events += window.count(FIELD, max(0, len(self.tail) - len(FIELD) + 1))
        self.received += len(piece)
        self.tail = window[-len(CHUNKED_END) :]
        return window

    def close(self) -> None:
        # A reset leaves no port in TIME_WAIT.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()


def request(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\n\r\n".encode()


@contextmanager
def connections(port: int, count: int) -> Iterator[list[Connection]]:
    opened: list[Connection] = []
    try:
        opened.extend(Connection(port, 1 + number // PORTS) for number in range(count))
        yield opened
    finally:
        for connection in opened:
            connection.close()


class Poll:
    """Some connections under one epoll."""

    def __init__(self, opened: Iterable[Connection]) -> None:
        self._epoll = select.epoll()
        self._by_number = {}
        for connection in opened:
            self.add(connection)

    def add(self, connection: Connection) -> None:
        self._by_number[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket.fileno(), select.EPOLLIN)

    def wait(self, timeout: float) -> list[Connection]:
        return [self._by_number[number] for number, _ in self._epoll.poll(timeout, 1024)]

    def close(self) -> None:
        self._epoll.close()


def exchange(opened: list[Connection], target: str, count: int, end: bytes = CHUNKED_END) -> int:
    """Request and read `count` responses, one after the other on each connection; the number of events in them."""
    message = request(target)
    before = sum(connection.events for connection in opened)
    poll = Poll(opened)
    waiting = 0
    for connection in opened[:count]:
        connection.request(message)
        waiting += 1
    left = count - waiting
    while waiting:
        for connection in _ready(poll):
            connection.read()
            if not connection.tail.endswith(end):
                continue
            if left:
                left -= 1
                connection.request(message)
            else:
                waiting -= 1
    poll.close()
    return sum(connection.events for connection in opened) - before


def _ready(poll: Poll) -> list[Connection]:
    ready = poll.wait(PATIENCE)
    if not ready:
        raise IncompleteError(f"nothing came for {PATIENCE:.0f} seconds")
    return ready


@contextmanager
def streams(port: int, target: str, count: int) -> Iterator[tuple[list[Connection], Poll]]:
    """That many streams, of which each has begun."""
    message = request(target)
    with connections(port, 0) as opened:
        poll = Poll([])
        begun = 0
        while begun < count:
            # A few at a time: a server's queue of connections is not endless.
            for _ in range(min(64, count - len(opened))):
                connection = Connection(port, 1 + len(opened) // PORTS)
                connection.request(message)
                opened.append(connection)
                poll.add(connection)
            for connection in _ready(poll):
                begun += not connection.received
                connection.read()
        try:
            yield opened, poll
        finally:
            poll.close()


def drain(poll: Poll, seconds: float) -> tuple[int, float]:
    """Read what comes for that long; the number of events, and the seconds that it really took."""
    events = 0
    began = time.perf_counter()
    end = began + seconds
    while (left := end - time.perf_counter()) > 0:
        for connection in poll.wait(left):
            before = connection.events
            connection.read()
            events += connection.events - before
    return events, time.perf_counter() - began


def delays(poll: Poll, seconds: float) -> list[float]:
    """Seconds between the time that each event holds and its arrival here; both clocks are the kernel's one."""
    found = []
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        for connection in poll.wait(left):
            window = connection.read()
            now = time.perf_counter_ns()
            found += [(now - int(stamp)) / 1e9 for stamp in STAMP.findall(window)]
    return found
