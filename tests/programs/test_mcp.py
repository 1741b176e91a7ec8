"""The MCP Python SDK's server on the compat module, talking to the SDK's own client."""

import signal
import time
from contextlib import suppress
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.sse import sse_client

from support.servers import Server, StartServer

APPS = ["support.programs.mcp_server:app", "support.programs.mcp_server:wrapped"]
# The SDK's protocol of 2026 frames its streams by itself: there the middleware is all that there is of ours.
TRANSPORTS = ["streamable HTTP", "streamable HTTP of 2026", "SSE"]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real_time,
    pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"]),
]


def client_of(server: Server, transport: str) -> Client:
    if transport == "SSE":
        return Client(sse_client(f"{server.url}/sse"))
    return Client(f"{server.url}/mcp", mode="legacy" if transport == TRANSPORTS[0] else "auto")


@pytest.mark.parametrize("app", APPS, ids=["bare", "wrapped"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_tools_are_listed_and_called_and_report_their_progress(
    server: StartServer, app: str, transport: str
) -> None:
    steps: list[Any] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    with anyio.fail_after(20):
        async with client_of(server(app), transport) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {"library", "count", "wait"}
            used = await client.call_tool("library", {})
            assert used.content[0].text == "sse_mw.compat.sse_starlette.sse"  # type: ignore[union-attr]
            counted = await client.call_tool("count", {"to": 3}, progress_callback=note)
            assert counted.content[0].text == "3"  # type: ignore[union-attr]
    assert steps == [(number, 3, f"step {number}") for number in (1, 2, 3)]


# Without a middleware the server waits for the handlers of the protocol of 2026 for ever.
@pytest.mark.parametrize(
    ("app", "transport"),
    [(app, transport) for app in APPS for transport in TRANSPORTS if app == APPS[1] or transport != TRANSPORTS[1]],
)
async def test_a_server_that_is_told_to_end_does_though_a_call_is_open(
    server: StartServer, app: str, transport: str
) -> None:
    running = server(app)
    failed: list[MCPError] = []
    begun = anyio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    async def call(client: Client) -> None:
        try:
            await client.call_tool("wait", {}, progress_callback=note)
        except MCPError as error:
            failed.append(error)

    took = 0.0
    with anyio.fail_after(20):
        with suppress(BaseExceptionGroup, MCPError):  # the client's own farewell finds nobody
            async with client_of(running, transport) as client, anyio.create_task_group() as tasks:
                tasks.start_soon(call, client)
                await begun.wait()
                running.signal(signal.SIGTERM)
                told_at = time.monotonic()
                await anyio.to_thread.run_sync(running.wait, 8.0)
                took = time.monotonic() - told_at
    assert 0 < took < 5
    assert failed, "its client knows at once"
    # Without a middleware nothing drops the second response that the SDK sends after its SSE stream.
    assert "Traceback" not in running.output() or app.endswith(":app")
