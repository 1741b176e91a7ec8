"""The sockets of this process, found among its descriptors, as a server shows an app none of its own."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any


def sockets() -> Iterator[tuple[int, socket.socket]]:
    """Every socket with its descriptor, duplicated: closing the duplicate leaves the server's own open."""
    for descriptor in _descriptors():
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                yield descriptor, socket.socket(fileno=os.dup(descriptor))


def address(given: Any) -> tuple[str, int] | None:
    """Host and port; some servers give the port as a string."""
    try:
        return str(given[0]), int(given[1])
    except (TypeError, ValueError, IndexError):
        return None


def address_key(given: Any) -> object:
    """What tells one of a server's addresses from another: the port, or a Unix socket's path."""
    named = address(given)
    return str(given) if named is None else named[1]


def _descriptors() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [int(entry.name) for entry in Path(folder).iterdir()]
    return list(range(4096))
