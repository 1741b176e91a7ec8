"""A client that leaves: the app learns of it at once, and is ended if it does not end by itself."""

import asyncio
import contextvars
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio
import trio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from sse_mw import SSEMiddleware, StreamInfo
from sse_mw._types import Message, Receive, Scope, Send
from sse_mw.testing._server import Receive as Receiving
from sse_mw.testing._server import http_scope
from support.driver import Recorded, Run, body, chunks_app, running, sending, start

pytestmark = pytest.mark.anyio


async def leave(run: Run, after: float = 1.0) -> float:
    """Have the client leave, and return how long the app took to end."""
    await anyio.sleep(after)
    left_at = anyio.current_time()
    run.disconnect()
    await run.finish()
    return run.finished_at - left_at


@pytest.mark.parametrize("after", [0.0, 0.01, 1.0])
async def test_an_idle_app_that_never_receives_ends_within_100_ms(
    after: float, caplog: pytest.LogCaptureFixture
) -> None:
    ended = []

    async def script(send: Send) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("finally")

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        await run.send.wait_for(1)
        assert await leave(run, after) <= 0.1
    assert ended == ["finally"]
    assert middleware.reasons == ["client_left"]
    assert run.error is None
    assert not run.send.complete, "nothing is sent to a client that has left"
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


async def test_a_head_that_takes_longer_than_a_tick_costs_neither_the_opening_nor_the_disconnect() -> None:
    """As hypercorn's on trio now and then: the visit that falls into it can do nothing yet."""
    run = Run(Receiving())
    middleware = Recorded(chunks_app(end=False))

    async def send(message: Message) -> None:
        await anyio.sleep(0.05 if message["type"] == "http.response.start" else 0)
        await run.send(message)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(middleware, http_scope(), run.receive, send)
            await run.send.wait_for_bytes(b":\n\n")
            run.disconnect()
    assert middleware.reasons == ["client_left"]
    assert middleware.closed[0].duration < 0.3


async def test_an_app_that_waits_for_the_disconnect_is_told_and_not_cancelled() -> None:
    told: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> str:
        await send(start())
        while True:
            told.append(await receive())
            if told[-1]["type"] == "http.disconnect":
                told.append(await receive())
                return "ended by itself"

    async with running(SSEMiddleware(app)) as run:
        assert await leave(run) == 0
    assert [message["type"] for message in told] == ["http.request", "http.disconnect", "http.disconnect"]
    assert run.result == "ended by itself"


async def test_a_source_polled_with_is_disconnected_sees_it() -> None:
    async def endpoint(request: Request) -> StreamingResponse:
        async def events() -> AsyncIterator[bytes]:
            while not await request.is_disconnected():
                yield b"data: x\n\n"
                await anyio.sleep(0.01)

        return StreamingResponse(events(), media_type="text/event-stream")

    middleware = Recorded(Starlette(routes=[Route("/", endpoint)]))
    async with running(middleware, http_scope(spec_version="2.4")) as run:
        assert await leave(run) <= 0.1
    assert middleware.reasons == ["client_left"]


class Through(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


@pytest.mark.parametrize("spec_version", ["2.0", "2.3", "2.4", "2.5"])
@pytest.mark.parametrize("layers", [0, 1, 3])
async def test_a_starlette_source_ends_through_any_number_of_middlewares(layers: int, spec_version: str) -> None:
    ended = []

    async def endpoint(request: Request) -> StreamingResponse:
        async def events() -> AsyncIterator[bytes]:
            try:
                yield b"data: 1\n\n"
                await anyio.sleep_forever()
            finally:
                ended.append(anyio.current_time())

        return StreamingResponse(events(), media_type="text/event-stream")

    app = Starlette(routes=[Route("/", endpoint)])
    for _ in range(layers):
        app.add_middleware(Through)
    middleware = Recorded(app)
    async with running(middleware, http_scope(spec_version=spec_version)) as run:
        await run.send.wait_for_bytes(b"data: 1")
        await anyio.sleep(1)
        left_at = anyio.current_time()
        run.disconnect()
        await run.finish()
    assert len(ended) == 1
    assert ended[0] - left_at <= 0.1
    assert run.error is None
    assert middleware.reasons == ["client_left"]


async def test_what_runs_after_the_streaming_is_not_cut() -> None:
    """Starlette's background task, after a disconnect that its response noticed by itself."""
    done = []

    async def tidy_up() -> None:
        await anyio.sleep(5)
        done.append("tidied up")

    async def endpoint(request: Request) -> StreamingResponse:
        async def events() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            await anyio.sleep_forever()

        return StreamingResponse(events(), media_type="text/event-stream", background=BackgroundTask(tidy_up))

    async with running(SSEMiddleware(Starlette(routes=[Route("/", endpoint)]))) as run:
        assert await leave(run) == pytest.approx(5, abs=0.1)
    assert done == ["tidied up"]


@pytest.mark.real_time  # virtual time stands still while anything is busy
async def test_a_busy_source_stops_within_one_event() -> None:
    made_after: list[str] = []

    async def script(send: Send) -> None:
        while True:
            if middleware.closed:
                made_after.append("event")
            await send(body(b"data: x\n\n"))

    middleware = Recorded(sending(script), coalesce=False)
    async with running(middleware) as run:
        await anyio.lowlevel.checkpoint()
        await leave(run, 0)
    assert len(made_after) <= 1
    assert middleware.reasons == ["client_left"]


async def test_a_send_that_is_blocked_when_the_client_leaves_does_not_keep_the_app() -> None:
    app = chunks_app(b"data: 1\n\n", b"data: 2\n\n", gap=1, end=False)
    async with running(SSEMiddleware(app)) as run:
        await run.send.wait_for_bytes(b"data: 1")
        run.send.block()
        assert await leave(run, 5) <= 0.1


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("the handler is closed"), ConnectionResetError()])
async def test_a_send_that_raises_is_a_disconnect(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    app = chunks_app(*[b"data: x\n\n"] * 100, gap=1, end=False)
    middleware = Recorded(app)
    async with running(middleware) as run:
        await anyio.sleep(3.5)
        run.send.fail(error)
        await run.finish(1)
    assert middleware.reasons == ["client_left"]
    assert run.error is None
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


async def test_a_failing_ping_is_a_disconnect_too() -> None:
    middleware = Recorded(chunks_app(b"data: x\n\n", end=False), ping_interval=5)
    async with running(middleware) as run:
        await anyio.sleep(1)
        run.send.fail(OSError())
        await run.finish(5)
    assert middleware.reasons == ["client_left"]


async def test_last_words_to_a_client_that_left_return_at_once() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> str:
        await send(start())
        while (await receive())["type"] != "http.disconnect":
            pass
        await send(body(b"", more=False))
        await anyio.sleep(40)
        await send(body(b"", more=False))
        return "not cut"

    async with running(SSEMiddleware(app)) as run:
        assert await leave(run) == pytest.approx(40)
    assert run.result == "not cut"
    assert run.send.types == ["http.response.start", "http.response.body"], "the start and the opening comment"


async def test_an_app_that_ignores_its_cancellation_is_named_once_and_cannot_send(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(send: Send) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(100)
            try:
                await send(body(b"data: late\n\n"))
            except OSError:
                await anyio.sleep(1)

    async with running(SSEMiddleware(sending(script), cleanup_timeout=20)) as run:
        await run.send.wait_for(1)
        await anyio.sleep(1)
        run.disconnect()
        await run.finish(200)
    assert caplog.text.count("ignored its cancellation") == (1 if caplog.text else 0)
    assert b"late" not in run.send.body


async def test_a_task_of_the_apps_that_is_not_its_own_is_let_go() -> None:
    """It is no child of the app's task, so that cancelling that does not reach it."""
    outcome = []

    async def orphan(send: Send) -> None:
        try:
            while True:
                await send(body(b"data: x\n\n"))
                await anyio.sleep(0.01)
        except OSError as error:
            outcome.append(error)

    async with anyio.create_task_group() as outside:

        async def script(send: Send) -> None:
            outside.start_soon(orphan, send)
            await anyio.sleep_forever()

        async with running(SSEMiddleware(sending(script))) as run:
            assert await leave(run) <= 0.1
    assert len(outcome) == 1


async def test_head_is_answered_with_the_headers_alone_and_its_app_ended() -> None:
    middleware = Recorded(chunks_app(*[b"data: x\n\n"] * 1000, gap=1), ping_interval=1)
    async with running(middleware, http_scope("HEAD")) as run:
        await run.finish(1)
    assert run.send.chunks == [b""]
    assert run.send.complete
    assert run.send.headers[b"cache-control"] == b"no-cache, no-transform"
    assert middleware.opened == middleware.closed == []


async def test_a_request_body_that_was_never_read_does_not_hide_the_disconnect() -> None:
    body_chunks = [b"x" * 1000] * 50
    middleware = Recorded(chunks_app(b"data: x\n\n", end=False))
    async with running(middleware, http_scope("POST"), *body_chunks) as run:
        assert await leave(run) <= 0.1
    assert middleware.reasons == ["client_left"]


async def test_a_body_read_while_streaming_arrives_whole_and_in_order() -> None:
    chunks = [b"%d" % number for number in range(20)]
    read = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await anyio.sleep(1)  # by now the pump has read ahead
        while True:
            message = await receive()
            read.append(message["body"])
            await send(body(b"data: " + message["body"] + b"\n\n", more=message["more_body"]))
            if not message["more_body"]:
                return

    async with running(SSEMiddleware(app), http_scope("POST"), *chunks) as run:
        await run.finish()
    assert read == chunks


async def test_the_end_of_a_body_that_was_kept_is_the_apps_own_message() -> None:
    """One object is kept for all requests without a body."""
    read = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await anyio.sleep(1)
        message = await receive()
        read.append(dict(message))
        message.clear()
        await send(body(b"data: x\n\n", more=False))

    for _ in range(2):
        async with running(SSEMiddleware(app), http_scope()) as run:
            await run.finish()
    assert read == [{"type": "http.request", "body": b"", "more_body": False}] * 2


async def test_the_pump_reads_no_more_than_a_mebibyte_ahead() -> None:
    chunks = [b"x" * 300_000] * 10
    async with running(SSEMiddleware(chunks_app(b"data: x\n\n", end=False)), http_scope("POST"), *chunks) as run:
        await anyio.sleep(5)
        assert run.receive.calls == 4
        # what is over that is left with the server, and the client has to be ended for it
        run.send.fail(OSError())
        await anyio.sleep(30)


async def test_hooks_see_every_stream_once_and_may_be_coroutines(caplog: pytest.LogCaptureFixture) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    seen: list[tuple[str, object, str]] = []

    async def opened(info: StreamInfo) -> None:
        await anyio.sleep(0.1)
        seen.append(("open", info.reason, variable.get()))

    async def closed(info: StreamInfo) -> None:
        await anyio.sleep(3)
        seen.append(("close", info.reason, variable.get()))
        raise LookupError("a bug in a hook")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        variable.set("the request's")
        await send(start())
        await anyio.sleep_forever()

    middleware = SSEMiddleware(app, on_open=opened, on_close=closed)
    async with running(middleware) as run:
        assert 2.99 <= await leave(run) <= 3.1, "the hook has run to its end before the request is over"
    assert seen == [("open", None, "the request's"), ("close", "client_left", "the request's")]
    assert "on_close failed" in caplog.text
    stats = middleware.stats()
    assert (stats.open, stats.opened, dict(stats.closed), stats.pings) == (0, 1, {"client_left": 1}, 1)


async def test_an_app_whose_start_a_helper_task_sent_is_ended_too() -> None:
    ended = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def begin() -> None:
            await send(start())

        async with anyio.create_task_group() as helpers:
            helpers.start_soon(begin)
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(anyio.current_time())

    middleware = Recorded(app)
    async with running(middleware) as run:
        assert await leave(run) <= 0.1
    assert len(ended) == 1
    assert middleware.reasons == ["client_left"]


async def test_an_app_of_several_tasks_leaves_the_server_no_exception(caplog: pytest.LogCaptureFixture) -> None:
    async def script(send: Send) -> None:
        async def speak() -> None:
            while True:
                await send(body(b"data: x\n\n"))
                await anyio.sleep(0.005)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(speak)
            tasks.start_soon(anyio.sleep_forever)

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        assert await leave(run) <= 0.1
    assert run.error is None
    assert middleware.reasons == ["client_left"]
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


@pytest.mark.parametrize("native", [True, False])
async def test_what_one_of_several_tasks_raises_in_its_cleanup_is_logged_alone(
    native: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_at_the_end() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("a bug in a child task")

    async def script(send: Send) -> None:
        if native and sniffio.current_async_library() == "trio":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail_at_the_end)
                await trio.sleep_forever()
        elif native:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail_at_the_end())
                await asyncio.sleep(1000)
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail_at_the_end)
                await anyio.sleep_forever()

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        assert await leave(run) <= 0.1
    assert run.error is None
    assert middleware.reasons == ["client_left"]
    assert "a bug in a child task" in caplog.text
    assert [record.levelname for record in caplog.records if record.levelname != "DEBUG"] == ["ERROR"]


async def test_a_background_task_may_take_longer_than_the_cleanup(caplog: pytest.LogCaptureFixture) -> None:
    done = []

    async def tidy_up() -> None:
        await anyio.sleep(40)
        done.append("tidied up")

    async def endpoint(request: Request) -> StreamingResponse:
        async def events() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            await anyio.sleep_forever()

        return StreamingResponse(events(), media_type="text/event-stream", background=BackgroundTask(tidy_up))

    async with running(SSEMiddleware(Starlette(routes=[Route("/", endpoint)]), cleanup_timeout=5)) as run:
        assert await leave(run) == pytest.approx(40, abs=0.1)
    assert done == ["tidied up"]
    assert "ignored its cancellation" not in caplog.text


async def test_a_client_that_leaves_after_the_last_message_cuts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> str:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await send(start())
            await send(body(b"data: 1\n\n", more=False))
            await anyio.sleep(60)
        return "not cut"

    middleware = Recorded(app, cleanup_timeout=5)
    async with running(middleware) as run:
        await leave(run)
    assert run.result == "not cut"
    assert middleware.reasons == ["completed"]
    assert caplog.text == ""


async def test_a_client_that_leaves_during_the_last_send_has_a_completed_stream() -> None:
    async def script(send: Send) -> None:
        await anyio.sleep(1)
        await send(body(b"data: last\n\n", more=False))

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        await run.send.wait_for(2)
        run.send.block()
        await anyio.sleep(2)
        run.disconnect()
        await anyio.sleep(1)
        run.send.unblock()
        await run.finish()
    assert middleware.reasons == ["completed"]


@pytest.mark.real_time  # virtual time stands still while anything is busy
async def test_a_framed_source_that_sends_nothing_but_blank_lines_leaves_the_loop_its_turns() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(headers=[(b"content-type", b"application/x-ndjson")]))
        while True:
            await send(body(b"\n"))

    middleware = Recorded(app, frame={"/*": "lines"})
    async with running(middleware) as run:
        assert await leave(run, 0.2) <= 0.5
    assert middleware.reasons == ["client_left"]
    assert run.send.body.replace(b":\n\n", b"") == b""


@pytest.mark.real_time
async def test_an_app_that_asks_for_the_disconnect_for_ever_does_not_hang_the_loop() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        while True:
            await receive()

    middleware = Recorded(app)
    async with running(middleware) as run:
        assert await leave(run, 0.2) <= 0.5
    assert middleware.reasons == ["client_left"]


@pytest.mark.real_time
async def test_an_app_that_polls_for_the_disconnect_for_ever_does_not_hang_the_loop() -> None:
    stop = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> str:
        await send(start())
        while not stop.is_set():
            with anyio.CancelScope() as poll:
                poll.cancel()
                message = await receive()
                if message["type"] != "http.disconnect":
                    await anyio.sleep(0.01)
        return "stopped"

    async with running(SSEMiddleware(app)) as run:
        await anyio.sleep(0.1)
        run.disconnect()
        await anyio.sleep(0.3)
        stop.set()
        await run.finish(5)


async def test_a_retry_is_not_sent_to_a_client_that_left_before_the_start() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await send(start())
        await send(body(b"data: 1\n\n"))

    middleware = Recorded(app, retry=100, cleanup_timeout=1)
    async with running(middleware) as run:
        assert await leave(run) <= 1.1
    assert run.send.types == ["http.response.start"]
    assert middleware.reasons == ["client_left"]


async def test_a_hook_that_hangs_holds_the_request_for_the_cleanups_time_and_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def hang(info: StreamInfo) -> None:
        await anyio.sleep_forever()

    async with running(SSEMiddleware(chunks_app(end=False), on_close=hang, cleanup_timeout=3)) as run:
        assert 3 <= await leave(run) <= 3.1
    assert [record.levelname for record in caplog.records if record.levelname != "DEBUG"] == ["WARNING"]
    assert caplog.text.count("A hook has not returned for cleanup_timeout") == 1


async def test_a_hook_that_raises_a_cancellation_leaves_the_other_streams_their_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def on_close(info: StreamInfo) -> None:
        if info.path == "/cancelled":
            raise asyncio.CancelledError

    middleware = SSEMiddleware(chunks_app(b"data: x\n\n", end=False), idle_timeout=5, on_close=on_close)
    async with AsyncExitStack() as stack:
        runs = [
            await stack.enter_async_context(running(middleware, http_scope(path=path)))
            for path in ("/before", "/cancelled", "/after")
        ]
        for run in runs:
            await run.finish(6)
            assert run.send.complete
        later = await stack.enter_async_context(running(middleware))
        await later.finish(6)
        assert later.send.complete
    assert middleware.stats().open == 0
    assert caplog.text.count("on_close failed") == 1
