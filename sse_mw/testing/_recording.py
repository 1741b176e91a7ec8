"""Real streams, kept with their times, and replayed."""

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Protocol, cast

import anyio

from .._types import Receive, Scope, Send
from ..exceptions import InvalidOption
from ._checks import check_count, check_seconds
from ._events import Chunk, Reader, ReceivedEvent

FORMAT = 1


class StreamedResponse(Protocol):
    """What is needed of a response of httpx's or httpx2's that is being streamed."""

    @property
    def status_code(self) -> int:
        """Its status."""
        ...

    @property
    def headers(self) -> Any:
        """Its headers; `headers.raw` has them as pairs of bytes."""
        ...

    def aiter_raw(self) -> AsyncIterator[bytes]:
        """The body's bytes as they come, before anything is decompressed."""
        ...


@dataclass(frozen=True, slots=True)
class Recording:
    """A response with the bytes and the times of its body; as an ASGI app, it replays itself.

    Each request is answered with the same bytes at the same times, whatever its path: on virtual time in no time.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    """As they came, but for what concerns one connection alone."""
    chunks: tuple[Chunk, ...]
    ended_at: float
    """Seconds from the request to the end of the body, or to where the recording was stopped."""
    complete: bool
    """Whether the body came to its end; if not, the replay breaks its connection off at that moment."""

    @property
    def events(self) -> list[ReceivedEvent]:
        """The events in it."""
        reader = Reader()
        for chunk in self.chunks:
            reader.feed(chunk)
        return reader.events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface: replay it."""
        if scope["type"] != "http":
            raise NotImplementedError(f"a recording answers no {scope['type']}")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_leave_with_client, receive, tasks.cancel_scope)
            await self._replay(send)
            tasks.cancel_scope.cancel()

    async def _replay(self, send: Send) -> None:
        began = anyio.current_time()
        await send({"type": "http.response.start", "status": self.status, "headers": [*self.headers]})
        for chunk in self.chunks:
            await anyio.sleep_until(began + chunk.at)
            await send({"type": "http.response.body", "body": chunk.data, "more_body": True})
        await anyio.sleep_until(began + self.ended_at)
        if self.complete:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def save(self, path: str | Path) -> None:
        """Write it as JSON lines: the head, then a line for each chunk; UTF-8 text stays readable."""
        Path(path).write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in self._lines()), "utf-8")

    def _lines(self) -> Iterator[dict[str, Any]]:
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers]
        yield {"recording": FORMAT, "status": self.status, "headers": headers,
               "ended_at": self.ended_at, "complete": self.complete}  # fmt: skip
        for chunk in self.chunks:
            yield {"at": chunk.at, **_written(chunk.data)}

    @classmethod
    def load(cls, path: str | Path) -> "Recording":
        """Read what `save` has written.

        Raises:
            InvalidOption: The file holds no recording; the message names the line.
            OSError: It cannot be read.
        """
        text = Path(path).read_text("utf-8-sig")
        try:
            # At LF alone: others may stand in a chunk's text.
            return _parsed([line for line in text.split("\n") if line.strip()])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidOption(
                f"path={str(path)!r:.200} holds no recording of form {FORMAT}: {error!r:.200}"
            ) from error


def _written(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _parsed(lines: list[str]) -> Recording:
    if not lines:
        raise ValueError("the file is empty")
    head = json.loads(lines[0])
    if head["recording"] != FORMAT:
        raise ValueError(f"format {head['recording']!r}")
    status = int(head["status"])
    if not 100 <= status <= 999:
        raise ValueError(f"status {status}")
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in head["headers"])
    chunks = tuple(_read(number, line) for number, line in enumerate(lines[1:], 2))
    return Recording(status, headers, chunks, _seconds(head["ended_at"]), complete=bool(head["complete"]))


def _read(number: int, line: str) -> Chunk:
    try:
        fields = json.loads(line)
        is_binary = "base64" in fields
        data = base64.b64decode(fields["base64"], validate=True) if is_binary else fields["text"].encode()
        return Chunk(_seconds(fields["at"]), data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"line {number}, {line!r:.80}: {error!r:.80}") from error


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < inf:
        raise ValueError(f"{value!r:.80} is no time in seconds")
    return seconds


async def _leave_with_client(receive: Receive, replaying: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    replaying.cancel()


_OF_THE_CONNECTION = {b"transfer-encoding", b"connection", b"keep-alive", b"content-length"}


async def record(response: StreamedResponse, *, events: int | None = None, seconds: float | None = None) -> Recording:
    """Record a response of httpx's or httpx2's from its stream: `async with client.stream("GET", url) as response`.

    Times count from this call. The body's bytes are kept as they came, compressed ones too.

    Args:
        response: The response, whose body nobody has read yet.
        events: Stop after so many events. `None`: at the end of the body.
        seconds: Stop after so many seconds. `None`: at the end of the body.

    Raises:
        InvalidOption: A limit cannot be meant.
        Exception: What the client raises when the connection is lost.
    """
    if seconds is not None:
        check_seconds("seconds", seconds)
    if events is not None:
        check_count("events", events, minimum=1, unit="events")
    began, reader, chunks, complete = anyio.current_time(), Reader(), list[Chunk](), False
    with anyio.move_on_after(seconds):
        async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_raw())) as body:
            async for data in body:
                chunks.append(Chunk(anyio.current_time() - began, data))
                reader.feed(chunks[-1])
                if events is not None and len(reader.events) >= events:
                    break
            else:
                complete = True
    raw: list[tuple[bytes, bytes]] = response.headers.raw
    headers = tuple((name, value) for name, value in raw if name.lower() not in _OF_THE_CONNECTION)
    return Recording(response.status_code, headers, tuple(chunks), anyio.current_time() - began, complete=complete)
