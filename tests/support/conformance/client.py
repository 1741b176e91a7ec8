"""A client of one framework's server, that keeps its own part of the journal apart by a key."""

import json
import time
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from support.client import RawClient
from support.servers import Server


@dataclass(frozen=True)
class Served:
    """A framework on a server."""

    framework: str
    server: Server
    key: str = field(default_factory=lambda: uuid4().hex)

    def with_key(self) -> "Served":
        return replace(self, key=uuid4().hex)

    def open(self, path: str, method: str = "GET", body: bytes = b"") -> RawClient:
        """Send the request; nothing is waited for."""
        client = self.server.connect()
        return client.request(method, path, headers={"Last-Event-ID": self.key}, body=body)

    def read(self, path: str, method: str = "GET", body: bytes = b"") -> RawClient:
        """The whole response."""
        with self.open(path, method, body) as client:
            assert client.read_end() == "complete"
            return client

    def journal(self, what: str | None = None) -> list[dict[str, Any]]:
        with self.server.connect() as client:
            client.request(path=f"/journal?key={self.key}").read_end()
            entries = json.loads(client.body)
        return [entry for entry in entries if what in (None, entry["what"])]

    def wait_for(self, what: str, count: int = 1, within: float = 5.0) -> list[dict[str, Any]]:
        until = time.monotonic() + within
        while len(found := self.journal(what)) < count:
            assert time.monotonic() < until, f"no {what!r} in {self.journal()}:\n{self.server.output()[-3000:]}"
            time.sleep(0.02)
        return found
