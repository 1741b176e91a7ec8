"""What httpx and httpx2 need of a transport that streams in-process; the modules of their names make it theirs."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

from .._types import ASGIApp, Scope
from ._errors import StreamTimeout
from ._faults import Faults
from ._lifespan import Lifespan
from ._request import End, Request
from ._server import http_scope
from ._standing import StandingLoop
from ._time import is_virtual


class Pipe:
    """The app's side of a client, whichever library's: opens exchanges, and runs the lifespan."""

    def __init__(self, library: ModuleType, app: ASGIApp, faults: Faults | None, lifespan: bool,
                 raise_app_exceptions: bool) -> None:  # fmt: skip
        self._library = library
        self._app = app
        self._faults = faults
        self._raises = raise_app_exceptions
        self._lifespan = Lifespan(app) if lifespan else None
        self._lives = False
        self._open: set[Exchange] = set()

    async def enter(self) -> None:
        """Run the app's startup."""
        if self._lifespan is not None:
            await self._lifespan.start(None)
            self._lives = True

    async def exit(self) -> None:
        """Close what is open, and run the app's shutdown, if it has started."""
        for exchange in [*self._open]:
            await exchange.close()
        if self._lifespan is not None and self._lives:
            self._lives = False
            await self._lifespan.stop(None)

    async def open(self, request: Any, body: bytes) -> "Exchange":
        """Send a request, and wait for its response's head."""
        scope = _scope(request)
        if self._lifespan is not None:
            scope["state"] = {**self._lifespan.state}
        exchange = Exchange(self._library, Request(self._app, scope, (body,), self._faults), request, self._raises)
        await exchange.open()
        self._open.add(exchange)
        exchange.on_close = self._open.discard
        return exchange


class Exchange:
    """One request of a client's, and its response while it streams."""

    def __init__(self, library: ModuleType, request: Request, given: Any, raises: bool) -> None:
        self._library = library
        self._request = request
        self._given = given
        self._raises = raises
        self._taken = 0
        self._closed = False
        self.on_close: Callable[[Exchange], None] | None = None
        timeouts = given.extensions.get("timeout", {})
        self._patience: float | None = timeouts.get("read")

    @property
    def status(self) -> int:
        """The response's."""
        assert self._request.head is not None
        status: int = self._request.head["status"]
        return status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response's, as the app has sent them."""
        assert self._request.head is not None
        headers: list[tuple[bytes, bytes]] = self._request.head["headers"]
        return headers

    @property
    def is_closed(self) -> bool:
        """Whether the client has left."""
        return self._closed

    async def open(self) -> None:
        """Call the app, and wait for the head."""
        self._request.start()
        try:
            await self._wait(lambda: self._request.head is not None or self._request.is_over, "a response")
            if self._request.head is None:
                self._fail("the app returned without a response")
        except BaseException:
            await self.close()
            raise

    async def next_chunk(self) -> bytes | None:
        """The next bytes of the body; `None` at its end."""
        request = self._request
        await self._wait(lambda: len(request.chunks) > self._taken or request.end is not None, "more of the body")
        if len(request.chunks) > self._taken:
            self._taken += 1
            return request.chunks[self._taken - 1].data
        if request.end is not End.COMPLETE:
            self._fail(request.end.value if request.end is not None else "")
        return None

    async def close(self) -> None:
        """The client has what it wants: it leaves."""
        if not self._closed:
            self._closed = True
            if self.on_close is not None:
                self.on_close(self)
            await self._request.close(None)

    async def _wait(self, happened: Callable[[], bool], what: str) -> None:
        # httpx counts its read timeout anew for each chunk. None is for ever, which on virtual time would never come.
        forever = LONGEST if is_virtual() else FOR_EVER
        try:
            await self._request.wait(happened, what, self._patience or forever)
        except StreamTimeout as error:
            if self._patience is None:
                raise
            raise self._library.ReadTimeout(str(error), request=self._given) from None

    def _fail(self, why: str) -> None:
        if self._request.raised and self._request.error is not None and self._raises:
            raise self._request.error
        raise self._library.RemoteProtocolError(
            f"peer closed connection without sending complete message body ({why})", request=self._given
        ) from self._request.error


FOR_EVER = 1e9
LONGEST = 3600.0
"""Seconds of virtual time that a client without a read timeout waits at the most."""


def _scope(request: Any) -> Scope:
    url = request.url
    scope = http_scope(
        request.method,
        url.path,
        raw_path=url.raw_path.split(b"?")[0],
        query_string=url.query,
        scheme=url.scheme,
        server=(url.host, url.port or {"https": 443}.get(url.scheme, 80)),
        client=("testclient", 50000),
    )
    scope["headers"] = [(name.lower(), value) for name, value in request.headers.raw]
    return scope


async def _read_async(request: Any) -> bytes:
    return b"".join([chunk async for chunk in request.stream])


class AsyncTransport:
    """The async one, but for the library's base class."""

    _library: ModuleType

    def __init__(
        self,
        app: ASGIApp,
        *,
        faults: Faults | None = None,
        lifespan: bool = True,
        raise_app_exceptions: bool = True,
    ) -> None:
        self._pipe = Pipe(self._library, app, faults, lifespan, raise_app_exceptions)

    async def __aenter__(self) -> Any:
        await self._pipe.enter()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the app's lifespan."""
        await self._pipe.exit()

    async def handle_async_request(self, request: Any) -> Any:
        """Call the app; return its response as soon as its head is there. The body streams."""
        exchange = await self._pipe.open(request, await _read_async(request))
        return self._library.Response(exchange.status, headers=exchange.headers,
                                      stream=_async_body(self._library, exchange))  # fmt: skip


def _async_body(library: ModuleType, exchange: Exchange) -> Any:
    class Body(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        # No generator, which trio would complain of when a client breaks off.
        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            chunk = await exchange.next_chunk()
            if chunk is None:
                raise StopAsyncIteration
            return chunk

        async def aclose(self) -> None:
            await exchange.close()

    return Body()


class SyncTransport:
    """The synchronous one, but for the library's base class."""

    _library: ModuleType

    def __init__(
        self,
        app: ASGIApp,
        *,
        backend: str = "asyncio",
        virtual: bool = True,
        faults: Faults | None = None,
        lifespan: bool = True,
        raise_app_exceptions: bool = True,
    ) -> None:
        self._pipe = Pipe(self._library, app, faults, lifespan, raise_app_exceptions)
        self._start = partial(StandingLoop, backend, virtual=virtual)
        self._loop: StandingLoop | None = None

    def __enter__(self) -> Any:
        self._standing().call(self._pipe.enter)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the app's lifespan, and the event loop."""
        loop, self._loop = self._loop, None
        if loop is not None:
            try:
                loop.call(self._pipe.exit)
            finally:
                loop.close()

    def _standing(self) -> StandingLoop:
        if self._loop is None:
            self._loop = self._start()
        return self._loop

    def handle_request(self, request: Any) -> Any:
        """Call the app; return its response as soon as its head is there. The body streams."""
        loop = self._standing()
        exchange = loop.call(self._pipe.open, request, b"".join(request.stream))
        return self._library.Response(exchange.status, headers=exchange.headers,
                                      stream=_sync_body(self._library, exchange, loop))  # fmt: skip


def _sync_body(library: ModuleType, exchange: Exchange, loop: StandingLoop) -> Any:
    class Body(library.SyncByteStream):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[bytes]:
            while (chunk := loop.call(exchange.next_chunk)) is not None:
                yield chunk

        def close(self) -> None:
            if not exchange.is_closed:
                loop.call(exchange.close)

    return Body()
