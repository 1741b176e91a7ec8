"""The app while a source of ours streams: it waits in its `send`, and reads on for the disconnect meanwhile."""

from anyio import Event

from ._receive import Receiver
from ._runtime import Backend


class WaitingApp:
    """One wait of one task of the app's."""

    __slots__ = ("_changed", "_is_over", "_reader", "_receiver")

    def __init__(self, backend: Backend, receiver: Receiver) -> None:
        self._receiver = receiver
        self._reader = backend.cancellable()
        self._changed: Event | None = None
        self._is_over = False

    async def wait(self) -> None:
        """Return once `go` was called."""
        if not self._is_over:
            await self._reader.run(self._read_on())

    def go(self) -> None:
        """The source is through: what is waited for is of no interest any more."""
        self._is_over = True
        self._reader.cancel()

    def look_again(self) -> None:
        """Somebody else who has read has stopped."""
        if self._changed is not None:
            self._changed.set()

    async def _read_on(self) -> None:
        while True:
            if self._receiver.needs_pump:
                await self._receiver.pump()
            if not self._receiver.needs_pump:
                self._changed = Event()
                await self._changed.wait()
