"""The listening sockets: opened by us, before anything is served, so that a bad bind is one clear line.

hypercorn would open them too, but sets SO_REUSEPORT for several workers (so a second server on the same
port goes unnoticed, and takes half of the connections), and removes a Unix socket that another server
still listens on. It is handed ours by number: `fd://N`.
"""

import contextlib
import errno
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from ._errors import CannotRun

BACKLOG = 1024
HOST_PORT = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})")


def listen(binds: Sequence[str]) -> list[socket.socket]:
    """Listen on every address, or on none."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(_listen(bind)) for bind in binds]
        opened.pop_all()
    return sockets


def url(listener: socket.socket, *, tls: bool) -> str:
    """Where a client reaches it."""
    name = listener.getsockname()
    if listener.family == getattr(socket, "AF_UNIX", None):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{'https' if tls else 'http'}://{host}:{name[1]}"


def unlink(binds: Sequence[str]) -> None:
    """Remove what Unix sockets leave in the file system."""
    for bind in binds:
        if bind.startswith("unix:"):
            with contextlib.suppress(OSError):
                Path(bind[5:]).unlink()


def _listen(bind: str) -> socket.socket:
    listener = _unix(bind) if bind.startswith("unix:") else _tcp(bind)
    listener.setblocking(False)
    return listener


def _tcp(bind: str) -> socket.socket:
    match = HOST_PORT.fullmatch(bind)
    if match is None or int(match["port"]) > 65535:
        raise CannotRun(f"--bind {bind}: not HOST:PORT (or unix:/path); write for example 127.0.0.1:8000")
    host, port = match["six"] or match["host"], int(match["port"])
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise CannotRun(f"--bind {bind}: no address for {host!r} ({error.strerror})") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # or a restart waits for TIME_WAIT
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return _bound(listener, address, bind)


def _unix(bind: str) -> socket.socket:
    path = bind[5:]
    if not hasattr(socket, "AF_UNIX") or not path:
        raise CannotRun(f"--bind {bind}: no path that this system can bind; write unix:/path or HOST:PORT")
    _remove_stale(path, bind)
    return _bound(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path, bind)


def _remove_stale(path: str, bind: str) -> None:
    """Remove the socket of a server that is gone; a file of another kind stays, and binding then fails."""
    try:
        if not Path(path).is_socket():
            return
    except OSError:
        return  # nothing there, or no access: bind() says it better
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            with contextlib.suppress(OSError):
                Path(path).unlink()
            return
    raise CannotRun(f"--bind {bind}: in use by another server; end it, or choose another path")


def _bound(listener: socket.socket, address: object, bind: str) -> socket.socket:
    try:
        listener.bind(address)  # type: ignore[arg-type]  # typeshed's _Address is private
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotRun(f"--bind {bind}: {_refusal(error, bind)}") from error
    return listener


def _refusal(error: OSError, bind: str) -> str:
    unix = bind.startswith("unix:")
    if error.errno == errno.EADDRINUSE:
        return (
            "a file of that name exists; choose another path"
            if unix
            else "in use by another program; end it, or choose another port"
        )
    if error.errno == errno.EACCES:
        return "not allowed; " + ("choose another path" if unix else "choose a port above 1023")
    if error.errno == errno.EADDRNOTAVAIL:
        return "not an address of this machine; 0.0.0.0 listens on all"
    if error.errno == errno.ENOENT:
        return "its folder does not exist; make it first"
    return f"{error.strerror or error}; choose another address"
