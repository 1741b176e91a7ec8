"""`current_stream()`: what code that serves a request can learn of its event stream."""

from collections.abc import Iterator
from urllib.parse import parse_qsl

from ._exchange import Exchange, current
from ._stats import StreamInfo
from ._types import Scope
from .exceptions import MiddlewareMissing

QUERY_NAMES = ("lastEventId", "last_event_id", "evs_last_event_id")
"""What `EventSource` polyfills that cannot set a header call it."""


class Stream:
    """The event stream of one request, before it starts, while it is open and after. Safe to use from any thread."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @property
    def last_event_id(self) -> str | None:
        """The ID of the last event that a reconnecting client has seen; `None` if it has seen none that had one.

        From the `Last-Event-ID` header (WHATWG HTML, "Server-sent events"), else from the query: `lastEventId`,
        `last_event_id` or `evs_last_event_id`, which polyfills use. It is the client's word: it may be any text.
        """
        return next(_given_ids(self._exchange.scope), None)

    @property
    def draining(self) -> bool:
        """Whether the server is shutting down: the stream will be ended after `drain_grace`."""
        return self._exchange.drain.begun_at is not None

    async def wait_draining(self) -> None:
        """Return once `draining` is true. For the event loop that the request is served on."""
        await self._exchange.drain.wait()

    @property
    def info(self) -> StreamInfo:
        """A snapshot of it, as the hooks get one."""
        return self._exchange.info


def _given_ids(scope: Scope) -> Iterator[str]:
    for name, value in scope["headers"]:
        if name.lower() == b"last-event-id" and value:
            yield bytes(value).decode("utf-8", "replace")
    query = parse_qsl(bytes(scope.get("query_string", b"")).decode("latin-1"), errors="replace")
    given = dict(reversed(query))  # the first of several counts
    yield from (given[name] for name in QUERY_NAMES if given.get(name))


def current_stream() -> Stream:
    """The stream of the request that the calling code serves: in an endpoint, in a source, in what these call.

    Raises:
        MiddlewareMissing: No `SSEMiddleware` is around the app, or the caller serves no request.
    """
    return Stream(find_exchange("current_stream() was called"))


def find_exchange(what: str) -> Exchange:
    """The exchange of the request that is served.

    Raises:
        MiddlewareMissing: There is none.
    """
    exchange = current.get(None)
    if exchange is None:
        raise MiddlewareMissing(
            f"{what} outside of an SSEMiddleware, which does the streaming: wrap the app where the server finds it, "
            "around everything else: app = SSEMiddleware(app) (or the call was made in a thread without the request's "
            "context variables)"
        )
    return exchange
