"""Real streams, kept and replayed."""

import json
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from sse_mw import InvalidOption, SSEMiddleware
from sse_mw.testing import Chunk, Recording, StreamEnded, assert_events, connect, record
from sse_mw.testing.httpx import AsyncStreamTransport
from support.servers import StartServer
from support.testing_apps import fastapi

pytestmark = pytest.mark.anyio

HEAD = '{"recording": 1, "status": 200, "headers": [], "ended_at": 0, "complete": true}'
RECORDING = Recording(
    200,
    ((b"content-type", b"text/event-stream"), (b"x-name", "é".encode("latin-1"))),
    (Chunk(0.5, "data: é".encode()[:-1]), Chunk(7.0, "é".encode()[-1:] + b"\n\n"), Chunk(7.0, b"data: \xff\n\n")),
    9.0,
    complete=True,
)


async def test_a_stream_is_replayed_with_its_bytes_and_times(tmp_path: Path) -> None:
    RECORDING.save(tmp_path / "stream.jsonl")
    loaded = Recording.load(tmp_path / "stream.jsonl")
    assert loaded == RECORDING
    began = anyio.current_time()
    async with connect(loaded) as stream:
        assert [(event.data, event.at) async for event in stream] == [("é", 7.0), ("\ufffd", 7.0)]
        assert stream.headers["x-name"] == "é"
        assert anyio.current_time() - began == pytest.approx(9)
        assert stream.chunks == [*RECORDING.chunks]
        assert stream.recording().chunks == RECORDING.chunks
        assert stream.recording().complete


async def test_the_file_is_readable() -> None:
    lines = [json.loads(json.dumps(line)) for line in RECORDING._lines()]
    assert lines[0]["status"] == 200
    assert lines[2] == {"at": 7.0, "base64": "qQoK"}
    assert Recording(200, (), (Chunk(0, b"data: x\n\n"),), 1, complete=False)._lines() is not None


async def test_a_stream_that_was_not_recorded_to_its_end_breaks_off_there() -> None:
    async with connect(SSEMiddleware(fastapi()), "/clock") as stream:
        await stream.take(3)
        recording = stream.recording()
    assert not recording.complete
    async with connect(recording) as stream:
        assert await stream.take(3) == recording.events
        with pytest.raises(StreamEnded, match="ended without ending its response"):
            await anext(stream)


@pytest.mark.filterwarnings("ignore:Async generator 'httpx")  # which httpx leaves behind, as trio says
@pytest.mark.parametrize("limit", [{"events": 2}, {"seconds": 30}, {}])
async def test_a_response_of_httpx_is_recorded(limit: dict[str, int]) -> None:
    transport = AsyncStreamTransport(RECORDING if not limit else SSEMiddleware(fastapi()))
    async with httpx.AsyncClient(transport=transport, timeout=100) as client:
        async with client.stream("GET", "http://test/clock") as response:
            recording = await record(response, **limit)
    assert len(recording.events) == 2
    assert recording.complete == (not limit)
    if limit:
        assert recording.chunks[-1].at == pytest.approx(20)
    else:
        assert [chunk.data for chunk in recording.chunks] == [chunk.data for chunk in RECORDING.chunks]


@pytest.mark.real_time
async def test_a_stream_of_a_real_server_is_recorded_and_replayed(
    anyio_backend_name: str, server: StartServer, tmp_path: Path
) -> None:
    library: Any = httpx if anyio_backend_name == "asyncio" else httpx2
    running = server("support.apps:ticks")
    async with library.AsyncClient() as client, client.stream("GET", running.url) as response:
        recording = await record(response)
    assert recording.complete
    assert b"transfer-encoding" not in dict(recording.headers)
    recording.save(tmp_path / "ticks.jsonl")
    async with connect(Recording.load(tmp_path / "ticks.jsonl")) as stream:
        assert_events([event async for event in stream], [str(number) for number in range(10)])
        assert stream.events[9].at - stream.events[0].at > 0.1


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "a\x1cb\r", "\ufeff"])
def test_whatever_is_saved_can_be_loaded(text: str, tmp_path: Path) -> None:
    recording = Recording(200, (), (Chunk(1.0, text.encode()),), 2.0, complete=False)
    recording.save(tmp_path / "odd.jsonl")
    assert Recording.load(tmp_path / "odd.jsonl") == recording
    edited = "\ufeff" + (tmp_path / "odd.jsonl").read_text("utf-8") + "\n\n"
    (tmp_path / "odd.jsonl").write_text(edited, "utf-8")
    assert Recording.load(tmp_path / "odd.jsonl") == recording


async def test_a_replay_ends_when_its_client_leaves() -> None:
    recording = Recording(RECORDING.status, RECORDING.headers, (Chunk(1.0, b"data: x\n\n"),), 3600.0, complete=True)
    async with connect(recording, within=2) as stream:
        await stream.receive()
        stream.disconnect()
        await stream.wait_closed(within=0.1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the file is empty"),
        ("no json", "Expecting value"),
        ('{"recording": 2}', "format 2"),
        ('{"status": 200}', "KeyError"),
        ("[]", "TypeError"),
        ('{"recording": 1, "status": 99999, "headers": [], "ended_at": 0, "complete": true}', "status 99999"),
        ('{"recording": 1, "status": 200, "headers": [], "ended_at": NaN, "complete": true}', "nan is no time"),
        (f'{HEAD}\n{{"at": 1}}', "line 2.*KeyError"),
        (f'{HEAD}\n{{"at": 1, "text": ""}}\n{{"at": -1, "text": ""}}', "line 3.*-1 is no time"),
        (f'{HEAD}\n{{"at": 1, "text": 5}}', "line 2.*AttributeError"),
        (f'{HEAD}\n{{"at": 1, "base64": "!"}}', "line 2.*base64"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(text)
    with pytest.raises(InvalidOption, match=rf"bad\.jsonl' holds no recording of form 1: .*{complaint}"):
        Recording.load(tmp_path / "bad.jsonl")
    with pytest.raises(OSError, match="none"):
        Recording.load(tmp_path / "none.jsonl")


@pytest.mark.parametrize("limit", [{"events": 0}, {"events": True}, {"seconds": 0}, {"seconds": "1"}])
async def test_a_limit_that_cannot_be_meant_is_refused(limit: dict[str, int]) -> None:
    with pytest.raises(InvalidOption, match="cannot be meant"):
        await record(httpx.Response(200), **limit)
