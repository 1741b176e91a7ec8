"""Slow clients, silent apps and long streams."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sse_mw import SSEMiddleware
from sse_mw._types import Receive, Scope, Send
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
        await anyio.sleep(200)
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
