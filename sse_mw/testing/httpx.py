"""Transports that stream in-process, for `httpx`: `httpx.AsyncClient(transport=AsyncStreamTransport(app))`.

httpx's own `ASGITransport` gathers the whole body first, so that an endless stream never comes.
"""

from ._transport import AsyncTransport, SyncTransport

try:
    import httpx
except ImportError as error:
    raise ImportError("sse_mw.testing.httpx needs httpx: pip install 'sse_mw[httpx]'") from error

__all__ = ["AsyncStreamTransport", "StreamTransport"]


class AsyncStreamTransport(AsyncTransport, httpx.AsyncBaseTransport):
    """Calls an ASGI app for each request, and streams what it sends, as it sends it. asyncio and trio.

    The client's read timeout counts, on the clock of the running event loop. A response that is closed has left: the
    app gets the disconnect, and its end is waited for. The app's lifespan runs while the client is open.

    Args:
        app: Any ASGI app.
        faults: What goes wrong on the way to the client.
        lifespan: Whether to run the app's startup and shutdown.
        raise_app_exceptions: Whether what the app raises to its server is raised here; if not, the client sees what it
            would see of a server: a connection that breaks off.
    """

    _library = httpx


class StreamTransport(SyncTransport, httpx.BaseTransport):
    """The same for `httpx.Client`. The app's event loop runs only while the client waits for something.

    For one thread. Close the client, or use it in a `with` block: that ends the event loop.

    Args:
        app: Any ASGI app.
        backend: The event loop that the app runs on: `asyncio` or `trio`.
        virtual: Whether on virtual time.
        faults: What goes wrong on the way to the client.
        lifespan: Whether to run the app's startup and shutdown, if the client is used in a `with` block.
        raise_app_exceptions: As above.
    """

    _library = httpx
