"""aiohttp-sse, on aiohttp's own server: `python -m benchmarks.apps.on_aiohttp PORT`."""

import sys

import uvloop
from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

from .plan import source


async def endpoint(request: web.Request) -> EventSourceResponse:
    async with sse_response(request) as response:
        async for text in source(request.query_string):
            await response.send(text)
    return response


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/", endpoint)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), loop=uvloop.new_event_loop(), access_log=None, print=None)
