"""An app's own event stream: headers, opening, pings, and that nothing of ours ever gets into an event."""

import asyncio
import inspect
import sys
from typing import Any

import anyio
import pytest

from sse_mw import ServerSentEvent, SSEMiddleware
from sse_mw._types import Message, Receive, Scope, Send
from support.driver import Recorded, body, chunks_app, running, sending, start

pytestmark = pytest.mark.anyio

BOM = b"\xef\xbb\xbf"


async def deliver(send: Send, message: Message) -> None:
    await send(message)


async def headers_of(*given: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    async with running(SSEMiddleware(chunks_app(b"data: x\n\n", headers=list(given)))) as run:
        await run.finish()
    headers: list[tuple[bytes, bytes]] = run.send.start["headers"]
    return headers


async def test_what_a_stream_must_not_have_is_dropped_and_what_it_needs_is_added() -> None:
    assert await headers_of(
        (b"Content-Type", b"Text/Event-Stream; charset=utf-8"),
        (b"content-length", b"9"),
        (b"etag", b"x"),
        (b"Connection", b"keep-alive, X-Hop"),
        (b"keep-alive", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"x-hop", b"dropped"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ) == [
        (b"Content-Type", b"Text/Event-Stream; charset=utf-8"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
    ]


async def test_the_apps_own_cache_and_buffer_headers_stand() -> None:
    given = [(b"content-type", b"text/event-stream"), (b"Cache-Control", b"max-age=1"), (b"X-Accel-Buffering", b"yes")]
    assert await headers_of(*given) == given


async def test_messages_of_a_stream_are_handed_on_object_by_object_if_bursts_are_not_coalesced() -> None:
    messages = [body(b"data: 1\n\n"), body(b"data:"), body(b""), body(b" 2\n\n"), body(b"data: 3\n\n", more=False)]

    async def script(send: Send) -> None:
        for message in messages:
            await send(message)

    middleware = Recorded(sending(script), coalesce=False)
    async with running(middleware) as run:
        await run.finish()
    assert [id(message) for message in run.send.messages[1:]] == [id(message) for message in messages]
    assert middleware.reasons == ["completed"]
    info = middleware.closed[0]
    assert (info.mode, info.messages, info.pings) == ("supervise", 5, 0)


async def test_a_silent_stream_opens_with_a_comment_at_once() -> None:
    async with running(SSEMiddleware(chunks_app(end=False))) as run:
        await run.send.wait_for(2)
        assert run.send.chunks == [b":\n\n"]
        assert run.send.times[1] - run.send.times[0] <= 0.05


async def test_a_stream_that_speaks_at_once_has_nothing_added() -> None:
    async with running(SSEMiddleware(chunks_app(b"data: 1\n\n", end=False))) as run:
        await anyio.sleep(1)
        assert run.send.body == b"data: 1\n\n"


async def test_pings_go_out_when_nothing_was_sent_for_an_interval() -> None:
    async with running(SSEMiddleware(chunks_app(b"data: 1\n\n", end=False), ping_interval=5)) as run:
        await anyio.sleep(17)
        assert run.send.body == b"data: 1\n\n" + b": ping\n\n" * 3
        gaps = [late - early for early, late in zip(run.send.times[1:], run.send.times[2:], strict=False)]
        assert all(5 <= gap <= 5.2 for gap in gaps), gaps


async def test_a_busy_stream_gets_no_pings_and_the_interval_starts_anew_with_each_event() -> None:
    app = chunks_app(*[b"data: x\n\n"] * 5, gap=4, end=False)
    async with running(SSEMiddleware(app, ping_interval=5)) as run:
        await anyio.sleep(20.1)
        assert b"ping" not in run.send.body
        await anyio.sleep(5.2)
        assert run.send.body.endswith(b"data: x\n\n: ping\n\n")


async def test_an_app_that_pings_by_itself_is_not_pinged_twice() -> None:
    app = chunks_app(*[b": own\n\n"] * 5, gap=15, end=False)
    async with running(SSEMiddleware(app, ping_interval=15.5)) as run:
        await anyio.sleep(76)
        assert run.send.body == b":\n\n" + b": own\n\n" * 5


@pytest.mark.parametrize("pieces", [(b"data: he", b"llo\n", b"\n"), (b"data: \xe2", b"\x82\xac\n", b"\n"),
                                    (b"data: x\r\n\r", b"\n"), (b"id: 1\n", b"data: x\n", b"\n")])  # fmt: skip
async def test_no_ping_enters_an_event_that_is_sent_in_pieces(pieces: tuple[bytes, ...]) -> None:
    async with running(SSEMiddleware(chunks_app(*pieces, gap=20, end=False), ping_interval=5)) as run:
        await anyio.sleep(77)
        whole = b"".join(pieces)
        assert whole in run.send.body
        assert run.send.body.startswith(b":\n\n: ping\n\n: ping\n\n: ping\n\n" + whole)
        assert run.send.body.endswith(b"ping\r\n\r\n" if b"\r" in whole else b"ping\n\n")


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
async def test_a_ping_has_the_streams_own_line_ends(end: bytes) -> None:
    event = b"data: x" + end + end
    async with running(SSEMiddleware(chunks_app(event, end=False), ping_interval=5)) as run:
        await anyio.sleep(6)
        assert run.send.body == event + b": ping" + end + end


@pytest.mark.parametrize(
    ("ping", "sent"),
    [
        ("ping", b"event: ping\ndata: \n\n"),
        (ServerSentEvent({"a": 1}, event="beat"), b'event: beat\ndata: {"a":1}\n\n'),
        ({"comment": "hi"}, b": hi\n\n"),
        (b": hi\n", b": hi\n"),
        (lambda: {"event": "t", "data": "now"}, b"event: t\ndata: now\n\n"),
        (lambda: 1 / 0, b": ping\n\n"),
        (lambda: b"data: unfinished", b": ping\n\n"),
    ],
)
async def test_a_ping_can_be_of_any_form(ping: Any, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    app = chunks_app(b"data: x\n\n", end=False)
    async with running(SSEMiddleware(app, ping_interval=5, ping_event=ping)) as run:
        await anyio.sleep(6)
        assert run.send.body == b"data: x\n\n" + sent
    assert ("ping_event" in caplog.text) == (callable(ping) and sent == b": ping\n\n")


async def test_pings_can_be_switched_off() -> None:
    async with running(SSEMiddleware(chunks_app(end=False), ping_interval=None)) as run:
        await anyio.sleep(100)
        assert run.send.body == b":\n\n"


async def test_padding_fills_the_opening_and_each_ping() -> None:
    app = chunks_app(b"data: x\n\n", gap=1, end=False)
    async with running(SSEMiddleware(app, ping_interval=5, padding=2048)) as run:
        await anyio.sleep(7)
        opening, event, ping = run.send.chunks
        assert (len(opening), len(ping)) == (2048 + 3, 2048 + 8)
        assert opening == b":" + b" " * 2046 + b"\n:\n\n"
        assert event == b"data: x\n\n"


async def test_retry_is_the_first_field_of_the_stream() -> None:
    async with running(SSEMiddleware(chunks_app(b"data: x\n\n"), retry=1500)) as run:
        await run.finish()
        assert run.send.body == b"retry: 1500\n\ndata: x\n\n"


@pytest.mark.parametrize("pieces", [(b"\xef\xbb\xbfdata: x\n\n",), (b"\xef", b"\xbb", b"\xbfdata: x\n\n"),
                                    (b"", b"\xef\xbb\xbf", b"data: x\n\n")])  # fmt: skip
async def test_a_bom_stays_first_or_goes(pieces: tuple[bytes, ...]) -> None:
    """After an opening comment it would be part of the first field's name, which the standard ignores."""
    async with running(SSEMiddleware(chunks_app(*pieces))) as run:
        await run.finish()
        assert run.send.body == b"\xef\xbb\xbfdata: x\n\n"
    async with running(SSEMiddleware(chunks_app(*pieces, gap=1))) as run:
        await run.finish()
        assert run.send.body == b":\n\ndata: x\n\n"


@pytest.mark.parametrize(
    ("pieces", "sent"),
    [((b"\xef\xbb",), b"\xef\xbb"), ((b"\xef\xbb", b"x"), b"\xef\xbbx"), ((BOM, BOM), BOM), ((b"x", BOM), b"x" + BOM)],
)
async def test_what_is_no_bom_at_the_start_is_kept(pieces: tuple[bytes, ...], sent: bytes) -> None:
    async with running(SSEMiddleware(chunks_app(*pieces, gap=1))) as run:
        await run.finish()
        assert run.send.body == b":\n\n" + sent


async def test_nothing_is_put_into_a_body_that_something_inside_has_compressed() -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")]
    middleware = Recorded(chunks_app(b"\x1f\x8b..\n\n", gap=100, headers=headers), ping_interval=5, retry=1, padding=99)
    async with running(middleware) as run:
        await run.send.wait_for(2)
        assert run.send.times[1] < 0.1, "the head leaves at once even so"
        await run.finish(200)
        assert run.send.body == b"\x1f\x8b..\n\n"


async def test_a_ping_and_the_apps_sends_take_turns() -> None:
    async def script(send: Send) -> None:
        await send(body(b"data: 1\n\n"))
        await anyio.sleep(5.5)  # a ping is under way, and the client does not read
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deliver, send, body(b"data: 2\n\n"))
            await anyio.sleep(0.1)
            tasks.start_soon(deliver, send, body(b"data: 3\n\n"))
            await anyio.sleep(0.1)
            tasks.start_soon(deliver, send, body(b"data: 4\n\n"))
        await send(body(b"", more=False))

    async with running(SSEMiddleware(sending(script), ping_interval=5)) as run:
        await run.send.wait_for(2)
        run.send.block()
        await anyio.sleep(10)
        run.send.unblock()
        await run.finish()
    assert run.send.body == b"data: 1\n\n: ping\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n"
    assert run.send.most_concurrent == 1


async def test_a_sender_that_gives_up_its_turn_leaves_the_others_theirs() -> None:
    async def script(send: Send) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deliver, send, body(b"data: 1\n\n"))
            await anyio.sleep(0.1)
            with anyio.move_on_after(1):
                await send(body(b"data: given up\n\n"))
            tasks.start_soon(deliver, send, body(b"data: 2\n\n"))
        await send(body(b"", more=False))

    async with running(SSEMiddleware(sending(script))) as run:
        await run.send.wait_for(1)
        run.send.block()
        await anyio.sleep(5)
        run.send.unblock()
        await run.finish()
    assert run.send.body == b"data: 1\n\ndata: 2\n\n"


async def test_no_ping_follows_a_send_that_was_cancelled_until_the_next_event() -> None:
    async def script(send: Send) -> None:
        await send(body(b"data: 1\n\n"))
        await anyio.sleep(1)
        run.send.block()
        with anyio.move_on_after(1):
            await send(body(b"data: half"))
        run.send.unblock()
        await anyio.sleep(20)
        await send(body(b"\n\n"))
        await anyio.sleep_forever()

    async with running(SSEMiddleware(sending(script), ping_interval=5)) as run:
        await anyio.sleep(28)
        assert run.send.body == b"data: 1\n\n\n\n: ping\n\n"


async def test_a_second_start_is_dropped_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"data: 1\n\n"))
        await send(start(500))
        await send(start(500))
        await send(body(b"", more=False))

    async with running(SSEMiddleware(app)) as run:
        await run.finish()
    assert run.send.types == ["http.response.start", "http.response.body", "http.response.body"]
    assert caplog.text.count("second time") == 1


async def test_nothing_follows_the_apps_last_message_though_it_is_held_for_a_moment() -> None:
    async def script(send: Send) -> None:
        await send(body(b"data: 1\n\n"))
        await send(body(b"", more=False))
        await send(body(b"data: too late\n\n"))
        await send(body(b"data: too late\n\n", more=False))

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        await run.finish()
    assert run.send.chunks == [b"data: 1\n\n", b""]
    assert run.send.complete
    assert middleware.reasons == ["completed"]


async def test_trailers_end_a_stream_that_announces_them() -> None:
    trailers = {"type": "http.response.trailers", "headers": [(b"x", b"y")], "more_trailers": False}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**start(), "trailers": True})
        await send(body(b"data: 1\n\n", more=False))
        assert middleware.reasons == []
        await send(trailers)

    middleware = Recorded(app)
    async with running(middleware) as run:
        await run.finish()
    assert run.send.messages[-1] is trailers
    assert middleware.reasons == ["completed"]


async def test_debug_mode_names_the_faults_of_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    async with running(SSEMiddleware(chunks_app(b"id: a\x00b\ndta: x\n\n", b"data: cut"), debug=True)) as run:
        await run.finish()
    assert run.send.body == b"id: a\x00b\ndta: x\n\ndata: cut", "named, not changed"
    assert caplog.text.count("Event stream fault") == 3


async def test_a_buffer_that_is_released_after_its_send_is_not_looked_into_again() -> None:
    async def script(send: Send) -> None:
        buffer = bytearray(b"data: xxxx\n\n")
        for _ in range(3):
            with memoryview(buffer) as view:
                await send(body(view))
        await anyio.sleep(6)
        await send(body(b"", more=False))

    middleware = Recorded(sending(script), ping_interval=5)
    async with running(copying(middleware)) as run:
        await run.finish()
    assert run.error is None
    assert middleware.reasons == ["completed"]
    assert run.send.body == b"data: xxxx\n\n" * 3 + b": ping\n\n"


@pytest.mark.parametrize("gap", [0, 6])
async def test_a_buffer_may_be_filled_anew_after_its_send(gap: float) -> None:
    async def script(send: Send) -> None:
        buffer = bytearray()
        for _ in range(3):
            buffer += b"data: xxxx\n\n"
            await send(body(buffer))
            buffer.clear()  # raises if anybody still holds a view
            await anyio.sleep(gap)
        await send(body(b"", more=False))

    middleware = Recorded(sending(script), ping_interval=5)
    async with running(copying(middleware)) as run:
        await run.finish()
    assert run.error is None
    assert middleware.reasons == ["completed"]
    assert run.send.body == (b"data: xxxx\n\n" + (b": ping\n\n" if gap else b"")) * 3


async def test_a_buffer_that_changes_after_its_send_does_not_let_a_ping_into_an_event() -> None:
    async def script(send: Send) -> None:
        buffer = bytearray(b"data: first\n\n")
        await send(body(buffer))
        buffer[:] = b"data: half an"
        await send(body(buffer))
        buffer[:] = b" event\n\n"  # the next piece is made
        await anyio.sleep(20)
        await send(body(buffer))
        await send(body(b"", more=False))

    async with running(copying(SSEMiddleware(sending(script), ping_interval=5))) as run:
        await run.finish()
    assert run.send.body == b"data: first\n\ndata: half an event\n\n"


def copying(middleware: SSEMiddleware) -> Any:
    """The middleware on a server that copies a body at once, as all do, since it is the app's to change."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def copy_and_send(message: Message) -> None:
            await send({**message, "body": bytes(message["body"])} if "body" in message else message)

        await middleware(scope, receive, copy_and_send)

    return app


async def test_of_two_middlewares_the_outer_one_alone_is_at_work(caplog: pytest.LogCaptureFixture) -> None:
    inner = Recorded(chunks_app(b"data: 1\n\n", end=False), ping_interval=1)
    outer = Recorded(inner, ping_interval=5)
    for _ in range(2):
        async with running(outer) as run:
            await anyio.sleep(17)
            assert run.send.body == b"data: 1\n\n" + b": ping\n\n" * 3
    assert inner.opened == inner.closed == []
    assert outer.reasons == ["client_left"] * 2
    assert caplog.text.count("remove one of them") == 1


async def test_adapters_see_a_coroutine_function_in_the_send_that_the_app_is_given() -> None:
    seen: list[bool] = []
    is_coroutine_function = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(is_coroutine_function(send))
        await send(start())
        seen.append(is_coroutine_function(send))
        await send(body(b"", more=False))

    async with running(SSEMiddleware(app)) as run:
        await run.finish()
    assert seen == [True, True]


@pytest.mark.parametrize("last", [True, False])
async def test_a_retry_is_not_put_into_what_another_task_has_begun(last: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as tasks:
            for message in (start(), body(b"data: half"), body(b" an event\n\n", more=not last)):
                tasks.start_soon(deliver, send, message)
                await anyio.sleep(0.001)
        if not last:
            await anyio.sleep(1)
            await send(body(b"", more=False))

    async with running(SSEMiddleware(app, retry=100)) as run:
        run.send.delay = 0.05
        await run.finish()
    assert run.send.body == b"data: half an event\n\n"
    assert run.send.complete
    assert run.send.most_concurrent == 1


@pytest.mark.parametrize("first", [True, False])
async def test_a_message_without_a_type_is_the_apps_error_and_takes_nobodys_turn(first: bool) -> None:
    refused: list[KeyError] = []

    async def script(send: Send) -> None:
        async def send_nothing() -> None:
            try:
                await send({})
            except KeyError as error:
                refused.append(error)

        if not first:
            await send(body(b"data: 1\n\n"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deliver, send, body(b"data: 2\n\n"))
            tasks.start_soon(send_nothing)
        await send_nothing()
        await send(body(b"data: 3\n\n"))
        await send(body(b"", more=False))

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        run.send.delay = 0.05
        await run.finish()
    assert len(refused) == 2
    assert run.send.body == (b"" if first else b"data: 1\n\n") + b"data: 2\n\ndata: 3\n\n"
    assert middleware.reasons == ["completed"]


async def test_a_compressed_body_that_begins_like_a_bom_is_kept_whole() -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"content-encoding", b"br")]
    async with running(SSEMiddleware(chunks_app(BOM + b"abc", gap=1, headers=headers))) as run:
        await run.finish()
    assert run.send.body == BOM + b"abc"


async def test_a_second_content_encoding_counts() -> None:
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"content-encoding", b"identity"),
        (b"Content-Encoding", b"gzip"),
    ]
    async with running(SSEMiddleware(chunks_app(b"\x1f\x8b", gap=40, headers=headers), ping_interval=5)) as run:
        await run.finish()
    assert run.send.body == b"\x1f\x8b"


async def test_headers_may_be_bytearrays() -> None:
    given: Any = [[bytearray(b"Content-Type"), bytearray(b"text/event-stream")], [bytearray(b"ETag"), bytearray(b"x")]]
    middleware = Recorded(chunks_app(b"data: x\n\n", headers=given))
    async with running(middleware) as run:
        await run.finish()
    assert run.error is None
    assert middleware.reasons == ["completed"]
    assert [bytes(name).lower() for name, _ in run.send.start["headers"]] == [
        b"content-type",
        b"cache-control",
        b"x-accel-buffering",
    ]


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
@pytest.mark.parametrize("own", [b"\r", b"\n", b"\r\n"])
async def test_a_ping_of_bytes_gets_the_line_ends_of_the_stream_whatever_its_own(end: bytes, own: bytes) -> None:
    middleware = SSEMiddleware(
        chunks_app(b"data: x" + end + end, end=False), ping_interval=1, ping_event=b"event: p" + own + own
    )
    async with running(middleware) as run:
        await run.send.wait_for(3)
        assert run.send.body == b"data: x" + end + end + b"event: p" + end + end
