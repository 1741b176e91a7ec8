"""Short sources, every second of which reads its request's body."""

from collections.abc import AsyncIterator

from sse_mw import SSEMiddleware, sse_route
from sse_mw._types import Receive, Scope


async def read(receive: Receive) -> int:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    return size


@sse_route
async def source(scope: Scope, receive: Receive) -> AsyncIterator[str]:
    yield scope["path"]
    yield str(await read(receive) if int(scope["path"][1:]) % 2 else 0)


app = SSEMiddleware(source)
