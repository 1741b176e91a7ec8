"""The only caller of the server's `send` once a stream has started.

Longer than the other modules, as whose turn it is stays in one object: another would cost each event its attributes.

The rules:

1. One send at a time: who sends has the *turn*. hypercorn on trio deadlocks on HTTP/2 with two at once; elsewhere
   a ping could split an event. A free turn costs a comparison, no await and no lock object.
2. Ours goes out at an event boundary alone, in the stream's own line ends, and never changes where the app's bytes
   stand.
3. A send that raises OSError, or RuntimeError as uvloop does once its transport has closed, has lost its client.
   Anything else is about the message, and for the app to see.
4. No cancel scope around a send, as hypercorn's trio worker shields its own. `busy_since` lets the tick time it from
   outside.
5. The messages of a burst are held while the app does not wait, and go out as one. They have the turn: a task sends
   them as soon as the loop comes to it, and whoever else wants to send comes after. Who paces sends each at once.
6. After the end nothing is sent. A last message of the app's then returns at once; any other waits until the app
   is cancelled, so that a busy source makes no event that nobody gets.
"""

import logging
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Protocol

from anyio import BrokenResourceError, ClosedResourceError, open_file

from ._body import BodyFilter
from ._framing import at_boundary, line_end
from ._parking import Parking
from ._runtime import Event
from ._ticker import Ticker
from ._types import Message, Send

logger = logging.getLogger("sse_mw")

FAIRNESS = 128
"""Messages after which a sender that never had to wait gives the loop a turn, so that a disconnect is seen."""

BURST = 0.001
"""Seconds from one message to the next within which they count as one burst. Where the app blocks the loop between two
of its messages, the first is not to wait for the second."""

MOST_HELD = 64 * 1024
"""Bytes that are held at most."""

MOST_MESSAGES = 1024
"""Messages that are held at most, or some more: even those without a byte come to an end."""

SHORT = 3
"""Messages in a burst that was not worth its task: the stream's next ones are sent at once."""

LATE = 0.02
"""Seconds for which a burst has waited if its app blocks the loop: the stream's next messages are sent at once."""

START = "http.response.start"
BODY = "http.response.body"
TRAILERS = "http.response.trailers"
PATHSEND = "http.response.pathsend"

NOTHING_SENT = b"\n\n"
"""The tail of an empty stream: its start is a boundary, and a blank line there leaves it one."""
UNKNOWN = b"?"
"""The tail after a cancelled send: nobody knows what of it went out, so there is no boundary."""


def _means_gone(error: Exception) -> bool:
    """Whether an exception of the server's `send` says that the connection is gone, and not that a message is wrong."""
    return isinstance(error, OSError | RuntimeError | BrokenResourceError | ClosedResourceError) or (
        type(error).__name__ in ("BrokenResourceError", "ClosedResourceError")  # trio's own
    )


class Observer(Protocol):
    """Who is told of what the writer sees. Both are called once at most, and must not block."""

    def cancelled_app(self) -> bool:
        """Whether we have cancelled the app."""
        ...

    def finishing(self) -> None:
        """The app has given its last message, which is held for a moment."""
        ...

    def completed(self) -> None:
        """The app's last message has been sent."""
        ...

    def client_left(self) -> None:
        """A send has failed."""
        ...


class Writer:
    """Writes one stream: the app's messages and ours. Any number of tasks may call it at once; they take turns."""

    __slots__ = ("_burst", "_burst_from", "_burst_until", "_clock", "_coalesces", "_fault", "_filter", "_framed_at",
                 "_holds", "_lets_go", "_observer", "_parking", "_plain", "_second_start", "_send", "_stop_flush",
                 "_ticker", "_trailers", "_waiting", "abandoned", "app_finished", "app_sent", "busy_since", "drains",
                 "ended", "head_only", "held_last", "messages", "ours_sent", "pings", "tail")  # fmt: skip

    def __init__(self, send: Send, ticker: Ticker, observer: Observer, body_filter: BodyFilter, *,
                 coalesce: bool) -> None:  # fmt: skip
        self._send = send
        self._ticker = ticker
        self._observer: Observer | None = observer
        self._filter = body_filter
        self._parking: Parking | None = None
        self._lets_go = False
        self._plain = False
        self._coalesces = coalesce
        self._clock = ticker.backend.clock
        self._holds = False
        """Messages of a burst are held."""
        self._burst: bytearray | None = None
        self._burst_from = 0
        self._burst_until = 0.0
        self._stop_flush: Callable[[], object] | None = None
        self._fault: Exception | None = None
        self._second_start = False
        self._trailers = False
        self._waiting: deque[Event] | None = None
        self.held_last: Message | None = None
        self.drains = False
        """After the end the app's messages are taken and dropped, so that a thread that makes them gets to its end."""
        self.tail: bytes = NOTHING_SENT
        self.busy_since: float | None = None
        self.app_sent = self.ours_sent = self._framed_at = ticker.now
        self.head_only = True
        self.messages = self.pings = 0
        self.ended = self.abandoned = False
        self.app_finished = False

    async def send(self, message: Message) -> None:
        """The app's `send`, once its start has been sent: what every event goes through."""
        try:
            # `_plain`: the first bytes are out, and neither a framer nor the linter wants to see the others.
            plain = message["more_body"] and self._plain
            body = message["body"]
        except KeyError:
            plain, body = False, b""
        if plain and self._holds and self.hold(body):
            return
        if not plain or self.busy_since is not None:
            await self._send_rare(message)
            return
        ticker = self._ticker
        self.busy_since = ticker.now
        try:
            await self._send(message)
        except BaseException as error:
            self._failed(error, of_app=True)
        self.busy_since = None
        if self._waiting is not None:
            self.release()
        self.app_sent = ticker.now
        # Other buffers than bytes are the app's, to be changed or released as soon as they are sent.
        self.tail = body if type(body) is bytes and len(body) > 3 else self.tail[-3:] + bytes(body[-4:])
        if self._holds:
            self._burst_until = self._clock() + BURST
        self.messages = messages = self.messages + 1
        if not messages % FAIRNESS:
            await self._pause()

    def hold(self, body: bytes) -> bool:
        """Keep a body of a burst for the end of this turn of the loop, and return whether it was; if not, send it."""
        if not self._holds:
            return False
        now = self._clock()
        if now > self._burst_until or type(body) is not bytes:
            return False
        held = self._burst
        if held is None:
            return self._begin_burst(body)
        if len(held) + len(body) > MOST_HELD or not self.messages % MOST_MESSAGES:
            return False
        held += body
        self.messages += 1
        self._burst_until = now + BURST
        return True

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
        end = line_end(self.tail[-4:])
        body = block if end == b"\n" else block.replace(b"\n", end)
        try:
            await self._send({"type": BODY, "body": body, "more_body": not last})
            if last and self._trailers:
                await self._send({"type": TRAILERS, "headers": [], "more_trailers": False})
        except BaseException as error:
            self._failed(error, of_app=False)
        self.head_only = False
        self._filter.opened = True
        self.ours_sent = self._ticker.now
        self.release()

    @property
    def app_active(self) -> float:
        """When the app last gave us anything. A line that it has begun is not sent before its end."""
        return max(self.app_sent, self._framed_at)

    @property
    def at_boundary(self) -> bool:
        self.tail = self.tail[-4:]  # a large last body is not to be kept for as long as the stream is idle
        return not self._filter.holds and at_boundary(self.tail)

    def release(self) -> None:
        """Give the turn back: to the next who waits, or to nobody."""
        if self._waiting:
            self.busy_since = self._ticker.now
            self._waiting.popleft().set()
        else:
            self._waiting = None
            self.busy_since = None

    def end(self) -> None:
        """Send nothing of the app's any more."""
        self.ended = True
        self.held_last = None
        self._plain = self._holds = False

    def abandon(self) -> None:
        """After the end: the send under way will not come back, so nobody is to wait for its turn."""
        self.abandoned = True
        self.busy_since = self._burst = None
        waiting, self._waiting = self._waiting, None
        for turn in waiting or ():
            turn.set()

    def let_go(self) -> None:
        """Let go of the app's tasks that wait in `send` though the stream has ended."""
        self._lets_go = True
        if self._parking is not None:
            self._parking.let_go()

    @property
    def parked(self) -> object | None:
        """The task of the app's that has sent last after the end, and waits."""
        return None if self._parking is None else self._parking.parked

    def forget(self) -> None:
        """The request is over: keep nothing alive, and nobody waiting."""
        self._observer = None
        self.tail = b""
        self.let_go()
        if self._fault is not None:
            logger.error("The server's send refused the app's last events.", exc_info=self._fault)
            self._fault = None  # its traceback leads back here: a cycle

    def thrown_away(self) -> None:
        """The request was closed from outside, its event loop may be gone: nothing can be cancelled or woken."""
        self._burst = self._stop_flush = self._waiting = self._fault = None

    # What is rare

    async def _take_turn(self) -> None:
        turn = self._ticker.backend.make_event()
        waiting = self._waiting = deque() if self._waiting is None else self._waiting
        waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.release()
            else:
                waiting.remove(turn)
            raise

    def _failed(self, error: BaseException, *, of_app: bool) -> None:
        if not isinstance(error, Exception) or (of_app and not _means_gone(error)):
            self.tail = UNKNOWN
            self.release()
            raise error
        self._note_gone(error)

    def _note_gone(self, error: Exception) -> None:
        if not self.ended and self._observer is not None:
            logger.debug("The server's send failed, which is taken for a disconnect.", exc_info=error)
            self._observer.client_left()

    async def _send_rare(self, message: Message) -> None:
        """Who has to wait; the first and the last message, what is no body; all of a framed, linted or ended stream."""
        await self.take_turn()
        over = self.ended or self.app_finished
        try:
            self._raise_fault()
            if not over and message["type"] == BODY:
                await self._send_body(message)
            elif not over:
                await self._send_other(message)
        finally:
            self.release()
        if over:
            await self._send_after_end(message)
        elif not self.messages % FAIRNESS:
            await self._pause()

    async def _pause(self) -> None:
        self._holds = self._plain and self._coalesces
        await self._ticker.backend.checkpoint()

    # Bursts

    def _begin_burst(self, body: bytes) -> bool:
        """Take the turn for what is going to be held; a task sends it as soon as the loop gets to it.

        A task, as timeouts that the app sets after its sends would cancel it in the app's own; in the app's context, as
        something around us may ask whose request it is.
        """
        if len(body) > MOST_HELD or not self.claim():
            return False
        burst = self._burst = bytearray(body)
        self._burst_from = self.messages
        self.messages += 1
        self._stop_flush = self._ticker.backend.spawn(self._flush, burst, context=copy_context())
        return True

    async def _flush(self, burst: bytearray) -> None:
        if self._burst is not burst:
            return  # it was dropped
        self._burst = None
        if self.messages - self._burst_from < SHORT or self._clock() > self._burst_until + LATE:
            self._holds = False  # until the next pause
        block = bytes(burst)
        try:
            await self._send({"type": BODY, "body": block, "more_body": True})
        except BaseException as error:
            self._flush_failed(error)
        else:
            self.tail = (self.tail[-3:] + block[-4:])[-4:]
            self.app_sent = self._ticker.now
        self._stop_flush = None  # the task has its context, which leads back here: a cycle
        self.release()

    def _flush_failed(self, error: BaseException) -> None:
        if isinstance(error, Exception) and _means_gone(error):
            self._note_gone(error)
            return
        self.tail = UNKNOWN
        self._plain = self._holds = False
        if isinstance(error, KeyboardInterrupt | SystemExit):
            self.release()
            raise error
        if isinstance(error, Exception):
            self._fault = error
        elif self._stop_flush is not None:  # not by us
            self._fault = RuntimeError("The server's send was cancelled.")
            self._fault.__cause__ = error

    def drop_burst(self) -> None:
        """Nobody wants it any more: do not wait for it either."""
        stop, self._stop_flush = self._stop_flush, None
        if self._burst is not None:
            self._burst = None
            self.release()
        if stop is not None:
            stop()

    def _raise_fault(self) -> None:
        """What the server, or something around us, has raised about what was held: for the app to see."""
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault

    async def _send_other(self, message: Message) -> None:
        kind = message["type"]
        if kind == START:
            if not self._second_start:
                logger.warning("The app started its response a second time; that start was dropped.")
            self._second_start = True
        elif kind == PATHSEND and self._filter.frames:
            await self._send_file(message["path"])
        else:
            await self._hand_over(message)
            if kind == PATHSEND or (kind == TRAILERS and not message.get("more_trailers")):
                self._complete()

    async def _send_file(self, path: str) -> None:
        """A file that the server was to send by itself, but whose lines are to become events."""
        async with await open_file(path, "rb") as file:
            while chunk := await file.read(65536):
                await self._send_body({"type": BODY, "body": chunk, "more_body": True})
        await self._send_body({"type": BODY, "body": b"", "more_body": False})

    async def _send_body(self, message: Message) -> None:
        given = message.get("body", b"")
        more = bool(message.get("more_body"))
        body = self._filter.feed(given, more=more)
        if body is not given:
            message = {"type": BODY, "body": body, "more_body": more}
        self._framed_at = self._ticker.now
        self.messages += 1
        if not more and not self._trailers:
            await self._send_last(message, body)
        elif body is given or body:
            await self._hand_over(message)
            self._note_sent(body)

    def _note_sent(self, body: bytes) -> None:
        self.app_sent = self._ticker.now
        if body:
            self.head_only = False
            self.tail = (self.tail[-3:] + bytes(body[-4:]))[-4:]
            self._plain = not self.ended and self._filter.transparent
            self._holds = self._plain and self._coalesces
            self._burst_until = self._clock() + BURST

    async def _send_last(self, message: Message, body: bytes) -> None:
        """An empty last message waits for the app's return, for a tick at most: some frameworks send it, then raise."""
        self.app_finished = True
        self._plain = self._holds = False
        if body or self._observer is None:
            await self._hand_over(message)
            self._complete()
        else:
            self.held_last = message
            self._observer.finishing()

    async def send_held(self) -> None:
        """With the turn: send the last message that was held, if it still is. The turn is given back."""
        try:
            if self.held_last is not None and not self.ended:
                last, self.held_last = self.held_last, None
                await self._hand_over(last)
                self._complete()
        finally:
            self.release()

    async def _hand_over(self, message: Message) -> None:
        try:
            await self._send(message)
        except BaseException as error:
            # uvicorn raises RuntimeError for a message that it does not know.
            gone = isinstance(error, OSError) or (isinstance(error, Exception) and _means_gone(error))
            if not gone or (message["type"] != BODY and not isinstance(error, OSError)):
                self.tail = UNKNOWN
                raise
            self._failed(error, of_app=False)

    def _complete(self) -> None:
        self.app_finished = True
        if not self.ended and self._observer is not None:
            self._observer.completed()

    async def _send_after_end(self, message: Message) -> None:
        if message["type"] != BODY or not message.get("more_body"):
            self.app_finished = True
        if self.app_finished:
            return
        if self.drains:
            await self._ticker.backend.checkpoint()
            return
        if self._parking is None:
            self._parking = Parking(self._ticker.backend)
            if self._lets_go:
                self._parking.let_go()
        await self._parking.wait(self._cancelled_by_us)

    def _cancelled_by_us(self) -> bool:
        return self._observer is None or self._observer.cancelled_app()
