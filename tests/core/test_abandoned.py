"""A source whose cleanup never ends: the event loop has to."""

from collections.abc import AsyncIterator

import anyio
import pytest

from sse_mw import SSEMiddleware, sse_route
from sse_mw._types import Scope
from support.driver import running


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_event_loop_comes_to_its_end_though_a_cleanup_does_not(backend: str) -> None:
    @sse_route(cleanup_timeout=0.1)
    async def source(scope: Scope) -> AsyncIterator[str]:
        try:
            yield "x"
            await anyio.sleep_forever()
        finally:
            await anyio.sleep_forever()

    async def serve() -> None:
        async with running(SSEMiddleware(source)) as run:
            await run.send.wait_for_bytes(b"data: x")
            run.disconnect()
            await run.finish(5)

    anyio.run(serve, backend=backend)
