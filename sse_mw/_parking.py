"""Where the app's sends wait once their stream has ended, so that a busy source makes no event that nobody gets."""

from collections.abc import Callable

from ._runtime import Backend, Event


class ClientGone(OSError):
    """Raised, as ASGI 2.4 says, into a task of the app's that goes on sending long after its stream has ended."""


class Parking:
    """One stream's. Any number of the app's tasks may wait here."""

    __slots__ = ("_backend", "_deferred", "_is_open", "_open", "parked")

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._deferred = False
        self.parked: object | None = None
        """The task that came last: it does not end by itself."""
        self._is_open = False
        self._open: Event | None = None

    async def wait(self, cancelled_by_us: Callable[[], bool]) -> None:
        """Wait to be cancelled, or let go.

        A framework's own cancellation is sent on, once, to the next checkpoint. Without us its source, which waits for
        something between two events, would meet it there and clean up; here it would be left behind at its `yield`.

        Raises:
            ClientGone: the app's tasks are let go, and there is nobody to send to.
        """
        self.parked = self._backend.current_task()
        try:
            await self._wait()
        except BaseException:
            if self._deferred or cancelled_by_us():
                raise
            self._deferred = True
            self._backend.cancel_again()
        else:
            raise ClientGone("The event stream has ended; nothing can be sent any more.")

    async def _wait(self) -> None:
        if self._is_open:
            await self._backend.checkpoint()
            return
        if self._open is None:
            self._open = self._backend.make_event()
        await self._open.wait()

    def let_go(self) -> None:
        """From now on nobody waits."""
        self._is_open = True
        if self._open is not None:
            self._open.set()
