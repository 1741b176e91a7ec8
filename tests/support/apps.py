"""Small ASGI apps for the real servers, with nothing of sse_mw in them."""

import anyio
import anyio.lowlevel

from sse_mw._types import ASGIApp, Receive, Scope, Send

HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream")],
}


async def ticks(scope: Scope, receive: Receive, send: Send) -> None:
    """Ten events, 20 ms apart, and a clean end."""
    await _ignore_lifespan(scope, receive, send)
    await send(HEAD)
    for number in range(10):
        await send(_body(f"data: {number}\n\n".encode()))
        await anyio.sleep(0.02)
    await send(_body(b"", more=False))


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """One event, then silence until the client leaves; says so on stdout."""
    await _ignore_lifespan(scope, receive, send)
    await send(HEAD)
    await send(_body(b"data: only\n\n"))
    while (await receive())["type"] != "http.disconnect":
        pass
    print("client left", flush=True)


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """20 MB of events, as fast as they are taken; to a client that has left, in no time."""
    await _ignore_lifespan(scope, receive, send)
    await send(HEAD)
    for _ in range(2000):
        await send(_body(b"data: " + b"x" * 10_000 + b"\n\n"))
        await anyio.lowlevel.checkpoint()
    await send(_body(b"", more=False))


def wrapped_ticks() -> ASGIApp:
    """A factory, for servers' `--factory`."""
    return ticks


async def _ignore_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    # Raising is the way an app says that it has no lifespan; servers go on without.
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])


def _body(body: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": more}
