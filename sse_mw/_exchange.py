"""One request: the `receive` and `send` that the app is given, and what becomes of its response."""

from collections.abc import Awaitable

from ._negotiate import Mode, negotiate
from ._options import Options
from ._receive import Receiver
from ._runtime import Cancellable, mark_coroutine_function
from ._session import Session
from ._stats import Recorder
from ._ticker import Ticker
from ._types import Message, Receive, Scope, Send
from ._writer import START


class Exchange:
    """Made for each HTTP request, and nothing more than that until the app starts its response."""

    __slots__ = ("_app", "_forward", "_options", "_recorder", "_scope", "_send", "_ticker", "receive", "session")

    def __init__(self, scope: Scope, receive: Receive, send: Send, options: Options, recorder: Recorder,
                 ticker: Ticker, app: Cancellable) -> None:  # fmt: skip
        self._scope = scope
        self._send = send
        self._options = options
        self._recorder = recorder
        self._ticker = ticker
        self._app = app
        self._forward: Send = self._before_start
        self.receive = Receiver(receive, ticker.backend.current_task)
        self.session: Session | None = None

    @mark_coroutine_function
    def send(self, message: Message) -> Awaitable[None]:
        """The app's `send`. A plain function, which costs an event no frame of its own; adapters want it marked."""
        return self._forward(message)

    async def _before_start(self, message: Message) -> None:
        if message["type"] != START:
            await self._send(message)  # early hints, a push, debug messages
            return
        plan = negotiate(self._scope, message, self._options.rules)
        if plan.mode is Mode.PASS:
            self._forward = self._send
            await self._send(plan.start)
            return
        session = self.session = Session(
            self._scope, plan, self._send, self.receive, self._options, self._ticker, self._app, self._recorder
        )
        self._forward = session.writer.send
        try:
            await session.start(plan.start)
        except BaseException as error:
            if not session.started:
                session.start_failed(error)
                self.session = None
                self._forward = self._before_start
            raise
