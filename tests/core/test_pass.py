"""What is no event stream goes through as if the middleware were not there."""

from typing import Any

import anyio
import pytest

from sse_mw import InvalidOption, SSEMiddleware
from sse_mw._types import ASGIApp, Message, Receive, Scope, Send
from sse_mw.testing._server import http_scope
from support.driver import Recorded, body, running, start

pytestmark = pytest.mark.anyio

JSON = [(b"content-type", b"application/json"), (b"content-length", b"2"), (b"etag", b'"1"'), (b"connection", b"close")]


def sends(*messages: Message, result: Any = None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> Any:
        for message in messages:
            await send(message)
        return result

    return app


@pytest.mark.parametrize(
    "messages",
    [
        [start(headers=JSON), body(b"{", more=True), body(b"}", more=False)],
        [{"type": "http.response.debug", "info": {}}, start(headers=JSON), body(b"{}", more=False)],
        [{"type": "http.response.early_hint", "links": []}, start(headers=JSON), body(b"", more=False)],
        [start(headers=JSON), {"type": "http.response.pathsend", "path": "/x"}],
        [{**start(headers=JSON), "trailers": True}, body(b"{}", more=False),
         {"type": "http.response.trailers", "headers": [], "more_trailers": False}],
        [{"type": "http.response.start", "status": 204}, {"type": "http.response.body"}],
        [start(headers=[]), body(b"x", more=False), {"type": "whatever.comes"}],
        [start(204, [(b"content-type", b"text/event-stream")]), body(b"", more=False)],
        [start(headers=[(b"content-type", b"text/event-stream-not")]), body(b"x", more=False)],
    ],
)  # fmt: skip
async def test_other_responses_are_handed_on_object_by_object(messages: list[Message]) -> None:
    middleware = Recorded(sends(*messages, result="returned"))
    async with running(middleware) as run:
        await run.finish()
    assert [id(message) for message in run.send.messages] == [id(message) for message in messages]
    assert run.result == "returned"
    assert middleware.opened == []
    assert middleware.stats().opened == 0


async def test_one_shot_headers_are_read_once_and_handed_on_as_a_list() -> None:
    pairs = [(b"x-a", b"1"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]
    async with running(SSEMiddleware(sends(start(headers=iter(pairs)), body(b"", more=False)))) as run:
        await run.finish()
    assert run.send.start["headers"] == pairs


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "made.up"])
async def test_other_scopes_get_the_very_same_receive_and_send(kind: str) -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> str:
        seen.extend((scope, receive, send))
        return "done"

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    scope: Scope = {"type": kind}
    assert await SSEMiddleware(app)(scope, receive, send) == "done"
    assert [id(one) for one in seen] == [id(scope), id(receive), id(send)]


async def test_a_websocket_denial_that_streams_events_is_left_alone() -> None:
    denial: list[Message] = [
        {"type": "websocket.http.response.start", "status": 403, "headers": [(b"content-type", b"text/event-stream")]},
        {"type": "websocket.http.response.body", "body": b"data: x\n\n", "more_body": False},
    ]
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    await SSEMiddleware(sends(*denial))({"type": "websocket"}, receive, send)
    assert [id(message) for message in sent] == [id(message) for message in denial]


async def test_exceptions_before_a_stream_pass_as_they_are() -> None:
    error = LookupError("mine")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    async with running(SSEMiddleware(app)) as run:
        await run.finish()
    assert run.error is error
    assert run.send.messages == []


async def test_the_request_body_arrives_once_in_order_and_is_not_read_ahead() -> None:
    read: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        read.append(await receive())
        await anyio.sleep(10)
        assert run.receive.calls == 1
        read.append(await receive())
        await send(start(headers=JSON))
        await send(body(b"{}", more=False))
        read.append(await receive())
        read.append(await receive())

    async with running(SSEMiddleware(app), http_scope("POST"), b"one", b"two") as run:
        await run.send.wait_for(2)
        run.disconnect()
        await run.finish()
    assert [message.get("body") for message in read[:2]] == [b"one", b"two"]
    assert [message["type"] for message in read[2:]] == ["http.disconnect", "http.disconnect"], "sticky"


def test_an_app_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(InvalidOption, match="app=3 cannot be wrapped"):
        SSEMiddleware(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content_type", "supervised"),
    [
        (memoryview(b"text/html"), False),
        (memoryview(b"text/event-stream"), True),
        (b" text/event-stream", True),
        (b"\tTEXT/Event-Stream;charset=utf-8", True),
        (b"text/event-streams", False),
        (b"", False),
    ],
)
async def test_a_content_type_is_read_as_servers_take_it(content_type: Any, supervised: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(headers=[(b"content-type", content_type)]))
        await send(body(b"x", more=False))

    middleware = Recorded(app)
    async with running(middleware) as run:
        await run.finish()
    assert bool(middleware.opened) is supervised


async def start_html(send: Send) -> None:
    await send(start(headers=[(b"content-type", b"text/html")]))


async def test_a_start_that_was_given_up_before_it_was_sent_does_not_count() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.CancelScope() as given_up:
            given_up.cancel()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(start_html, send)
        run.send.messages.clear()  # trio lets a task take its first step
        await send(start())
        await send(body(b"data: x\n\n", more=False))

    middleware = Recorded(app)
    async with running(middleware) as run:
        await run.finish()
    assert len(middleware.opened) == 1
