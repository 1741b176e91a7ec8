"""Targets for the run command, and one that notes when its streams end."""

import json
import os
import time

import anyio

from sse_mw import SSEMiddleware, StreamInfo
from sse_mw._types import ASGIApp, Receive, Scope, Send

LIVE_PAGE = b"""<!doctype html><title>live</title>
<script>var got = 0; new EventSource("/silent").onmessage = () => { got += 1 }</script>"""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says which process it is, counts to five, falls silent, or writes NDJSON."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["path"] == "/ticks":
        await _ticks(send)
    elif scope["path"] == "/silent":
        await _start(send, b"text/event-stream")
        await send({"type": "http.response.body", "body": b"data: only\n\n", "more_body": True})
        await anyio.sleep_forever()
    elif scope["path"] == "/legacy":
        await _start(send, b"application/x-ndjson")
        await send({"type": "http.response.body", "body": b'{"n": 1}\n{"n": 2}\n'})
    elif scope["path"] == "/live":
        await _start(send, b"text/html")
        await send({"type": "http.response.body", "body": LIVE_PAGE})
    else:
        await _start(send, b"text/plain")
        about = {"pid": os.getpid(), "scheme": scope["scheme"], "http": scope["http_version"]}
        await send({"type": "http.response.body", "body": json.dumps(about).encode()})


def make() -> ASGIApp:
    """A factory."""
    return app


def make_for(database: str) -> ASGIApp:
    """A factory that cannot be called as it is."""
    raise NotImplementedError(database)


async def doomed(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that says at its start that it cannot."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database\n"})


def _note(info: StreamInfo) -> None:
    # The monotonic clock is the machine's, so the test may compare it with its own.
    print(json.dumps({"closed": info.path, "reason": info.reason, "at": time.monotonic()}), flush=True)


noting = SSEMiddleware(app, on_close=_note)
text = "not an application"


async def _ticks(send: Send) -> None:
    await _start(send, b"text/event-stream")
    for number in range(5):
        await send({"type": "http.response.body", "body": f"data: {number}\n\n".encode(), "more_body": True})
        await anyio.sleep(0.05)
    await send({"type": "http.response.body", "body": b""})


async def _start(send: Send, content_type: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})


async def _lifespan(receive: Receive, send: Send) -> None:
    for what in ("startup", "shutdown"):
        await receive()
        print(f"{what} in {os.getpid()}", flush=True)
        await send({"type": f"lifespan.{what}.complete"})
