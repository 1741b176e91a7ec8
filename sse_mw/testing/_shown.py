"""What a server shows of a connection beside ASGI."""

from collections.abc import Callable
from typing import Any


class Transport:
    """What uvicorn shows of a connection, so that the middleware can reset it: see `sse_mw._connection`."""

    def __init__(self, reset: Callable[[], None]) -> None:
        self._closing = False
        self._reset = reset

    def abort(self) -> None:
        self._closing = True
        self._reset()

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return True

    def get_extra_info(self, name: str) -> Any:
        raise AttributeError(name)  # there is no socket
