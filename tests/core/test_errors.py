"""An app that fails in its stream: the client gets a whole response, the log gets the exception, the server nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from sse_mw import ServerSentEvent, SSEMiddleware
from sse_mw._types import Message, Receive, Scope, Send
from sse_mw.testing._clock import VirtualLoop
from sse_mw.testing._server import Receive as Client
from sse_mw.testing._server import Send as Server
from sse_mw.testing._server import http_scope
from support.driver import EVENT_STREAM, Recorded, body, chunks_app, running, sending, start

pytestmark = pytest.mark.anyio


def failing(*chunks: bytes) -> Any:
    async def script(send: Send) -> None:
        for chunk in chunks:
            await send(body(chunk))
        raise LookupError("secret detail")

    return sending(script)


async def test_events_are_delivered_then_a_clean_end_and_one_log_entry(caplog: pytest.LogCaptureFixture) -> None:
    middleware = Recorded(failing(b"data: 1\n\n", b"data: 2\n\n"))
    async with running(middleware) as run:
        await run.finish()
    assert run.error is None, "daphne and hypercorn break if an exception reaches them now"
    assert run.send.body == b"data: 1\n\ndata: 2\n\n"
    assert run.send.complete
    assert middleware.reasons == ["error"]
    assert isinstance(middleware.closed[0].error, LookupError)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("returned", "sent"),
    [
        (ServerSentEvent("sorry", event="failed"), b"event: failed\ndata: sorry\n\n"),
        ("sorry", b"data: sorry\n\n"),
        (None, b""),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_on_error_may_give_a_last_event(returned: Any, sent: bytes, asynchronous: bool) -> None:
    errors = []

    def on_error(error: BaseException) -> Any:
        errors.append(error)
        return returned

    async def on_error_async(error: BaseException) -> Any:
        await anyio.sleep(1)
        return on_error(error)

    middleware = SSEMiddleware(failing(b"data: 1\n\n"), on_error=on_error_async if asynchronous else on_error)
    async with running(middleware) as run:
        await run.finish()
    assert run.send.body == b"data: 1\n\n" + sent
    assert run.send.complete
    assert [str(error) for error in errors] == ["secret detail"]


@pytest.mark.parametrize("broken", [lambda error: 1 / 0, lambda error: {"unknown": 1}])
async def test_a_broken_on_error_is_logged_and_the_stream_ends_cleanly(
    broken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(SSEMiddleware(failing(b"data: 1\n\n"), on_error=broken)) as run:
        await run.finish()
    assert run.send.body == b"data: 1\n\n"
    assert run.send.complete
    assert "on_error failed" in caplog.text


async def test_a_last_event_never_melts_into_an_unfinished_one() -> None:
    async with running(SSEMiddleware(failing(b"data: unfin"), on_error=lambda error: "last")) as run:
        await run.finish()
    assert run.send.body == b"data: unfin"
    assert run.send.complete


async def test_an_app_that_returns_mid_stream_is_ended_for_and_named(caplog: pytest.LogCaptureFixture) -> None:
    async def script(send: Send) -> None:
        await send(body(b"data: 1\n\n"))

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        await run.finish()
    assert run.send.complete
    assert middleware.reasons == ["error"]
    assert caplog.text.count("returned without ending its event stream") == 1


async def test_the_apps_own_error_middleware_sees_the_exception() -> None:
    seen: list[Exception] = []

    async def endpoint(request: Request) -> StreamingResponse:
        async def events() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            raise LookupError

        return StreamingResponse(events(), media_type="text/event-stream")

    inner = Starlette(routes=[Route("/", endpoint)])

    async def error_middleware(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await inner(scope, receive, send)
        except* LookupError as group:
            seen.extend(group.exceptions)
            raise

    async with running(SSEMiddleware(error_middleware)) as run:
        await run.finish()
    assert len(seen) == 1
    assert run.send.complete
    assert run.error is None


async def test_an_exception_after_the_stream_is_the_servers_as_without_us() -> None:
    async def script(send: Send) -> None:
        await send(body(b"data: 1\n\n", more=False))
        raise LookupError

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        await run.finish()
    assert isinstance(run.error, LookupError)
    assert middleware.reasons == ["completed"]


async def test_a_failure_in_the_cleanup_after_a_disconnect_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def script(send: Send) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError("a bug")

    async with running(SSEMiddleware(sending(script))) as run:
        await anyio.sleep(1)
        run.disconnect()
        await run.finish()
    assert run.error is None
    assert "a bug" in caplog.text
    assert caplog.text.count("failed after its event stream had ended") == 1


async def test_a_bad_header_is_told_to_the_app_and_the_server() -> None:
    middleware = Recorded(chunks_app(b"data: x\n\n"))
    async with running(middleware) as run:
        run.send.fail(ValueError("bad header"))
        await run.finish()
    assert str(run.error) == "bad header"
    assert middleware.reasons == ["error"]


@pytest.mark.parametrize("begun", [True, False])
async def test_a_request_that_the_server_cancels_is_ended_and_stays_cancelled(begun: bool) -> None:
    ended = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send(start())
            await send(body(b"data: 1\n\n"))
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    middleware = Recorded(app)
    async with running(lambda scope, receive, send: cancelled(middleware, scope, receive, send)) as run:
        await run.finish(2)
    assert run.result == "cancelled"
    assert ended == [True]
    assert run.send.complete == begun
    assert middleware.reasons == (["cancelled"] if begun else [])


async def cancelled(app: Any, scope: Scope, receive: Receive, send: Send) -> str:
    with anyio.move_on_after(1) as scope_:
        await app(scope, receive, send)
    assert scope_.cancelled_caught
    return "cancelled"


async def test_a_server_that_cancels_a_stuck_stream_is_not_kept_waiting() -> None:
    middleware = Recorded(chunks_app(b"data: x\n\n", b"data: y\n\n", gap=0.5))
    async with running(lambda scope, receive, send: cancelled(middleware, scope, receive, send)) as run:
        await run.send.wait_for_bytes(b"x")
        run.send.block()
        await run.finish(3)
    assert middleware.reasons == ["cancelled"]


@pytest.mark.parametrize("message", ["the database did not take the rollback", ""])
async def test_a_timeout_in_the_cleanup_is_no_disconnect(message: str, caplog: pytest.LogCaptureFixture) -> None:
    async def script(send: Send) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise TimeoutError(message)

    async with running(SSEMiddleware(sending(script))) as run:
        await anyio.sleep(1)
        run.disconnect()
        await run.finish()
    assert run.error is None
    assert [record.levelname for record in caplog.records if record.levelname != "DEBUG"] == ["ERROR"]


def on_a_strict_server(middleware: Recorded) -> Any:
    """The middleware on a server that refuses what is no bytes, line ends in headers, and a body before its start."""

    async def app(scope: Scope, receive: Receive, send: Any) -> None:
        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                if any(b"\n" in value for _, value in message["headers"]):
                    raise ValueError("Invalid header value")
            elif "http.response.start" not in send.types:
                raise RuntimeError("a body before its start")
            elif not isinstance(message.get("body", b""), bytes | bytearray | memoryview):
                raise TypeError("a bytes-like object is required, not 'str'")
            await send(message)

        await middleware(scope, receive, strict)

    return app


@pytest.mark.parametrize("caught", [True, False])
async def test_a_body_that_is_no_bytes_is_the_apps_error_as_without_us(
    caught: bool, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Exception] = []

    async def script(send: Send) -> None:
        await send(body(b"data: 1\n\n"))
        try:
            await send(body("data: 2\n\n"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        except TypeError as error:
            seen.append(error)
            if not caught:
                raise
        await send(body(b"data: 3\n\n"))
        await send(body(b"", more=False))

    middleware = Recorded(sending(script))
    async with running(on_a_strict_server(middleware)) as run:
        await run.finish()
    assert [str(error) for error in seen] == ["a bytes-like object is required, not 'str'"]
    assert run.send.body == b"data: 1\n\n" + (b"data: 3\n\n" if caught else b"")
    assert run.send.complete
    assert run.error is None
    assert middleware.reasons == ["completed" if caught else "error"]
    assert [record.levelname for record in caplog.records] == ([] if caught else ["ERROR"])


async def test_a_first_body_that_is_no_bytes_is_refused_by_name_after_an_opening_comment(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(send: Send) -> None:
        await anyio.sleep(1)
        await send(body("data: 1\n\n"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        await run.finish()
    error = middleware.closed[0].error
    assert isinstance(error, TypeError)
    assert "http.response.body: body is str" in str(error)
    assert middleware.reasons == ["error"]
    assert run.send.body == b":\n\n"
    assert run.send.complete
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_an_app_whose_start_was_refused_may_answer_with_another() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(start(headers=[*EVENT_STREAM, (b"x", b"a\nb")]))
        except ValueError:
            await send(start(500, [(b"content-type", b"text/plain")]))
            await send(body(b"sorry", more=False))

    middleware = Recorded(app)
    async with running(on_a_strict_server(middleware)) as run:
        await run.finish()
    assert run.error is None
    assert run.send.status == 500
    assert run.send.body == b"sorry"
    assert run.send.complete
    assert middleware.reasons == ["error"]
    assert str(middleware.closed[0].error) == "Invalid header value"
    assert middleware.stats().open == 0


async def test_an_exception_right_after_an_empty_last_message_is_one_of_the_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Some frameworks send it in a `finally`, and then raise what their source raised."""

    async def script(send: Send) -> None:
        await send(body(b"data: 1\n\n"))
        try:
            raise LookupError("secret detail")
        finally:
            await send(body(b"", more=False))

    middleware = Recorded(sending(script), on_error=lambda error: "sorry")
    async with running(middleware) as run:
        await run.finish()
    assert run.send.body == b"data: 1\n\ndata: sorry\n\n"
    assert run.send.complete
    assert [message.get("more_body") for message in run.send.messages[1:]] == [True, False]
    assert run.error is None
    assert middleware.reasons == ["error"]
    assert isinstance(middleware.closed[0].error, LookupError)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_an_empty_last_message_is_sent_within_a_tick_though_the_app_goes_on() -> None:
    async def script(send: Send) -> None:
        await send(body(b"data: 1\n\n"))
        await anyio.sleep(1)
        await send(body(b"", more=False))
        await anyio.sleep(50)

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        await run.send.wait_for(3)
        assert run.send.complete
        assert 1 <= run.send.times[-1] <= 1.05
        assert middleware.reasons == ["completed"]
        await run.finish()
        assert run.finished_at == pytest.approx(51)
    assert len(run.send.messages) == 3


async def test_a_server_that_cancels_while_on_error_is_at_work_gets_a_whole_response() -> None:
    async def on_error(error: Exception) -> str:
        await anyio.sleep(5)
        return "too late"

    middleware = Recorded(failing(b"data: 1\n\n"), on_error=on_error)
    async with running(lambda scope, receive, send: cancelled(middleware, scope, receive, send)) as run:
        await run.finish(3)
    assert run.result == "cancelled"
    assert run.send.body.startswith(b"data: 1\n\nretry: ")
    assert run.send.complete
    assert len(middleware.closed) == 1
    assert middleware.stats().open == 0


async def test_an_on_error_that_raises_a_cancellation_ends_the_stream_even_so(caplog: pytest.LogCaptureFixture) -> None:
    """As the result of a cancelled future does."""

    def on_error(error: Exception) -> None:
        raise asyncio.CancelledError

    middleware = Recorded(failing(b"data: 1\n\n"), on_error=on_error)
    async with running(middleware) as run:
        await run.finish(3)
    assert run.send.body == b"data: 1\n\n"
    assert run.send.complete
    assert middleware.reasons == ["error"]
    assert middleware.stats().open == 0
    assert "on_error failed" in caplog.text


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})], ids=["asyncio"])
@pytest.mark.parametrize("ending", ["app", "error"])
async def test_a_second_cancellation_during_the_last_words_does_not_cut_them(ending: str) -> None:
    middleware = Recorded(failing(b"data: 1\n\n") if ending == "error" else chunks_app(b"data: 1\n\n", end=False))
    server = Server()
    server.delay = 0.3
    request = asyncio.create_task(middleware(http_scope(), Client(), server))
    await asyncio.sleep(0.7)
    request.cancel()
    await asyncio.sleep(0.1)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.sleep(1)
    assert server.body.partition(b"retry: ")[0] == b"data: 1\n\n"
    assert server.complete
    assert middleware.reasons == ["error" if ending == "error" else "cancelled"]
    assert middleware.stats().open == 0


# test_errors.py
async def test_an_app_whose_start_was_refused_may_stream_after_all() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(start(headers=[*EVENT_STREAM, (b"x", b"a\nb")]))
        except ValueError:
            await send(start())
            await send(body(b"data: 1\n\n"))
            await anyio.sleep_forever()

    middleware = Recorded(app, ping_interval=5)
    async with running(on_a_strict_server(middleware)) as run:
        await anyio.sleep(6)
        run.disconnect()
        await run.finish(1)
    assert run.send.body == b"data: 1\n\n: ping\n\n"
    assert middleware.reasons == ["error", "client_left"]
    assert middleware.stats().open == 0


# test_errors.py
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})], ids=["asyncio"])
async def test_a_second_cancellation_while_another_tasks_send_is_under_way_does_not_cut_the_end() -> None:
    async def script(send: Send) -> None:
        async def speak() -> None:
            await send(body(b"data: 1\n\n"))

        helper = asyncio.create_task(speak())
        await anyio.sleep_forever()
        await helper

    middleware = Recorded(sending(script))
    server = Server()
    server.delay = 0.3
    request = asyncio.create_task(middleware(http_scope(), Client(), server))
    await asyncio.sleep(0.4)
    request.cancel()
    await asyncio.sleep(0.1)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.sleep(1)
    assert server.body.startswith(b"data: 1\n\nretry: ")
    assert server.complete
    assert middleware.reasons == ["cancelled"]
    assert middleware.stats().open == 0
