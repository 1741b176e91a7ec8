"""`connect`: a test's way into any ASGI app."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.routing import Route

from sse_mw import CloseReason, InvalidOption, SSEMiddleware
from sse_mw._types import ASGIApp, Receive, Scope, Send
from sse_mw.compat.sse_starlette import EventSourceResponse
from sse_mw.testing import (
    Client,
    LifespanFailed,
    NoEventStream,
    StreamEnded,
    StreamTimeout,
    UnexpectedMessage,
    assert_events,
    connect,
    virtual_time,
)
from support.driver import body, start
from support.testing_apps import bare, deaf, ended, fastapi, of_fastapi, of_starlette, of_the_peer, with_lifespan

pytestmark = pytest.mark.anyio


async def test_an_endless_stream_is_read_event_by_event_and_left() -> None:
    ended.clear()
    async with connect(SSEMiddleware(fastapi()), "/clock?count=7", last_event_id="41") as stream:
        assert stream.status == 200
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        first = await stream.receive()
        assert (first.data, first.event, first.id) == ("from 7", "message", "41")
        tick, _ = await stream.take(2)
        assert tick.event == "tick"
        assert tick.json() == {"count": 7}
        assert (tick.at, tick.id) == (20, "41")
        assert stream.last_event_id == "41"
        assert stream.closed_by is None
        stream.disconnect()
        assert await stream.wait_closed() is CloseReason.CLIENT_LEFT
        assert ended == ["clock"]
        assert stream.info is not None
        assert stream.info.mode == "source"
        with pytest.raises(StreamEnded, match=r"the client left \(closed_by='client_left'\)"):
            await stream.receive()


async def test_time_passes_when_it_is_told_to() -> None:
    async with connect(SSEMiddleware(fastapi()), "/clock") as stream:
        await stream.receive()
        began = anyio.current_time()
        await stream.advance(14)
        assert (stream.pings, len(stream.events)) == ([], 1)
        await stream.advance(2)
        assert stream.pings == ["ping"]
        await stream.advance(5)
        assert_events(stream.events[1:], [{"event": "tick", "data": {"count": 0}}])
        assert anyio.current_time() - began == pytest.approx(21, abs=0.001)


@pytest.mark.parametrize("how", ["send_timeout", "max_duration", "idle_timeout", "drain"])
async def test_whatever_ends_a_stream_can_be_brought_about(how: str, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {} if how == "drain" else {how: 5}
    async with connect(SSEMiddleware(fastapi(), **options), "/clock") as stream:
        await stream.receive()
        if how == "drain":
            stream.drain()
        elif how == "send_timeout":
            stream.freeze()
        assert await stream.wait_closed() == how
        assert (stream.retry is None) == (how == "send_timeout")
    # The connection of a client that has stopped reading is reset, as uvicorn's would be.
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_client_that_reads_on_gets_what_had_to_wait() -> None:
    async with connect(SSEMiddleware(fastapi()), "/clock") as stream:
        await stream.receive()
        stream.freeze()
        await stream.advance(25)
        assert len(stream.events) == 1
        stream.thaw()
        assert (await stream.receive()).event == "tick"
        assert stream.events[1].at == 25


async def test_new_streams_are_refused_in_a_drain() -> None:
    async with Client(SSEMiddleware(fastapi())) as client, client.connect("/clock") as first:
        first.drain()
        async with client.connect("/clock") as second:
            assert await second.wait_closed() is CloseReason.REFUSED
            assert second.retry is not None


@pytest.mark.parametrize("is_inside", [False, True])
def test_a_drain_is_that_of_one_event_loop(is_inside: bool) -> None:
    """One test's is not the next one's; the responses of `sse_mw.compat` bring a middleware that is the process's."""

    async def endpoint(request: Request) -> EventSourceResponse:
        return EventSourceResponse(iter(["x"]))

    async def held(request: Request) -> EventSourceResponse:
        async def source() -> AsyncIterator[str]:
            yield "x"
            await anyio.sleep_forever()

        return EventSourceResponse(source())

    app: ASGIApp = Starlette(routes=[Route("/", endpoint), Route("/held", held)])
    app = SSEMiddleware(app, drain_grace=0) if is_inside else app

    @virtual_time
    async def drained() -> None:
        async with connect(app, "/held") as stream:
            await stream.receive()
            stream.drain()
            assert await stream.wait_closed() is CloseReason.DRAIN

    @virtual_time
    async def served() -> None:
        async with connect(app) as stream:
            assert (await stream.receive()).data == "x"

    drained()
    served()


async def test_the_body_of_any_response_is_read_whole() -> None:
    async with connect(SSEMiddleware(fastapi()), "/json") as stream:
        assert stream.status == 404
        assert stream.headers["x-one"] == "1"
        assert set(stream.headers) == {"content-type", "content-length", "x-one"}
        assert await stream.json() == {"detail": "none"}
        with pytest.raises(NoEventStream, match=r"GET /json was answered with 404, application/json, b'\{"):
            await stream.receive()
        assert await stream.wait_closed() is CloseReason.COMPLETED


async def test_a_body_is_sent() -> None:
    async with connect(SSEMiddleware(fastapi()), "/echo", method="post", json={"a": [1]}) as stream:
        assert [event.json() async for event in stream] == [{"a": [1]}]
        assert stream.closed_by is CloseReason.COMPLETED


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Starlette(routes=[Route("/", of_the_peer)]), "peer"),
        (of_fastapi, "fastapi.sse"),
        (of_starlette, "starlette"),
    ],
    ids=["sse-starlette", "fastapi.sse", "starlette"],
)
async def test_it_works_on_every_librarys_streams(make: Any, name: str, wrapped: bool) -> None:
    ended.clear()
    app: ASGIApp = SSEMiddleware(make()) if wrapped else make()
    async with connect(app) as stream:
        assert (await stream.receive()).data.strip('"') == "first"
        if name != "starlette" or wrapped:
            assert (await stream.wait_for_comment("ping")).startswith("ping")
            assert len(stream.pings) == 1
        stream.disconnect()
        assert await stream.wait_closed() is CloseReason.CLIENT_LEFT
    assert ended == [name]


async def test_an_app_without_a_framework_is_treated_as_by_a_server() -> None:
    async with connect(bare) as stream:
        assert [event.data for event in await stream.take(2)] == ["1", "2"]
        assert stream.comments == ["ping"]
        assert [chunk.data for chunk in stream.chunks] == [stream.raw]
        with pytest.raises(RuntimeError, match="wrap it, app = SSEMiddleware"):
            stream.drain()
        assert stream.info is None
    assert stream.closed_by is CloseReason.CLIENT_LEFT


async def test_what_did_not_come_is_said_and_what_came_instead_and_where_the_app_waits() -> None:
    async with connect(SSEMiddleware(fastapi()), "/clock") as stream:
        await stream.receive()
        with pytest.raises(StreamTimeout) as failed:
            await stream.receive(within=17)
    message = str(failed.value)
    assert "waited 17 s for an event of GET /clock" in message
    assert "1 events (the last: message 'from 0' at 0.00 s), 1 comments" in message
    assert "testing_apps.py:" in message
    assert "in clock" in message


async def test_an_unfinished_event_is_shown() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send(start())
        await send(body(b"data: whole\n\ndata: ha"))
        await anyio.sleep_forever()

    async with connect(SSEMiddleware(app)) as stream:
        await stream.receive()
        with pytest.raises(StreamTimeout, match="of an unfinished one, b'data: ha'"):
            await stream.receive(within=1)


async def test_no_answer_is_said_too() -> None:
    with pytest.raises(
        StreamTimeout, match=r"waited 60 s for a response of GET /; came: not even a status. The app waits:\n"
    ):
        async with connect(lambda scope, receive, send: anyio.sleep_forever(), lifespan=False):
            pass
    with pytest.raises(StreamEnded, match="returned without a response"):
        async with connect(lambda scope, receive, send: anyio.lowlevel.checkpoint()):
            pass


async def test_what_an_app_raises_is_seen() -> None:
    with pytest.raises(LookupError, match="no more"):
        async with connect(SSEMiddleware(fastapi()), "/fails?late=false"):
            pass
    async with connect(SSEMiddleware(fastapi()), "/fails?late=false", raise_app_exceptions=False) as stream:
        assert stream.status == 500
        await stream.wait_closed()
        assert isinstance(stream.error, LookupError)


@pytest.mark.parametrize("how", ["all of it", "the rest", "none of it"])
async def test_a_source_that_fails_is_an_error_of_the_test_that_did_not_see_it(how: str) -> None:
    async def look() -> None:
        async with connect(SSEMiddleware(fastapi()), "/fails") as stream:
            if how == "all of it":
                assert [event.data async for event in stream] == ["one"]
            elif how == "the rest":
                await stream.receive()
                await stream.wait_closed()
            else:
                await stream.advance(1)

    with pytest.raises(StreamEnded if how == "all of it" else LookupError):
        await look()
    async with connect(SSEMiddleware(fastapi()), "/fails", raise_app_exceptions=False) as stream:
        await stream.wait_closed()


async def test_what_an_app_raises_in_its_stream_is_the_streams_end() -> None:
    async with connect(SSEMiddleware(fastapi()), "/fails") as stream:
        assert (await stream.receive()).data == "one"
        with pytest.raises(StreamEnded, match="closed_by='error'") as failed:
            await stream.receive()
        assert isinstance(failed.value.__cause__, LookupError)
        assert await stream.wait_closed() is CloseReason.ERROR
        assert isinstance(stream.error, LookupError)


async def test_without_a_middleware_it_reaches_the_server() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send(start())
        raise LookupError("in mid-stream")

    async def look() -> None:
        async with connect(app) as stream:
            with pytest.raises(StreamEnded, match="the app ended without ending its response"):
                await anext(stream)
            assert stream.closed_by is CloseReason.ERROR

    with pytest.raises(LookupError, match="in mid-stream"):
        await look()


WRONG: dict[str, tuple[list[Any], str]] = {
    "body first": ([body(b"x")], r"a body before http\.response\.start"),
    "two starts": ([start(), start()], "a second time"),
    "a body after the last": ([start(), body(b"", more=False), body(b"x")], "after its last message"),
    "a header that is text": ([start(headers=[("a", "b")])], r"\('a', 'b'\) is not a pair of bytes"),
    "a body that is text": ([start(), body("x")], "the body 'x' is not bytes"),  # type: ignore[arg-type]
    "a body that is a number": ([start(), body(3)], "the body 3 is not bytes"),  # type: ignore[arg-type]
    "a message that is none": ([start(), {"type": "http.response.bdy"}], "http.response.bdy'?, which ASGI"),
    "a status that is text": ([start(status="200")], "'200' is no whole number"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_asgi_does_not_allow_is_raised_into_the_app(case: str) -> None:
    messages, complaint = WRONG[case]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        for message in messages:
            await send(message)

    with pytest.raises(UnexpectedMessage, match=complaint):
        async with connect(app) as stream:
            await stream.wait_closed()


async def test_the_lifespan_runs_around_it_and_its_state_is_there() -> None:
    events: list[str] = []
    async with Client(with_lifespan(events)) as client:
        assert events == ["startup"]
        async with client.connect() as one, client.connect() as other:
            assert (await one.receive()).data == (await other.receive()).data == "open"
    assert events == ["startup", "shutdown"]


@pytest.mark.parametrize("fails", ["startup", "shutdown"])
async def test_a_lifespan_that_fails_is_an_error(fails: str) -> None:
    with pytest.raises(LifespanFailed, match=rf"the app's {fails} failed(.|\n)*no database"):
        async with Client(with_lifespan([], fails=fails)):
            pass


async def test_a_lifespan_that_hangs_is_an_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep_forever()

    with pytest.raises(LifespanFailed, match=r"startup took longer than 3 s; it waits:\n.*test_stream\.py:\d+ in app"):
        async with Client(app, within=3):
            pass


async def test_the_lifespan_can_be_left_out() -> None:
    events: list[str] = []
    with pytest.raises(AttributeError, match="pool"):
        async with connect(with_lifespan(events), lifespan=False):
            pass
    assert events == []


async def test_an_app_that_does_not_end_when_its_client_leaves_is_an_error() -> None:
    with pytest.raises(AssertionError, match=r"went on for 3 s after its client had left(.|\n)*in deaf"):
        async with connect(deaf, within=3) as stream:
            await stream.receive()
    async with connect(SSEMiddleware(deaf), within=3) as stream:
        await stream.receive()


async def test_a_failing_test_shows_its_own_failure_and_what_else_is_wrong_as_a_note() -> None:
    with pytest.raises(ZeroDivisionError) as failed:
        async with connect(deaf, within=3):
            raise ZeroDivisionError
    assert "went on for 3 s" in failed.value.__notes__[0]


async def test_a_stream_may_be_opened_in_one_task_and_closed_in_another() -> None:
    opened = connect(SSEMiddleware(fastapi()), "/clock")
    streams: list[Any] = []

    async def enter() -> None:
        streams.append(await opened.__aenter__())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
    await streams[0].receive()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opened.__aexit__, None, None, None)
    assert streams[0].closed_by is CloseReason.CLIENT_LEFT


async def test_a_test_that_is_cancelled_leaves_no_app_running() -> None:
    ended.clear()
    with anyio.move_on_after(3):
        async with connect(SSEMiddleware(fastapi()), "/clock") as stream:
            await stream.receive()
            await anyio.sleep_forever()
    assert ended == ["clock"]


async def test_head_has_no_body() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send(start())
        await send(body(b"data: x\n\n", more=False))

    async with connect(app, method="HEAD") as stream:
        assert await stream.read() == b""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"path": "orders"}, "path='orders'"),
        ({"path": "http://other/orders"}, "path='http://other/orders'"),
        ({"json": {}, "content": b""}, "json and content exclude each other"),
        ({"content": 5}, "content=5 cannot be sent"),
        ({"headers": {"a": "b\r\nc: d"}}, "holds CR, LF or NUL"),
        ({"last_event_id": "a\nb"}, "holds CR, LF or NUL"),
        ({"within": 0}, "within=0 cannot be meant"),
        ({"within": True}, "within=True cannot be meant"),
    ],
)
async def test_what_cannot_be_meant_is_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        async with connect(bare, **arguments):
            pass
    with pytest.raises(InvalidOption, match="app=None is no ASGI app"):
        Client(None)  # type: ignore[arg-type]


async def test_a_request_is_as_asked_for() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        message = await receive()
        scope["body"] = message["body"]
        await send(start(204, []))
        await send(body(b"", more=False))
        assert await receive() == {"type": "http.disconnect"}

    async with connect(
        app,
        "/caf%C3%A9/a?x=1",
        method="POST",
        lifespan=False,
        params={"y": "2 3", "z": [1, 2]},
        headers=[("Accept", "a/b"), ("X-One", "1"), ("X-One", "2")],
        content="né",
        last_event_id="é",
        scope={"http_version": "2"},
    ):
        pass
    (scope,) = scopes
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("POST", "/café/a", b"/caf%C3%A9/a")
    assert scope["query_string"] == b"x=1&y=2+3&z=1&z=2"
    assert scope["http_version"] == "2"
    assert scope["body"] == "né".encode()
    assert scope["headers"] == [
        (b"accept", b"a/b"),
        (b"x-one", b"1"),
        (b"x-one", b"2"),
        (b"host", b"testserver"),
        (b"content-length", b"3"),
        (b"last-event-id", "é".encode()),
    ]


async def test_messages_that_clients_see_nothing_of_and_files() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hints", "links": []})
        await send({"type": "http.response.start", "status": 200, "headers": None, "trailers": True})
        await send({"type": "http.response.pathsend", "path": __file__})
        await send({"type": "http.response.trailers", "headers": []})

    async with connect(app, lifespan=False) as stream:
        assert (await stream.read()).startswith(b'"""`connect`')


@pytest.mark.parametrize("copies", [False, True])
async def test_a_middleware_around_ours_hides_nothing(copies: bool) -> None:
    class Outer(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            return await call_next(request)

    def copying(app: ASGIApp) -> ASGIApp:
        async def outer(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope}, receive, send)

        return outer

    inner = SSEMiddleware(fastapi())
    async with connect(copying(inner) if copies else Outer(inner), "/clock", lifespan=False) as stream:
        await stream.receive()
        stream.drain()
        assert await stream.wait_closed() is CloseReason.DRAIN
        assert stream.info is not None


@virtual_time  # on asyncio: nobody can raise trio's
async def test_an_app_that_ends_by_a_cancellation_of_its_own_is_named() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    with pytest.raises(StreamEnded, match="the app was cancelled, and not by its client"):
        async with connect(app, lifespan=False):
            pass


async def test_a_shutdown_that_fails_does_not_hide_the_tests_own_failure() -> None:
    with pytest.raises(ZeroDivisionError) as failed:
        async with Client(with_lifespan([], fails="shutdown")):
            raise ZeroDivisionError
    assert "shutdown failed" in failed.value.__notes__[0]


async def test_bytes_that_have_come_are_found() -> None:
    async with connect(bare) as stream:
        for _ in range(2):
            assert await stream.wait_for_bytes(b"data: 1") == b"data: 1\n\n: ping\n\ndata: 2\n\n"
        with pytest.raises(StreamTimeout, match="waited 1 s for b'none'"):
            await stream.wait_for_bytes(b"none", within=1)
        stream.disconnect()
        with pytest.raises(StreamEnded, match="no more of b'none'"):
            await stream.wait_for_bytes(b"none")


async def test_a_large_event_in_small_pieces_takes_no_time() -> None:
    """Nothing is looked at again and again as it grows."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"data: "))
        for _ in range(4000):
            await send(body(b"x" * 1000))
        await send(body(b"\n\n", more=False))

    async with connect(app, lifespan=False) as stream:
        assert (await stream.wait_for_bytes(b"\n\n")).endswith(b"x\n\n")
        assert len((await stream.receive()).data) == 4_000_000
