"""What a stream may cost: one task at most, and for an event no task, timer, lock or log call. Counted, not timed.

A burst may cost one task and one lock: less than what it saves, which is a system call for each of its events.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import anyio
import pytest

from sse_mw import SSEMiddleware, sse_route
from sse_mw._types import Message, Receive, Scope, Send
from sse_mw.testing._clock import VirtualLoop
from sse_mw.testing._server import Receive as Client
from sse_mw.testing._server import Send as Server
from sse_mw.testing._server import http_scope
from support.driver import body, chunks_app, start

STREAMS = 50


class CountingLoop(VirtualLoop):
    """Counts the tasks and timers that are made."""

    made: ClassVar[Counter[str]] = Counter()

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        self.made["timer"] += 1
        return super().call_at(when, callback, *args, context=context)

    def create_task(self, *args: Any, **kwargs: Any) -> Any:
        self.made["task"] += 1
        return super().create_task(*args, **kwargs)


def passed_through(events: int) -> Any:
    return chunks_app(*[b"data: x\n\n"] * events)


def from_a_source(events: int) -> Any:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        for _ in range(events):
            yield "x"

    return source


async def take(message: Message) -> None:
    """A server's `send` that takes everything at once."""


def made_by(app: Any, monkeypatch: pytest.MonkeyPatch, *, coalesce: bool = False) -> Counter[str]:
    """What one stream makes, without any time passing."""
    CountingLoop.made = Counter()

    class CountingEvent(asyncio.Event):
        def __init__(self) -> None:
            CountingLoop.made["lock"] += 1
            super().__init__()

    async def script() -> None:
        await SSEMiddleware(app, coalesce=coalesce)(http_scope(), Client(), take)

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "Event", CountingEvent)
        patched.setattr(logging.Logger, "_log", lambda *args, **kwargs: CountingLoop.made.update(["log"]))
        anyio.run(script, backend_options={"loop_factory": CountingLoop})
    return CountingLoop.made


@pytest.mark.parametrize("stream", [passed_through, from_a_source])
def test_an_event_makes_no_task_timer_lock_or_log_entry(
    stream: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = made_by(stream(10), monkeypatch), made_by(stream(5000), monkeypatch)
    assert few["timer"] > 0, "the tick's own"
    assert many == few


@pytest.mark.parametrize("stream", [passed_through, from_a_source])
def test_a_burst_makes_a_task_and_a_lock_for_a_thousand_events(
    stream: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (made_by(stream(events), monkeypatch, coalesce=True) for events in (20, 10_020))
    assert many["timer"] == few["timer"]
    assert many["task"] - few["task"] <= 10
    assert many["lock"] - few["lock"] <= 10
    assert not many["log"]


def test_events_at_a_quick_pace_make_no_task_each(monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for _ in range(1000):
            await send(body(b"data: x\n\n"))
            await asyncio.sleep(0)
        await send(body(b"", more=False))

    made = made_by(app, monkeypatch, coalesce=True)
    assert made["task"] <= 1 + 1000 / 100
    assert made["lock"] <= 1 + 1000 / 100


async def listens(scope: Scope, receive: Receive, send: Send) -> None:
    await send(start())
    await send(body(b"data: x\n\n"))
    while (await receive())["type"] != "http.disconnect":
        pass


@sse_route
async def idle_source(scope: Scope) -> AsyncIterator[str]:
    yield "x"
    await anyio.sleep_forever()


@pytest.mark.parametrize(("app", "extra"), [(chunks_app(b"data: x\n\n", end=False), 1), (listens, 0), (idle_source, 1)])
def test_an_idle_stream_has_one_extra_task_and_none_if_its_app_listens(app: Any, extra: int) -> None:
    async def script() -> None:
        middleware = SSEMiddleware(app)
        clients = [Client() for _ in range(STREAMS)]
        before = len(asyncio.all_tasks())
        async with anyio.create_task_group() as requests:
            for client in clients:
                requests.start_soon(middleware, http_scope(), client, Server())
            await anyio.sleep(100)  # pings have been sent meanwhile
            assert len(asyncio.all_tasks()) - before == STREAMS * (1 + extra)
            assert middleware.stats().open == STREAMS
            for client in clients:
                client.disconnect()
        await anyio.sleep(0.1)
        assert len(asyncio.all_tasks()) == before
        assert middleware.stats().open == 0

    anyio.run(script, backend_options={"loop_factory": VirtualLoop})


def test_a_short_stream_has_no_extra_task() -> None:
    async def script() -> None:
        task_counts: list[int] = []

        async def send(message: Any) -> None:
            await asyncio.sleep(0)
            task_counts.append(len(asyncio.all_tasks()))

        await SSEMiddleware(chunks_app(*[b"data: x\n\n"] * 10), coalesce=False)(http_scope(), Client(), send)
        assert set(task_counts) == {1}

    anyio.run(script, backend_options={"loop_factory": VirtualLoop})
