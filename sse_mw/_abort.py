"""Freeing the connection of a client that has stopped reading.

No server frees one when the app returns or raises: what the client has not read stays queued, for ever. So the
socket is found by the names of its two ends, and reset. Not on HTTP/2 and later, where other streams share it, and
not where proxy headers have rewritten the client's address: then nothing matches, and nothing is done.
"""

import socket
import struct
from contextlib import suppress

from ._sockets import address, sockets
from ._types import Scope

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def abort_connection(scope: Scope) -> bool:
    """Reset the request's TCP connection; whether it was found. Milliseconds with thousands of descriptors open."""
    client, server = address(scope.get("client")), address(scope.get("server"))
    if client is None or server is None or not scope.get("http_version", "").startswith("1"):
        return False
    for _, connection in sockets():
        with connection, suppress(OSError):
            if address(connection.getpeername()) == client and address(connection.getsockname()) == server:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                connection.shutdown(socket.SHUT_RDWR)
                return True
    return False
