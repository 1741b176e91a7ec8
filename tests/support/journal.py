"""The journal that `support.streams` keeps in the server's process, as a test reads it."""

import json
import time
from typing import Any

from support.servers import Server


def journal(server: Server) -> Any:
    with server.connect() as client:
        client.request(path="/journal").read_end()
        return json.loads(client.body)


def entries(server: Server, what: str, path: str) -> list[dict[str, Any]]:
    return [entry for entry in journal(server)["journal"] if (entry["what"], entry["path"]) == (what, path)]


def wait_for(server: Server, what: str, path: str, *, count: int = 1, within: float = 5.0) -> list[dict[str, Any]]:
    """The journal's entries of this kind, once there are so many."""
    until = time.monotonic() + within
    while len(found := entries(server, what, path)) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} {what!r} of {path} in {journal(server)}"
        time.sleep(0.02)
    return found
