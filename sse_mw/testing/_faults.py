"""What can go wrong between an app and its client, the same in every run.

An event counts once it is whole, so that comments and pings do not; `drop_after=0` is right behind the head.
"""

from dataclasses import dataclass
from enum import Enum

from .._wire import Decoder
from ..exceptions import InvalidOption
from ._checks import check_count, check_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """A bad line between app and client. Immutable; may be used for any number of requests.

    Raises:
        InvalidOption: A value cannot be meant, or two of them exclude each other.
    """

    drop_after: int | None = None
    """Whole events after which the connection is lost."""
    truncate_after: int | None = None
    """Whole events after which the connection is lost in the middle of the next one."""
    stall_after: int | None = None
    """Whole events after which the client stops reading, without leaving: the app's `send` waits."""
    chunk_size: int | None = None
    """Bytes that arrive together at the most: 1 splits at every byte."""
    read_delay: float | None = None
    """Seconds that the client takes for each of the app's messages: its `send` takes as long."""

    def __post_init__(self) -> None:
        ends = [name for name in ("drop_after", "truncate_after", "stall_after") if getattr(self, name) is not None]
        for name in ends:
            check_count(name, getattr(self, name), minimum=0, unit="events")
        if len(ends) > 1:
            raise InvalidOption(f"{' and '.join(ends)} exclude each other: give one of them")
        if self.chunk_size is not None:
            check_count("chunk_size", self.chunk_size, minimum=1, unit="bytes")
        if self.read_delay is not None:
            check_seconds("read_delay", self.read_delay)


class Fate(Enum):
    """What becomes of a connection."""

    OPEN = "open"
    LOST = "lost"
    STALLED = "stalled"


class Line:
    """One response's way through the faults."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._decoder = Decoder()
        self._whole = 0
        ends = (faults.drop_after, faults.truncate_after, faults.stall_after)
        self._limit = next((end for end in ends if end is not None), None)
        self.fate = Fate.OPEN
        self._held = b""

    def begin(self) -> None:
        """The head has arrived."""
        if self._limit == 0:
            self._reach_limit()

    def take(self, body: bytes) -> list[bytes]:
        """What arrives of a body message, in pieces; `fate` says what becomes of the connection then."""
        if self.fate is Fate.STALLED:
            self._held += body
            return []
        if self._limit is not None and body:
            body = self._cut(body, self._limit)
        return self._pieces(body)

    def resume(self) -> list[bytes]:
        """The client reads on after it had stalled: what had reached it by then, in pieces."""
        self.fate, self._limit = Fate.OPEN, None
        held, self._held = self._held, b""
        return self._pieces(held)

    def _pieces(self, body: bytes) -> list[bytes]:
        size = self._faults.chunk_size or len(body) or 1
        return [body[start : start + size] for start in range(0, len(body), size)]

    def _cut(self, body: bytes, limit: int) -> bytes:
        cut = 0
        if self._whole < limit:
            cut = self._find_end(body, 0, limit)
            if self._whole < limit:
                return body
            self._reach_limit()
        if self._faults.truncate_after is None:
            self._held = body[cut:]
            return body[:cut]
        if cut == len(body):
            return body  # the next event is in the next message
        end = self._find_end(body, cut, limit + 1)
        self.fate = Fate.LOST
        return body[: (cut + end) // 2]

    def _find_end(self, body: bytes, start: int, count: int) -> int:
        """Where in `body` so many events are whole; its length if they are not."""
        for position in range(start, len(body)):
            self._whole += len(self._decoder.feed(body[position : position + 1]))
            if self._whole >= count:
                return position + 1
        return len(body)

    def _reach_limit(self) -> None:
        if self._faults.drop_after is not None:
            self.fate = Fate.LOST
        elif self._faults.stall_after is not None:
            self.fate = Fate.STALLED
