"""The `spec_version` that an app sees is its server's. Showing Starlette 2.4 would save it a task group, and more.

What it would save, and what would be lost, is what these tests hold: with 2.4 Starlette leaves its background task out
when the client has left. See docs/design/cost.md.
"""

from collections.abc import AsyncIterator

import anyio
import pytest
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from sse_mw import SSEMiddleware
from sse_mw._types import Receive, Scope, Send
from sse_mw.testing._server import http_scope
from support.driver import running

pytestmark = pytest.mark.anyio


def starlette_app(notes: list[str]) -> SSEMiddleware:
    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"data: 1\n\n"
            await anyio.sleep_forever()
        finally:
            notes.append("cleaned up")

    async def background() -> None:
        notes.append("background")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        notes.append(scope["asgi"]["spec_version"])
        response = StreamingResponse(source(), media_type="text/event-stream", background=BackgroundTask(background))
        await response(scope, receive, send)

    return SSEMiddleware(app)


@pytest.mark.parametrize(
    ("version", "told"), [("2.3", ["2.3", "cleaned up", "background"]), ("2.4", ["2.4", "cleaned up"])]
)
async def test_starlettes_background_task_runs_after_a_disconnect_unless_the_server_says_2_4(
    version: str, told: list[str]
) -> None:
    notes: list[str] = []
    async with running(starlette_app(notes), http_scope(spec_version=version)) as run:
        await run.send.wait_for_bytes(b"data: 1")
        run.disconnect()
        await run.finish()
    assert notes == told
