"""`AppStatus`: whether streams are to end, as sse-starlette's users ask for it and say it.

The engine notices a server's shutdown by itself, and knows it for each server apart. Here is what stands between: a
notice for each server that can be kept from following it, and that the whole process can have begun.
"""

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from ..._drain import Drain, Notice
from ..._exchange import current
from ..._types import Scope


class _Status(type):
    """Makes `AppStatus.should_exit` something that does what it says when it is set."""

    forced = False
    """The app has said so."""

    @property
    def should_exit(cls) -> bool:
        """Whether streams are to end: that of the request that asks; where none does, those of every server."""
        if cls.forced:
            return True
        exchange = current.get(None)
        if exchange is not None:
            return exchange.drain.begun_at is not None
        # A server that has stopped says nothing of the others in its process.
        begun = [notice.is_due() for notice in _all() if notice.ticker.backend.is_alive]
        return all(begun) if begun else _server_says_so()

    @should_exit.setter
    def should_exit(cls, value: bool) -> None:
        cls.forced = bool(value)
        for notice in _all():
            if cls.forced:
                _call(notice, notice.begin_now)
            else:
                notice.take_back()

    @should_exit.deleter
    def should_exit(cls) -> None:  # as `pytest.MonkeyPatch` does, where it finds nothing in the class itself
        cls.should_exit = False


class AppStatus(metaclass=_Status):
    """The end of serving. Any thread may use it.

    `AppStatus.should_exit` can be read and set. Set to `True`, it ends every `EventSourceResponse` of the process, on
    all its event loops, each after its `shutdown_grace_period`; new ones are refused until it is set to `False`. A
    server's shutdown ends that server's streams and does not set it for others.
    """

    enable_automatic_graceful_drain = True
    """Whether the streams of a server that shuts down are ended."""

    original_handler: Callable[..., Any] | None = None
    """What `handle_exit` calls; nothing by itself, as no server is patched."""

    @staticmethod
    def disable_automatic_graceful_drain() -> None:
        """Leave streams alone when their server shuts down.

        Set `should_exit` then, when they are to end: the server waits for them.
        """
        AppStatus.enable_automatic_graceful_drain = False

    @staticmethod
    def enable_automatic_graceful_drain_mode() -> None:
        """End streams when their server shuts down, as is the default; those whose server has begun to, at once."""
        AppStatus.enable_automatic_graceful_drain = True
        for notice in _all():
            if notice.server_has_begun:
                _call(notice, notice.begin)

    @staticmethod
    def handle_exit(*args: Any, **kwargs: Any) -> None:
        """For an app's own signal handler: end all streams, unless that is switched off."""
        if AppStatus.enable_automatic_graceful_drain:
            AppStatus.should_exit = True
        if AppStatus.original_handler is not None:
            AppStatus.original_handler(*args, **kwargs)


class ResponseNotice(Notice):
    """What the responses of one server are told by. One for each drain of the engine's, which it follows."""

    def __init__(self, drain: Drain) -> None:
        super().__init__(drain.ticker)
        self._drain = drain
        drain.followers.append(self)
        with _lock:
            _notices.add(self)
        if AppStatus.forced:
            self.begin_now()
        elif self.server_has_begun:
            self.begin()

    @classmethod
    def of(cls, drain: Drain) -> "ResponseNotice":
        """The one that follows `drain`."""
        for follower in drain.followers:
            if isinstance(follower, cls):
                return follower
        return cls(drain)

    @property
    def server_has_begun(self) -> bool:
        """Whether its server shuts down."""
        return self._drain.begun_at is not None

    def begin(self) -> None:
        """The server shuts down."""
        if AppStatus.enable_automatic_graceful_drain:
            super().begin()

    def is_due(self) -> bool:
        """Whether it has begun, or is to at the next look at its server: while no stream is open nobody looks."""
        follows = AppStatus.enable_automatic_graceful_drain
        return self.begun_at is not None or (follows and self._drain.has_stopped())

    def begin_now(self) -> None:
        """The app has said so, and has not taken it back by now."""
        if AppStatus.forced:
            super().begin()
        if not AppStatus.forced:
            self.take_back()

    def take_back(self) -> None:
        """The app has taken back what it said."""
        if not self.server_has_begun:
            self.begun_at = None

    def stream_opened(self, scope: Scope) -> None:
        self._drain.stream_opened(scope)

    def stream_closed(self) -> None:
        self._drain.stream_closed()


_notices: WeakSet[ResponseNotice] = WeakSet()
_lock = threading.RLock()  # a signal handler may come while it is held


def _server_says_so() -> bool:
    """Where no stream has shown a server yet: uvicorn, in the main thread, answers by its handler of SIGTERM."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return AppStatus.enable_automatic_graceful_drain and getattr(server, "should_exit", False) is True


def _all() -> list[ResponseNotice]:
    with _lock:
        return list(_notices)


def _call(notice: ResponseNotice, method: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # its event loop is gone, and its streams with it
        notice.ticker.backend.call_from_thread(method)
