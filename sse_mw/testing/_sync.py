"""The synchronous face: the same streams, for tests that are plain functions."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self, Unpack

from .._stats import CloseReason, StreamInfo
from .._types import ASGIApp
from ._checks import check_backend
from ._client import Client, RequestOptions
from ._events import Chunk, ReceivedEvent
from ._recording import Recording
from ._standing import StandingLoop, plainly
from ._stream import EventStream, Headers
from ._time import advance


class SyncEventStream:
    """`EventStream` for plain functions: every method and property is the same, without `await`."""

    def __init__(self, stream: EventStream, loop: StandingLoop) -> None:
        self._stream = stream
        self._loop = loop

    def __repr__(self) -> str:
        return repr(self._stream).replace("EventStream", "SyncEventStream", 1)

    @property
    def status(self) -> int:
        """The response's status."""
        return self._stream.status

    @property
    def headers(self) -> Headers:
        """The response's headers."""
        return self._stream.headers

    @property
    def events(self) -> list[ReceivedEvent]:
        return self._stream.events

    @property
    def comments(self) -> list[str]:
        return self._stream.comments

    @property
    def pings(self) -> list[str]:
        return self._stream.pings

    @property
    def retry(self) -> int | None:
        return self._stream.retry

    @property
    def last_event_id(self) -> str:
        return self._stream.last_event_id

    @property
    def chunks(self) -> list[Chunk]:
        return self._stream.chunks

    @property
    def raw(self) -> bytes:
        return self._stream.raw

    @property
    def closed_by(self) -> CloseReason | None:
        return self._stream.closed_by

    @property
    def error(self) -> BaseException | None:
        return self._stream.error

    @property
    def info(self) -> StreamInfo | None:
        return self._stream.info

    def receive(self, within: float | None = None) -> ReceivedEvent:
        return self._loop.call(self._stream.receive, within)

    def take(self, count: int, within: float | None = None) -> list[ReceivedEvent]:
        return self._loop.call(self._stream.take, count, within)

    def __iter__(self) -> Iterator[ReceivedEvent]:
        return self

    def __next__(self) -> ReceivedEvent:
        event = self._loop.call(self._stream.next_or_end)
        if event is None:
            raise StopIteration
        return event

    def wait_for_comment(self, text: str = "", within: float | None = None) -> str:
        return self._loop.call(self._stream.wait_for_comment, text, within)

    def wait_for_bytes(self, expected: bytes, within: float | None = None) -> bytes:
        return self._loop.call(self._stream.wait_for_bytes, expected, within)

    def read(self, within: float | None = None) -> bytes:
        return self._loop.call(self._stream.read, within)

    def json(self, within: float | None = None) -> Any:
        return self._loop.call(self._stream.json, within)

    def disconnect(self) -> None:
        self._loop.call(plainly, self._stream.disconnect)

    def freeze(self) -> None:
        self._loop.call(plainly, self._stream.freeze)

    def thaw(self) -> None:
        self._loop.call(plainly, self._stream.thaw)

    def drain(self) -> None:
        self._loop.call(plainly, self._stream.drain)

    def advance(self, seconds: float) -> None:
        self._loop.call(self._stream.advance, seconds)

    def wait_closed(self, within: float | None = None) -> CloseReason | None:
        return self._loop.call(self._stream.wait_closed, within)

    def recording(self) -> Recording:
        return self._stream.recording()


for _name, _member in vars(SyncEventStream).items():
    if not _name.startswith("_") and _member.__doc__ is None:
        _member.__doc__ = getattr(EventStream, _name).__doc__


class SyncClient:
    """`Client` for plain functions: `with SyncClient(app) as client, client.connect("/orders") as stream`.

    For one thread. Its event loop runs only while a call of the client or of one of its streams is under way.

    Args:
        app: Any ASGI app.
        backend: The event loop that the app runs on: `asyncio` or `trio`.
        virtual: Whether on virtual time. If not, time passes between calls too, though nothing happens then.
        options: Those of `Client`.

    Raises:
        InvalidOption: An argument cannot be meant.
    """

    def __init__(self, app: ASGIApp, *, backend: str = "asyncio", virtual: bool = True, **options: Any) -> None:
        check_backend(backend)
        self._client = Client(app, **options)
        self._start = partial(StandingLoop, backend, virtual=virtual)
        self._loop: StandingLoop | None = None

    def __enter__(self) -> Self:
        self._loop = self._start()
        try:
            self._loop.call(self._client.__aenter__)
        except BaseException:
            self._loop.close()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        assert self._loop is not None
        try:
            if not self._loop.has_failed:
                self._loop.call(self._client.__aexit__, kind, error, traceback)
        finally:
            self._loop.close()

    @contextmanager
    def connect(self, path: str = "/", **request: Unpack[RequestOptions]) -> Generator[SyncEventStream]:
        """Open a stream: see `Client.connect`."""
        if self._loop is None:
            raise RuntimeError("The client is not open: use it within its `with` block")
        opened = self._client.connect(path, **request)
        stream = self._loop.call(opened.__aenter__)
        try:
            yield SyncEventStream(stream, self._loop)
        except BaseException as error:
            if self._loop.has_failed or not self._loop.call(opened.__aexit__, type(error), error, error.__traceback__):
                raise
        else:
            self._loop.call(opened.__aexit__, None, None, None)

    def advance(self, seconds: float) -> None:
        """Let virtual time pass: see `sse_mw.testing.advance`."""
        if self._loop is None:
            raise RuntimeError("The client is not open: use it within its `with` block")
        self._loop.call(advance, seconds)
