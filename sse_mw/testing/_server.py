"""The server's side of an ASGI app, in a few lines each: a scope, a scripted `receive`, a recording `send`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import anyio

from .._types import Message, Scope


def http_scope(
    method: str = "GET",
    path: str = "/",
    *,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    query_string: bytes = b"",
    spec_version: str = "2.3",
    http_version: str = "1.1",
    **more: Any,
) -> Scope:
    """An HTTP scope as servers build it; `more` adds or replaces keys."""
    pairs: Iterable[tuple[str, str]] = headers.items() if isinstance(headers, Mapping) else headers
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "http_version": http_version,
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": query_string,
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
        **more,
    }


class Receive:
    """A server's `receive`: the request's body in the given chunks, then nothing until `disconnect()`.

    As some servers do, it delivers the disconnect once only, unless `sticky`: a second reader waits for ever.
    """

    def __init__(self, *body: bytes, sticky: bool = False) -> None:
        chunks = body or (b"",)
        self._script: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
            for index, chunk in enumerate(chunks)
        ]
        self._gone = anyio.Event()
        self._sticky = sticky
        self._told = False
        self.calls = 0
        self.waiting = 0

    def disconnect(self) -> None:
        self._gone.set()

    async def __call__(self) -> Message:
        self.calls += 1
        if self._script and not self._gone.is_set():
            return self._script.pop(0)
        self.waiting += 1
        try:
            await self._gone.wait()
            if self._told and not self._sticky:
                await anyio.sleep_forever()
        finally:
            self.waiting -= 1
        self._told = True
        return {"type": "http.disconnect"}


class Send:
    """A server's `send` that records; `block()` makes it a client that stopped reading, `fail()` one that is
    gone. Each send takes `delay` seconds.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.messages: list[Message] = []
        self.times: list[float] = []
        self.concurrent = 0
        self.most_concurrent = 0
        self._error: BaseException | None = None
        self._open = anyio.Event()
        self._open.set()
        self._changed = anyio.Event()

    def block(self) -> None:
        if self._open.is_set():
            self._open = anyio.Event()

    def unblock(self) -> None:
        self._open.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self.unblock()

    async def __call__(self, message: Message) -> None:
        self.concurrent += 1
        self.most_concurrent = max(self.most_concurrent, self.concurrent)
        try:
            if self.delay:
                await anyio.sleep(self.delay)
            if not self._open.is_set():
                await self._open.wait()
            if self._error is not None:
                raise self._error
        finally:
            self.concurrent -= 1
        self.messages.append(message)
        self.times.append(anyio.current_time())
        self._changed.set()
        self._changed = anyio.Event()

    async def wait_for(self, count: int) -> None:
        """Return once at least `count` messages have been sent."""
        while len(self.messages) < count:
            await self._changed.wait()

    async def wait_for_bytes(self, expected: bytes) -> None:
        """Return once the body holds `expected`."""
        while expected not in self.body:
            await self._changed.wait()

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.messages]

    @property
    def start(self) -> Message:
        return next(message for message in self.messages if message["type"] == "http.response.start")

    @property
    def status(self) -> int:
        status: int = self.start["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The response's headers; a repeated name keeps its last value (look into `start` for them all)."""
        return {name.lower(): value for name, value in self.start["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def chunks(self) -> list[bytes]:
        return [m.get("body", b"") for m in self.messages if m["type"] == "http.response.body"]

    @property
    def complete(self) -> bool:
        bodies = [message for message in self.messages if message["type"] == "http.response.body"]
        return bool(bodies) and not bodies[-1].get("more_body", False)
