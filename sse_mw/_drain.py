"""The end of serving, for one event loop: who asks for it, who is told, and what becomes of new streams.

The rules:

1. A drain begins when the server stops listening, or when `SSEMiddleware.drain` is called. It never ends.
2. Open streams have `drain_grace` to end by themselves: a source sees `current_stream().draining`. Then they are ended,
   with a `retry:` that spreads their clients over time.
3. A new stream is refused: an `EventSource`, which gives up on any status but 200, gets a `retry:` and the end; others
   get a 503 with `Retry-After`.
4. All state is this object's: one for each middleware and event loop.
"""

import logging

from anyio import Event

from ._listening import Listening
from ._ticker import Bucket, Ticker
from ._types import Scope

logger = logging.getLogger("sse_mw")

LOOK = 0.2
"""Seconds between two looks at the listening sockets."""


class Drain:
    """One event loop's. Its methods are called from the loop's thread; `begun_at` may be read from any."""

    def __init__(self, ticker: Ticker) -> None:
        self.ticker = ticker
        self.begun_at: float | None = None
        self.bucket: Bucket | None = None
        self._open = 0
        self._listening: Listening | None = None
        self._begun: Event | None = None

    def stream_opened(self, scope: Scope) -> None:
        """From the first stream on the server is watched."""
        self._open += 1
        if self._listening is None:
            self._listening = Listening(scope)
        if self._open == 1:
            self.ticker.add(self)

    def stream_closed(self) -> None:
        self._open -= 1
        if not self._open:
            self.ticker.remove(self)

    def visit(self, now: float) -> float:
        """Look at the server; see `Ticker`."""
        if self.begun_at is None and self._listening is not None and self._listening.is_closed():
            logger.info("The server has stopped listening; its event streams are drained.")
            self.begin()
        return now + LOOK

    def begin(self) -> None:
        """Tell every stream. Without effect if it has begun."""
        if self.begun_at is None:
            self.begun_at = self.ticker.fresh()
            self.ticker.revisit_all()
            if self._begun is not None:
                self._begun.set()

    async def wait(self) -> None:
        """Return once it has begun."""
        if self.begun_at is None:
            if self._begun is None:
                self._begun = Event()
            await self._begun.wait()
