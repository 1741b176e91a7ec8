"""An MCP server of the Python SDK's, with both of its HTTP transports, whose responses are the compat module's."""

from support.programs import swap  # noqa: F401, I001  # pyright: ignore[reportUnusedImport]  # before the SDK

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import mcp.server.sse
import mcp.server.streamable_http
from mcp.server.mcpserver import Context, MCPServer
from starlette.applications import Starlette

from sse_mw import SSEMiddleware

server = MCPServer("tests")


@server.tool()
def library() -> str:
    """Whose response class the transports use."""
    used: str
    (used,) = {module.EventSourceResponse.__module__ for module in (mcp.server.sse, mcp.server.streamable_http)}
    return used


@server.tool()
async def count(to: int, context: Context) -> int:
    """Count, with a notification for each step."""
    for number in range(to):
        await context.report_progress(number + 1, to, f"step {number + 1}")
        await anyio.sleep(0.02)
    return to


@server.tool()
async def wait(context: Context) -> str:
    """Begin, and never come back."""
    await context.report_progress(0, 1)
    print("waiting", flush=True)
    await anyio.sleep_forever()
    return "never"


over_http = server.streamable_http_app()
over_sse = server.sse_app()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    async with server.session_manager.run():
        yield


app = Starlette(routes=[*over_http.routes, *over_sse.routes], lifespan=lifespan)
wrapped = SSEMiddleware(app, drain_grace=1.0)
