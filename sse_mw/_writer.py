"""The only caller of the server's `send` once a stream has started.

The rules:

1. One send at a time: who sends has the *turn*. hypercorn on trio deadlocks on HTTP/2 with two at once; elsewhere
   a ping could split an event. A free turn costs a comparison, no await and no lock object.
2. Ours goes out at an event boundary alone, in the stream's own line ends, and never changes where the app's bytes
   stand.
3. A send that raises has lost its client: uvloop, for one, raises RuntimeError once its transport has closed.
4. No cancel scope around a send, as hypercorn's trio worker shields its own. `busy_since` lets the tick time it from
   outside.
5. After the end nothing is sent. A last message of the app's then returns at once; any other waits until the app
   is cancelled, so that a busy source makes no event that nobody gets.
"""

import logging
from collections import deque
from typing import Protocol

from anyio import Event

from ._framing import Framer, at_boundary, line_end
from ._lint import Linter
from ._ticker import Ticker
from ._types import Message, Send

logger = logging.getLogger("sse_mw")

FAIRNESS = 128
"""Messages after which a sender that never had to wait gives the loop a turn, so that a disconnect is seen."""

START = "http.response.start"
BODY = "http.response.body"
TRAILERS = "http.response.trailers"
WHOLE_BODIES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})

NOTHING_SENT = b"\n\n"
"""The tail of an empty stream: its start is a boundary, and a blank line there leaves it one."""
UNKNOWN = b"?"
"""The tail after a cancelled send: nobody knows what of it went out, so there is no boundary."""
BOM = b"\xef\xbb\xbf"


class ClientGone(OSError):
    """Raised, as ASGI 2.4 says, into a task of the app's that goes on sending long after its stream has ended."""


class Observer(Protocol):
    """Who is told of what the writer sees. Both are called once at most, and must not block."""

    def completed(self) -> None:
        """The app has sent its last message."""
        ...

    def client_left(self) -> None:
        """A send has failed."""
        ...


class Writer:
    """Writes one stream: the app's messages and ours. Any number of tasks may call it at once; they take turns."""

    __slots__ = ("_begun", "_held", "_lint", "_observer", "_plain", "_second_start", "_send", "_ticker", "_trailers",
                 "_unparked", "_waiting", "app_finished", "app_sent", "busy_since", "ended", "framer", "head_only",
                 "messages", "ours_sent", "pings", "tail")  # fmt: skip

    def __init__(
        self, send: Send, ticker: Ticker, observer: Observer, framer: Framer | None, linter: Linter | None
    ) -> None:
        self._send = send
        self._ticker = ticker
        self._observer = observer
        self._lint = linter
        self._held = b""
        self._plain = False
        self._second_start = False
        self._trailers = False
        self._unparked: Event | None = None
        self._waiting: deque[Event] = deque()
        self.framer = framer
        self.tail: bytes = NOTHING_SENT
        self.busy_since: float | None = None
        self.app_sent = self.ours_sent = ticker.now
        self.head_only = True
        self.messages = self.pings = 0
        self._begun = False
        self.ended = False
        self.app_finished = False

    async def send(self, message: Message) -> None:
        """The app's `send`, once its start has been sent: what every event goes through."""
        if self.busy_since is not None:
            await self._take_turn()
        # `_plain`: the first bytes are out, and neither a framer nor the linter wants to see the others.
        if not self._plain or message["type"] != BODY or not message.get("more_body"):
            await self._send_rare(message)
            return
        ticker = self._ticker
        self.busy_since = ticker.now
        try:
            await self._send(message)
        except BaseException as error:
            self._failed(error)
        self.busy_since = None
        if self._waiting:
            self.release()
        self.app_sent = ticker.now
        body = message.get("body", b"")
        self.tail = body if len(body) > 3 else bytes(self.tail[-3:]) + body
        self.messages += 1
        if not self.messages % FAIRNESS:
            await ticker.backend.checkpoint()

    async def send_start(self, message: Message) -> None:
        """The head of the response. What the server raises, about a bad header say, is for the app to see."""
        self._trailers = bool(message.get("trailers"))
        self.busy_since = self._ticker.now
        try:
            await self._send(message)
        finally:
            self.release()
        self.app_sent = self._ticker.now

    # Ours

    def claim(self) -> bool:
        """Take the turn if it is free; `send_ours` gives it back."""
        if self.busy_since is not None:
            return False
        self.busy_since = self._ticker.now
        return True

    async def take_turn(self) -> None:
        """Wait for the turn and take it."""
        if not self.claim():
            await self._take_turn()

    async def send_ours(self, block: bytes, *, last: bool = False) -> None:
        """Send whole lines of ours, given with LF ends. The caller has the turn, and it is given back."""
        end = line_end(bytes(self.tail[-4:]))
        body = block if end == b"\n" else block.replace(b"\n", end)
        try:
            await self._send({"type": BODY, "body": body, "more_body": not last})
        except BaseException as error:
            self._failed(error)
        self.head_only = False
        self.ours_sent = self._ticker.now
        self.release()

    @property
    def at_boundary(self) -> bool:
        self.tail = bytes(self.tail[-4:])  # a large last body is not to be kept for as long as the stream is idle
        return not self._held and at_boundary(self.tail)

    def release(self) -> None:
        """Give the turn back: to the next who waits, or to nobody."""
        if self._waiting:
            self.busy_since = self._ticker.now
            self._waiting.popleft().set()
        else:
            self.busy_since = None

    def end(self) -> None:
        """Send nothing of the app's any more."""
        self.ended = True
        self._plain = False

    def abandon(self) -> None:
        """After the end: the send under way will not come back, so nobody is to wait for its turn."""
        self.busy_since = None
        while self._waiting:
            self._waiting.popleft().set()

    def unpark(self) -> None:
        """Let go of the app's tasks that wait in `send` though the stream has ended."""
        if self._unparked is None:
            self._unparked = Event()
        self._unparked.set()

    # What is rare

    async def _take_turn(self) -> None:
        turn = Event()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.release()
            else:
                self._waiting.remove(turn)
            raise

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, Exception):
            self.tail = UNKNOWN
            self.release()
            raise error
        if not self.ended:
            logger.debug("The server's send failed, which is taken for a disconnect.", exc_info=error)
            self._observer.client_left()

    async def _send_rare(self, message: Message) -> None:
        """The first and the last message, what is not a body, and all of a framed, linted or ended stream."""
        self.busy_since = self._ticker.now
        try:
            if not self.ended:
                await self._send_open(message)
                return
        finally:
            self.release()
        await self._send_after_end(message)

    async def _send_open(self, message: Message) -> None:
        kind = message["type"]
        if kind == START:
            if not self._second_start:
                logger.warning("The app started its response a second time; that start was dropped.")
            self._second_start = True
        elif kind == BODY:
            await self._send_body(message)
        else:
            await self._hand_over(message)
            if kind in WHOLE_BODIES or (kind == TRAILERS and not message.get("more_trailers")):
                self._complete()

    async def _send_body(self, message: Message) -> None:
        given = message.get("body", b"")
        more = bool(message.get("more_body"))
        body = self._transform(given, more)
        if body is not given:
            if more and not body:
                return
            message = {"type": BODY, "body": body, "more_body": more}
        await self._hand_over(message)
        if body:
            self.head_only = False
            self._begun = True
            self.tail = (bytes(self.tail[-3:]) + body)[-4:]
            self._plain = not self.ended and self.framer is None and self._lint is None
        self.app_sent = self._ticker.now
        self.messages += 1
        if not more and not self._trailers:
            self._complete()
        elif not self.messages % FAIRNESS:
            await self._ticker.backend.checkpoint()

    def _transform(self, body: bytes, more: bool) -> bytes:
        """What goes out for a body of the app's; the same object if nothing is to be changed."""
        if self._lint is not None:
            for fault in self._lint.feed(bytes(body)) + ([] if more else self._lint.finish()):
                logger.warning("Event stream fault: %s", fault)
        if self.framer is not None:
            return self.framer.feed(bytes(body)) + (b"" if more else self.framer.finish())
        if self.head_only or self._begun:
            return body
        return self._without_bom(bytes(body), more)

    def _without_bom(self, body: bytes, more: bool) -> bytes:
        """After an opening comment a BOM is no longer first, and would spoil the first field's name."""
        start = self._held + body
        self._held = b""
        if more and len(start) < len(BOM) and BOM.startswith(start):
            self._held = start
            return b""
        self._begun = True
        return start.removeprefix(BOM)

    async def _hand_over(self, message: Message) -> None:
        try:
            await self._send(message)
        except BaseException as error:
            if isinstance(error, Exception):
                self._failed(error)
            else:
                self.tail = UNKNOWN
                raise

    def _complete(self) -> None:
        self.app_finished = True
        if not self.ended:
            self._observer.completed()

    async def _send_after_end(self, message: Message) -> None:
        if message["type"] != BODY or not message.get("more_body"):
            self.app_finished = True
        if self.app_finished:
            return
        if self._unparked is None:
            self._unparked = Event()
        await self._unparked.wait()
        raise ClientGone("The event stream has ended; nothing can be sent any more.")
