"""Waiting for something to happen, for so long and no longer."""

from collections.abc import Callable

import anyio

from .._runtime import Backend, PerLoop
from ._checks import check_seconds
from ._time import is_virtual

WITHIN = 5.0
"""Seconds that a wait takes at the most, on a real clock."""

WITHIN_VIRTUAL = 60.0
"""The same on a virtual one, where a minute is over in no time."""

backends: PerLoop[Backend] = PerLoop(lambda backend: backend, 1)
"""Those of the running event loops."""


def patience(within: float | None) -> float:
    """Seconds that a wait takes at the most.

    Raises:
        InvalidOption: `within` is neither `None` nor a number of seconds above 0.
    """
    if within is None:
        return WITHIN_VIRTUAL if is_virtual() else WITHIN
    check_seconds("within", within)
    return within


class Changes:
    """Told of each change of something; waits for those that matter."""

    def __init__(self) -> None:
        self._changed = anyio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self._changed.set()
        self._changed = anyio.Event()

    async def happen(self, happened: Callable[[], bool], seconds: float) -> bool:
        """Wait until something has happened, for so many seconds at most; return whether it has."""
        with anyio.move_on_after(seconds):
            while not happened():
                await self._changed.wait()
        return happened()
