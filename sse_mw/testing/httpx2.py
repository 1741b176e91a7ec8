"""Transports that stream in-process, for `httpx2`: `httpx2.AsyncClient(transport=AsyncStreamTransport(app))`.

httpx2's own `ASGITransport` gathers the whole body first, so that an endless stream never comes. The arguments are
those of `sse_mw.testing.httpx`, and what is said there holds.
"""

from ._transport import AsyncTransport, SyncTransport

try:
    import httpx2
except ImportError as error:
    raise ImportError("sse_mw.testing.httpx2 needs httpx2: pip install 'sse_mw[httpx2]'") from error

__all__ = ["AsyncStreamTransport", "StreamTransport"]


class AsyncStreamTransport(AsyncTransport, httpx2.AsyncBaseTransport):
    """For `httpx2.AsyncClient`: see the transport of this name for httpx."""

    _library = httpx2


class StreamTransport(SyncTransport, httpx2.BaseTransport):
    """For `httpx2.Client`: see the transport of this name for httpx."""

    _library = httpx2
