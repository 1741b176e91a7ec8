"""An HTTP/1.1 client on a bare socket, that can do what real clients do: read slowly, not at all, or vanish.

Every wait has a deadline, and its failure tells what was waited for and what came instead.
"""

import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from typing import Self

import h11

DEADLINE = 5.0
Address = tuple[str, int]
"""Host and port; for a Unix socket, its path and 0."""


class TooLate(AssertionError):
    """What was waited for did not come in time, or something else came."""


def trusting_context(*protocols: str) -> ssl.SSLContext:
    """For TLS with a server whose certificate is the tests' own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def connected(address: Address, receive_buffer: int | None = None, *, tls: bool = False) -> socket.socket:
    """A connection. A small receive buffer leaves the server soon with what a client does not read."""
    unix = address[0].startswith("/")
    connection = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
    if receive_buffer is not None:  # before connecting: it decides the window
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(DEADLINE)
    try:
        connection.connect(address[0] if unix else address)
        return trusting_context().wrap_socket(connection) if tls else connection
    except BaseException:
        connection.close()
        raise


class Response:
    """What has come of one response. `pieces` holds each piece of the body with the moment it came (monotonic)."""

    def __init__(self) -> None:
        self.pieces: list[tuple[float, bytes]] = []
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended: str | None = None  # "complete", "truncated" or "reset"

    def head(self, within: float = DEADLINE) -> Self:
        """Wait for status and headers."""
        self._wait(lambda: self.status > 0, "the response's head", within)
        return self

    @property
    def body(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)

    def read_until(self, expected: bytes, within: float = DEADLINE) -> bytes:
        """Wait until the body holds `expected`; the whole body so far."""
        self._wait(lambda: expected in self.body, f"{expected!r} in the body", within)
        return self.body

    def read_events(self, count: int, within: float = DEADLINE) -> list[bytes]:
        """Wait for this many blocks that end with an empty line (LF streams; pings and comments count
        too).
        """
        self._wait(lambda: self.body.count(b"\n\n") >= count, f"{count} events", within)
        return self.body.split(b"\n\n")[:count]

    def read_end(self, within: float = DEADLINE) -> str:
        """Wait for the response's end; how it ended: "complete", "truncated" or "reset"."""
        self._wait(lambda: self.ended is not None, "the end of the response", within)
        return self.ended or ""

    def expect_silence(self, seconds: float) -> None:
        """Fail if anything at all arrives in the meantime."""
        before = len(self.pieces), self.ended
        until = time.monotonic() + seconds
        while self._read_once(until):
            if (len(self.pieces), self.ended) != before:
                raise TooLate(f"wanted {seconds} s of silence, but {self._state()}")

    def _wait(self, done: Callable[[], bool], what: str, within: float) -> None:
        until = time.monotonic() + within
        while not done():
            if self.ended or not self._read_once(until):
                raise TooLate(f"waited {within} s for {what}, but {self._state()}")

    def _state(self) -> str:
        tail = self.body[-400:]
        status, end = self.status or "unknown", self.ended or "open"
        return f"the status is {status}, the end {end}, the body's tail {tail!r}"

    def _read_once(self, until: float) -> bool:
        """Take in whatever comes next; False when the time is over."""
        raise NotImplementedError


class RawClient(Response):
    """One HTTP/1.1 connection, one request."""

    def __init__(self, address: Address, *, receive_buffer: int | None = None, tls: bool = False) -> None:
        super().__init__()
        self._socket = connected(address, receive_buffer, tls=tls)
        self._host = f"{address[0]}:{address[1]}" if address[1] else "localhost"
        self._http = h11.Connection(h11.CLIENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Self:
        """Send the request, and do not wait for anything."""
        fields = {"Host": self._host, **(headers or {})}
        if body:
            fields["Content-Length"] = str(len(body))
        request = h11.Request(method=method, target=path, headers=list(fields.items()))
        events = [request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage()]
        self._socket.sendall(b"".join(self._http.send(event) or b"" for event in events))
        return self

    def abort(self) -> None:
        """Vanish with a TCP reset, as a crashed client's machine answers for it."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def _read_once(self, until: float) -> bool:
        """Take in whatever comes next; False when the time is over."""
        remaining = until - time.monotonic()
        if remaining <= 0 or self.ended:
            return False
        self._socket.settimeout(remaining)
        try:
            received = self._socket.recv(65536)
        except TimeoutError:
            return False
        except (ConnectionError, ssl.SSLError):
            self.ended = "reset"
            return True
        self._take_in(received)
        return True

    def _take_in(self, received: bytes) -> None:
        now = time.monotonic()
        self._http.receive_data(received)
        try:
            while (event := self._http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                self._take_event(event, now)
        except h11.RemoteProtocolError:
            self.ended = "truncated"

    def _take_event(self, event: object, now: float) -> None:
        match event:
            case h11.Response():
                self.status = event.status_code
                self.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            case h11.Data():
                self.pieces.append((now, bytes(event.data)))
            case h11.EndOfMessage():
                self.ended = "complete"
            case h11.ConnectionClosed() if self.ended is None:
                self.ended = "truncated"
            case _:
                pass
