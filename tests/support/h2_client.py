"""An HTTP/2 client on a bare socket: several streams, each of which can be left unread while the others flow."""

import socket
import ssl
import struct
import time
from collections.abc import Mapping
from typing import Self

import h2.config
import h2.connection
import h2.errors
import h2.events

from support.client import Address, Response, connected, trusting_context


class H2Connection:
    """One connection. What comes is given to its stream; a stream that is not `taken` gives the server no window."""

    def __init__(self, address: Address, *, tls: bool) -> None:
        self.host = f"{address[0]}:{address[1]}"
        self.tls = tls
        plain = connected(address)
        self._socket = trusting_context("h2").wrap_socket(plain) if tls else plain
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http.initiate_connection()
        self.streams: dict[int, H2Client] = {}
        self.flush()

    def flush(self) -> None:
        if pending := self.http.data_to_send():
            self._socket.sendall(pending)

    def read_once(self, until: float) -> bool:
        """Take in whatever comes next; False when the time is over."""
        remaining = until - time.monotonic()
        if remaining <= 0:
            return False
        self._socket.settimeout(remaining)
        try:
            received = self._socket.recv(65536)
        except TimeoutError:
            return False
        except (ConnectionError, ssl.SSLError):
            received = b""
        if not received:
            self._end_all("truncated")
            return True
        now = time.monotonic()
        for event in self.http.receive_data(received):
            self._take(event, now)
        self.flush()
        return True

    def _take(self, event: h2.events.Event, now: float) -> None:
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if isinstance(event, h2.events.ConnectionTerminated):
            if event.error_code:
                self._end_all("truncated")
        elif stream is not None:
            stream.take(event, now)

    def _end_all(self, how: str) -> None:
        for stream in self.streams.values():
            stream.ended = stream.ended or how

    def abort(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        self._socket.close()


class H2Client(Response):
    """One request on a connection of its own, or on a sibling's."""

    def __init__(self, connection: H2Connection, *, owner: bool = True) -> None:
        super().__init__()
        self.connection = connection
        self._owner = owner
        self._id = 0
        self.frozen = False
        """What comes is not taken, so that the server may send no more of this stream than its window."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sibling(self) -> "H2Client":
        """Another stream of the same connection."""
        return H2Client(self.connection, owner=False)

    def request(
        self, method: str = "GET", path: str = "/", *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Self:
        """Send the request, and do not wait for anything."""
        http = self.connection.http
        self._id = http.get_next_available_stream_id()
        self.connection.streams[self._id] = self
        pseudo = {":method": method, ":path": path, ":authority": self.connection.host,
                  ":scheme": "https" if self.connection.tls else "http"}  # fmt: skip
        fields = {name.lower(): value for name, value in (headers or {}).items()}
        http.send_headers(self._id, [*pseudo.items(), *fields.items()], end_stream=not body)
        if body:
            http.send_data(self._id, body, end_stream=True)
        self.connection.flush()
        return self

    def take(self, event: h2.events.Event, now: float) -> None:
        """What the connection has received for this stream."""
        match event:
            case h2.events.ResponseReceived():
                fields = {str(name): str(value) for name, value in event.headers or []}
                self.status = int(fields.pop(":status"))
                self.headers = fields
            case h2.events.DataReceived():
                self.pieces.append((now, event.data or b""))
                self._give_window(event.flow_controlled_length or 0)
            case h2.events.StreamEnded():
                self.ended = "complete"
            case h2.events.StreamReset():
                self.ended = self.ended or "reset"
            case _:
                pass

    def _give_window(self, size: int) -> None:
        if not size:
            return
        if self.frozen:
            self.connection.http.increment_flow_control_window(size)  # the connection's, for the siblings
        else:
            self.connection.http.acknowledge_received_data(size, self._id)

    def _read_once(self, until: float) -> bool:
        return not self.ended and self.connection.read_once(until)

    def abort(self) -> None:
        """Vanish with a TCP reset; a sibling's stream alone is reset."""
        if self._owner:
            self.connection.abort()
        else:
            self._reset()

    def close(self) -> None:
        if self._owner:
            self.connection.close()
        elif not self.ended:
            self._reset()

    def _reset(self) -> None:
        self.connection.http.reset_stream(self._id, h2.errors.ErrorCodes.CANCEL)
        self.connection.flush()
