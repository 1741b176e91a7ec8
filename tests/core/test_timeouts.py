"""Slow clients, silent apps and long streams."""

import time
from itertools import cycle
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sse_mw import SSEMiddleware
from sse_mw._session import Session
from sse_mw._types import Receive, Scope, Send
from sse_mw.testing._server import http_scope
from support.driver import Recorded, body, chunks_app, running, sending, start

pytestmark = pytest.mark.anyio


async def test_a_client_that_stops_reading_is_gone_at_the_timeout_plus_a_tick() -> None:
    ended = []

    async def script(send: Send) -> None:
        try:
            while True:
                await send(body(b"data: x\n\n"))
                await anyio.sleep(1)
        finally:
            ended.append(anyio.current_time())

    middleware = Recorded(sending(script), send_timeout=7)
    async with running(middleware) as run:
        await anyio.sleep(2.5)
        run.send.block()
        await run.finish(20)
    assert middleware.reasons == ["send_timeout"]
    assert 10 <= middleware.closed_at[0] <= 10.06
    assert ended[0] <= 10.12


@pytest.mark.parametrize("what", ["start", "ping", "last"])
async def test_the_timeout_covers_every_send(what: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if what == "start":
            run.send.block()
        await send(start())
        await send(body(b"data: x\n\n"))
        run.send.block()
        if what == "last":
            await send(body(b"", more=False))
        await anyio.sleep(6)

    middleware = Recorded(app, ping_interval=5, send_timeout=7)
    async with running(middleware) as run:
        await run.finish(30)
    assert middleware.reasons == ["send_timeout"]
    assert run.finished_at <= {"start": 7.2, "ping": 12.2, "last": 7.2}[what]


async def test_our_own_last_message_is_waited_for_no_longer_than_that(caplog: pytest.LogCaptureFixture) -> None:
    middleware = Recorded(chunks_app(b"data: x\n\n", end=False), max_duration=5, send_timeout=7)
    async with running(middleware) as run:
        await anyio.sleep(1)
        run.send.block()
        await run.finish(15)
    assert middleware.reasons == ["max_duration"]
    assert "could not be reset" in caplog.text


async def test_a_slow_client_that_reads_before_the_timeout_keeps_its_stream() -> None:
    middleware = Recorded(chunks_app(*[b"data: x\n\n"] * 3), send_timeout=7, ping_interval=5, idle_timeout=3)
    async with running(middleware) as run:
        run.send.block()
        for _ in range(3):
            await anyio.sleep(6)
            run.send.unblock()
            await anyio.lowlevel.checkpoint()
            run.send.block()
        run.send.unblock()
        await run.finish()
    assert run.send.body == b"data: x\n\n" * 3
    assert middleware.reasons == ["completed"]


async def test_a_silent_app_is_ended_cleanly_whatever_pings_go_out() -> None:
    middleware = Recorded(chunks_app(b"data: x\n\n", end=False), idle_timeout=12, ping_interval=5)
    async with running(middleware) as run:
        await run.finish(13)
    assert middleware.reasons == ["idle_timeout"]
    assert 12 <= middleware.closed_at[0] <= 12.06
    assert run.send.complete
    retry = run.send.body.removeprefix(b"data: x\n\n: ping\n\n: ping\n\n")
    assert retry.startswith(b"retry: ")
    assert 1500 <= int(retry[7:-2]) <= 4500
    assert run.error is None


async def test_an_idle_timeout_counts_from_the_last_event() -> None:
    middleware = Recorded(chunks_app(*[b"data: x\n\n"] * 5, gap=10, end=False), idle_timeout=12)
    async with running(middleware) as run:
        await run.finish(70)
    assert 62 <= middleware.closed_at[0] <= 62.06


async def test_a_long_stream_is_ended_within_the_last_tenth_of_its_time() -> None:
    middleware = Recorded(chunks_app(*[b"data: x\n\n"] * 1000, gap=0.1), max_duration=10, retry=200)
    times = set()
    for _ in range(8):
        async with running(middleware) as run:
            began = anyio.current_time()
            await run.finish(11)
            times.add(middleware.closed_at[-1] - began)
        head, _, retry = run.send.body.rpartition(b"retry: ")
        assert head.endswith(b"data: x\n\n")
        assert 100 <= int(retry) <= 300
        assert run.send.complete
    assert set(middleware.reasons) == {"max_duration"}
    assert len(times) >= 4, "jittered"
    assert all(9 <= time <= 10.06 for time in times), times


async def test_an_ending_waits_for_the_event_that_is_under_way() -> None:
    async def script(send: Send) -> None:
        await send(body(b"data: be"))
        await anyio.sleep(13)
        await send(body(b"gun\n\n"))
        await anyio.sleep_forever()

    async with running(SSEMiddleware(sending(script), max_duration=10)) as run:
        await run.finish(14)
    assert run.send.body.startswith(b"data: begun\n\nretry: ")


async def test_but_not_for_ever_and_then_nothing_gets_into_the_unfinished_event() -> None:
    async with running(SSEMiddleware(chunks_app(b"data: be", end=False), max_duration=10)) as run:
        await run.finish(16)
    assert run.send.body == b"data: be"
    assert run.send.complete


@pytest.mark.parametrize("options", [{"send_timeout": None, "ping_interval": None}])
async def test_none_switches_every_limit_off(options: dict[str, Any]) -> None:
    middleware = Recorded(chunks_app(b"data: x\n\n", b"data: y\n\n", gap=50), **options)
    async with running(middleware) as run:
        await run.send.wait_for_bytes(b"x")
        run.send.block()
        await anyio.sleep(90)
        assert middleware.reasons == []


@pytest.mark.parametrize("ended_by", ["max_duration", "idle_timeout"])
async def test_a_client_that_is_stuck_when_its_stream_is_to_end_is_gone_at_the_send_timeout(ended_by: str) -> None:
    options: dict[str, Any] = {ended_by: 10, "send_timeout": 7, "ping_interval": 4.7}
    middleware = Recorded(chunks_app(b"data: x\n\n", end=False), **options)
    async with running(middleware) as run:
        await anyio.sleep(1)
        run.send.block()  # the ping after 4.7 seconds is the first that does not get through
        await run.finish(20)
    assert middleware.reasons == ["send_timeout"]


@pytest.mark.parametrize("pieces", [(b"data: x\n\n",), (b"data: x", b"\n\n"), (b"data: ", b"x\n", b"\n")])
async def test_a_source_that_is_always_inside_a_slow_send_is_ended_between_two_events(
    pieces: tuple[bytes, ...],
) -> None:
    async def script(send: Send) -> None:
        for piece in cycle(pieces):
            await send(body(piece))

    middleware = Recorded(sending(script), max_duration=10, retry=200)
    async with running(middleware) as run:
        run.send.delay = 0.05
        await run.finish(12)
    assert middleware.reasons == ["max_duration"]
    assert 9 <= middleware.closed_at[0] <= 10.5
    events, _, retry = run.send.body.removeprefix(b"retry: 200\n\n").rpartition(b"retry: ")
    assert events == b"data: x\n\n" * (len(events) // 9)
    assert 100 <= int(retry) <= 300
    assert run.send.complete


async def test_a_last_send_that_is_under_way_at_the_limit_is_the_streams_end() -> None:
    async def script(send: Send) -> None:
        await anyio.sleep(8)
        await send(body(b"data: x\n\n", more=False))

    middleware = Recorded(sending(script), max_duration=10)
    async with running(middleware) as run:
        await run.send.wait_for(2)
        run.send.delay = 5
        await run.finish(14)
    assert run.send.body == b":\n\ndata: x\n\n"
    assert middleware.reasons == ["completed"]


@pytest.mark.real_time
async def test_a_handler_that_blocks_the_loop_before_it_starts_its_stream_does_not_lose_that_time() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/blocks":
            time.sleep(0.5)  # noqa: ASYNC251
        await send(start())
        await send(body(b"data: x\n\n"))
        await anyio.sleep(0.1)
        await send(body(b"", more=False))

    middleware = Recorded(app, max_duration=0.3)
    async with running(middleware), running(middleware, http_scope(path="/blocks")) as run:
        await run.finish()
    assert [(info.path, info.reason) for info in middleware.closed if info.path == "/blocks"] == [
        ("/blocks", "completed")
    ]
    assert run.send.body == b"data: x\n\n"


@pytest.mark.parametrize("ending", ["idle_timeout", "max_duration"])
async def test_the_response_is_whole_when_the_call_returns_though_the_app_fails_in_its_cleanup(ending: str) -> None:
    async def script(send: Send) -> None:
        await send(body(b"data: x\n\n"))
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("cleanup")

    middleware = Recorded(sending(script), **{ending: 5})

    async def look_at_the_end(scope: Scope, receive: Receive, send: Send) -> bool:
        await middleware(scope, receive, send)
        return run.send.complete

    async with running(look_at_the_end) as run:
        run.send.delay = 0.5
        await run.finish(8)
    assert run.error is None
    assert run.result is True
    assert middleware.reasons == [ending]


async def test_a_stream_that_stands_inside_an_event_is_not_looked_at_each_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    visits: list[float] = []
    visit = Session.visit

    def counted(self: Session, now: float) -> float:
        visits.append(now)
        return visit(self, now)

    monkeypatch.setattr(Session, "visit", counted)
    async with running(SSEMiddleware(chunks_app(b": no empty line\n", end=False), ping_interval=5)):
        await anyio.sleep(1)
        before = len(visits)
        await anyio.sleep(100)
        assert 1 <= len(visits) - before <= 25


async def test_the_blank_lines_of_a_framed_app_keep_its_stream_from_being_idle() -> None:
    ndjson = [(b"content-type", b"application/x-ndjson")]
    app = chunks_app(*[b"\n"] * 30, b"{}\n", gap=1, end=False, headers=ndjson)
    middleware = Recorded(app, frame={"/*": "lines"}, idle_timeout=10, ping_interval=None)
    async with running(middleware) as run:
        await run.finish(45)
    assert run.send.body.startswith(b":\n\ndata: {}\n\nretry: ")
    assert 41 <= middleware.closed_at[0] <= 41.1
