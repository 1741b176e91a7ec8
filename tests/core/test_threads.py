"""Sync sources: each step in a worker thread, all in one context, under a limit of their own."""

import contextvars
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from sse_mw import SSEMiddleware, current_stream, sse_route
from sse_mw._types import Receive, Scope, Send
from sse_mw.testing._server import Receive as Client
from sse_mw.testing._server import Send as Server
from sse_mw.testing._server import http_scope
from support.driver import Recorded, running

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


async def test_a_generators_steps_share_a_thread_and_a_context() -> None:
    held: contextvars.ContextVar[str] = contextvars.ContextVar("held")
    threads: set[int] = set()
    here = threading.get_ident()

    @sse_route
    def source(scope: Scope) -> Iterator[str]:
        token = held.set("held")
        try:
            for _ in range(3):
                threads.add(threading.get_ident())
                yield current_stream().info.path
        finally:
            held.reset(token)
            threads.add(threading.get_ident())

    async with running(SSEMiddleware(source), http_scope(path="/sync")) as run:
        await run.finish()
    assert run.error is None
    assert run.send.body == b"data: /sync\n\n" * 3
    assert len(threads) == 1
    assert here not in threads


async def test_what_a_generator_holds_may_belong_to_its_thread() -> None:
    @sse_route
    def source(scope: Scope) -> Iterator[str]:
        connection = sqlite3.connect(":memory:")
        try:
            for number in range(5):
                yield connection.execute("select ?", (number,)).fetchone()[0]
        finally:
            connection.close()

    middleware = SSEMiddleware(source)
    bodies: list[bytes] = []

    async def serve() -> None:
        server = Server()
        await middleware(http_scope(), Client(), server)
        bodies.append(server.body.removeprefix(b":\n\n"))

    async with anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(serve)
    assert bodies == [b"".join(b"data: %d\n\n" % number for number in range(5))] * 30


async def test_what_a_generator_raises_before_its_first_event_reaches_the_app() -> None:
    @sse_route
    def source(scope: Scope) -> Iterator[str]:
        raise LookupError("no such thing")
        yield

    async with running(SSEMiddleware(source, open_timeout=5)) as run:
        await run.finish()
    assert isinstance(run.error, LookupError)
    assert run.send.messages == []


async def test_a_stop_iteration_from_next_is_no_event() -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def __iter__(self) -> "Counter":
            return self

        def __next__(self) -> int:
            self.count += 1
            if self.count > 2:
                raise StopIteration
            return self.count

    @sse_route
    def counting(scope: Scope) -> Counter:
        return Counter()

    async with running(SSEMiddleware(counting)) as run:
        await run.finish()
    assert run.send.body == b"data: 1\n\ndata: 2\n\n"


class Rows:
    """An iterable with a `close` of its own, as a database's cursor has one."""

    def __init__(self) -> None:
        self.closed_in: list[int] = []

    def __iter__(self) -> Iterator[str]:
        yield "x"

    def close(self) -> None:
        self.closed_in.append(threading.get_ident())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_iterable_is_closed_in_its_thread_started_or_not(method: str) -> None:
    rows = Rows()

    @sse_route
    def endpoint(scope: Scope) -> Rows:
        return rows

    async with running(SSEMiddleware(endpoint), http_scope(method)) as run:
        await run.finish()
    assert len(rows.closed_in) == 1
    assert rows.closed_in[0] != threading.get_ident()


async def test_threads_that_are_all_taken_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    step = threading.Event()

    @sse_route
    def source(scope: Scope) -> Iterator[str]:
        step.wait(10)
        yield "x"

    middleware = SSEMiddleware(source, max_threads=1, open_timeout=0.05)
    async with running(middleware) as one, running(middleware) as two, running(middleware) as three:
        for run in (one, two, three):
            await run.send.wait_for(1)
        step.set()
        for run in (one, two, three):
            await run.finish(5)
    assert caplog.text.count("All threads for sync sources are held by open streams") == 1


@pytest.mark.parametrize("raised", [StopAsyncIteration, GeneratorExit])
async def test_what_would_look_like_an_end_is_an_error(raised: type[BaseException]) -> None:
    class Odd:
        def __init__(self) -> None:
            self.count = 0

        def __iter__(self) -> "Odd":
            return self

        def __next__(self) -> int:
            self.count += 1
            if self.count > 1:
                raise raised
            return self.count

    @sse_route
    def being_odd(scope: Scope) -> Odd:
        return Odd()

    middleware = Recorded(being_odd)
    async with running(middleware) as run:
        await run.finish()
    assert run.send.body == b"data: 1\n\n"
    assert middleware.reasons == ["error"]


async def test_a_client_that_leaves_closes_the_generator_when_its_step_is_through() -> None:
    notes: list[str] = []
    step = threading.Event()

    @sse_route
    def source(scope: Scope) -> Iterator[str]:
        try:
            yield "x"
            step.wait(10)
            notes.append("through")
            yield "for nobody"
        finally:
            notes.append("finally")

    middleware = Recorded(source)
    async with running(middleware) as run:
        await run.send.wait_for_bytes(b"data: x")
        await anyio.sleep(0.05)
        run.disconnect()
        await anyio.sleep(0.1)
        assert middleware.reasons == ["client_left"], "that does not wait"
        assert not run.finished.is_set()
        step.set()
        await run.finish()
    assert notes == ["through", "finally"]
    assert run.send.body == b"data: x\n\n"


async def test_a_step_that_does_not_return_is_abandoned_and_the_generator_closed_when_it_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed = anyio.Event()
    step = threading.Event()

    @sse_route(cleanup_timeout=0.1)
    def source(scope: Scope) -> Iterator[str]:
        try:
            yield "x"
            step.wait(10)
            yield "for nobody"
        finally:
            anyio.from_thread.run_sync(closed.set)

    async with running(SSEMiddleware(source)) as run:
        await run.send.wait_for_bytes(b"data: x")
        await anyio.sleep(0.05)
        run.disconnect()
        await run.finish(5)
        assert "it was abandoned" in caplog.text
        assert not closed.is_set()
        step.set()
        with anyio.fail_after(5):
            await closed.wait()


async def test_sync_sources_beyond_max_threads_wait_and_end_all_the_same() -> None:
    step = threading.Event()
    begun = anyio.Semaphore(0)

    @sse_route
    def source(scope: Scope) -> Iterator[str]:
        anyio.from_thread.run_sync(begun.release)
        step.wait(10)
        yield "x"

    middleware = SSEMiddleware(source, max_threads=2, open_timeout=0.05)
    async with running(middleware) as one, running(middleware) as two:
        with anyio.fail_after(5):
            await begun.acquire()
            await begun.acquire()
        async with running(middleware) as three, running(middleware) as four:
            await three.send.wait_for(2)
            assert three.send.body == b":\n\n", "it is open, and silent"
            three.disconnect()
            await three.finish(5)
            assert not one.finished.is_set()
            step.set()
            for run in (one, two, four):
                await run.finish(5)
    for run in (one, two, four):
        assert run.send.body.endswith(b"data: x\n\n")
    assert b"data" not in three.send.body


async def test_an_endpoint_in_a_frameworks_thread_waits_there_for_the_first_event() -> None:
    """As a framework calls a sync endpoint: an exception comes out of the call."""
    outcomes: list[Any] = []

    @sse_route
    def fails(request: str) -> Iterator[str]:
        raise LookupError(request)
        yield

    @sse_route
    def works(request: str) -> Iterator[str]:
        yield request

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for endpoint in (fails, works):
            try:
                outcomes.append(await anyio.to_thread.run_sync(endpoint, "request"))
            except LookupError as error:
                outcomes.append(error)
        await outcomes[-1](scope, receive, send)

    async with running(SSEMiddleware(app, open_timeout=5)) as run:
        await run.finish()
    assert isinstance(outcomes[0], LookupError)
    assert run.send.body == b"data: request\n\n"


async def test_an_endpoint_called_on_the_loop_itself_does_not_block_it() -> None:
    """A framework that calls sync handlers on its event loop: the wait is in its `send`."""

    @sse_route
    def source(request: str) -> Iterator[str]:
        time.sleep(0.3)
        yield request

    @sse_route
    def fails(request: str) -> Iterator[str]:
        raise LookupError(request)
        yield

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = source if scope["path"] == "/source" else fails
        began = time.monotonic()
        placeholder: Any = endpoint("request")
        assert time.monotonic() - began < 0.3
        await placeholder(scope, receive, send)

    async with running(SSEMiddleware(app, open_timeout=5), http_scope(path="/source")) as run:
        await run.finish()
    assert run.send.body == b"data: request\n\n"
    async with running(SSEMiddleware(app, open_timeout=5), http_scope(path="/fails")) as run:
        await run.finish()
    assert isinstance(run.error, LookupError)
    assert run.send.messages == []


def test_an_async_endpoint_may_be_called_on_another_loop_than_the_servers() -> None:
    """As asgiref's AsyncToSync does it for sync frameworks."""

    @sse_route
    async def source(request: str) -> Any:
        await anyio.lowlevel.checkpoint()
        return [request, request]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        placeholder: Any = await anyio.to_thread.run_sync(lambda: anyio.run(source, "request"))
        await placeholder(scope, receive, send)

    async def serve() -> bytes:
        server = Server()
        await SSEMiddleware(app)(http_scope(), Client(), server)
        return server.body

    assert anyio.run(serve) == b"data: request\n\n" * 2


def test_loops_in_several_threads_share_a_middleware() -> None:
    @sse_route
    def source(scope: Scope) -> Iterator[str]:
        for _ in range(20):
            yield scope["path"]

    middleware = SSEMiddleware(source)

    def serve(number: int) -> bytes:
        async def run() -> bytes:
            server = Server()
            await middleware(http_scope(path=f"/{number}"), Client(), server)
            return server.body

        return anyio.run(run, backend="trio" if number % 2 else "asyncio")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(serve, range(8))) == [b"data: /%d\n\n" % number * 20 for number in range(8)]


def test_a_loop_that_is_gone_leaves_no_thread_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed without a chance for anybody: what waits for the next step must not keep the process alive."""
    import asyncio

    @sse_route
    def source(scope: Scope) -> Iterator[str]:
        while True:
            yield "x"

    async def start() -> "asyncio.Task[Any]":
        server = Server()
        task = asyncio.create_task(SSEMiddleware(source)(http_scope(), Client(), server))
        await server.wait_for(3)
        server.block()
        await asyncio.sleep(0.05)
        return task

    monkeypatch.setattr("sse_mw._thread.LOOK", 0.1)
    before = threading.active_count()
    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(start())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    for pending in asyncio.all_tasks(loop):
        pending._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    until = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before
