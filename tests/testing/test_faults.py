"""What goes wrong on the way to a client, the same in every run."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_mw import InvalidOption, SSEMiddleware, sse_route
from sse_mw._types import Receive, Scope, Send
from sse_mw._wire import Decoder
from sse_mw.testing import Faults, StreamEnded, StreamTimeout, connect
from sse_mw.testing._faults import Fate, Line
from support.driver import body, start

pytestmark = pytest.mark.anyio


class Counting:
    """A source that counts, at once or paced, and how far it has come."""

    def __init__(self, pace: float) -> None:
        self.made = 0
        self.ended = False
        counting = self

        @sse_route
        async def endpoint(scope: Scope) -> AsyncIterator[str]:
            try:
                while counting.made < 1000:
                    counting.made += 1
                    yield f"é{counting.made}"
                    await anyio.sleep(pace)
            finally:
                counting.ended = True

        self.endpoint = endpoint


@pytest.mark.parametrize("pace", [0, 1], ids=["at once", "paced"])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_connection_that_is_lost_after_some_events(after: int, pace: float) -> None:
    counting = Counting(pace)
    async with connect(SSEMiddleware(counting.endpoint), faults=Faults(drop_after=after)) as stream:
        assert [event.data for event in await stream.take(after)] == [f"é{n + 1}" for n in range(after)]
        with pytest.raises(StreamEnded, match=r"the connection was lost, by a fault that was asked for"):
            await stream.receive()
        with pytest.raises(StreamEnded, match="lost"):
            await stream.read()
        assert await stream.wait_closed() == "client_left"
    assert counting.ended
    assert counting.made < 1000


@pytest.mark.parametrize("pace", [0, 1], ids=["at once", "paced"])
@pytest.mark.parametrize("after", [0, 2])
async def test_a_connection_that_is_lost_within_an_event(after: int, pace: float) -> None:
    async with connect(SSEMiddleware(Counting(pace).endpoint), faults=Faults(truncate_after=after)) as stream:
        await stream.take(after)
        with pytest.raises(StreamEnded):
            await anext(stream)
        whole = "".join(f"data: é{n + 1}\n\n" for n in range(after)).encode()
        assert stream.raw.startswith(whole)
        assert 0 < len(stream.raw) - len(whole) < len("data: é1\n\n".encode())


@pytest.mark.parametrize("pace", [0, 1], ids=["at once", "paced"])
async def test_a_client_that_stalls_and_one_that_reads_on_then(pace: float) -> None:
    counting = Counting(pace)
    app = SSEMiddleware(counting.endpoint, send_timeout=30)
    async with connect(app, faults=Faults(stall_after=2)) as stream:
        await stream.take(2)
        with pytest.raises(StreamTimeout):
            await stream.receive(within=20)
        stream.thaw()
        assert [event.data for event in await stream.take(2)] == ["é3", "é4"]
    counting = Counting(pace)
    async with connect(SSEMiddleware(counting.endpoint, send_timeout=30), faults=Faults(stall_after=2)) as stream:
        assert await stream.wait_closed() == "send_timeout"
    assert counting.ended


async def test_a_response_that_ends_while_its_client_has_stalled() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"data: 1\n\ndata: 2\n\n", more=False))

    async with connect(app, lifespan=False, faults=Faults(stall_after=1)) as stream:
        await stream.receive()
        assert await stream.wait_closed() == "completed"
        stream.thaw()
        assert (await stream.receive()).data == "2"
        assert await stream.read() == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize("size", [1, 2, 5])
async def test_chunks_are_split_at_every_byte(size: int) -> None:
    async with connect(SSEMiddleware(Counting(1).endpoint), faults=Faults(chunk_size=size)) as stream:
        assert [event.data for event in await stream.take(2)] == ["é1", "é2"]
        assert max(len(chunk.data) for chunk in stream.chunks) == size


async def test_slow_reads_slow_the_source_down() -> None:
    counting = Counting(0)
    app = SSEMiddleware(counting.endpoint, coalesce=False, ping_interval=None)
    async with connect(app, faults=Faults(read_delay=2)) as stream:
        began = anyio.current_time()
        await stream.take(3)
        assert anyio.current_time() - began == pytest.approx(6)
        assert counting.made <= 4


@pytest.mark.parametrize(
    ("faults", "complaint"),
    [
        ({"drop_after": -1}, "drop_after=-1 cannot be meant: give a whole number of events from 0 on"),
        ({"stall_after": True}, "stall_after=True"),
        ({"truncate_after": 1.5}, r"truncate_after=1\.5"),
        ({"chunk_size": 0}, "chunk_size=0 cannot be meant: give a whole number of bytes from 1 on"),
        ({"read_delay": 0}, "read_delay=0 cannot be meant: give a number of seconds above 0"),
        ({"read_delay": float("nan")}, "read_delay=nan"),
        ({"drop_after": 1, "stall_after": 2}, "drop_after and stall_after exclude each other"),
    ],
)
def test_what_cannot_be_meant_is_refused(faults: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        Faults(**faults)


PIECES = st.lists(
    st.sampled_from([b"data: x", b"\n", b"\n\n", b"\r\n", b"\r", b": c", b"id: 1", b"\xe2\x82", b"\xac"]), max_size=30
)


@given(pieces=PIECES, limit=st.integers(0, 3), kind=st.sampled_from(["drop_after", "truncate_after", "stall_after"]),
       size=st.sampled_from([None, 1, 3]))  # fmt: skip
def test_what_arrives_is_a_prefix_with_so_many_whole_events(
    pieces: list[bytes], limit: int, kind: str, size: int | None
) -> None:
    line = Line(Faults(**{kind: limit}, chunk_size=size))
    line.begin()
    arrived: list[bytes] = []
    for piece in pieces:
        if line.fate is not Fate.LOST:
            arrived += line.take(piece)
    sent, got = b"".join(pieces), b"".join(arrived)
    assert sent.startswith(got)
    decoder = Decoder()
    events = len(Decoder().feed(sent))
    assert len(decoder.feed(got)) == min(events, limit)
    if kind == "truncate_after":
        assert (line.fate is Fate.LOST) or got == sent
    else:
        assert (line.fate is Fate.OPEN) == (events < limit)
    if kind == "stall_after" and line.fate is Fate.STALLED:
        assert got + b"".join(line.resume()) == sent


async def test_a_lost_connection_is_no_error_of_the_apps(caplog: pytest.LogCaptureFixture) -> None:
    async with connect(SSEMiddleware(Counting(1).endpoint), faults=Faults(drop_after=1)) as stream:
        await stream.wait_closed()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
