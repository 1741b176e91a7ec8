"""Whatever an app sends, cut wherever, whenever: its bytes come out as they were, and ours never split an event."""

from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_mw import SSEMiddleware
from sse_mw._wire import Decoder
from sse_mw.testing._run import run_virtually
from support.driver import chunks_app, running

# An event's own bytes are never these, so ours can be told from the app's.
PING = b": \x00ping\n\n"
OPENING = b":\n\n"

STREAM_BYTES = st.lists(
    st.sampled_from([b"data: x", b"data", b"id: 7", b"event: e", b"retry: 5", b":", b"\xe2\x82\xac", b"\xef\xbb\xbf",
                     b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r", b" ", b"\xff"])
    | st.binary(max_size=4).filter(lambda chunk: b"\x00" not in chunk and chunk != OPENING),
    max_size=12,
)  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("part", range(4))  # so that no test takes long
@settings(deadline=None, max_examples=50)
@given(chunks=STREAM_BYTES, delays=st.lists(st.sampled_from([0, 0.01, 0.1, 0.4, 1.1]), min_size=12, max_size=12),
       form=st.sampled_from(["comment", "event"]), retry=st.sampled_from([None, 77]))  # fmt: skip
def test_nothing_of_the_apps_is_changed_and_nothing_of_ours_is_inside_an_event(
    part: int, backend: str, chunks: list[bytes], delays: list[float], form: str, retry: int | None
) -> None:
    ping = PING if form == "comment" else b"event: \x00ping\ndata: \n\n"
    sent = run_virtually(backend, partial(drive, chunks, delays, ping, retry))
    ours, apps = sort_out(sent, ping, retry)
    original = b"".join(chunks)
    # A BOM that is not first any more goes; nothing else may.
    assert apps in (original, original.removeprefix(b"\xef\xbb\xbf"))
    if apps != original:
        assert ours
    assert parsed(apps) == parsed(original)
    assert only_apps(parsed(b"".join(chunk for _, chunk in sent))) == parsed(original)


async def drive(chunks: list[bytes], delays: list[float], ping: bytes, retry: int | None) -> list[tuple[float, bytes]]:
    """What a client was sent, message by message."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        inner = chunks_app(*chunks, gap=0)
        waits = iter(delays)

        async def slow_send(message: Any) -> None:
            if message.get("body"):
                await anyio.sleep(next(waits))
            await send(message)

        await inner(scope, receive, slow_send)

    middleware = SSEMiddleware(app, ping_interval=0.3, ping_event=ping, retry=retry)
    async with running(middleware) as run:
        await run.finish(1000)
    assert run.error is None
    assert run.send.complete
    return list(zip(run.send.times[1:], run.send.chunks, strict=True))


def sort_out(sent: list[tuple[float, bytes]], ping: bytes, retry: int | None) -> tuple[list[int], bytes]:
    """The places of our messages among all, and the app's bytes."""
    opening = OPENING if retry is None else b"retry: 77\n\n"
    ours, apps = [], b""
    for index, (_, chunk) in enumerate(sent):
        if chunk == opening or b"\x00" in chunk:
            assert chunk in {opening, *(ping.replace(b"\n", end) for end in (b"\n", b"\r", b"\r\n"))}
            ours.append(index)
        else:
            apps += chunk
    return ours, apps


def parsed(stream: bytes) -> tuple[list[Any], str]:
    decoder = Decoder()
    events = [(event.event, event.data, event.id) for event in decoder.feed(stream)]
    return events, decoder.last_event_id


def only_apps(result: tuple[list[Any], str]) -> tuple[list[Any], str]:
    events, last_event_id = result
    return [event for event in events if event[0] != "\x00ping"], last_event_id
