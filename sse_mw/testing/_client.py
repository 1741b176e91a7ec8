"""`connect` and `Client`: opening requests to an app, and what is checked when they are over."""

import json as json_module
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self, TypeAlias, TypedDict, Unpack
from urllib.parse import unquote, urlencode, urlsplit

from .._types import ASGIApp, Scope
from ..exceptions import InvalidOption
from ._errors import Leaked, LifespanFailed, StreamEnded
from ._faults import Faults
from ._lifespan import Lifespan
from ._request import Request
from ._server import http_scope
from ._stream import EventStream
from ._tasks import Owner
from ._waiting import patience

HeaderPairs: TypeAlias = Mapping[str, str] | list[tuple[str, str]] | None


class RequestOptions(TypedDict, total=False):
    """What `Client.connect` takes beside the path, for type checkers."""

    method: str
    params: Mapping[str, Any] | None
    headers: HeaderPairs
    json: Any
    content: bytes | str | None
    last_event_id: str | None
    faults: Faults | None
    scope: Mapping[str, Any] | None


class Client:
    """Opens streams of one app in-process, whose lifespan it runs: `async with Client(app) as client`.

    For one event loop. Any number of streams may be open at once.

    Args:
        app: Any ASGI app, under an `SSEMiddleware` or not.
        within: Seconds that each wait takes at the most. `None`: 5 on a real clock, 60 on a virtual one.
        lifespan: Whether to run the app's startup and shutdown.
        check_leaks: Whether it is an error that a request, or the lifespan, leaves tasks or async generators behind.
        raise_app_exceptions: Whether what the app raises is raised at the end of its stream's block: what reaches its
            server, and what has ended its stream, unless the test has seen that.

    Raises:
        InvalidOption: An argument cannot be meant.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        within: float | None = None,
        lifespan: bool = True,
        check_leaks: bool = True,
        raise_app_exceptions: bool = True,
    ) -> None:
        if not callable(app):
            raise InvalidOption(f"app={app!r:.80} is no ASGI app: give app(scope, receive, send)")
        self._app = app
        self._within = within
        self._check_leaks = check_leaks
        self._raises = raise_app_exceptions
        self._lifespan = Lifespan(app) if lifespan else None

    async def __aenter__(self) -> Self:
        """Run the app's startup.

        Raises:
            LifespanFailed: The app said that it had failed.
        """
        if self._lifespan is not None:
            patience(self._within)
            await self._lifespan.start(self._within)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._lifespan is None:
            return
        try:
            await self._lifespan.stop(self._within)
        except LifespanFailed as failed:
            if error is None:
                raise
            error.add_note(str(failed))
        if self._check_leaks and error is None:
            await _check_leaks(self._lifespan.owner)

    def connect(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        params: Mapping[str, Any] | None = None,
        headers: HeaderPairs = None,
        json: Any = None,
        content: bytes | str | None = None,
        last_event_id: str | None = None,
        faults: Faults | None = None,
        scope: Mapping[str, Any] | None = None,
    ) -> AbstractAsyncContextManager[EventStream]:
        """Open a stream, as an `EventSource` does: `async with client.connect("/orders") as stream`.

        The block begins when the response's head has come, whatever its status and type. At its end the client leaves,
        the app has to come to its end, and nothing may be left behind.

        Args:
            path: The request's path, with its query if it has one.
            method: The request's method.
            params: More for the query.
            headers: The request's headers. `Accept: text/event-stream` is there by default.
            json: The body, as anything that JSON can hold.
            content: The body.
            last_event_id: What a reconnecting client sends as `Last-Event-ID`.
            faults: What goes wrong on the way to the client.
            scope: More of the ASGI scope: `{"http_version": "2", "client": ("10.0.0.1", 1234)}`.

        Raises:
            InvalidOption: An argument cannot be meant.
            StreamTimeout: The head did not come in time; at the block's end, the app did not come to its end.
            StreamEnded: The app ended without a response.
            Exception: What the app raised; at the block's end too.
            Leaked: At the block's end: something was left behind.
        """
        body = _body(json, content)
        defaults = _defaults(body, last_event_id, has_json=json is not None)
        given = _scope(path, method, params, _headers(headers, defaults))
        if self._lifespan is not None:
            given["state"] = {**self._lifespan.state}
        given.update(scope or {})
        return self._connect(given, body, faults)

    @asynccontextmanager
    async def _connect(self, scope: Scope, body: bytes, faults: Faults | None) -> AsyncGenerator[EventStream]:
        request = Request(self._app, scope, (body,), faults)
        patience(self._within)
        request.start()
        try:
            await request.wait(lambda: request.head is not None or request.is_over, "a response", self._within)
            if request.head is None:
                raise _unanswered(request)
            yield EventStream(request, self._within)
        except BaseException as error:
            complaints = await request.close(self._within)
            if request.error is not None and request.error is not error:
                complaints.append(f"The app of {request.name} has raised {request.error!r:.200}.")
            for complaint in complaints:
                error.add_note(complaint)
            raise
        await self._finish(request)

    async def _finish(self, request: Request) -> None:
        complaints = await request.close(self._within)
        error = request.error
        if isinstance(error, Exception) and self._raises and not (request.error_was_seen and not request.raised):
            raise error
        if request.raised and error is not None and not isinstance(error, Exception):
            raise error  # an exit, an interrupt
        if self._check_leaks:
            if complaints:
                raise Leaked(*complaints)
            await _check_leaks(request.owner)


def _unanswered(request: Request) -> BaseException:
    if request.error is not None:
        if isinstance(request.error, Exception) or request.raised:
            return request.error
        return StreamEnded(f"{request.name}: the app was cancelled, and not by its client; there is no response")
    return StreamEnded(f"{request.name}: the app returned without a response")


async def _check_leaks(owner: Owner) -> None:
    leaks = await owner.leaks_after_grace()
    if leaks:
        found = "".join(f"\n  {leak}" for leak in leaks)
        raise Leaked(f"{owner.name} has left behind:{found}\n(check_leaks=False lets it pass)")


@asynccontextmanager
async def connect(
    app: ASGIApp,
    path: str = "/",
    *,
    within: float | None = None,
    lifespan: bool = True,
    check_leaks: bool = True,
    raise_app_exceptions: bool = True,
    **request: Unpack[RequestOptions],
) -> AsyncGenerator[EventStream]:
    """Open one stream of an app, and run its lifespan around it: `async with connect(app, "/orders") as stream`.

    The arguments are those of `Client` and `Client.connect`, and it raises what these do.
    """
    client = Client(app, within=within, lifespan=lifespan, check_leaks=check_leaks,
                    raise_app_exceptions=raise_app_exceptions)  # fmt: skip
    async with client, client.connect(path, **request) as stream:
        yield stream


def _body(json: Any, content: bytes | str | None) -> bytes:
    if json is not None and content is not None:
        raise InvalidOption("json and content exclude each other: give one of them")
    if json is not None:
        return json_module.dumps(json).encode()
    if isinstance(content, str):
        return content.encode()
    if not isinstance(content, bytes | None):
        raise InvalidOption(f"content={content!r:.80} cannot be sent: give bytes or a str")
    return content or b""


def _defaults(body: bytes, last_event_id: str | None, *, has_json: bool) -> dict[str, str]:
    defaults = {"host": "testserver", "accept": "text/event-stream"}
    if body:
        defaults["content-length"] = str(len(body))
    if has_json:
        defaults["content-type"] = "application/json"
    if last_event_id is not None:
        # As UTF-8, which is how browsers send it; http_scope takes latin-1.
        defaults["last-event-id"] = last_event_id.encode().decode("latin-1")
    return defaults


def _headers(given: HeaderPairs, defaults: dict[str, str]) -> list[tuple[str, str]]:
    pairs = [*(given.items() if isinstance(given, Mapping) else given or ())]
    names = {name.lower() for name, _ in pairs}
    pairs += [(name, value) for name, value in defaults.items() if name not in names]
    for name, value in pairs:
        if any(letter in f"{name}{value}" for letter in "\r\n\0"):
            raise InvalidOption(f"headers: {name!r:.80}: {value!r:.80} holds CR, LF or NUL, which no client can send")
    return pairs


def _scope(path: str, method: str, params: Mapping[str, Any] | None, headers: list[tuple[str, str]]) -> Scope:
    parts = urlsplit(path)
    if not parts.path.startswith("/") or parts.netloc:
        raise InvalidOption(f"path={path!r:.80} cannot be asked for: give one that begins with /")
    query = "&".join(filter(None, [parts.query, urlencode(params or {}, doseq=True)]))
    return http_scope(
        method.upper(),
        unquote(parts.path),
        headers=headers,
        query_string=query.encode(),
        raw_path=parts.path.encode(),
        client=("testclient", 50000),
        server=("testserver", 80),
    )
