"""The request's connection, beside ASGI: whether its client has left, and freeing one that has stopped reading.

No server frees a connection when the app returns or raises: what the client has not read stays queued, for ever. So
it is reset here, on HTTP/1.1, where no other stream shares it:

1. by the server's transport, where its `send` shows one, as uvicorn's does;
2. else by the socket, found by the names of its two ends. Not a Unix socket, and not where proxy headers have
   rewritten the client's address: then nothing matches, and nothing is done.

A server that has a second, pipelined request before it stops to read until the first is answered, and so sees no
disconnect; uvicorn's httptools tells that request alone. Where the transport shows, it is asked.
"""

import select
import socket
import struct
from contextlib import suppress
from typing import Any

from ._backlog import needed_backpressure
from ._sockets import address, connections
from ._types import Scope, Send

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
TRANSPORT = ("abort", "get_extra_info", "is_closing", "is_reading")
HUNG_UP = getattr(select, "POLLRDHUP", None)  # Linux alone has it


class Connection:
    """One request's. Its methods are called from the event loop's thread only."""

    __slots__ = ("_backpressure", "_scope", "_shown", "send")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._backpressure = needed_backpressure(send)
        self.send = send if self._backpressure is None else self._backpressure.send
        """The server's, made to wait for a client that reads slowly."""
        self._shown: Any = getattr(getattr(send, "__self__", None), "transport", None)

    @property
    def _transport(self) -> Any:
        """What the server's `send` shows, if it is an event loop's."""
        shown = self._shown
        if shown is not None and not all(hasattr(shown, name) for name in TRANSPORT):
            shown = self._shown = None
        return shown

    @property
    def is_deaf(self) -> bool:
        """Whether the server does not read, and so would not see its client leave."""
        transport = self._transport
        # Closing first: asyncio's transports of TLS raise when they are asked anything else by then.
        return transport is not None and (transport.is_closing() or not transport.is_reading())

    def is_lost(self) -> bool:
        """Whether the client has left, as far as that shows; `False` where the server sees it by itself."""
        if not self.is_deaf:
            return False
        return bool(self._transport.is_closing()) or self._is_hung_up()

    def reset(self) -> bool:
        """Wait for its client no more: reset it, and drop what is queued; whether that was possible."""
        if self._backpressure is not None:
            self._backpressure.given_up = True
        if not self._scope.get("http_version", "").startswith("1"):
            return False
        return self._reset_transport() or self._reset_socket()

    def _is_hung_up(self) -> bool:
        if HUNG_UP is None:
            return False
        try:
            poll = select.poll()
            poll.register(self._transport.get_extra_info("socket").fileno(), HUNG_UP)
            return bool(poll.poll(0))
        except (AttributeError, OSError, ValueError):
            return False

    def _reset_transport(self) -> bool:
        if self._transport is None:
            return False
        with suppress(AttributeError, OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._transport.abort()
        return True

    def _reset_socket(self) -> bool:
        client, server = address(self._scope.get("client")), address(self._scope.get("server"))
        found = None if client is None or server is None else connections.find(client, server)
        if found is None:
            return False
        with found, suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            found.shutdown(socket.SHUT_RDWR)
            return True
        return False
