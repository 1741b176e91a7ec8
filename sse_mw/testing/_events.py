"""What a client makes of a stream's bytes."""

import json
from dataclasses import dataclass, field
from typing import Any

from .._wire import Decoder

SHOWN = 200
"""Bytes of an unfinished event that are kept for messages."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One body message, as the client got it."""

    at: float
    """Seconds since the request began."""
    data: bytes


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event as a client's listener is given it (WHATWG HTML, "Server-sent events")."""

    data: str
    """Its data lines, joined by LF."""
    event: str = "message"
    """Its name."""
    id: str = ""
    """The last event ID: its own, or the one before it that had any."""
    at: float = field(default=0.0, compare=False)
    """Seconds from the beginning of the request to its end's arrival. Of no account in comparisons."""

    def json(self) -> Any:
        """The data, parsed.

        Raises:
            ValueError: It is no JSON.
        """
        return json.loads(self.data)


class Reader:
    """Reads a stream chunk by chunk, by the standard's rules."""

    def __init__(self) -> None:
        self.events: list[ReceivedEvent] = []
        self.comments: list[str] = []
        self._decoder = Decoder(self.comments.append)
        self._tail = b""

    def feed(self, chunk: Chunk) -> None:
        """Take the next chunk."""
        found = self._decoder.feed(chunk.data)
        self.events += (ReceivedEvent(event.data, event.event, event.id, chunk.at) for event in found)
        self._tail = (self._tail + chunk.data)[-SHOWN:]

    @property
    def pings(self) -> list[str]:
        """The comments that begin with `ping`, as those of every library do."""
        return [comment for comment in self.comments if comment.startswith("ping")]

    @property
    def retry(self) -> int | None:
        """Milliseconds that the client was told to wait before it reconnects."""
        return self._decoder.retry

    @property
    def last_event_id(self) -> str:
        """What the client would send as `Last-Event-ID`; empty if it has none."""
        return self._decoder.last_event_id

    @property
    def came(self) -> str:
        """All that has come, in words."""
        events = f"{len(self.events)} events"
        if self.events:
            last = self.events[-1]
            events += f" (the last: {last.event} {last.data!r:.80} at {last.at:.2f} s)"
        unfinished = _after_last_blank_line(self._tail)
        more = f" and, of an unfinished one, {unfinished!r:.80}" if unfinished else ""
        return f"{events}, {len(self.comments)} comments{more}"


def _after_last_blank_line(data: bytes) -> bytes:
    ends = (data.rfind(blank) + len(blank) for blank in (b"\n\n", b"\r\r", b"\r\n\r\n") if blank in data)
    return data[max(ends, default=0) :]
