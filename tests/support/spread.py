"""A stream that says which process it comes from, on a server that is about to be replaced."""

import os
from collections.abc import AsyncIterator

import anyio

from sse_mw import SSEMiddleware, sse_route
from sse_mw._types import Scope


@sse_route
async def inner(scope: Scope) -> AsyncIterator[str]:
    yield str(os.getpid())
    await anyio.sleep(3600)


app = SSEMiddleware(inner, drain_grace=0.2, retry=int(os.environ.get("RETRY", "2000")))
