"""How a source's stream may differ from one of `@sse_route`'s: for response classes that are built on the engine."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ._drain import Drain, Notice
from ._event import encode_item
from ._types import Message


@dataclass(slots=True)
class Manner:
    """What `Exchange.begin` is told of a source, beside the source itself."""

    encode: Callable[[object], bytes] = encode_item
    """Makes an item the bytes of an event."""
    line_end: bytes = b"\n"
    """What those bytes end their lines with, for what we put between them before the first."""
    status: int | None = None
    """The status of the response that the source belongs to, whose content type is to be kept. `None`: the response is
    a placeholder of some framework's, and is the source's with any status of success."""
    content_type: bytes = b""
    """That content type."""
    notice: Callable[[Drain], Notice] | None = None
    """What the stream is to be told of its server's drain by, in the place of the drain itself."""
    before_disconnect: Callable[[Message], Awaitable[None]] | None = None
    """Awaited with the server's disconnect, before anything is done about it. Must not raise."""
    on_stop: Callable[[], object] | None = None
    """Called when the source is to end before it has done so by itself. Must neither block nor raise."""


PLAIN = Manner()
