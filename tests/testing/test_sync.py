"""The same for tests that are plain functions."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar

import anyio
import pytest

from sse_mw import CloseReason, InvalidOption, SSEMiddleware, sse_route
from sse_mw._types import Receive, Scope, Send
from sse_mw.testing import Deadlock, EventStream, Leaked, StreamEnded, StreamTimeout, SyncClient, SyncEventStream
from sse_mw.testing._standing import _Call
from support.driver import body, start
from support.testing_apps import deaf, ended, fastapi, with_lifespan

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
setting: ContextVar[str] = ContextVar("setting")


@BACKENDS
def test_an_endless_stream_is_read_without_an_await(backend: str) -> None:
    ended.clear()
    with SyncClient(SSEMiddleware(fastapi()), backend=backend) as client:
        with client.connect("/clock", params={"count": 3}, last_event_id="8") as stream:
            assert (stream.status, stream.headers["content-type"][:17]) == (200, "text/event-stream")
            assert stream.receive().data == "from 3"
            stream.advance(16)
            assert stream.pings == ["ping"] == stream.comments
            assert [event.json() for event in stream.take(2)] == [{"count": 3}, {"count": 4}]
            assert next(stream).json() == {"count": 5}
            assert stream.wait_for_comment() == "ping"
            assert (stream.last_event_id, stream.retry, stream.error) == ("8", None, None)
            stream.drain()
            assert stream.wait_closed() is CloseReason.DRAIN is stream.closed_by
            assert stream.retry is not None
            assert stream.info is not None
            assert stream.raw == b"".join(chunk.data for chunk in stream.chunks)
            assert stream.recording().events == stream.events
            assert [event.event for event in stream] == ["tick"]  # the one that came while the ping was waited for
            with pytest.raises(StreamEnded):
                stream.receive()
        assert ended == ["clock"]
        with client.connect("/json") as stream:
            assert stream.json() == {"detail": "none"}
            assert stream.read() == stream.raw


@BACKENDS
def test_a_slow_client_and_one_that_leaves(backend: str) -> None:
    with SyncClient(SSEMiddleware(fastapi(), send_timeout=5), backend=backend) as client:
        with client.connect("/clock") as stream:
            stream.receive()
            stream.freeze()
            client.advance(18)
            stream.thaw()
            assert stream.receive().event == "tick"
            stream.freeze()
            assert stream.wait_closed() == "send_timeout"
        with client.connect("/clock") as stream:
            stream.disconnect()
            assert stream.wait_closed() == "client_left"


def test_no_time_passes_between_two_calls() -> None:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        while True:
            await anyio.sleep(0.01)
            made.append(1)
            yield "x"

    made: list[int] = []
    with SyncClient(SSEMiddleware(source), virtual=False, lifespan=False) as client, client.connect() as stream:
        stream.take(2)
        before = len(made)
        time.sleep(0.1)
        assert len(made) == before
        stream.receive()


def test_it_fails_as_the_async_one_does() -> None:
    with SyncClient(SSEMiddleware(fastapi())) as client:
        with pytest.raises(StreamTimeout, match="waited 2 s for an event"):
            with client.connect("/clock") as stream:
                stream.take(2, within=2)
        with pytest.raises(LookupError, match="no more"):
            with client.connect("/fails?late=false"):
                pass
    with SyncClient(deaf, within=2, lifespan=False) as client:
        with pytest.raises(Leaked, match="went on for 2 s"):
            with client.connect():
                pass
        with pytest.raises(ZeroDivisionError) as failed:
            with client.connect():
                raise ZeroDivisionError
        assert "went on for 2 s" in failed.value.__notes__[0]


def test_the_lifespan_runs_and_a_failing_one_is_an_error() -> None:
    events: list[str] = []
    with SyncClient(with_lifespan(events)) as client:
        with client.connect() as stream:
            assert stream.receive().data == "open"
    assert events == ["startup", "shutdown"]
    with pytest.raises(RuntimeError, match="startup failed"):
        SyncClient(with_lifespan([], fails="startup")).__enter__()
    with pytest.raises(RuntimeError, match="shutdown failed"):
        with SyncClient(with_lifespan([], fails="shutdown")):
            pass
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sse_mw.testing")]


def test_the_tests_context_variables_are_the_apps() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"data: %b\n\n" % setting.get().encode(), more=False))

    setting.set("on")
    with SyncClient(app, lifespan=False) as client, client.connect() as stream:
        assert stream.receive().data == "on"


@BACKENDS
def test_an_interrupt_of_the_test_ends_what_it_waits_for(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with Ctrl-C: on a real clock, in a wait that would take long."""
    is_done, looks = _Call.is_done, []

    def interrupted(self: _Call, seconds: float) -> bool:
        looks.append(seconds)
        if len(looks) > 1:
            return is_done(self, seconds)
        is_done(self, 0.05)
        raise KeyboardInterrupt

    with SyncClient(SSEMiddleware(fastapi()), backend=backend, virtual=False) as client:
        with client.connect("/clock") as stream:
            stream.receive()
            with monkeypatch.context() as patch:
                patch.setattr(_Call, "is_done", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    stream.receive(within=1000)
            assert stream.closed_by is None
            stream.disconnect()
            assert stream.wait_closed() == "client_left"


@pytest.mark.parametrize("virtual", [False, True])
def test_an_app_that_blocks_its_event_loop_is_found_out(virtual: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        time.sleep(2)  # noqa: ASYNC251

    monkeypatch.setattr("sse_mw.testing._standing.LOOK", 0.02)
    monkeypatch.setattr("sse_mw.testing._standing.BLOCKED", 0.1)
    with SyncClient(app, virtual=virtual, lifespan=False) as client:
        with pytest.raises(
            StreamTimeout, match=r"blocks its event loop: for .* it has been at .*test_sync\.py:\d+ in app"
        ):
            with client.connect() as stream:
                stream.wait_closed()
        with pytest.raises(StreamTimeout, match="blocks its event loop"):
            client.advance(1)


def test_an_app_that_calls_its_own_client_is_told_so() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        client.advance(1)

    with SyncClient(app, lifespan=False) as client:
        with pytest.raises(RuntimeError, match="waits for itself: give it a client of its own"):
            with client.connect():
                pass


@BACKENDS
def test_an_exit_of_the_apps_is_what_the_test_sees(backend: str) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if backend == "asyncio":
            await asyncio.create_task(leave())
        await leave()

    def look() -> None:
        with SyncClient(app, lifespan=False, backend=backend) as client, client.connect():
            pass

    with pytest.raises(SystemExit):
        look()


def test_a_client_is_used_within_its_block() -> None:
    client = SyncClient(deaf)
    with pytest.raises(RuntimeError, match="within its `with` block"):
        with client.connect():
            pass
    with pytest.raises(RuntimeError, match="within its `with` block"):
        client.advance(1)
    with SyncClient(SSEMiddleware(fastapi())) as client, client.connect("/clock") as stream:
        pass
    with pytest.raises(RuntimeError, match="within its `with` block"):
        stream.receive()


def test_a_deadlock_of_the_apps_is_an_error_and_no_hang() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise Deadlock("as the loop itself would")

    with SyncClient(app, lifespan=False) as client:
        with pytest.raises(Deadlock):
            with client.connect():
                pass


def test_a_backend_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidOption, match="backend='curio' is unknown: give asyncio or trio"):
        SyncClient(deaf, backend="curio")


def test_both_faces_have_the_same_names() -> None:
    asynchronous = {name for name in dir(EventStream) if not name.startswith("_")} - {"next_or_end"}
    asynchronous |= {"status", "headers"}  # attributes there
    assert asynchronous == {name for name in dir(SyncEventStream) if not name.startswith("_")}
