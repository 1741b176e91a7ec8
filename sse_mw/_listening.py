"""Whether the server still takes connections, which is the first that a server stops when it is told to end.

The sockets that it listens on are noted by descriptor and inode, and looked at now and then. One that is closed, or
whose descriptor is another file's by now, means that the server is shutting down. No signal handler, and nothing of
the server's is touched. A lifespan's shutdown comes too late: after the last response, for which it waits.
"""

import os
import socket
from contextlib import suppress
from typing import Any

from ._sockets import address, sockets
from ._types import Scope


class Listening:
    """The listening sockets of the server that one request came from."""

    def __init__(self, scope: Scope) -> None:
        server = scope.get("server")
        self._inodes: dict[int, int] = {}
        for descriptor, listening in sockets():
            with listening, suppress(OSError):
                if _listens(listening, server):
                    self._inodes[descriptor] = os.fstat(descriptor).st_ino

    def __bool__(self) -> bool:
        """Whether any was found: another process may listen for this one."""
        return bool(self._inodes)

    def is_closed(self) -> bool:
        """Whether one of them is gone."""
        return any(_inode(descriptor) != inode for descriptor, inode in self._inodes.items())

    def successor(self, scope: Scope) -> "Listening | None":
        """What listens now where these did, if one is there that was not among them."""
        now = Listening(scope)
        return now if not set(now._inodes.values()) <= set(self._inodes.values()) else None


def _listens(candidate: socket.socket, server: Any) -> bool:
    """Whether it is the server's: by its port, or as a Unix socket by its path, which not every server tells."""
    if not candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    named = address(server)
    if candidate.family in (socket.AF_INET, socket.AF_INET6):
        return named is not None and int(candidate.getsockname()[1]) == named[1]
    return named is None and (not server or server[0] == candidate.getsockname())


def _inode(descriptor: int) -> int | None:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None
