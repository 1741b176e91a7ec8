"""A source under `@sse_route`: when its stream starts, who runs it, and how it ends."""

import asyncio
import contextvars
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from sse_mw import InvalidEvent, InvalidSource, SSEMiddleware, current_stream, sse_route
from sse_mw._types import ASGIApp, Message, Receive, Scope, Send
from sse_mw.testing._server import http_scope
from support.driver import Recorded, running

pytestmark = pytest.mark.anyio

Notes = list[str]


def idle(notes: Notes, cleanup: float = 1.0) -> Any:
    """Gives an event, then nothing; cleans up with an await."""

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        try:
            yield "x"
            await anyio.sleep_forever()
        finally:
            notes.append("finally")
            await anyio.sleep(cleanup)
            notes.append("cleaned")

    return source


async def test_events_then_a_whole_response() -> None:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[Any]:
        yield "one"
        await anyio.sleep(1)
        yield {"event": "e", "data": "two"}
        yield b"data: three\n\n"
        yield b""
        yield {"n": 4}["n"]

    middleware = Recorded(source, coalesce=False)
    async with running(middleware) as run:
        await run.finish()
    assert run.send.chunks == [b"data: one\n\n", b"event: e\ndata: two\n\n", b"data: three\n\n", b"data: 4\n\n", b""]
    assert run.send.complete
    assert run.send.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert middleware.reasons == ["completed"]
    info = middleware.closed[0]
    assert (info.mode, info.messages, info.error) == ("source", 4, None)


# The start


@pytest.mark.parametrize(("open_timeout", "opens_at"), [(0.1, 0.1), (2, 2), (None, 5)])
async def test_the_response_starts_with_the_first_event_or_at_open_timeout(
    open_timeout: float | None, opens_at: float
) -> None:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        await anyio.sleep(5)
        yield "late"

    began = anyio.current_time()
    async with running(SSEMiddleware(source, open_timeout=open_timeout)) as run:
        await run.finish()
    assert run.send.times[0] - began == pytest.approx(opens_at, abs=0.05)
    assert run.send.body.endswith(b"data: late\n\n")


async def test_what_is_raised_before_the_first_event_reaches_the_app_and_nothing_is_sent() -> None:
    notes: Notes = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        try:
            await anyio.sleep(0.05)
            raise LookupError("no such thing")
            yield
        finally:
            await anyio.sleep(0.01)
            notes.append("cleaned")

    middleware = Recorded(source)
    async with running(middleware) as run:
        await run.finish()
    assert isinstance(run.error, LookupError)
    assert run.send.messages == []
    assert notes == ["cleaned"]
    assert middleware.opened == middleware.closed == []


async def test_what_is_raised_after_open_timeout_ends_the_stream() -> None:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        await anyio.sleep(1)
        raise LookupError("too late")
        yield

    middleware = Recorded(source, on_error=lambda error: "sorry")
    async with running(middleware) as run:
        await run.finish()
    assert run.error is None
    assert run.send.body == b":\n\ndata: sorry\n\n"
    assert run.send.complete
    assert middleware.reasons == ["error"]


async def test_an_item_that_is_no_event_is_refused_before_the_start() -> None:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[Any]:
        yield {"dat": "x"}

    async with running(SSEMiddleware(source)) as run:
        await run.finish()
    assert isinstance(run.error, InvalidEvent)
    assert "'dat'" in str(run.error)
    assert run.send.messages == []


async def test_an_item_that_is_no_event_ends_a_stream_that_has_started(caplog: pytest.LogCaptureFixture) -> None:
    notes: Notes = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[Any]:
        try:
            yield "x"
            yield {"dat": "x"}
        finally:
            await anyio.sleep(0.01)
            notes.append("cleaned")

    middleware = Recorded(source)
    async with running(middleware) as run:
        await run.finish()
    assert run.error is None
    assert run.send.body == b"data: x\n\n"
    assert notes == ["cleaned"]
    assert isinstance(middleware.closed[0].error, InvalidEvent)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("open_timeout", [None, 60.0])
async def test_a_client_that_leaves_before_the_first_event_ends_the_source(open_timeout: float | None) -> None:
    notes: Notes = []

    @sse_route(open_timeout=open_timeout)
    async def source(scope: Scope) -> AsyncIterator[str]:
        try:
            await anyio.sleep(600)
            yield "late"
        finally:
            await anyio.sleep(0.1)
            notes.append("cleaned")

    async with running(SSEMiddleware(source), http_scope("POST"), b"a body", b" in two") as run:
        await anyio.sleep(10)
        run.disconnect()
        await run.finish(5)
    assert notes == ["cleaned"]


async def test_a_body_that_came_before_the_first_event_is_there_for_the_source() -> None:
    @sse_route(open_timeout=None)
    async def source(scope: Scope, receive: Receive) -> AsyncIterator[str]:
        await anyio.sleep(10)
        first, second = await receive(), await receive()
        yield (first["body"] + second["body"]).decode()

    async with running(SSEMiddleware(source), http_scope("POST"), b"a body", b" in two") as run:
        await run.finish()
    assert run.send.body == b"data: a body in two\n\n"


# Errors after the start


async def test_the_apps_error_handling_sees_an_exception_once_and_the_server_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[BaseException] = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        raise LookupError("in mid-stream")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await source(scope, receive, send)
        except LookupError as error:
            seen.append(error)
            raise RuntimeError("a handler that came too late") from error

    async with running(SSEMiddleware(app)) as run:
        await run.finish()
    assert run.error is None
    assert len(seen) == 1
    assert run.send.complete
    assert [record.levelname for record in caplog.records] == ["ERROR"], (
        "not a second time for what handlers made of it"
    )


@pytest.mark.parametrize("raised", [asyncio.CancelledError, GeneratorExit])
async def test_a_source_that_is_cancelled_from_within_is_an_error(raised: type[BaseException]) -> None:
    """As an `await` on a cancelled future does it on asyncio."""

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        raise raised

    middleware = Recorded(source)
    async with running(middleware) as run:
        await run.finish()
    assert run.error is None
    assert run.send.complete
    assert middleware.reasons == ["error"]
    assert f"raised {raised.__name__} by itself" in str(middleware.closed[0].error)


# Endings


async def test_a_client_that_leaves_ends_the_source_at_once_and_its_cleanup_is_waited_for() -> None:
    notes: Notes = []
    middleware = Recorded(idle(notes))
    async with running(middleware) as run:
        await run.send.wait_for_bytes(b"data: x")
        await anyio.sleep(10)
        left = anyio.current_time()
        run.disconnect()
        await run.finish()
        assert notes == ["finally", "cleaned"]
        assert run.finished_at - left == pytest.approx(1, abs=0.1)
    assert middleware.reasons == ["client_left"]


async def test_a_source_that_goes_on_after_its_cancellation_is_closed_at_its_next_yield() -> None:
    notes: Notes = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        try:
            await anyio.sleep_forever()
        except BaseException:
            notes.append("swallowed")
        try:
            yield "for nobody"
        finally:
            await anyio.sleep(0.1)
            notes.append("cleaned")

    async with running(SSEMiddleware(source)) as run:
        await run.send.wait_for_bytes(b"data: x")
        run.disconnect()
        await run.finish(5)
    assert notes == ["swallowed", "cleaned"]
    assert run.send.body == b"data: x\n\n"


async def test_a_source_that_does_not_end_is_abandoned_after_cleanup_timeout(caplog: pytest.LogCaptureFixture) -> None:
    released = anyio.Event()

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        try:
            yield "x"
            await anyio.sleep_forever()
        finally:
            await released.wait()

    async with running(SSEMiddleware(source, cleanup_timeout=3)) as run:
        await run.send.wait_for_bytes(b"data: x")
        left = anyio.current_time()
        run.disconnect()
        await run.finish(10)
        assert run.finished_at - left == pytest.approx(3, abs=0.1)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "The source of GET / has not ended within cleanup_timeout; it was abandoned."
    ]
    released.set()
    await anyio.sleep(1)


async def test_a_cleanup_that_fails_is_logged_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        try:
            yield "x"
            await anyio.sleep_forever()
        finally:
            raise LookupError("while cleaning up")

    middleware = Recorded(source)
    async with running(middleware) as run:
        await run.send.wait_for_bytes(b"data: x")
        run.disconnect()
        await run.finish()
    assert run.error is None
    assert middleware.reasons == ["client_left"]
    assert "while cleaning up" in caplog.text


async def test_a_client_that_stops_reading_ends_the_source() -> None:
    notes: Notes = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
                await anyio.sleep(1)
        finally:
            await anyio.sleep(0.1)
            notes.append("cleaned")

    middleware = Recorded(source, send_timeout=5)
    async with running(middleware) as run:
        await run.send.wait_for(2)
        run.send.block()
        await run.finish()
    assert notes == ["cleaned"]
    assert middleware.reasons == ["send_timeout"]


@pytest.mark.parametrize(("option", "reason"), [("idle_timeout", "idle_timeout"), ("max_duration", "max_duration")])
async def test_limits_end_the_source_and_say_when_to_come_back(option: str, reason: str) -> None:
    notes: Notes = []
    middleware = Recorded(idle(notes), **{option: 5.0})
    async with running(middleware) as run:
        await run.finish()
    assert notes == ["finally", "cleaned"]
    assert middleware.reasons == [reason]
    assert run.send.body.startswith(b"data: x\n\nretry: ")
    assert run.send.complete


async def test_pings_keep_a_silent_source_alive() -> None:
    async with running(SSEMiddleware(idle([]), ping_interval=2)) as run:
        await anyio.sleep(7)
        assert run.send.body == b"data: x\n\n" + b": ping\n\n" * 3


async def test_a_source_that_is_busy_stops_within_an_event() -> None:
    made = 0

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        nonlocal made
        while True:
            made += 1
            yield "x"

    async with running(SSEMiddleware(source, coalesce=False)) as run:
        await run.send.wait_for(1000)
        run.disconnect()
        await run.finish()
    assert made - len(run.send.chunks) <= 1


@pytest.mark.parametrize("moment", ["before the first event", "in the stream"])
async def test_a_server_that_cancels_the_request_waits_for_the_cleanup(moment: str) -> None:
    notes: Notes = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        try:
            await anyio.sleep(0 if moment == "in the stream" else 10)
            yield "x"
            await anyio.sleep_forever()
        finally:
            notes.append("finally")
            await anyio.sleep(0.5)
            notes.append("cleaned")

    middleware = Recorded(source)

    async def patient(scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.CancelScope() as scope_of_server:

            async def cancel() -> None:
                await anyio.sleep(0.05 if moment == "before the first event" else 3)
                scope_of_server.cancel()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel)
                await middleware(scope, receive, send)
        notes.append("cancelled")

    async with running(patient) as run:
        await run.finish()
    assert notes == ["finally", "cleaned", "cancelled"]
    if moment == "in the stream":
        assert middleware.reasons == ["cancelled"]
        assert run.send.complete
        assert run.send.body.startswith(b"data: x\n\nretry: ")
    else:
        assert run.send.messages == []


async def test_a_disconnect_that_came_before_the_start_ends_a_source_that_begins_late() -> None:
    """As where an endpoint is called on the event loop, and the app has asked for the disconnect itself."""
    notes: Notes = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        placeholder: Any = endpoint("request")
        await placeholder(scope, receive, send)

    @sse_route
    def endpoint(request: str) -> Any:
        async def source() -> AsyncIterator[str]:
            try:
                await anyio.sleep_forever()
                yield "never"
            finally:
                notes.append("cleaned")

        return source()

    async with running(SSEMiddleware(app)) as run:
        run.disconnect()
        await run.finish(5)
    assert notes == ["cleaned"]


@pytest.mark.parametrize("open_timeout", [None, 60.0])
async def test_who_reads_for_the_disconnect_before_the_start_hands_over_to_who_does_after(
    open_timeout: float | None,
) -> None:
    middleware = Recorded(idle([]), open_timeout=open_timeout)
    async with running(middleware) as run:
        await run.send.wait_for_bytes(b"data: x")
        await anyio.sleep(1)
        run.disconnect()
        await run.finish(5)
    assert middleware.reasons == ["client_left"]


async def test_a_source_whose_iterator_cannot_be_had_is_no_empty_stream() -> None:
    class Source:
        def __aiter__(self) -> AsyncIterator[str]:
            raise StopAsyncIteration

    @sse_route
    async def source(scope: Scope) -> Any:
        return Source()

    async with running(SSEMiddleware(source)) as run:
        await run.finish()
    assert isinstance(run.error, RuntimeError)
    assert run.send.messages == []


async def test_a_shielded_part_of_a_source_is_not_interrupted() -> None:
    notes: Notes = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        with anyio.CancelScope(shield=True):
            await anyio.sleep(3)
            notes.append("committed")
        try:
            await anyio.sleep(60)
        finally:
            notes.append("finally")

    async with running(SSEMiddleware(source)) as run:
        await run.send.wait_for_bytes(b"data: x")
        await anyio.sleep(1)
        run.disconnect()
        await run.finish(10)
    assert notes == ["committed", "finally"]


async def test_the_children_of_a_source_end_with_it() -> None:
    notes: Notes = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            notes.append("child")

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            yield "x"
            await anyio.sleep_forever()

    async with running(SSEMiddleware(source)) as run:
        await run.send.wait_for_bytes(b"data: x")
        run.disconnect()
        await run.finish(5)
    assert notes == ["child"]


@pytest.mark.parametrize("moment", ["while its event waits for the start", "while its event is sent"])
async def test_a_scope_that_is_held_across_a_yield_may_end_it_there(moment: str) -> None:
    notes: Notes = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        try:
            with anyio.fail_after(3):
                yield "x"
                yield "y"
        except TimeoutError:
            notes.append("timed out")
            yield "too slow"

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        async def wait_and_send(message: Message) -> None:
            if moment == "while its event waits for the start" and message["type"] == "http.response.start":
                await anyio.sleep(5)
            await send(message)

        await source(scope, receive, wait_and_send)

    middleware = Recorded(slow)
    async with running(middleware) as run:
        if moment == "while its event is sent":
            run.send.delay = 2
        await run.finish(30)
    assert notes == ["timed out"]
    assert run.send.body.endswith(b"data: too slow\n\n")
    assert middleware.reasons == ["completed"]


async def test_four_cancellations_of_the_request_leave_nothing_of_the_stream() -> None:
    middleware = Recorded(idle([], cleanup=5))
    request_scope = anyio.CancelScope()

    async def cancelled(scope: Scope, receive: Receive, send: Send) -> None:
        with request_scope:
            await middleware(scope, receive, send)

    async with running(cancelled) as run:
        await run.send.wait_for_bytes(b"data: x")
        for _ in range(4):
            request_scope.cancel()
            await anyio.sleep(0.5)
        await run.finish(20)
    assert middleware.stats().open == 0
    assert middleware._loops.get().ticker._count == 0


async def test_a_source_that_begins_when_its_request_is_over_is_refused() -> None:
    contexts: list[contextvars.Context] = []
    errors: list[str] = []

    @sse_route
    async def endpoint(request: str) -> AsyncIterator[str]:
        yield "x"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        contexts.append(contextvars.copy_context())

    async def late() -> None:
        try:
            await endpoint("request")
        except InvalidSource as error:
            errors.append(str(error))

    async with running(SSEMiddleware(app)) as run:
        await run.finish()
    step = contexts[0].run(late().__await__)
    with pytest.raises(StopIteration):
        contexts[0].run(next, step)
    assert "when its request was over already" in errors[0]


@pytest.mark.parametrize("raised", [asyncio.CancelledError, SystemExit, KeyError])
async def test_whatever_on_error_raises_the_stream_ends(
    raised: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        raise LookupError

    async def on_error(error: Exception) -> None:
        raise raised

    middleware = Recorded(source, on_error=on_error)
    async with running(middleware) as run:
        await run.finish(5)
    assert middleware.reasons == ["error"]
    assert run.send.complete
    assert "on_error failed" in caplog.text


class Resetting:
    """An async iterable that begins anew when it is asked for an iterator, and whose iterator is no iterable."""

    def __init__(self) -> None:
        self.asked = 0
        self.closed: Notes = []

    def __aiter__(self) -> "Resetting.Iterator":
        self.asked += 1
        return Resetting.Iterator(self)

    async def aclose(self) -> None:
        self.closed.append("iterable")

    class Iterator:
        def __init__(self, iterable: "Resetting") -> None:
            self._iterable = iterable
            self._count = 0

        async def __anext__(self) -> int:
            self._count += 1
            if self._count > 3:
                raise StopAsyncIteration
            return self._count

        async def aclose(self) -> None:
            self._iterable.closed.append("iterator")


async def test_an_iterable_is_asked_for_its_iterator_once_and_both_are_closed() -> None:
    given = Resetting()

    @sse_route
    async def endpoint(scope: Scope) -> Resetting:
        return given

    async with running(SSEMiddleware(endpoint)) as run:
        await run.finish()
    assert run.send.body == b"data: 1\n\ndata: 2\n\ndata: 3\n\n"
    assert given.asked == 1
    assert given.closed == ["iterator", "iterable"]


# Whose it is


async def test_one_task_in_the_endpoints_context_runs_a_source_from_its_first_step_to_its_cleanup() -> None:
    held: contextvars.ContextVar[str] = contextvars.ContextVar("held")
    tasks: set[int] = set()

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        before = held.get()
        token = held.set("in the source")
        tasks.add(anyio.get_current_task().id)
        try:
            with anyio.CancelScope():
                yield before
                tasks.add(anyio.get_current_task().id)
                await anyio.sleep_forever()
        finally:
            tasks.add(anyio.get_current_task().id)
            await anyio.sleep(0.1)
            assert held.get() == "in the source"
            held.reset(token)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        held.set("in the endpoint")
        await source(scope, receive, send)
        assert held.get() == "in the endpoint"

    async with running(SSEMiddleware(app)) as run:
        await run.send.wait_for_bytes(b"data: in the endpoint\n\n")
        run.disconnect()
        await run.finish()
    assert run.error is None
    assert len(tasks) == 1


async def test_a_source_may_read_the_requests_body() -> None:
    @sse_route
    async def source(scope: Scope, receive: Receive) -> AsyncIterator[str]:
        yield "ready"
        await anyio.sleep(1)
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            yield message["body"].decode()

    async with running(SSEMiddleware(source), http_scope("POST"), b"a", b"b", b"c") as run:
        await run.finish()
    assert run.send.body == b"data: ready\n\ndata: a\n\ndata: b\n\ndata: c\n\n"


async def test_a_source_that_waits_for_the_disconnect_itself_cleans_up() -> None:
    notes: Notes = []

    @sse_route
    async def source(scope: Scope, receive: Receive) -> AsyncIterator[str]:
        yield "x"
        await receive()  # the body
        try:
            await receive()
        finally:
            await anyio.sleep(0.5)
            notes.append("cleaned")

    async with running(SSEMiddleware(source)) as run:
        await run.send.wait_for_bytes(b"data: x")
        await anyio.sleep(1)
        run.disconnect()
        await run.finish()
    assert notes == ["cleaned"]


# What is never started


async def test_head_has_the_headers_and_never_starts_the_source() -> None:
    notes: Notes = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        notes.append("begun")
        yield "x"

    middleware = Recorded(source)
    async with running(middleware, http_scope("HEAD")) as run:
        await run.finish()
    assert (run.send.status, run.send.body, run.send.complete) == (200, b"", True)
    assert run.send.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert notes == []
    assert middleware.opened == middleware.closed == []


class Closable:
    """A source that notes what is done to it."""

    def __init__(self) -> None:
        self.notes: Notes = []

    def __aiter__(self) -> "Closable":
        return self

    async def __anext__(self) -> str:
        self.notes.append("next")
        return "x"

    async def aclose(self) -> None:
        await anyio.sleep(0.1)
        self.notes.append("closed")


async def test_a_source_that_is_never_started_is_closed() -> None:
    given = Closable()

    @sse_route
    async def endpoint(scope: Scope) -> Closable:
        return given

    async with running(SSEMiddleware(endpoint), http_scope("HEAD")) as run:
        await run.finish()
    assert given.notes == ["closed"]


def answering_instead(endpoint: Any, status: int) -> ASGIApp:
    """Calls the endpoint, and answers with something else."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def dropped(message: Message) -> None:
            pass

        await endpoint(scope, receive, dropped)
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"something else"})

    return app


@pytest.mark.parametrize("status", [304, 307, 403, 500, 204])
async def test_a_source_whose_response_is_replaced_is_closed(status: int) -> None:
    notes: Notes = []
    middleware = Recorded(answering_instead(idle(notes), status))
    async with running(middleware) as run:
        await run.finish()
    assert (run.send.status, run.send.body) == (status, b"something else")
    assert notes == ["finally", "cleaned"]
    assert middleware.opened == []


async def test_a_source_whose_response_never_starts_is_closed() -> None:
    notes: Notes = []
    endpoint = idle(notes)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def fail(message: Message) -> None:
            raise LookupError("a middleware of the app's")

        await endpoint(scope, receive, fail)

    async with running(SSEMiddleware(app)) as run:
        await run.finish()
    assert isinstance(run.error, LookupError)
    assert notes == ["finally", "cleaned"]


async def test_the_first_of_two_sources_of_a_request_is_closed_before_the_start() -> None:
    notes: Notes = []
    first = idle(notes)

    @sse_route
    async def second(scope: Scope) -> AsyncIterator[str]:
        yield "second"

    async def dropped(message: Message) -> None:
        pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await first(scope, receive, dropped)
        await second(scope, receive, send)

    async with running(SSEMiddleware(app)) as run:
        await run.finish()
    assert run.send.body == b"data: second\n\n"
    assert notes == ["finally", "cleaned"]


# The app around it


async def test_what_the_framework_sends_of_its_placeholder_is_dropped() -> None:
    @sse_route
    async def endpoint(request: object) -> AsyncIterator[str]:
        yield "x"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        placeholder = await endpoint(object())
        assert placeholder == ""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2"), (b"content-encoding", b"gzip"),
                   (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]  # fmt: skip
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b'"', "more_body": True})
        await send({"type": "http.response.body", "body": b'"'})

    async with running(SSEMiddleware(app)) as run:
        await run.finish()
    assert run.send.status == 201
    assert run.send.body == b"data: x\n\n"
    assert run.send.start["headers"] == [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
    ]


async def test_the_app_goes_on_after_its_stream_as_long_as_it_likes() -> None:
    """With a background task, say."""
    notes: Notes = []
    source = idle(notes)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await source(scope, receive, send)
        await anyio.sleep(20)
        notes.append("background")

    async with running(SSEMiddleware(app)) as run:
        await run.send.wait_for_bytes(b"data: x")
        run.disconnect()
        await run.finish()
    assert notes == ["finally", "cleaned", "background"]


async def test_a_response_sent_by_another_task_than_the_apps_is_waited_for() -> None:
    """As a WSGI adapter does it, whose app has returned long before."""
    notes: Notes = []
    source = idle(notes)

    async with anyio.create_task_group() as tasks:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            started = anyio.Event()

            async def send_and_tell(message: Message) -> None:
                started.set()
                await send(message)

            tasks.start_soon(source, scope, receive, send_and_tell)
            await started.wait()

        middleware = Recorded(app)
        async with running(middleware) as run:
            await anyio.sleep(10)
            assert not run.finished.is_set()
            run.disconnect()
            await run.finish()
        assert middleware.reasons == ["client_left"]
    assert notes == ["finally", "cleaned"]


# current_stream()


@pytest.mark.parametrize(
    ("request_parts", "expected"),
    [
        ({}, None),
        ({"headers": {"Last-Event-ID": "41"}}, "41"),
        ({"headers": {"Last-Event-ID": ""}}, None),
        ({"query_string": b"lastEventId=42"}, "42"),
        ({"query_string": b"a=1&last_event_id=a%20b"}, "a b"),
        ({"query_string": b"evs_last_event_id=%E2%82%AC"}, "€"),
        ({"query_string": b"lastEventId=&last_event_id=7"}, "7"),
        ({"query_string": b"lastEventId=first&lastEventId=second"}, "first"),
        ({"query_string": b"lastEventId=%ff%00"}, "\ufffd\x00"),
        ({"headers": {"Last-Event-ID": "41"}, "query_string": b"lastEventId=42"}, "41"),
    ],
)
async def test_the_last_event_id_comes_from_the_header_or_the_query(
    request_parts: dict[str, Any], expected: str | None
) -> None:
    found: list[str | None] = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        found.append(current_stream().last_event_id)
        yield "x"

    async with running(SSEMiddleware(source), http_scope(**request_parts)) as run:
        await run.finish()
    assert found == [expected]


async def test_a_last_event_id_is_utf_8() -> None:
    """WHATWG HTML: the header's value is "lastEventIDValue", UTF-8 encoded."""
    scope = http_scope()
    scope["headers"].append((b"last-event-id", "é€".encode()))
    seen: list[str | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(current_stream().last_event_id)

    async with running(SSEMiddleware(app), scope) as run:
        await run.finish()
    assert seen == ["é€"]


async def test_the_current_stream_tells_about_itself() -> None:
    infos: list[Any] = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        stream = current_stream()
        infos.append(stream.info)
        yield "x"
        await anyio.sleep(5)
        infos.append(stream.info)

    async with running(SSEMiddleware(source), http_scope(path="/orders")) as run:
        await run.finish()
    assert (infos[0].mode, infos[0].path, infos[0].messages, infos[0].reason) == ("pending", "/orders", 0, None)
    assert (infos[1].mode, infos[1].messages, infos[1].reason) == ("source", 1, None)
    assert infos[1].duration == pytest.approx(5, abs=0.1)


async def test_what_a_request_starts_sees_its_own_stream_and_nobody_elses() -> None:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        for _ in range(3):
            yield current_stream().info.path
            await anyio.sleep(1)

    middleware = SSEMiddleware(source)
    async with running(middleware, http_scope(path="/a")) as one, running(middleware, http_scope(path="/b")) as other:
        await one.finish()
        await other.finish()
    assert one.send.body == b"data: /a\n\n" * 3
    assert other.send.body == b"data: /b\n\n" * 3


async def test_the_cleanup_of_a_source_that_gave_no_event_is_not_waited_for_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It has not been told to stop, so that nothing else limits it."""

    @sse_route(cleanup_timeout=2)
    async def source(scope: Scope) -> AsyncIterator[Any]:
        try:
            yield "x"
            yield {"no": "field"}
        finally:
            await anyio.sleep(1000)

    async with running(SSEMiddleware(source)) as run:
        await run.finish()
    assert run.finished_at <= 2.1
    assert run.send.body == b"data: x\n\n"
    assert run.send.complete
    assert "has not ended within cleanup_timeout" in caplog.text
    assert "unknown key" in caplog.text
