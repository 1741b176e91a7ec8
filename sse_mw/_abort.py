"""Freeing the connection of a client that has stopped reading.

No server frees one when the app returns or raises: what the client has not read stays queued, for ever. So the
socket is found by the names of its two ends, and reset. Not on HTTP/2 and later, where other streams share it, and
not where proxy headers have rewritten the client's address: then nothing matches, and nothing is done.
"""

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ._types import Scope

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def abort_connection(scope: Scope) -> bool:
    """Reset the request's TCP connection; whether it was found. Milliseconds with thousands of descriptors open."""
    client, server = _name(scope.get("client")), _name(scope.get("server"))
    if client is None or server is None or not scope.get("http_version", "").startswith("1"):
        return False
    for connection in _sockets():
        with connection, suppress(OSError):
            if _name(connection.getpeername()) == client and _name(connection.getsockname()) == server:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                connection.shutdown(socket.SHUT_RDWR)
                return True
    return False


def _name(address: Any) -> tuple[str, int] | None:
    """Host and port; some servers give the port as a string."""
    try:
        return str(address[0]), int(address[1])
    except (TypeError, ValueError, IndexError):
        return None


def _sockets() -> Iterator[socket.socket]:
    """Every socket of this process, duplicated: closing the duplicate leaves the server's own open."""
    for descriptor in _descriptors():
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                yield socket.socket(fileno=os.dup(descriptor))


def _descriptors() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [int(entry.name) for entry in Path(folder).iterdir()]
    return list(range(4096))
