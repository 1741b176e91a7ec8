"""One stream through uvicorn's real request cycle, to a transport that drops what it is given: to be counted.

    python counted.py VARIANT EVENTS PAUSE

Run under valgrind by servers/test_instructions.py. PAUSE is the number of events after which the app waits for a turn
of the event loop; 0 is never.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sse_mw import SSEMiddleware, _ticker, _writer, sse_route

# What depends on how long things take would be counted with an event, the more of it the busier the machine is.
setattr(_ticker, "TICK", 3600.0)  # noqa: B010
setattr(_writer, "BURST", 3600.0)  # noqa: B010
setattr(_writer, "LATE", 3600.0)  # noqa: B010

EVENT = b"data: 0123456789abcdef\n\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}


class Dropping(asyncio.Transport):
    """A connection whose client reads at once."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: Any) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...


def apps(events: int, pause: int) -> dict[str, Any]:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for number in range(1, events + 1):
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
            if pause and not number % pause:
                await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @sse_route
    async def source(scope: Any) -> AsyncIterator[str]:
        for number in range(1, events + 1):
            yield "0123456789abcdef"
            if pause and not number % pause:
                await asyncio.sleep(0)

    return {
        "bare": bare,
        "passed through": SSEMiddleware(bare),
        "one by one": SSEMiddleware(bare, coalesce=False),
        "from a source": SSEMiddleware(source),
    }


async def main(variant: str, events: int, pause: int) -> None:
    config = Config(apps(events, pause)[variant], log_config=None, lifespan="off", proxy_headers=False)
    config.load()
    state = ServerState()
    protocol = HttpToolsProtocol(config, state, app_state={}, _loop=asyncio.get_running_loop())
    transport = Dropping()
    # What was made so far is never collected again: that takes millions of instructions, in one run of several.
    gc.collect()
    gc.freeze()
    protocol.connection_made(transport)
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await asyncio.gather(*state.tasks)
    assert transport.written > events * len(EVENT)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
