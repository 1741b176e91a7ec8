"""What a stream consists of: its sources, its head, its pings."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from sse_mw import current_stream
from sse_mw.testing._server import http_scope
from support.compat import Package, asgi, serving, whole
from support.driver import running

pytestmark = pytest.mark.anyio

TIME = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?\+00:00"
HELLO = b"data: hello\r\n\r\n"


async def generator() -> AsyncIterator[str]:
    for item in "ab":
        yield item


class Iterable:
    """An async iterable that is no generator, and has no `aclose`."""

    def __aiter__(self) -> AsyncIterator[str]:
        return generator()


def in_threads() -> Iterator[str]:
    yield from "ab"


class Indexed:
    """Iterable by its indexes alone."""

    def __getitem__(self, index: int) -> str:
        return "ab"[index]


def channel() -> Any:
    sending, receiving = anyio.create_memory_object_stream[str](2)
    with sending:
        sending.send_nowait("a")
        sending.send_nowait("b")
    return receiving


async def hello() -> AsyncIterator[str]:
    """One event, then silence."""
    yield "hello"
    await anyio.sleep_forever()


CONTENTS: list[Callable[[], Any]] = [
    generator, Iterable, in_threads, Indexed, channel,
    lambda: ["a", "b"], lambda: ("a", "b"), lambda: iter("ab"), lambda: "ab", lambda: {"a": 1, "b": 2},
]  # fmt: skip


@pytest.mark.parametrize("content", CONTENTS)
async def test_events_come_from_any_iterable(package: Package, content: Callable[[], Any]) -> None:
    made = content()
    served = await whole(package, lambda: package.EventSourceResponse(made))
    if hasattr(made, "statistics"):
        await made.aclose()  # the peer leaves it open
    assert served.body == b"data: a\r\n\r\ndata: b\r\n\r\n"
    assert served.send.complete
    assert served.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_an_item_is_an_event_of_its_kind(package: Package) -> None:
    async def source() -> AsyncIterator[Any]:
        yield "text"
        yield {"data": "d", "event": "e"}
        yield package.ServerSentEvent("own", sep="\r")
        yield package.JSONServerSentEvent({"a": 1})
        yield b"data: raw\n\n"
        yield 5

    served = await whole(package, lambda: package.EventSourceResponse(source(), sep="\n"))
    assert served.body == (
        b'data: text\n\nevent: e\ndata: d\n\ndata: own\r\rdata: {"a":1}\r\n\r\ndata: raw\n\ndata: 5\n\n'
    )


@pytest.mark.parametrize("sep", ["\r\n", "\r", "\n"])
async def test_lines_end_as_is_asked(package: Package, sep: str) -> None:
    served = await whole(package, lambda: package.EventSourceResponse(["a\nb"], sep=sep))
    assert served.body.decode() == f"data: a{sep}data: b{sep}{sep}"


async def test_the_iterator_can_be_replaced_by_one_around_it(package: Package) -> None:
    async def shouting(events: Any) -> AsyncIterator[str]:
        async for event in events:
            yield event.upper()

    def make() -> Any:
        response = package.EventSourceResponse(["a", "b"])
        response.body_iterator = shouting(response.body_iterator)
        return response

    assert (await whole(package, make)).body == b"data: A\r\n\r\ndata: B\r\n\r\n"


async def test_a_response_is_active_until_its_stream_has_ended(package: Package) -> None:
    async with serving(package, lambda: package.EventSourceResponse(hello())) as served:
        await served.send.wait_for(2)
        assert served.response.active is True
    assert served.response.active is False


async def test_a_source_may_ask_whether_its_client_is_there(package: Package) -> None:
    async def endpoint(request: Request) -> Any:
        async def source() -> AsyncIterator[str]:
            for _ in range(10):
                yield f"gone: {await request.is_disconnected()}"
                await anyio.sleep(1)

        return package.EventSourceResponse(source())

    async with running(asgi(package, Starlette(routes=[Route("/", endpoint)]))) as run:
        await run.finish()
    assert run.send.body == b"data: gone: False\r\n\r\n" * 10


async def test_a_source_runs_in_the_context_of_its_request(package: Package) -> None:
    from contextvars import ContextVar

    user: ContextVar[str] = ContextVar("user")

    async def source() -> AsyncIterator[str]:
        yield user.get()

    def make() -> Any:
        user.set("me")
        return package.EventSourceResponse(source())

    assert (await whole(package, make)).body == b"data: me\r\n\r\n"


# The head


async def test_the_head_by_default(package: Package) -> None:
    served = await whole(package, lambda: package.EventSourceResponse(["x"]))
    assert served.send.status == 200
    headers = [pair for pair in served.send.start["headers"] if pair[0] != b"connection"]
    assert headers == [
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
        (b"content-type", b"text/event-stream; charset=utf-8"),
    ]


@pytest.mark.parametrize("status", [201, 206, 402, 500])
async def test_any_status(package: Package, status: int) -> None:
    served = await whole(package, lambda: package.EventSourceResponse(["x"], status_code=status))
    assert (served.send.status, served.body) == (status, b"data: x\r\n\r\n")


async def test_cache_control_can_be_given_and_buffering_cannot(package: Package) -> None:
    given = {"Cache-Control": "public, max-age=29", "X-Accel-Buffering": "yes", "X-Own": "1"}
    served = await whole(package, lambda: package.EventSourceResponse(["x"], headers=given))
    assert served.send.headers[b"cache-control"] == b"public, max-age=29"
    assert served.send.headers[b"x-accel-buffering"] == b"no"
    assert served.send.headers[b"x-own"] == b"1"
    assert given["X-Accel-Buffering"] == "yes"


@pytest.mark.parametrize(
    "given", [{"media_type": "text/x-events"}, {"headers": {"Content-Type": "text/x-events; charset=utf-8"}}]
)
async def test_so_can_the_content_type(package: Package, given: dict[str, Any]) -> None:
    served = await whole(package, lambda: package.EventSourceResponse(["x"], **given))
    assert served.send.headers[b"content-type"] == b"text/x-events; charset=utf-8"
    assert served.body == b"data: x\r\n\r\n"


async def test_the_head_leaves_before_the_first_event(package: Package) -> None:
    async def source() -> AsyncIterator[str]:
        await anyio.sleep(100)
        yield "x"

    async with serving(package, lambda: package.EventSourceResponse(source(), ping=0)) as served:
        await served.send.wait_for(1)
        assert served.send.times[0] <= 0.13


@pytest.mark.differs("the Connection header")
async def test_no_header_of_one_connection_is_sent(package: Package) -> None:
    served = await whole(package, lambda: package.EventSourceResponse(["x"], headers={"Keep-Alive": "timeout=5"}))
    assert not {b"connection", b"keep-alive"} & set(served.send.headers)


@pytest.mark.differs("Content-Length and ETag")
async def test_no_header_that_a_ping_would_make_wrong_is_sent(package: Package) -> None:
    headers = {"Content-Length": "3", "ETag": '"x"'}
    served = await whole(package, lambda: package.EventSourceResponse(["x"], headers=headers))
    assert not {b"content-length", b"etag"} & set(served.send.headers)


@pytest.mark.differs("the opening comment")
async def test_a_silent_stream_begins_with_a_comment(package: Package) -> None:
    async def silent() -> AsyncIterator[str]:
        await anyio.sleep_forever()
        yield ""

    async with serving(package, lambda: package.EventSourceResponse(silent())) as served:
        with anyio.fail_after(1):
            await served.send.wait_for(2)
        assert served.body == b":\r\n\r\n"


@pytest.mark.differs("bursts")
async def test_events_that_are_ready_together_go_out_together(package: Package) -> None:
    async def source() -> AsyncIterator[str]:
        for number in range(100):
            yield str(number)

    served = await whole(package, lambda: package.EventSourceResponse(source()))
    assert len(served.send.chunks) < 10
    assert served.body.count(b"data: ") == 100


# HEAD


@pytest.mark.parametrize("method", ["HEAD", "head"])
async def test_head_has_gets_headers_and_touches_neither_source_nor_sender(package: Package, method: str) -> None:
    touched: list[str] = []

    async def source() -> AsyncIterator[str]:
        touched.append("source")
        yield "x"

    async def sender() -> None:
        touched.append("sender")

    def make() -> Any:
        return package.EventSourceResponse(source(), status_code=202, data_sender_callable=sender)

    head = await whole(package, make, http_scope(method))
    assert touched == []
    get = await whole(package, make)
    assert head.send.start == get.send.start
    assert head.messages[1:] == [{"type": "http.response.body", "body": b"", "more_body": False}]
    assert sorted(touched) == ["sender", "source"]


@pytest.mark.differs("a source that was never started")
async def test_a_source_that_was_never_started_is_closed(package: Package) -> None:
    sending, receiving = anyio.create_memory_object_stream[str](1)
    await whole(package, lambda: package.EventSourceResponse(receiving), http_scope("HEAD"))
    try:
        with pytest.raises(anyio.BrokenResourceError):
            sending.send_nowait("x")
    finally:
        sending.close()
        receiving.close()


# WebSockets


def websocket_scope() -> dict[str, Any]:
    scope = {**http_scope(), "type": "websocket", "subprotocols": [], "extensions": {"websocket.http.response": {}}}
    return {name: value for name, value in scope.items() if name != "method"}


async def test_a_websocket_is_denied_with_the_response(package: Package) -> None:
    served = await whole(package, lambda: package.EventSourceResponse(["x"], status_code=403), websocket_scope())
    assert served.send.types[0] == "websocket.http.response.start"
    assert set(served.send.types[1:]) == {"websocket.http.response.body"}
    assert served.messages[0]["status"] == 403
    assert b"".join(message["body"] for message in served.messages[1:]) == b"data: x\r\n\r\n"
    assert served.messages[-1]["more_body"] is False


@pytest.mark.differs("a WebSocket that is closed")
async def test_a_websocket_that_is_closed_meanwhile_ends_the_source(package: Package) -> None:
    ended: list[str] = []
    sent: list[Any] = []
    script = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}]

    async def receive() -> Any:
        if script:
            return script.pop(0)
        return await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    async def source() -> AsyncIterator[str]:
        try:
            yield "x"
            await anyio.sleep_forever()
        finally:
            ended.append("finally")

    with anyio.fail_after(10):
        await package.EventSourceResponse(source())(websocket_scope(), receive, send)
    assert ended == ["finally"]


# Pings


async def test_a_silent_stream_is_pinged_with_the_time_at_each_interval(package: Package) -> None:
    async with serving(package, lambda: package.EventSourceResponse(hello(), ping=10)) as served:
        await served.send.wait_for(5)
        pings = served.send.chunks[1:]
        assert all(re.fullmatch(rb": ping - " + TIME + rb"\r\n\r\n", ping) for ping in pings), pings
        assert [round(time, -1) for time in served.send.times[2:]] == [10, 20, 30]


@pytest.mark.parametrize("ping", [None, 15.0])
async def test_the_interval_is_15_seconds_by_default(package: Package, ping: float | None) -> None:
    async with serving(package, lambda: package.EventSourceResponse(hello(), ping=ping)) as served:
        await served.send.wait_for(4)
        assert [round(time) for time in served.send.times[2:]] == [15, 30]


async def test_0_is_no_ping(package: Package) -> None:
    async with serving(package, lambda: package.EventSourceResponse(hello(), ping=0)) as served:
        await anyio.sleep(300)
        assert served.body == HELLO


async def test_the_interval_can_be_set_after_the_response_was_made(package: Package) -> None:
    def make() -> Any:
        response = package.EventSourceResponse(hello())
        response.ping_interval = 2
        return response

    async with serving(package, make) as served:
        await served.send.wait_for(4)
        assert [round(time) for time in served.send.times[2:]] == [2, 4]


PINGS: list[tuple[Callable[[Package], Any], bytes]] = [
    (lambda package: package.ServerSentEvent(comment="mine"), b": mine\r\n\r\n"),
    (
        lambda package: package.ServerSentEvent("now", event="ping", id="7"),
        b"id: 7\r\nevent: ping\r\ndata: now\r\n\r\n",
    ),
    (lambda _: {"event": "ping", "data": ""}, b"event: ping\r\ndata: \r\n\r\n"),
    (lambda _: b": raw\r\n\r\n", b": raw\r\n\r\n"),
    (lambda _: b": short\r\n", b": short\r\n"),
    (lambda _: "text", b"data: text\r\n\r\n"),
]


@pytest.mark.parametrize(("ping", "expected"), PINGS, ids=lambda value: value if isinstance(value, bytes) else "")
async def test_a_factory_makes_what_a_source_may_yield(
    package: Package, ping: Callable[[Package], Any], expected: bytes
) -> None:
    def make() -> Any:
        return package.EventSourceResponse(hello(), ping=1, ping_message_factory=lambda: ping(package))

    async with serving(package, make) as served:
        await served.send.wait_for(4)
        assert served.body == HELLO + 2 * expected


@pytest.mark.differs("pings on a busy stream")
async def test_a_stream_with_events_has_no_pings(package: Package) -> None:
    async def source() -> AsyncIterator[str]:
        for _ in range(100):
            yield "x"
            await anyio.sleep(1)

    served = await whole(package, lambda: package.EventSourceResponse(source(), ping=5))
    assert served.body == 100 * b"data: x\r\n\r\n"


@pytest.mark.differs("a ping in the middle of an event")
async def test_no_ping_divides_an_event_that_comes_in_pieces(package: Package) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"data: a\n"
        await anyio.sleep(100)
        yield b"data: b\n\n"

    served = await whole(package, lambda: package.EventSourceResponse(source(), ping=5))
    assert served.body == b"data: a\ndata: b\n\n"


@pytest.mark.differs("a ping's line ends")
async def test_a_ping_has_the_line_ends_of_the_stream(package: Package) -> None:
    def make() -> Any:
        return package.EventSourceResponse(
            hello(), sep="\n", ping=1, ping_message_factory=lambda: package.ServerSentEvent(comment="p")
        )

    async with serving(package, make) as served:
        await served.send.wait_for(3)
        assert served.body == b"data: hello\n\n: p\n\n"


@pytest.mark.differs("a ping that is no whole line")
async def test_a_ping_that_is_no_whole_event_does_not_melt_into_the_next(package: Package) -> None:
    def make() -> Any:
        return package.EventSourceResponse(hello(), ping=1, ping_message_factory=lambda: b"event: ping\ndata: x")

    async with serving(package, make) as served:
        await served.send.wait_for(3)
        assert served.body == HELLO + b"event: ping\r\ndata: x\r\n\r\n"


@pytest.mark.differs("a ping factory that fails")
async def test_a_factory_that_fails_does_not_end_the_stream(package: Package, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Any:
        raise ValueError("no ping today")

    def make() -> Any:
        return package.EventSourceResponse(hello(), ping=1, ping_message_factory=broken)

    async with serving(package, make) as served:
        await served.send.wait_for(4)
        assert served.body == HELLO + 2 * b": ping\r\n\r\n"
        assert not served.is_finished
    assert "no ping today" in caplog.text


@pytest.mark.differs("the last event ID")
async def test_a_source_can_learn_the_last_event_id_of_its_client(package: Package) -> None:
    async def source() -> AsyncIterator[str]:
        yield f"after {current_stream().last_event_id}"

    scope = http_scope(headers={"Last-Event-ID": "41"})
    served = await whole(package, lambda: package.EventSourceResponse(source()), scope)
    assert served.body == b"data: after 41\r\n\r\n"
