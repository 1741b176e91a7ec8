"""One line makes any ASGI app a production-grade Server-Sent Events server: `app = SSEMiddleware(app)`."""

from ._current import Stream, current_stream
from ._event import ServerSentEvent
from ._middleware import SSEMiddleware
from ._route import sse_route
from ._stats import CloseReason, Stats, StreamInfo
from .exceptions import InvalidEvent, InvalidOption, InvalidSource, MiddlewareMissing, SSEError

__all__ = [
    "CloseReason",
    "InvalidEvent",
    "InvalidOption",
    "InvalidSource",
    "MiddlewareMissing",
    "SSEError",
    "SSEMiddleware",
    "ServerSentEvent",
    "Stats",
    "Stream",
    "StreamInfo",
    "current_stream",
    "sse_route",
]
