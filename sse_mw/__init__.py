"""One line makes any ASGI app a production-grade Server-Sent Events server: `app = SSEMiddleware(app)`."""

from ._event import ServerSentEvent
from ._middleware import SSEMiddleware
from ._stats import CloseReason, Stats, StreamInfo
from .exceptions import InvalidEvent, InvalidOption, SSEError

__all__ = [
    "CloseReason",
    "InvalidEvent",
    "InvalidOption",
    "SSEError",
    "SSEMiddleware",
    "ServerSentEvent",
    "Stats",
    "StreamInfo",
]
