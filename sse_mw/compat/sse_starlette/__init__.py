"""sse-starlette's names over this package's engine: replace `sse_starlette` by `sse_mw.compat.sse_starlette`.

Needs Starlette: `pip install 'sse_mw[starlette]'`. The app may have an `SSEMiddleware` around it, or none.
docs/guide/sse-starlette-differences.md has what is different, and why.
"""

from .event import JSONServerSentEvent, ServerSentEvent, ensure_bytes
from .sse import AppStatus, EventSourceResponse, SendTimeoutError

__all__ = [
    "AppStatus",
    "EventSourceResponse",
    "JSONServerSentEvent",
    "SendTimeoutError",
    "ServerSentEvent",
    "ensure_bytes",
]
