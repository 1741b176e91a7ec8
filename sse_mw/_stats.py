"""What is known of streams from outside: why one ended, what one was, and how many there are."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ._types import Scope


class CloseReason(StrEnum):
    """Why a stream ended. Each stream has exactly one reason; the first thing that ends it decides."""

    COMPLETED = "completed"
    """The app sent its last body message."""
    CLIENT_LEFT = "client_left"
    """The client closed the connection, or reset the HTTP/2 stream."""
    SEND_TIMEOUT = "send_timeout"
    """The client stopped reading for `send_timeout` seconds."""
    IDLE_TIMEOUT = "idle_timeout"
    """The app sent nothing for `idle_timeout` seconds."""
    MAX_DURATION = "max_duration"
    """The stream reached `max_duration` seconds."""
    ERROR = "error"
    """The app raised, or returned without ending its response, while the client was there."""
    DRAIN = "drain"
    """The server is shutting down, or `SSEMiddleware.drain` was called, `drain_grace` seconds ago."""
    REFUSED = "refused"
    """It was not opened, as a drain had begun."""
    CANCELLED = "cancelled"
    """The server cancelled the request, as some do when they shut down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One stream, as `on_open` and `on_close` see it: a snapshot that does not change afterwards."""

    method: str
    """The request's method: `GET`, `POST`, …"""
    path: str
    """The request's path, decoded, as the ASGI scope has it."""
    client: tuple[str, int] | None
    """The client's host and port, as the ASGI scope has them."""
    http_version: str
    """`1.0`, `1.1`, `2` or `3`."""
    mode: str
    """`source`: an endpoint under `@sse_route` gives the events. `supervise`: the app framed its own events. `frame`:
    an ordinary body was turned into events. `pending`: it has not started, or the response is no event stream."""
    reason: CloseReason | None = None
    """Why the stream ended; `None` while it is open."""
    error: BaseException | None = None
    """What the app raised, where `reason` is `error`."""
    duration: float = 0.0
    """Seconds since the stream started, to the resolution of the shared tick (20 ms)."""
    messages: int = 0
    """Body messages of the app's that were handed to the server."""
    pings: int = 0
    """Pings and opening comments of ours."""

    @classmethod
    def of(cls, scope: Scope, mode: str) -> "StreamInfo":
        """What is known from a request alone."""
        return cls(
            method=scope["method"],
            path=scope["path"],
            client=tuple(scope["client"]) if scope.get("client") else None,
            http_version=scope.get("http_version", "1.1"),
            mode=mode,
        )


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts since the middleware was made, over all its event loops and threads."""

    open: int
    """Streams that are open now."""
    opened: int
    """Streams that were ever opened."""
    closed: Mapping[CloseReason, int]
    """Ended streams by reason; a reason that never occurred is absent."""
    pings: int
    """Pings and opening comments sent on streams that have ended."""


class Recorder:
    """The counters of one middleware. Loops in several threads write here, hence the lock; never per event."""

    __slots__ = ("_closed", "_lock", "_opened", "_pings")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened = 0
        self._pings = 0
        self._closed: Counter[CloseReason] = Counter()

    def opened(self) -> None:
        with self._lock:
            self._opened += 1

    def closed(self, reason: CloseReason, pings: int) -> None:
        with self._lock:
            self._closed[reason] += 1
            self._pings += pings

    def read(self) -> Stats:
        with self._lock:
            closed = dict(self._closed)
            opened, pings = self._opened, self._pings
        return Stats(opened - sum(closed.values()), opened, MappingProxyType(closed), pings)
