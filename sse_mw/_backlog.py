"""Backpressure for the two servers that have none: hypercorn on HTTP/2, and daphne, take whatever they are given.

A client of theirs that stops reading makes them hold all that its source goes on to make. So a send is made to wait
there until less is held; that it waits is for `send_timeout` to see, as anywhere else. How much is held shows from the
`send` that they give to apps. Nothing of theirs is changed, and one that shows it no more is left as it is.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from anyio import sleep

from ._stream import TICK
from ._types import Message, Send

HELD = 1024 * 1024
"""Bytes that a server may hold for one stream until a send waits."""

SHORTEST = 0.001
"""Seconds between two looks at first: a client that reads fast is not to be held up."""

Backlog: TypeAlias = Callable[[], int]
"""How many bytes a server holds for a stream that its client has not taken."""


class Backpressure:
    """One stream's `send`, on a server without any."""

    __slots__ = ("_backlog", "_send", "given_up")

    def __init__(self, send: Send, backlog: Backlog) -> None:
        self._send = send
        self._backlog = backlog
        self.given_up = False
        """Nobody waits for the client any longer."""

    async def send(self, message: Message) -> None:
        """The server's `send`, which returns only once little is held."""
        await self._send(message)
        pause = SHORTEST
        while self._backlog() > HELD and not self.given_up:
            await sleep(pause)  # nothing tells when
            pause = min(2 * pause, TICK)


def needed_backpressure(send: Send) -> Backpressure | None:
    """`None` for every server that has its own, and for one that does not show what it holds."""
    arguments: tuple[Any, ...] = getattr(send, "args", ())
    backlog = _of_twisted(arguments) if arguments else _of_hypercorn(getattr(send, "__self__", None))
    return None if backlog is None else Backpressure(send, backlog)


def _of_hypercorn(stream: Any) -> Backlog | None:
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    buffers = getattr(protocol, "stream_buffers", None)
    return None if buffers is None else partial(_held_by_hypercorn, buffers, getattr(stream, "stream_id", None))


def _of_twisted(arguments: tuple[Any, ...]) -> Backlog | None:
    transport = getattr(getattr(arguments[0], "channel", None), "transport", None)
    return partial(_held_by_twisted, transport) if hasattr(transport, "dataBuffer") else None


def _held_by_hypercorn(buffers: Any, stream_id: Any) -> int:
    stream = buffers.get(stream_id)
    return len(getattr(stream, "buffer", b"")) if stream is not None else 0  # it has ended


def _held_by_twisted(transport: Any) -> int:
    if getattr(transport, "disconnected", False):
        return 0
    return len(transport.dataBuffer) - getattr(transport, "offset", 0) + getattr(transport, "_tempDataLen", 0)
