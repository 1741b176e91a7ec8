"""What a test holds of a request: its response, read event by event, and all that a client can do to it."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .._stats import CloseReason, StreamInfo
from ._errors import NoEventStream, StreamEnded
from ._events import Chunk, Reader, ReceivedEvent
from ._recording import Recording
from ._request import End, Request
from ._time import advance


class Headers(Mapping[str, str]):
    """A response's headers by name, in any case; one that is repeated has its values joined by a comma (RFC 9110)."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.raw = raw
        """As the app has sent them, in their order."""
        self._values: dict[str, str] = {}
        for name, value in raw:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self._values[key] = f"{self._values[key]}, {text}" if key in self._values else text

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({self._values!r})"


class EventStream:
    """One response, whose head has come. For one event loop; any of its tasks may use it, but one at a time reads.

    Every wait takes `within` seconds at the most: by default 5 on a real clock, and 60 on a virtual one, where they
    pass at once. Then it fails with `StreamTimeout`, which says what came instead and where the app waits.
    """

    def __init__(self, request: Request, within: float | None) -> None:
        self._request = request
        self._within = within
        self._reader = Reader()
        self._fed = self._given = 0
        head = request.head or {}
        self.status: int = head["status"]
        """The response's status."""
        self.headers = Headers(head["headers"])
        """The response's headers."""

    def __repr__(self) -> str:
        return f"<EventStream {self._request.name} status={self.status} came={self._read().came!r}>"

    # What has come

    def _read(self) -> Reader:
        for chunk in self._request.chunks[self._fed :]:
            self._fed += 1
            self._reader.feed(chunk)
        return self._reader

    @property
    def events(self) -> list[ReceivedEvent]:
        """All events that have come by now, those too that `receive` has given."""
        return [*self._read().events]

    @property
    def comments(self) -> list[str]:
        """All comments that have come by now, without their colon."""
        return [*self._read().comments]

    @property
    def pings(self) -> list[str]:
        """Those comments that begin with `ping`, as the pings of every library do."""
        return self._read().pings

    @property
    def retry(self) -> int | None:
        """Milliseconds that the client was told to wait before it reconnects; `None` if it was not."""
        return self._read().retry

    @property
    def last_event_id(self) -> str:
        """What the client would send as `Last-Event-ID` by now; empty if it has none."""
        return self._read().last_event_id

    @property
    def chunks(self) -> list[Chunk]:
        """The body messages that have come by now, with their times."""
        return [*self._request.chunks]

    @property
    def raw(self) -> bytes:
        """The body's bytes that have come by now."""
        return bytes(self._request.body)

    @property
    def closed_by(self) -> CloseReason | None:
        """Why the stream ended; `None` while it is open.

        With an `SSEMiddleware` around the app it is the middleware's word; else what a client and a server have seen.
        """
        return self._request.closed_by

    @property
    def error(self) -> BaseException | None:
        """What the app has raised, where that has ended the stream or reached the server.

        What a test has looked at is not raised at the end of its block.
        """
        self._request.error_was_seen = True
        return self._request.error

    @property
    def info(self) -> StreamInfo | None:
        """What the middleware knows of the stream; `None` where none looks after it."""
        return self._request.info

    # Reading

    async def receive(self, within: float | None = None) -> ReceivedEvent:
        """The next event.

        Raises:
            StreamTimeout: None came within so many seconds.
            StreamEnded: The stream has ended, or its connection was lost.
            NoEventStream: The response is no event stream.
        """
        event = await self._next(within)
        if event is None:
            raise self._ended("an event")
        return event

    async def take(self, count: int, within: float | None = None) -> list[ReceivedEvent]:
        """The next `count` events. Each may take `within` seconds; raises what `receive` does."""
        return [await self.receive(within) for _ in range(count)]

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> ReceivedEvent:
        event = await self.next_or_end()
        if event is None:
            raise StopAsyncIteration
        return event

    async def next_or_end(self, within: float | None = None) -> ReceivedEvent | None:
        """The next event; `None` at the end of a stream that ended as a whole, and not by an error.

        Raises what `receive` does.
        """
        event = await self._next(within)
        if event is None and (self._request.end is not End.COMPLETE or self.closed_by is CloseReason.ERROR):
            raise self._ended("an event")
        return event

    async def _next(self, within: float | None) -> ReceivedEvent | None:
        """The next event; `None` if the stream has ended."""
        self._check_is_event_stream()
        await self._until(lambda: len(self._read().events) > self._given, "an event", within)
        if len(self._reader.events) == self._given:
            return None
        self._given += 1
        return self._reader.events[self._given - 1]

    async def wait_for_comment(self, text: str = "", within: float | None = None) -> str:
        """The next comment, after this call, that contains `text`: a ping, say. Raises what `receive` does."""
        self._check_is_event_stream()
        seen = len(self._read().comments)

        def found() -> list[str]:
            return [comment for comment in self._read().comments[seen:] if text in comment]

        await self._until(lambda: bool(found()), f"a comment with {text!r}", within)
        if not found():
            raise self._ended(f"a comment with {text!r}")
        return found()[0]

    async def wait_for_bytes(self, expected: bytes, within: float | None = None) -> bytes:
        """Return the body's bytes that have come, once they hold `expected`. Raises what `read` does."""
        body, searched, found = self._request.body, 0, False

        def has_come() -> bool:
            nonlocal searched, found
            start, searched = max(0, searched - len(expected)), len(body)
            found = found or body.find(expected, start) >= 0
            return found

        await self._until(has_come, repr(expected), within)
        if not found:
            raise self._ended(repr(expected))
        return self.raw

    async def read(self, within: float | None = None) -> bytes:
        """The whole body, once the response is complete.

        Raises:
            StreamTimeout: It was not, within so many seconds.
            StreamEnded: The connection was lost before.
        """
        await self._until(lambda: False, "the end", within)
        if self._request.end is not End.COMPLETE:
            raise self._ended("its complete body")
        return self.raw

    async def json(self, within: float | None = None) -> Any:
        """The whole body as JSON. Raises what `read` does, and ValueError."""
        return json.loads(await self.read(within))

    async def _until(self, happened: Callable[[], bool], what: str, within: float | None) -> None:
        def ended() -> bool:
            return self._request.end is not None

        chosen = self._within if within is None else within
        await self._request.wait(lambda: happened() or ended(), what, chosen, self._came)

    def _came(self) -> str:
        return f"{self._request.came}: {self._read().came}"

    def _ended(self, what: str) -> StreamEnded:
        end, error = self._request.end, self.error
        why = "" if end is None else end.value
        if self.closed_by is not None:
            why += f" (closed_by={self.closed_by.value!r})"
        failed = StreamEnded(f"{self._request.name} has no more of {what}: {why}. There came {self._read().came}.")
        failed.__cause__ = error
        return failed

    def _check_is_event_stream(self) -> None:
        kind, coding = self.headers.get("content-type", "no content type"), self.headers.get("content-encoding")
        if kind.partition(";")[0].strip().lower() != "text/event-stream":
            raise NoEventStream(f"{self._request.name} was answered with {self.status}, {kind}, {self.raw[:200]!r}, "
                                "which is no event stream: read() and json() give such a body")  # fmt: skip
        if coding not in (None, "", "identity"):
            raise NoEventStream(f"{self._request.name} was answered with an event stream under content-encoding "
                                f"{coding}: ask for none, as by default, or take its bytes from raw")  # fmt: skip

    # What a client, the network and the server can do

    def disconnect(self) -> None:
        """Leave, as a client does that closes its connection. Without effect if the response has ended."""
        self._request.disconnect()

    def freeze(self) -> None:
        """Stop reading without leaving: from now on the app's `send` waits."""
        self._request.freeze()

    def thaw(self) -> None:
        """Read on."""
        self._request.thaw()

    def drain(self) -> None:
        """Have the server begin its shutdown, as far as apps can see: streams have `drain_grace`, new ones are refused.

        It is the server of this event loop alone that does.

        Raises:
            RuntimeError: No `SSEMiddleware` is around the app: without one, a shutdown does not show.
        """
        if not self._request.drain():
            raise RuntimeError(f"{self._request.name} is not looked after by an SSEMiddleware, and an app without one "
                               "sees nothing of a shutdown: wrap it, app = SSEMiddleware(app)")  # fmt: skip

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass: see `sse_mw.testing.advance`."""
        await advance(seconds)

    async def wait_closed(self, within: float | None = None) -> CloseReason | None:
        """Wait until the stream has ended and its app has returned; return `closed_by`.

        Raises:
            StreamTimeout: That took longer than so many seconds.
        """
        chosen = self._within if within is None else within
        await self._request.wait(lambda: self._request.is_over, "the end", chosen, self._came)
        return self.closed_by

    def recording(self) -> Recording:
        """What has come by now, with its times, to be saved and replayed."""
        complete = self._request.end is End.COMPLETE
        ended = self._request.chunks[-1].at if self._request.chunks else 0.0
        return Recording(self.status, tuple(self.headers.raw), tuple(self._request.chunks), ended, complete=complete)
