"""The app of a stream that has ended: what is still done about it, and when it is left alone.

It has been told by then: its sends do nothing, and its `receive` gives the disconnect. docs/design/endings.md has the
frameworks behind each rule.
"""

import logging
from math import inf
from typing import cast

import anyio

from ._parking import ClientGone
from ._receive import Receiver
from ._runtime import Backend, Cancellable
from ._stream import TICK, Action, decide_ended
from ._types import Scope
from ._writer import Writer

logger = logging.getLogger("sse_mw")


class Leaving:
    """One app's way out, from the end of its stream to its own."""

    __slots__ = ("_app", "_backend", "_cancelled_at", "_cleanup_timeout", "_ended_at", "_receiver", "_scope",
                 "_streamed", "_streamer", "_writer", "is_through")  # fmt: skip

    def __init__(
        self,
        app: Cancellable,
        streamer: object,
        backend: Backend,
        receiver: Receiver,
        writer: Writer,
        scope: Scope,
        cleanup_timeout: float,
    ) -> None:
        self._app = app
        self._backend = backend
        self._receiver = receiver
        self._writer = writer
        self._scope = scope
        self._cleanup_timeout = cleanup_timeout
        self._streamer = streamer
        """The task that has started the response."""
        self._streamed = False
        self._ended_at = 0.0
        self._cancelled_at: float | None = None
        self.is_through = False
        """The app has returned or raised."""

    def begin(self, now: float) -> None:
        """The stream has ended."""
        self._ended_at = now
        self._streamed = not self._backend.is_finished(self._streamer)
        self._writer.drains = self._writer.drains or self._backend.waits_for_thread(self._app.task)

    def forget(self) -> None:
        """The request is over. A task that is kept here would keep its context, which leads back here: a cycle."""
        self._streamer = None

    def is_cancelled(self) -> bool:
        """We have cancelled it."""
        return self._cancelled_at is not None

    def visit(self, now: float) -> float:
        """Do what is due at `now`; when to look again."""
        if self.is_past_streaming or self._writer.drains:
            self._writer.let_go()
            return inf
        if self._ends_by_itself and now < self._ended_at + self._cleanup_timeout:
            return now + TICK
        decision = decide_ended(self._ended_at, self._cancelled_at, self._cleanup_timeout, now)
        if decision.action is Action.CANCEL:
            self._cancelled_at = now
            self._app.cancel()
        elif decision.action is Action.WARN:
            self._writer.let_go()
            logger.warning("The app of %s %s ignored its cancellation for cleanup_timeout.", self._scope["method"],
                           self._scope["path"])  # fmt: skip
        return decision.look_again

    def log(self, error: Exception, reported: BaseException | None = None) -> None:
        """What the app raised by now is no business of the server's; what handlers made of `reported` is no news."""
        if reported is not None and _stems_from(error, reported):
            return
        if _is_of_disconnect(error):
            logger.debug("What the app raised when its stream had ended.", exc_info=error)
        else:
            logger.error("The app of %s %s failed after its event stream had ended.", self._scope["method"],
                         self._scope["path"], exc_info=error)  # fmt: skip

    @property
    def is_past_streaming(self) -> bool:
        """It is through, or sent its last message, or the task that streamed has ended since, while its own goes on."""
        if self.is_through:
            return True
        ended_since = self._streamed and self._backend.is_finished(self._streamer)
        return self._writer.app_finished or (ended_since and self._streamer is not self._app.task)

    @property
    def _ends_by_itself(self) -> bool:
        """Its framework has cancelled the task that streams, or who was told of the end is still about it."""
        told = self._receiver.told
        is_ending = self._streamed and self._backend.is_ending(self._streamer)
        about_it = told is not None and told is not self._writer.parked
        return is_ending or (about_it and not self._backend.is_finished(told))


def _is_of_disconnect(error: BaseException) -> bool:
    """Whether an exception only says that there is nobody to send to: of ours, ASGI's, anyio's or Starlette's."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_of_disconnect, cast(BaseExceptionGroup[BaseException], error).exceptions))
    lost = (ClientGone, ConnectionError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
    # Not every OSError: a database's TimeoutError is one too.
    return isinstance(error, lost) or type(error) is OSError or type(error).__name__ == "ClientDisconnect"


def _stems_from(error: BaseException, origin: BaseException) -> bool:
    """Whether `error` is what an app's error handling has made of `origin`, and said so (`raise … from …`)."""
    seen: set[int] = set()
    below: list[BaseException | None] = [error]
    while below:
        each = below.pop()
        if each is origin:
            return True
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        below.append(each.__cause__)
        if isinstance(each, BaseExceptionGroup):
            below += cast(BaseExceptionGroup[BaseException], each).exceptions
    return False
