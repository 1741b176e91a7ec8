"""Runs an ASGI app on a scripted request, as a server does, and tells how it went."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from sse_mw import SSEMiddleware, StreamInfo
from sse_mw._types import ASGIApp, Message, Scope
from sse_mw._types import Receive as ASGIReceive
from sse_mw._types import Send as ASGISend
from sse_mw.testing._server import Receive, Send, http_scope

EVENT_STREAM = [(b"content-type", b"text/event-stream")]


class Run:
    """One request under way: the server's ends of it, and what became of the app."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.send = Send()
        self.finished = anyio.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        self.finished_at = 0.0

    def disconnect(self) -> None:
        self.receive.disconnect()

    async def finish(self, within: float = 60.0) -> None:
        """Wait until the app has returned or raised."""
        with anyio.fail_after(within):
            await self.finished.wait()


@asynccontextmanager
async def running(app: ASGIApp, scope: Scope | None = None, *body: bytes, sticky: bool = False) -> AsyncGenerator[Run]:
    """The app at work on a request. At the block's end the client leaves and the app must end by itself."""
    run = Run(Receive(*body, sticky=sticky))

    async def serve() -> None:
        try:
            run.result = await app(http_scope() if scope is None else scope, run.receive, run.send)
        except Exception as error:
            run.error = error
        finally:
            run.finished_at = anyio.current_time()
            run.finished.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        yield run
        run.send.unblock()
        run.disconnect()
        await run.finish()


class Recorded(SSEMiddleware):
    """The middleware, keeping what its hooks are told."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        self.opened: list[StreamInfo] = []
        self.closed: list[StreamInfo] = []
        self.closed_at: list[float] = []
        super().__init__(app, on_open=self.opened.append, on_close=self._note_close, **options)

    def _note_close(self, info: StreamInfo) -> None:
        self.closed.append(info)
        self.closed_at.append(anyio.current_time())

    @property
    def reasons(self) -> list[str | None]:
        return [info.reason for info in self.closed]


def start(status: int = 200, headers: Any = EVENT_STREAM) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(chunk: bytes | bytearray | memoryview, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": more}


def chunks_app(*chunks: bytes, gap: float = 0.0, end: bool = True, headers: Any = EVENT_STREAM) -> ASGIApp:
    """Sends the chunks, `gap` seconds before each; then ends, or is silent until it is ended."""

    async def app(scope: Scope, receive: ASGIReceive, send: ASGISend) -> None:
        await send(start(headers=headers))
        for chunk in chunks:
            if gap:
                await anyio.sleep(gap)
            await send(body(chunk))
        if end:
            await send(body(b"", more=False))
        else:
            await anyio.sleep_forever()

    return app


def sending(script: Callable[[ASGISend], Any], headers: Any = EVENT_STREAM) -> ASGIApp:
    """Starts an event stream and leaves the rest to `script(send)`."""

    async def app(scope: Scope, receive: ASGIReceive, send: ASGISend) -> None:
        await send(start(headers=headers))
        await script(send)

    return app
