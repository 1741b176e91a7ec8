"""`EventSourceResponse`: a response of Starlette's whose body the engine streams."""

import warnings
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, NoReturn, TypeAlias, cast

import anyio

from ..._parking import ClientGone
from ..._stats import CloseReason
from ..._types import Receive, Scope, Send
from ..._values import describe
from ._options import CLEANUP_TIMEOUT, PING_INTERVAL, PingFactory, Wishes, merged
from ._serve import CloseHandler, Order, Outcome, Sender, leave, serve
from ._shutdown import AppStatus
from .event import JSONServerSentEvent, ServerSentEvent, checked_separator, ensure_bytes

try:
    from starlette.background import BackgroundTask
    from starlette.concurrency import iterate_in_threadpool
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.responses import Response
except ImportError as error:
    raise ImportError(
        "sse_mw.compat.sse_starlette needs Starlette, which is not installed: pip install 'sse_mw[starlette]'"
    ) from error

__all__ = [
    "AppStatus",
    "ContentStream",
    "EventSourceResponse",
    "JSONServerSentEvent",
    "SendTimeoutError",
    "ServerSentEvent",
    "ensure_bytes",
]

# sse-starlette does not document these three either; they are there for annotations.
Content: TypeAlias = Any
AsyncContentStream: TypeAlias = AsyncIterable[Content]
SyncContentStream: TypeAlias = Iterable[Content]
ContentStream: TypeAlias = AsyncContentStream | SyncContentStream


INTERNAL = {
    "_listen_for_disconnect",
    "_listen_for_exit_signal",
    "_listen_for_exit_signal_with_grace",
    "_ping",
    "_send_with_timeout",
    "_stream_response",
    "listen_for_disconnect",
    "stream_response",
}
"""Methods of sse-starlette's that subclasses are seen to override."""


class SendTimeoutError(TimeoutError, ClientGone):
    """A client has stopped reading for `send_timeout`. Its stream has ended, and nothing more can be sent to it."""


class EventSourceResponse(Response):
    """A response that streams events (WHATWG HTML, "Server-sent events"). It is sent once.

    Inside an `SSEMiddleware`, what is left at its default is as the middleware has it: the ping interval, the limit
    on sends, the grace at a shutdown and that of cleanups; so are the options that the response has no name for.

    Args:
        content: What the events come from: any async iterable, or a sync one, which has a thread of its own. An item
            is an event: a `dict` its fields, a `ServerSentEvent` itself, bytes as they are, and the `str()` of anything
            else its data.
        status_code: The response's status.
        headers: Further headers. `Cache-Control` is `no-store` unless it is given.
        media_type: The content type; `None` for the class's own, where a subclass has one.
        background: What runs after the stream, however it ended, unless with an exception.
        ping: Seconds without anything sent after which a ping goes out; 0 for none, `None` for 15.
        sep: The line end, "\\r\\n", "\\r" or "\\n"; `None` for `DEFAULT_SEPARATOR`.
        ping_message_factory: Makes a ping; may return whatever `content` may give.
        data_sender_callable: An async function that runs beside the stream, and is cancelled at its end. It may return
            before that; an exception of its ends the stream.
        send_timeout: Seconds that one send may take; `None` for no limit.
        client_close_handler_callable: An async function that is awaited with the `http.disconnect` message if the
            client leaves, before the source is told.
        shutdown_event: Set when the server shuts down.
        shutdown_grace_period: Seconds from there until the stream is ended.
        cleanup_timeout: Seconds that a source has to clean up in, until a warning is logged and nobody waits for it any
            longer; `None` for no limit.

    Raises:
        TypeError: `content` is no iterable, or `ping` no number.
        ValueError: A number is negative, or `sep` no line end.
    """

    DEFAULT_PING_INTERVAL: int | float = PING_INTERVAL
    DEFAULT_SEPARATOR: str = "\r\n"
    DEFAULT_CLEANUP_TIMEOUT: float | None = CLEANUP_TIMEOUT

    media_type: str | None = "text/event-stream"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in INTERNAL & set(vars(cls)):
            warnings.warn(f"{cls.__name__}.{name} is never called: it is internal to sse-starlette, and the engine "
                          "here has none of it. Do what it does in the source, or in a hook of SSEMiddleware.",
                          stacklevel=2)  # fmt: skip

    def __init__(
        self,
        content: ContentStream,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = "text/event-stream",
        background: BackgroundTask | None = None,
        ping: float | None = None,
        sep: str | None = None,
        ping_message_factory: PingFactory | None = None,
        data_sender_callable: Sender | None = None,
        send_timeout: float | None = None,
        client_close_handler_callable: CloseHandler | None = None,
        shutdown_event: anyio.Event | None = None,
        shutdown_grace_period: float = 0,
        cleanup_timeout: float | None = CLEANUP_TIMEOUT,
    ) -> None:
        self._content: Any = _checked(content)
        self._in_threads: AsyncIterator[Any] | None = None
        self.sep = checked_separator(self.DEFAULT_SEPARATOR if sep is None else sep)
        self.status_code = status_code
        if media_type is not None:
            self.media_type = media_type
        self.background = background
        self._ping_interval: int | float | None = None
        if ping is not None:
            self.ping_interval = ping
        self.ping_message_factory = ping_message_factory
        self.data_sender_callable = data_sender_callable
        self.send_timeout = send_timeout
        self.client_close_handler_callable = client_close_handler_callable
        self._shutdown_event = shutdown_event
        self._shutdown_grace_period = _not_negative("shutdown_grace_period", shutdown_grace_period)
        self._cleanup_timeout = None if cleanup_timeout is None else _not_negative("cleanup_timeout", cleanup_timeout)
        self.active = True
        """Whether the stream has not ended."""
        if headers is None and type(self).init_headers is Response.init_headers:
            self.raw_headers = [*_plain_headers(self.media_type, self.charset)]
        else:
            self.init_headers(_headers(headers))

    @property
    def ping_interval(self) -> int | float:
        """Seconds without anything sent after which a ping goes out; 0: no pings. May be set until the stream starts.

        Raises:
            TypeError: It is set to something that is no number.
            ValueError: It is set to a negative one.
        """
        return self.DEFAULT_PING_INTERVAL if self._ping_interval is None else self._ping_interval

    @ping_interval.setter
    def ping_interval(self, value: float) -> None:
        if not isinstance(value, int | float):
            raise TypeError(f"ping interval must be int or float, in seconds, and {value!r:.80} is neither")
        self._ping_interval = _not_negative("ping interval", value)

    @property
    def body_iterator(self) -> Any:
        """What the events come from, as an async iterable. May be replaced until the stream starts."""
        content: object = self._content
        if isinstance(content, AsyncIterable):
            return cast(object, content)
        if self._in_threads is None:
            self._in_threads = iterate_in_threadpool(self._content)
        return self._in_threads

    @body_iterator.setter
    def body_iterator(self, value: AsyncIterable[Any]) -> None:
        self._content = value

    def enable_compression(self, force: bool = False) -> None:
        """Not for event streams.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("An EventSourceResponse is not compressed: compress in the proxy, event by event.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface (ASGI 3.0).

        Raises:
            SendTimeoutError: The client has stopped reading for `send_timeout`.
            BaseException: What the source, the sender or the close handler has raised; never a group of one alone.
        """
        outcome = Outcome()
        try:
            await serve(self._order(outcome), scope, receive, send)
        except Exception as error:
            outcome.error = error
        except BaseException:
            self._check_send_timeout(outcome)  # it was to end the send that was under way
            raise
        finally:
            self.active = False
            leave(scope)
        if outcome.error is not None:
            _raise(outcome)
        self._check_send_timeout(outcome)
        if self.background is not None and outcome.reason is not CloseReason.ERROR:
            await self.background()

    def _check_send_timeout(self, outcome: Outcome) -> None:
        if outcome.reason is CloseReason.SEND_TIMEOUT and self.send_timeout is not None:
            raise SendTimeoutError(f"A client has read nothing for {self.send_timeout} s; its event stream was ended.")

    def _order(self, outcome: Outcome) -> Order:
        return Order(
            source=self._content,
            start={"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers},
            sep=self.sep,
            content_type=Headers(raw=self.raw_headers).get("content-type", "").encode("latin-1"),
            options=partial(merged, wishes=self._wishes(), factory=self.ping_message_factory, sep=self.sep),
            sender=self.data_sender_callable,
            on_disconnect=self.client_close_handler_callable,
            shutdown_event=self._shutdown_event,
            outcome=outcome,
        )

    def _wishes(self) -> Wishes:
        interval = self._ping_interval
        if interval is None and self.DEFAULT_PING_INTERVAL != PING_INTERVAL:
            interval = self.DEFAULT_PING_INTERVAL  # of a subclass
        return Wishes(interval, self.send_timeout, self._shutdown_grace_period, self._cleanup_timeout)


def _headers(given: Mapping[str, str] | None) -> MutableHeaders:
    headers = MutableHeaders()
    if given is not None:
        headers.update(given)
    headers.setdefault("Cache-Control", "no-store")
    headers["X-Accel-Buffering"] = "no"
    return headers


@lru_cache(64)
def _plain_headers(media_type: str | None, charset: str) -> tuple[tuple[bytes, bytes], ...]:
    """Those of a response that is given none: their bytes are the same ones for every stream."""
    response = Response(media_type=media_type)
    del response.body
    response.charset = charset
    response.init_headers(_headers(None))
    return tuple(response.raw_headers)


def _checked(content: object) -> object:
    """What the engine takes for a source: a text or a mapping is iterated too, as everything is."""
    if isinstance(content, str | bytes | bytearray | memoryview | Mapping):
        return tuple(cast("Iterable[object]", content))
    if isinstance(content, AsyncIterable | Iterable):
        return cast(object, content)
    if hasattr(content, "__getitem__"):
        return iter(cast("Iterable[object]", content))
    raise TypeError(f"content is {describe(content)}, and has to be an iterable of events, async or not")


def _not_negative(name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"{name} must be >= 0, in seconds, and is {value!r}")
    return value


def _raise(outcome: Outcome) -> NoReturn:
    error, outcome.error = outcome.error, None
    assert error is not None
    try:
        raise _only(error)
    finally:
        del error  # a cycle


def _only(error: BaseException) -> BaseException:
    """The exception that groups of one are about."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return _only(group.exceptions[0]) if len(group.exceptions) == 1 else group
    return error
