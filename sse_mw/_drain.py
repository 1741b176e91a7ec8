"""The end of serving, for one server: who asks for it, who is told, and what becomes of new streams.

The rules:

1. A drain begins when the server stops listening, or when `SSEMiddleware.drain` is called. It never ends.
2. Open streams have `drain_grace` to end by themselves: a source sees `current_stream().draining`. Then they are ended,
   with a `retry:` that spreads their clients over time.
3. A new stream is refused: an `EventSource`, which gives up on any status but 200, gets a `retry:` and the end; others
   get a 503 with `Retry-After`.
4. All state is of one middleware, event loop and server. A server that starts where another has stopped, in the same
   process, has a new one.
"""

import logging
import threading
from math import inf

from anyio import Event

from ._listening import Listening
from ._sockets import address_key
from ._stream import TICK
from ._ticker import Bucket, Ticker
from ._types import Scope

logger = logging.getLogger("sse_mw")

LOOK = 0.2
"""Seconds between two looks at the listening sockets."""


class Notice:
    """What streams are told of the end. Its methods are called from the loop's thread; `begun_at` from any."""

    def __init__(self, ticker: Ticker) -> None:
        self.ticker = ticker
        self.begun_at: float | None = None
        self._begun: Event | None = None
        self._waiting = 0

    def stream_opened(self, scope: Scope) -> None:
        """A stream that is to be told has started."""
        raise NotImplementedError

    def stream_closed(self) -> None:
        """It has ended."""
        raise NotImplementedError

    def begin(self) -> None:
        """Tell every stream. Without effect if it has begun."""
        if self.begun_at is None:
            self.begun_at = self.ticker.fresh()
            self.ticker.revisit_all()
            if self._begun is not None:
                self._begun.set()

    async def wait(self) -> None:
        """Return once it has begun."""
        if self.begun_at is not None:
            return
        if self._begun is None:
            self._begun = Event()
        self._waiting += 1
        try:
            await self._begun.wait()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._begun = None  # it holds its event loop, whose end is to be the end of this too


class Drain(Notice):
    """One server's, in one event loop."""

    def __init__(self, ticker: Ticker, scope: Scope) -> None:
        super().__init__(ticker)
        self.bucket: Bucket | None = None
        self.followers: list[Notice] = []
        """Those that are to begin with it, and decide by themselves."""
        self._open = 0
        self._listening = Listening(scope)
        self._looked_at = self._noted_at = -inf

    def is_succeeded(self, scope: Scope) -> bool:
        """Whether the server has stopped, and another listens now where it did."""
        if self.begun_at is None or (self.ticker.is_running and self.ticker.now < self._looked_at + LOOK):
            return False
        self._looked_at = self.ticker.now
        return self._listening.successor(scope) is not None

    def stream_opened(self, scope: Scope) -> None:
        """As long as a stream is open the server is watched."""
        self._open += 1
        if self._open == 1:
            self._note_listening(scope)
            self.ticker.add(self)

    def _note_listening(self, scope: Scope) -> None:
        if self.ticker.is_running and self.ticker.now < self._noted_at + TICK:
            return  # a stream a moment ago has looked
        self._noted_at = self.ticker.now
        if self.begun_at is None and self._listening.is_closed():
            # It stopped while no stream was open. If no other server listens by now, the next visit begins the drain.
            self._listening = self._listening.successor(scope) or self._listening

    def stream_closed(self) -> None:
        self._open -= 1
        if not self._open:
            self.ticker.remove(self)

    def has_stopped(self) -> bool:
        """Whether it has begun, or the next look at the server will see that it is to. Any thread may ask."""
        return self.begun_at is not None or self._listening.is_closed()

    def visit(self, now: float) -> float:
        """Look at the server; see `Ticker`."""
        if self.begun_at is None and self._listening.is_closed():
            logger.info("The server has stopped listening; its event streams are drained.")
            self.begin()
        return now + LOOK

    def begin(self) -> None:
        """Tell every stream, and every follower's. Without effect if it has begun."""
        if self.begun_at is None:
            super().begin()
            for follower in self.followers:
                follower.begin()


class Drains:
    """Those of one middleware and event loop. `of` may be called from any thread."""

    def __init__(self, ticker: Ticker) -> None:
        self.ticker = ticker
        self._by_address: dict[object, Drain] = {}
        self._all_begun = False
        self._lock = threading.Lock()
        self.is_empty = True

    def note(self, scope: Scope) -> None:
        """The first request has come. What its server listens on has to be seen while it does; a stream may be late."""
        self.is_empty = False
        self.of(scope)

    def of(self, scope: Scope) -> Drain:
        """The drain of the server that a request came from."""
        where = address_key(scope.get("server"))
        drain = self._by_address.get(where)
        if drain is None or (drain.begun_at is not None and not self._all_begun):
            return self._find(where, scope)
        return drain

    def _find(self, where: object, scope: Scope) -> Drain:
        with self._lock:
            drain = self._by_address.get(where)
            if drain is None or (not self._all_begun and drain.is_succeeded(scope)):
                drain = self._by_address[where] = Drain(self.ticker, scope)
                if self._all_begun:
                    drain.begun_at = self.ticker.now
            return drain

    def begin(self) -> None:
        """Every server's, those that are still to come too."""
        with self._lock:
            self._all_begun = True
            drains = [*self._by_address.values()]
        for drain in drains:
            drain.begin()
