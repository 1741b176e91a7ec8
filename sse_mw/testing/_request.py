"""One request to an app, from the server's side: its task, its messages, and the line to its client.

The rules:

1. The app runs in a task of its own, outside of every task group and cancel scope of the test's, so that a request may
   be opened in one task and closed in another, as fixtures of test plugins do.
2. It is treated as by servers: messages out of order are errors, raised into the app; a `send` after the client has
   left does nothing; `receive` then gives the disconnect, for ever; so it does after the last message.
3. Nothing is buffered: a client that has stopped reading makes the next `send` wait.
"""

from collections.abc import Callable
from enum import Enum

import anyio

from .._exchange import Exchange, current
from .._stats import CloseReason, StreamInfo
from .._types import ASGIApp, Message, Scope
from ._errors import StreamTimeout, UnexpectedMessage
from ._events import Chunk
from ._faults import Fate, Faults, Line
from ._messages import BODY, IGNORED, PATHSEND, START, checked_body, checked_head
from ._server import Receive, Send
from ._shown import Transport
from ._tasks import Owner, unwatch_generators, watch_generators
from ._waiting import Changes, backends, patience


class End(Enum):
    """What became of a response, as its client sees it."""

    COMPLETE = "it is complete"
    LEFT = "the client left"
    LOST = "the connection was lost, by a fault that was asked for"
    RESET = "the server reset the connection"
    UNFINISHED = "the app ended without ending its response"


_REASONS = {
    End.COMPLETE: CloseReason.COMPLETED,
    End.LEFT: CloseReason.CLIENT_LEFT,
    End.LOST: CloseReason.CLIENT_LEFT,
    End.RESET: CloseReason.SEND_TIMEOUT,
    End.UNFINISHED: CloseReason.ERROR,
}


class Request:
    """One request under way. For one event loop; any of its tasks may wait."""

    def __init__(self, app: ASGIApp, scope: Scope, body: tuple[bytes, ...], faults: Faults | None) -> None:
        self.scope = scope
        self.name = f"{scope['method']} {scope['path']}"
        self.head: Message | None = None
        self.chunks: list[Chunk] = []
        self.body = bytearray()
        self.end: End | None = None
        self.error: BaseException | None = None
        """What the app has raised, or what its middleware has kept from the server."""
        self.raised = False
        """The app has raised, and the server has seen it."""
        self.error_was_seen = False
        """The test knows of the error."""
        self.is_over = False
        """The app has returned, raised, or been cancelled."""
        self.transport = Transport(self._reset)
        self.owner = Owner(self.name)
        self._app = app
        self._exchange: Exchange | None = None
        self._faults = faults or Faults()
        self._line = Line(self._faults)
        self._incoming = Receive(*body, sticky=True)
        self._outgoing = Send()
        self._outgoing.delay = self._faults.read_delay or 0.0
        self._last_sent = self._was_cancelled = False
        self._changes = Changes()
        self._cancel: Callable[[], object] = lambda: None
        self.opened_at = 0.0

    # The app's side

    def start(self) -> None:
        """Call the app."""
        watch_generators()
        self._backend = backends.get()
        self.opened_at = anyio.current_time()
        self._cancel = self._backend.spawn(self._run, context=self.owner.context)

    async def _run(self) -> None:
        try:
            await self._app(self.scope, self.receive, self.send)
        except anyio.get_cancelled_exc_class() as error:
            if not self._was_cancelled:
                self.error = error  # by itself, or by something of its own
            raise
        except BaseException as error:  # an exit too: it is for the test to see, in its own task
            self.error, self.raised = error, True
        finally:
            self.is_over = True
            if not self._last_sent:
                self._finish(End.UNFINISHED)
            self._changes.tell()

    async def receive(self) -> Message:
        """What the app is given."""
        return await self._incoming()

    async def send(self, message: Message) -> None:
        """What the app is given.

        Raises:
            UnexpectedMessage: It is not the message's turn.
        """
        kind = message["type"]
        if self._is_gone:
            return
        self._check_order(kind)
        if kind not in (START, BODY):
            await self._send_other(message)
            return
        checked = checked_head(self.name, message) if kind == START else checked_body(self.name, message)
        await self._outgoing(checked)
        if self._is_gone:
            return  # that is what it was released by
        if kind == START:
            self._take_head(checked)
        else:
            self._take_body(checked)
        self._changes.tell()

    async def _send_other(self, message: Message) -> None:
        kind = message["type"]
        if kind == PATHSEND:
            body = await anyio.Path(message["path"]).read_bytes()
            await self.send({"type": BODY, "body": body, "more_body": False})
        elif kind not in IGNORED:
            raise UnexpectedMessage(f"{self.name}: the app sent {kind!r:.80}, which ASGI does not know for a response")

    @property
    def _is_gone(self) -> bool:
        return self.end in (End.LEFT, End.LOST, End.RESET)

    def _check_order(self, kind: str) -> None:
        given = self.head is not None
        if kind in (BODY, PATHSEND) and not given:
            raise UnexpectedMessage(f"{self.name}: the app sent a body before {START}")
        if kind == START and given:
            raise UnexpectedMessage(f"{self.name}: the app sent {START} a second time")
        if kind == BODY and self._last_sent:
            raise UnexpectedMessage(f"{self.name}: the app sent a body after its last message")

    def _take_head(self, head: Message) -> None:
        self.head = head
        self._exchange = self.owner.find(current)  # something around the middleware may run it in another task
        self._line.begin()
        self._heed_fate()

    def _take_body(self, message: Message) -> None:
        body = b"" if self.scope["method"] == "HEAD" else message["body"]
        self._arrive(self._line.take(body))
        if not message.get("more_body"):
            self._note_error()
            self._last_sent = True
            self._complete()

    def _complete(self) -> None:
        """The client has the whole response, unless it has stalled before."""
        if self._last_sent and self._line.fate is Fate.OPEN:
            self._finish(End.COMPLETE)

    def _arrive(self, pieces: list[bytes]) -> None:
        at = round(anyio.current_time() - self.opened_at, 6)
        self.chunks += [Chunk(at, piece) for piece in pieces]
        for piece in pieces:
            self.body += piece
        self._heed_fate()

    def _heed_fate(self) -> None:
        if self._line.fate is Fate.LOST:
            self._finish(End.LOST)
        elif self._line.fate is Fate.STALLED:
            self._outgoing.block()

    def _note_error(self) -> None:
        # Now, as the middleware lets go of it with the request.
        session = None if self._exchange is None else self._exchange.session
        if session is not None and session.error is not None:
            self.error = session.error

    # The client's side

    def disconnect(self) -> None:
        """The client leaves."""
        self._finish(End.LEFT)

    def freeze(self) -> None:
        """The client stops reading."""
        self._outgoing.block()

    def thaw(self) -> None:
        """It reads on."""
        self._outgoing.unblock()
        if self._line.fate is Fate.STALLED:
            self._arrive(self._line.resume())
            self._complete()
            self._changes.tell()

    def drain(self) -> bool:
        """The server stops listening; whether anybody looks after the request who would see it."""
        if self._exchange is not None:
            self._exchange.drain.begin()
        return self._exchange is not None

    def _reset(self) -> None:
        self._finish(End.RESET)

    def _finish(self, end: End) -> None:
        if self.end is None:
            self.end = end
        self._incoming.disconnect()
        self._outgoing.unblock()
        self._changes.tell()

    @property
    def closed_by(self) -> CloseReason | None:
        """Why it ended: the middleware's word, if one looks after it, else what the client has seen."""
        if self._exchange is not None and self._exchange.session is not None:
            return self._exchange.session.reason
        if self.end is None:
            return CloseReason.COMPLETED if self._last_sent else None
        return _REASONS[self.end]

    @property
    def info(self) -> StreamInfo | None:
        """What the middleware knows of it; `None` if none looks after it."""
        return None if self._exchange is None or self._exchange.session is None else self._exchange.info

    # Waiting

    async def wait(self, happened: Callable[[], bool], what: str, within: float | None,
                   came: Callable[[], str] = str) -> None:  # fmt: skip
        """Return once something has happened.

        Raises:
            StreamTimeout: It has not, within so many seconds.
        """
        if backends.get() is not self._backend:
            raise RuntimeError(f"{self.name} was opened on another event loop: open it in the test, or in a fixture of "
                               "the test's own scope")  # fmt: skip
        seconds = patience(within)
        if await self._changes.happen(happened, seconds):
            return
        raise StreamTimeout(
            f"waited {seconds:g} s for {what} of {self.name}; came: {came() or self.came}. {self.where}"
        )

    @property
    def came(self) -> str:
        """What has come so far, in words."""
        if self.head is None:
            return "not even a status"
        ended = "" if self.end is None else f", and {self.end.value}"
        return f"status {self.head['status']}, {sum(len(chunk.data) for chunk in self.chunks)} bytes{ended}"

    @property
    def where(self) -> str:
        """What the app is about, in words."""
        if self.is_over:
            return "The app has returned." if self.error is None else f"The app has raised {self.error!r:.200}."
        return "".join(["The app waits:", *(f"\n  {task}" for task in self.owner.waiting())])

    # The end

    async def close(self, within: float | None) -> list[str]:
        """The client leaves, if it has not; wait for the app, and cancel it if it takes too long.

        Return what is wrong about it, in sentences; nothing is raised.
        """
        self.disconnect()
        complaints: list[str] = []
        try:
            with anyio.CancelScope(shield=True):
                complaints += await self._wait_for_app(patience(within))
        finally:
            unwatch_generators()
        return complaints

    async def _wait_for_app(self, seconds: float) -> list[str]:
        if await self._changes.happen(lambda: self.is_over, seconds):
            return []
        went_on = f"The app of {self.name} went on for {seconds:g} s after its client had left. {self.where}"
        self._was_cancelled = True
        self._cancel()
        await self._changes.happen(lambda: self.is_over, seconds)
        return [went_on]
