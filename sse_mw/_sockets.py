"""The sockets of this process, found among its descriptors, as a server shows an app none of its own."""

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

Address: TypeAlias = tuple[str, int]


def sockets() -> Iterator[tuple[int, socket.socket]]:
    """Every socket with its descriptor, to be looked at and not to be kept. Milliseconds with thousands of them."""
    for descriptor in _descriptors():
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found = socket.socket(fileno=descriptor)
                try:
                    yield descriptor, found
                finally:
                    found.detach()  # it stays the server's own


class Connections:
    """The TCP connections, by the names of their two ends. Any thread may look.

    What was found is kept, so that a thousand clients that stop reading at once take one look.
    """

    def __init__(self) -> None:
        self._descriptors: dict[tuple[Address, Address], int] = {}
        self._lock = threading.Lock()

    def find(self, peer: Address, own: Address) -> socket.socket | None:
        """A duplicate, for the caller to close, which leaves the server's own open."""
        with self._lock:
            found = self._known(peer, own)
            if found is None:
                looked = ((descriptor, _ends(each)) for descriptor, each in sockets())
                self._descriptors = {ends: descriptor for descriptor, ends in looked if ends is not None}
                found = self._known(peer, own)
            return found

    def _known(self, peer: Address, own: Address) -> socket.socket | None:
        descriptor = self._descriptors.pop((peer, own), None)
        if descriptor is None:
            return None
        with suppress(OSError):
            found = socket.socket(fileno=os.dup(descriptor))
            if _ends(found) == (peer, own):
                return found
            found.close()  # its descriptor is another's by now
        return None


connections = Connections()


def _ends(connection: socket.socket) -> tuple[Address, Address] | None:
    with suppress(OSError):
        peer, own = address(connection.getpeername()), address(connection.getsockname())
        return None if peer is None or own is None else (peer, own)
    return None


def address(given: Any) -> Address | None:
    """Host and port; some servers give the port as a string."""
    try:
        return str(given[0]), int(given[1])
    except (TypeError, ValueError, IndexError):
        return None


def address_key(given: Any) -> object:
    """What tells one of a server's addresses from another: host and port, or a Unix socket's path."""
    return address(given) or str(given)


def _descriptors() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [int(entry.name) for entry in Path(folder).iterdir()]
    return list(range(4096))
