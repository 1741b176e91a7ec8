"""A drain: open streams are told, have a grace, and end; new ones are refused."""

import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from sse_mw import InvalidOption, SSEMiddleware, current_stream, sse_route
from sse_mw._types import Scope
from sse_mw.testing._server import http_scope
from support.driver import Recorded, body, chunks_app, running, sending

pytestmark = pytest.mark.anyio

EVENT_SOURCE = {"Accept": "text/event-stream"}


@sse_route
async def idle(scope: Scope) -> AsyncIterator[str]:
    yield "x"
    await anyio.sleep_forever()


APPS = [idle, chunks_app(b"data: x\n\n", end=False)]


@pytest.mark.parametrize("app", APPS, ids=["source", "passed through"])
@pytest.mark.parametrize("grace", [0, 3.0])
async def test_an_open_stream_ends_after_the_grace_and_says_when_to_come_back(app: Any, grace: float) -> None:
    middleware = Recorded(app, drain_grace=grace, retry=None)
    async with running(middleware) as run:
        await run.send.wait_for_bytes(b"data: x")
        await anyio.sleep(10)
        began = anyio.current_time()
        middleware.drain()
        await run.finish(10)
        assert run.finished_at - began == pytest.approx(grace, abs=0.15)
    assert run.send.complete
    _, _, farewell = run.send.body.partition(b"data: x\n\n")
    assert 1500 <= int(farewell.removeprefix(b"retry: ")) <= 4500
    assert middleware.reasons == ["drain"]


async def test_a_source_may_say_its_own_farewell_and_end_within_the_grace() -> None:
    seen: list[bool] = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        stream = current_stream()
        seen.append(stream.draining)
        yield "x"
        await stream.wait_draining()
        seen.append(stream.draining)
        await anyio.sleep(1)
        yield "see you"

    middleware = Recorded(source)
    async with running(middleware) as run:
        await run.send.wait_for_bytes(b"data: x")
        await anyio.sleep(10)
        await middleware.drain()
        await run.finish(5)
    assert seen == [False, True]
    assert run.send.body == b"data: x\n\ndata: see you\n\n"
    assert middleware.reasons == ["completed"]


async def test_new_streams_are_refused_in_the_form_that_their_client_takes() -> None:
    middleware = Recorded(idle, retry=2000)
    middleware.drain()
    async with running(middleware, http_scope(headers=EVENT_SOURCE)) as event_source, running(middleware) as other:
        await event_source.finish(5)
        await other.finish(5)
    assert event_source.send.status == 200
    assert event_source.send.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert 1000 <= int(event_source.send.body.removeprefix(b"retry: ")) <= 3000
    assert (other.send.status, other.send.body) == (503, b"")
    assert 1 <= int(other.send.headers[b"retry-after"]) <= 3
    assert middleware.reasons == ["refused", "refused"]
    assert len(middleware.opened) == 2, "as many as are closed, for who counts what is open"


async def test_a_refused_head_is_no_stream() -> None:
    middleware = Recorded(idle)
    middleware.drain()
    async with running(middleware, http_scope(method="HEAD")) as run:
        await run.finish(5)
    assert run.send.status == 503
    assert middleware.stats().open == 0
    with anyio.fail_after(1):
        await middleware.drain()
    assert middleware.opened == middleware.closed == []


async def test_a_first_stream_that_is_late_is_drained_too() -> None:
    """The server stops listening while its very first request has not started its response."""
    listening = listen()

    @sse_route
    async def slow(scope: Scope) -> AsyncIterator[str]:
        await anyio.sleep(2)
        yield "x"
        await anyio.sleep_forever()

    middleware = Recorded(slow, drain_grace=1, open_timeout=None)
    async with running(middleware, http_scope(server=listening.getsockname())) as run:
        await anyio.sleep(1)
        listening.close()
        await run.finish(5)
    assert run.send.complete
    assert middleware.reasons == ["drain"]


async def test_a_drain_may_be_begun_by_a_signal_that_interrupts_a_request() -> None:
    middleware = Recorded(idle)
    with middleware._loops._lock:  # as a request has it at that moment, in the same thread
        middleware.drain()
    assert middleware._draining


@pytest.mark.parametrize("hosts", [("127.0.0.1", "127.0.0.2"), ("127.0.0.1", "::1")])
async def test_servers_at_one_port_of_several_addresses_drain_each_for_itself(hosts: tuple[str, str]) -> None:
    middleware = Recorded(idle, drain_grace=0)
    with listen() as one, socket.socket(socket.AF_INET6 if ":" in hosts[1] else socket.AF_INET) as other:
        port = one.getsockname()[1]
        try:
            other.bind((hosts[1], port))
        except OSError:
            pytest.skip("platform: no such address here")
        other.listen()
        async with (
            running(middleware, http_scope(server=(hosts[0], port))) as stays,
            running(middleware, http_scope(server=(hosts[1], port))) as ends,
        ):
            await stays.send.wait_for_bytes(b"data: x")
            await ends.send.wait_for_bytes(b"data: x")
            other.close()
            await ends.finish(5)
            await anyio.sleep(5)
            assert not stays.finished.is_set()


async def test_what_listens_on_every_address_is_the_server_of_each() -> None:
    middleware = Recorded(idle, drain_grace=0)
    everywhere = socket.create_server(("", 0))
    port = everywhere.getsockname()[1]
    async with running(middleware, http_scope(server=("127.0.0.1", str(port)))) as run:
        await run.send.wait_for_bytes(b"data: x")
        everywhere.close()
        await run.finish(5)
    assert middleware.reasons == ["drain"]


async def test_a_twin_at_the_same_port_goes_on_with_new_streams() -> None:
    """SO_REUSEPORT: nothing tells whose connection was whose, so that all end; but none is refused for ever."""
    if not hasattr(socket, "SO_REUSEPORT"):
        pytest.skip("platform: no SO_REUSEPORT here")
    middleware = Recorded(idle, drain_grace=0)
    one = socket.create_server(("127.0.0.1", 0), reuse_port=True)
    with socket.create_server(one.getsockname(), reuse_port=True) as twin:
        scope = http_scope(server=twin.getsockname())
        async with running(middleware, scope) as first:
            await first.send.wait_for_bytes(b"data: x")
            one.close()
            await first.finish(5)
            await anyio.sleep(1)
        async with running(middleware, scope) as second:
            await second.send.wait_for_bytes(b"data: x")
            await anyio.sleep(5)
            assert not second.finished.is_set()


async def test_an_app_that_streams_on_after_its_refusal_is_ended() -> None:
    async def busy(send: Any) -> None:
        while True:
            await send(body(b"data: x\n\n"))

    middleware = Recorded(sending(busy))
    middleware.drain()
    async with running(middleware) as run:
        await run.finish(5)
    assert run.send.status == 503


async def test_other_responses_pass_during_a_drain() -> None:
    middleware = SSEMiddleware(chunks_app(b"hello", headers=[(b"content-type", b"text/plain")]))
    middleware.drain()
    async with running(middleware) as run:
        await run.finish()
    assert run.send.body == b"hello"


async def test_a_client_that_does_not_read_does_not_hold_up_a_drain() -> None:
    middleware = Recorded(idle, drain_grace=2, ping_interval=1)
    async with running(middleware) as run:
        await run.send.wait_for_bytes(b"data: x")
        run.send.block()
        await anyio.sleep(5)
        began = anyio.current_time()
        middleware.drain()
        await run.finish(10)
        assert run.finished_at - began < 3
    assert middleware.reasons == ["drain"]


async def test_an_event_in_pieces_is_waited_for_half_a_second() -> None:
    async def script(send: Any) -> None:
        await send(body(b"data: a"))
        await anyio.sleep_forever()

    middleware = Recorded(sending(script), drain_grace=1)
    async with running(middleware) as run:
        await run.send.wait_for_bytes(b"data: a")
        began = anyio.current_time()
        middleware.drain()
        await run.finish(10)
        assert run.finished_at - began == pytest.approx(1.5, abs=0.15)
    assert run.send.body == b"data: a", "nothing of ours in the middle of an event"
    assert run.send.complete


@pytest.mark.real_time
async def test_a_drain_may_be_begun_from_any_thread_any_number_of_times() -> None:
    middleware = Recorded(idle, drain_grace=0.1)
    async with running(middleware) as one, running(middleware) as two:
        for run in (one, two):
            await run.send.wait_for_bytes(b"data: x")
        await anyio.to_thread.run_sync(lambda: [middleware.drain() for _ in range(3)])
        for run in (one, two):
            await run.finish(5)
    assert middleware.reasons == ["drain", "drain"]
    thread = threading.Thread(target=middleware.drain)
    thread.start()
    thread.join()


async def test_a_drain_begins_when_the_server_stops_listening() -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    middleware = Recorded(idle, drain_grace=1)
    async with running(middleware, http_scope(server=listening.getsockname())) as run:
        await run.send.wait_for_bytes(b"data: x")
        await anyio.sleep(5)
        assert not run.finished.is_set()
        closed = anyio.current_time()
        listening.close()
        await run.finish(5)
        assert run.finished_at - closed == pytest.approx(1.2, abs=0.25)
    assert middleware.reasons == ["drain"]


def listen(port: int = 0) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    return listening


@pytest.mark.parametrize("lived", [5, 0])
@pytest.mark.parametrize("same_port", [True, False])
@pytest.mark.parametrize("streams", [0, 1], ids=["it stopped idle", "it stopped with a stream"])
async def test_a_server_that_starts_after_another_has_stopped_streams_and_is_drained_in_turn(
    streams: int, same_port: bool, lived: float
) -> None:
    """As test suites do it: one app, one event loop, many servers."""
    middleware = Recorded(idle, drain_grace=0)
    port = 0
    for _ in range(3):
        listening = listen(port if same_port else 0)
        port = listening.getsockname()[1]
        scope = http_scope(server=("127.0.0.1", port))
        async with running(middleware, scope) as first:
            await first.send.wait_for_bytes(b"data: x")
            await anyio.sleep(lived)
            assert not first.finished.is_set()
            if streams:
                listening.close()
                await first.finish(5)
                assert first.send.complete
        listening.close()
    assert middleware.reasons == ["drain" if streams else "client_left"] * 3


async def test_a_server_drains_alone_of_those_in_one_event_loop() -> None:
    middleware = Recorded(idle, drain_grace=0)
    with listen() as one, listen() as other:
        async with (
            running(middleware, http_scope(server=one.getsockname())) as ends,
            running(middleware, http_scope(server=other.getsockname())) as stays,
        ):
            await ends.send.wait_for_bytes(b"data: x")
            await stays.send.wait_for_bytes(b"data: x")
            one.close()
            await ends.finish(5)
            await anyio.sleep(5)
            assert not stays.finished.is_set()
            middleware.drain()
            await stays.finish(5)


async def test_a_stream_that_opens_when_the_server_has_stopped_already_is_drained() -> None:
    """On a connection that was kept alive, while no stream was open and nobody looked."""
    middleware = Recorded(idle, drain_grace=0)
    listening = listen()
    scope = http_scope(server=listening.getsockname())
    async with running(middleware, scope) as first:
        await first.send.wait_for_bytes(b"data: x")
    listening.close()
    async with running(middleware, scope) as late:
        await late.finish(5)
        assert late.send.complete


async def test_another_unix_socket_than_the_servers_is_nothing_to_it(tmp_path: Path) -> None:
    own, other = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    own.bind(str(tmp_path / "own"))
    other.bind(str(tmp_path / "other"))
    own.listen()
    other.listen()
    middleware = Recorded(idle, drain_grace=1)
    async with running(middleware, http_scope(server=(str(tmp_path / "own"), None))) as run:
        await run.send.wait_for_bytes(b"data: x")
        other.close()
        await anyio.sleep(5)
        assert not run.finished.is_set()
        own.close()
        await run.finish(5)
    assert middleware.reasons == ["drain"]


@pytest.mark.parametrize(("cleanup", "ends_after"), [(0.3, 0.3), (5.0, 0.5)])
@pytest.mark.parametrize("kind", ["source", "passed through"])
async def test_the_cleanup_comes_before_the_end_of_the_body_if_it_is_short(
    kind: str, cleanup: float, ends_after: float
) -> None:
    """A server may stop its event loop when the last response has ended, as granian does."""
    cleaned_up_at: list[float] = []

    async def clean_up() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(cleanup)
        cleaned_up_at.append(anyio.current_time())

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        try:
            yield "x"
            await anyio.sleep_forever()
        finally:
            await clean_up()

    async def passed_through(send: Any) -> None:
        try:
            await send(body(b"data: x\n\n"))
            await anyio.sleep_forever()
        finally:
            await clean_up()

    # A short send_timeout: the wait is no slow send.
    app = source if kind == "source" else sending(passed_through)
    middleware = Recorded(app, drain_grace=0, send_timeout=0.1)
    async with running(middleware) as run:
        await run.send.wait_for_bytes(b"data: x")
        await anyio.sleep(1)
        began = anyio.current_time()
        middleware.drain()
        await run.send.wait_for_bytes(b"retry: ")
        assert anyio.current_time() - began == pytest.approx(ends_after, abs=0.12)
        await run.finish(10)
    assert run.send.complete
    assert cleaned_up_at[0] - began == pytest.approx(cleanup, abs=0.12)
    assert middleware.reasons == ["drain"]


@pytest.mark.parametrize("grace", [None, -1, True, False, float("nan"), "5"])
def test_a_grace_that_cannot_be_meant_is_refused(grace: Any) -> None:
    with pytest.raises(InvalidOption, match="drain_grace"):
        SSEMiddleware(idle, drain_grace=grace)
