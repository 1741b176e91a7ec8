"""Whether the server still takes connections, which is the first that a server stops when it is told to end.

The sockets that it listens on are noted by descriptor and inode, and looked at now and then. One that is closed, or
whose descriptor is another file's by now, means that the server is shutting down. No signal handler, and nothing of
the server's is touched. A lifespan's shutdown comes too late: after the last response, for which it waits.
"""

import ipaddress
import os
import socket
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any

from ._sockets import address, sockets
from ._types import Scope


class Listening:
    """The listening sockets of the server that one request came from."""

    def __init__(self, scope: Scope, but_not: AbstractSet[int] = frozenset()) -> None:
        """`but_not` has inodes, of those that do not count."""
        server = scope.get("server")
        self._inodes: dict[int, int] = {}
        for descriptor, listening in sockets():
            with suppress(OSError):
                inode = os.fstat(descriptor).st_ino
                if inode not in but_not and _listens(listening, server):
                    self._inodes[descriptor] = inode

    def __bool__(self) -> bool:
        """Whether any was found: another process may listen for this one."""
        return bool(self._inodes)

    def is_closed(self) -> bool:
        """Whether one of them is gone."""
        return bool(self._closed())

    def successor(self, scope: Scope) -> "Listening | None":
        """What listens now where these did, if anything does but those that are gone."""
        return Listening(scope, self._closed()) or None

    def _closed(self) -> set[int]:
        return {inode for descriptor, inode in self._inodes.items() if _inode(descriptor) != inode}


def _listens(candidate: socket.socket, server: Any) -> bool:
    """Whether it is the server's: by its address, or as a Unix socket by its path, which not every server tells."""
    if not candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    named = address(server)
    if candidate.family not in (socket.AF_INET, socket.AF_INET6):
        return named is None and (not server or server[0] == candidate.getsockname())
    host, port = candidate.getsockname()[:2]
    return named is not None and port == named[1] and _may_be_reached_at(str(host), named[0])


def _may_be_reached_at(listening: str, host: str) -> bool:
    """Whether what listens on one address takes connections to another. A name, as some servers give it, may be any."""
    try:
        own, wanted = ipaddress.ip_address(listening), ipaddress.ip_address(host)
    except ValueError:
        return True
    return own.is_unspecified or own == wanted


def _inode(descriptor: int) -> int | None:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None
