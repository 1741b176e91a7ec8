"""An ordinary response that becomes an event stream in flight, though its app knows nothing of it."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from sse_mw import InvalidOption, SSEMiddleware
from sse_mw._types import Receive, Scope, Send
from sse_mw._wire import Decoder
from sse_mw.testing._server import http_scope
from support.driver import Recorded, body, chunks_app, running, start

pytestmark = pytest.mark.anyio

NDJSON = [(b"content-type", b"application/x-ndjson"), (b"content-length", b"99"), (b"x-own", b"1")]
ASKS = {"accept": "text/event-stream"}
LINES: Any = {"application/x-ndjson": "lines"}


async def framed(frame: Any, *chunks: bytes, headers: Any = NDJSON, path: str = "/", asks: bool = True) -> Any:
    scope = http_scope(path=path, headers=ASKS if asks else {})
    async with running(SSEMiddleware(chunks_app(*chunks, headers=headers), frame=frame), scope) as run:
        await run.finish()
    assert run.send.complete
    return run.send


async def test_each_line_becomes_an_event_however_the_body_is_cut() -> None:
    text = '{"a":"é€"}\n\n{"b":2}\r\n{"c":3}'.encode()
    for size in (1, 2, 3, 7, 100):
        chunks = [text[at : at + size] for at in range(0, len(text), size)]
        sent = await framed(LINES, *chunks)
        assert sent.body == 'data: {"a":"é€"}\n\ndata: {"b":2}\n\ndata: {"c":3}\n\n'.encode()


async def test_the_headers_are_those_of_a_stream_and_the_apps_other_ones() -> None:
    sent = await framed(LINES, b"{}\n")
    assert sent.headers == {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"x-own": b"1",
        b"vary": b"accept",
        b"cache-control": b"no-cache, no-transform",
        b"x-accel-buffering": b"no",
    }


async def test_each_chunk_becomes_an_event_with_its_line_ends_in_it() -> None:
    headers = [(b"content-type", b"text/plain; charset=latin-1")]
    sent = await framed({"text/*": "chunks"}, b"caf\xe9 ", b"au\nlait", b"", b"!", headers=headers)
    decoder = Decoder()
    assert [event.data for event in decoder.feed(sent.body)] == ["café ", "au\nlait", "!"]


async def test_a_client_that_does_not_ask_gets_the_body_as_it_is_and_caches_learn_of_it() -> None:
    sent = await framed(LINES, b'{"a":1}\n', asks=False)
    assert sent.body == b'{"a":1}\n'
    assert sent.start["headers"] == [*NDJSON, (b"vary", b"accept")]


@pytest.mark.parametrize(
    ("accept", "asked"),
    [
        ("text/event-stream", True),
        ("application/json, Text/Event-Stream;q=0.1", True),
        ("*/*", False),
        ("text/*", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream; q=0.000", False),
        ("text/event-stream-x", False),
        (",;=,", False),
    ],
)
async def test_only_a_client_that_names_the_type_asks(accept: str, asked: bool) -> None:
    scope = http_scope(headers={"accept": accept})
    async with running(SSEMiddleware(chunks_app(b"{}\n", headers=NDJSON), frame=LINES), scope) as run:
        await run.finish()
    assert run.send.body == (b"data: {}\n\n" if asked else b"{}\n")


@pytest.mark.parametrize(
    ("frame", "path", "asks", "becomes_events"),
    [
        ({"/logs/*": "lines"}, "/logs/today", False, True),
        ({"/logs/*": "lines"}, "/other", True, False),
        ({"/logs/*": {"application/x-ndjson": "lines"}}, "/logs/today", True, True),
        ({"/logs/*": {"application/x-ndjson": "lines"}}, "/logs/today", False, False),
        ({"/logs/*": {"text/plain": "lines"}}, "/logs/today", True, False),
        ({"application/*": "lines"}, "/any", True, True),
        ({"text/plain": "lines"}, "/any", True, False),
        ({"/logs/a": "chunks", "/logs/*": "lines"}, "/logs/b", False, True),
    ],
)
async def test_rules_go_by_type_by_path_or_both(frame: Any, path: str, asks: bool, becomes_events: bool) -> None:
    sent = await framed(frame, b"{}\n", path=path, asks=asks)
    assert sent.body == (b"data: {}\n\n" if becomes_events else b"{}\n")


@pytest.mark.parametrize("status", [204, 206, 304, 404, 500])
async def test_errors_and_bodiless_answers_are_left_alone(status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(status, NDJSON))
        await send(body(b"{}\n", more=False))

    async with running(SSEMiddleware(app, frame={"/*": "lines"}), http_scope(headers=ASKS)) as run:
        await run.finish()
    assert run.send.body == b"{}\n"
    assert run.send.start["headers"] == NDJSON


async def test_a_compressed_body_is_left_alone() -> None:
    headers = [*NDJSON, (b"content-encoding", b"gzip")]
    assert (await framed(LINES, b"\x1f\x8b", headers=headers)).body == b"\x1f\x8b"


async def test_an_event_stream_is_supervised_and_never_framed() -> None:
    headers = [(b"content-type", b"text/event-stream")]
    assert (await framed({"/*": "lines"}, b"data: 1\n\n", headers=headers)).body == b"data: 1\n\n"


async def test_a_framed_stream_has_pings_between_its_events_and_all_the_rest() -> None:
    app = chunks_app(b'{"a":', b"1}\n", gap=20, end=False, headers=NDJSON)
    middleware = Recorded(app, frame=LINES, ping_interval=15)
    async with running(middleware, http_scope(headers=ASKS)) as run:
        await anyio.sleep(56)
        assert run.send.body == b":\n\n: ping\n\n: ping\n\n" + b'data: {"a":1}\n\n' + b": ping\n\n"
    assert middleware.reasons == ["client_left"]
    assert middleware.closed[0].mode == "frame"


async def test_head_of_a_framed_response_has_no_body() -> None:
    middleware = SSEMiddleware(chunks_app(b"", headers=NDJSON), frame=LINES)
    async with running(middleware, http_scope("HEAD", headers=ASKS)) as run:
        await run.finish()
    assert run.send.chunks == [b""]
    assert run.send.headers[b"content-type"] == b"text/event-stream; charset=utf-8"


async def test_a_line_without_end_is_an_error_and_not_a_memory_leak(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(headers=NDJSON))
        await send(body(b"{}\n"))
        while True:
            await send(body(b"x" * 1_000_000))

    middleware = Recorded(app, frame=LINES)
    async with running(middleware, http_scope(headers=ASKS)) as run:
        await run.finish()
    assert run.send.body == b"data: {}\n\n"
    assert run.send.complete
    assert middleware.reasons == ["error"]
    assert "chunks" in caplog.text, "the remedy"


async def test_nothing_in_a_body_becomes_a_field() -> None:
    line = json.dumps({"text": "a\u2028b"}, ensure_ascii=False) + "\revent: evil\rid: evil\x0bretry: 1"
    sent = await framed({"text/plain": "lines"}, (line + "\n").encode(), headers=[(b"content-type", b"text/plain")])
    decoder = Decoder()
    events = decoder.feed(sent.body)
    assert {event.event for event in events} == {"message"}
    assert (decoder.last_event_id, decoder.retry) == ("", None)


@pytest.mark.parametrize(
    "frame",
    [3, "lines", {"x": "lines"}, {"text/plain": "words"}, {"text/plain": None}, {"text/event-stream": "lines"},
     {"/a": {"text/event-stream": "lines"}}, {"/a": {"text/plain; charset=x": "lines"}}, {1: "lines"}, {"/a": 1},
     {"text/plain": {"a/b": "lines"}}, {"/a": {3: "lines"}}, {"/a": {}}],
)  # fmt: skip
def test_a_rule_that_cannot_be_meant_is_refused_by_name(frame: Any) -> None:
    with pytest.raises(InvalidOption, match="frame"):
        SSEMiddleware(chunks_app(), frame=frame)


async def test_a_file_that_the_server_was_to_send_has_its_lines_made_events(tmp_path: Path) -> None:
    lines = b"".join(b'{"line":%d}\n' % number for number in range(20_000))
    file = tmp_path / "lines.ndjson"
    file.write_bytes(lines)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(headers=NDJSON))
        await send({"type": "http.response.pathsend", "path": str(file)})

    middleware = Recorded(app, frame=LINES)
    async with running(middleware, http_scope(headers=ASKS)) as run:
        await run.finish()
    assert set(run.send.types) == {"http.response.start", "http.response.body"}
    assert run.send.body == b"".join(b"data: " + line + b"\n\n" for line in lines.splitlines())
    assert run.send.complete
    assert middleware.reasons == ["completed"]


async def test_a_file_of_an_event_stream_is_left_to_the_server(tmp_path: Path) -> None:
    message = {"type": "http.response.pathsend", "path": str(tmp_path / "recorded.txt")}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(message)

    middleware = Recorded(app)
    async with running(middleware) as run:
        await run.finish()
    assert run.send.messages[1:] == [message]
    assert middleware.reasons == ["completed"]


async def test_a_file_that_is_not_there_is_the_apps_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(headers=NDJSON))
        await send({"type": "http.response.pathsend", "path": str(tmp_path / "none")})

    middleware = Recorded(app, frame=LINES)
    async with running(middleware, http_scope(headers=ASKS)) as run:
        await run.finish()
    assert run.send.complete
    assert middleware.reasons == ["error"]
    assert isinstance(middleware.closed[0].error, FileNotFoundError)
