"""Every way in which a stream can end, at every moment, against apps, clients and servers that do as they please."""

from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sse_mw._types import Receive, Scope, Send
from sse_mw.testing._run import run_virtually
from sse_mw.testing._server import Receive as Client
from sse_mw.testing._server import Send as Server
from sse_mw.testing._server import http_scope
from support.driver import Recorded, body, start

MOMENTS = st.sampled_from([0.0, 0.005, 0.02, 0.03, 0.5, 1.0, 1.02, 1.5, 2.0, 2.2, 3.0, 5.0])

APP_STEPS = st.lists(
    st.tuples(st.sampled_from(["send", "half", "sleep", "receive", "tasks"]), MOMENTS),
    max_size=6,
)
APP_ENDS = st.sampled_from(["last", "return", "raise", "sleep", "swallow"])
FATES = st.lists(st.tuples(st.sampled_from(["leave", "block", "unblock", "break", "cancel"]), MOMENTS), max_size=4)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "ping_interval": st.sampled_from([None, 0.5, 1.0]),
        "send_timeout": st.sampled_from([None, 1.0]),
        "idle_timeout": st.just(1.5),
        "max_duration": st.just(2.0),
        "retry": st.just(100),
        "frame": st.just({"/*": "lines"}),
        "debug": st.just(True),
    },
)


class Story:
    """One request with everything that happens to it, and what came of it."""

    def __init__(self, steps: Any, end: str, fates: Any, options: dict[str, Any], framed: bool) -> None:
        self.steps, self.end, self.fates = steps, end, fates
        self.middleware = Recorded(self.app, cleanup_timeout=5, **options)
        self.headers = [(b"content-type", b"text/plain" if framed else b"text/event-stream")]
        self.entered = self.left = 0
        self.client = Client()
        self.server = Server()
        self.failed: BaseException | None = None
        self.over = self.hung_up = False

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered += 1
        try:
            await send(start(headers=self.headers))
            for step, seconds in self.steps:
                await self.take(step, seconds, receive, send)
            await self.finish(send)
        finally:
            self.left += 1

    async def take(self, step: str, seconds: float, receive: Receive, send: Send) -> None:
        match step:
            case "send":
                await send(body(b"data: x\n\n"))
            case "half":
                await send(body(b"data: half"))
                await anyio.sleep(seconds)
                await send(body(b"\n\n"))
            case "receive":
                with anyio.move_on_after(seconds):
                    await receive()
            case "tasks":
                async with anyio.create_task_group() as tasks:
                    for _ in range(3):
                        tasks.start_soon(self.take, "send", seconds, receive, send)
            case _:
                await anyio.sleep(seconds)

    async def finish(self, send: Send) -> None:
        match self.end:
            case "last":
                await send(body(b"", more=False))
                await anyio.sleep(0.7)
            case "raise":
                raise LookupError
            case "sleep":
                await anyio.sleep_forever()
            case "swallow":
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(8)
            case _:
                pass

    async def play(self) -> None:
        with anyio.fail_after(100):
            async with anyio.create_task_group() as tasks:
                request = anyio.CancelScope()
                tasks.start_soon(self.serve, request)
                for fate, seconds in self.fates:
                    await anyio.sleep(seconds)
                    self.befall(fate, request)
                await anyio.sleep(10)
                self.server.unblock()
                await anyio.sleep(10)
                if not self.over:  # a request that is over leaves its connection open for the next one
                    self.hung_up = True
                    self.client.disconnect()
        await anyio.sleep(1)

    async def serve(self, request: anyio.CancelScope) -> None:
        with request:
            try:
                await self.middleware(http_scope(), self.client, self.server)
            except Exception as error:
                self.failed = error
        self.over = True

    def befall(self, fate: str, request: anyio.CancelScope) -> None:
        match fate:
            case "leave":
                self.client.disconnect()
            case "block":
                self.server.block()
            case "unblock":
                self.server.unblock()
            case "break":
                self.server.fail(OSError())
            case _:
                request.cancel()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("part", range(8))  # so that no test takes long
@settings(deadline=None, max_examples=38)
@given(steps=APP_STEPS, end=APP_ENDS, fates=FATES, options=OPTIONS, framed=st.booleans())
def test_each_stream_ends_once_cleanly_and_leaves_nothing(
    part: int, backend: str, steps: Any, end: str, fates: Any, options: dict[str, Any], framed: bool
) -> None:
    story = Story(steps, end, fates, options, framed and "frame" in options)
    run_virtually(backend, partial(audited, story))


async def audited(story: Story) -> None:
    await story.play()
    middleware, server = story.middleware, story.server
    assert story.entered == story.left, "the app has run to its end"
    assert len(middleware.opened) == len(middleware.closed) <= 1
    assert middleware.stats().open == 0
    assert server.most_concurrent <= 1, "one writer"
    reason = middleware.reasons[0] if middleware.reasons else None
    event(str(reason))
    if reason not in ("completed", None):
        assert story.failed is None or not server.messages
    if reason in ("completed", "error", "idle_timeout", "max_duration") and not (story.fates or story.hung_up):
        assert server.complete, "who is there gets a whole response"
    if reason == "client_left":
        assert not server.complete or story.end == "last" or any(fate == "break" for fate, _ in story.fates)
    ticker = middleware._loops.get().ticker
    assert not ticker._count
    assert not ticker._due
    assert not any(ticker._buckets.values())
    assert not getattr(ticker.backend, "_tasks", None), "no task of ours is left"
