"""How a stream ends: disconnects, failures, timeouts, senders, shutdowns, and what runs afterwards."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.routing import Route

from sse_mw import SSEMiddleware
from sse_mw.testing._run import run_virtually
from sse_mw.testing._server import http_scope
from support.compat import OURS, PEER, Package, asgi, serving, whole
from support.driver import running

pytestmark = pytest.mark.anyio


class Source:
    """Yields "x", then waits until it is ended; `ended` says how, in the order in which all is told to it."""

    def __init__(self, *, cleanup: float = 0.0, first: bool = True) -> None:
        self.ended: list[str] = []
        self.ended_at: float | None = None
        self._cleanup = cleanup
        self._first = first

    async def __call__(self) -> AsyncIterator[str]:
        try:
            if self._first:
                yield "x"
            await anyio.sleep_forever()
        except BaseException as error:
            self.ended.append("cancelled" if isinstance(error, anyio.get_cancelled_exc_class()) else "closed")
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(self._cleanup)
            self.ended.append("finally")
            self.ended_at = anyio.current_time()


async def failing() -> AsyncIterator[str]:
    yield "x"
    raise ValueError("mid-stream")


SHUTDOWN = pytest.param("shutdown", marks=pytest.mark.differs("the shutdown on trio", on="trio"))


# The client leaves


@pytest.mark.parametrize("spec_version", ["2.0", "2.4"])
async def test_a_client_that_leaves_ends_the_source(package: Package, spec_version: str) -> None:
    source = Source()
    scope = http_scope(spec_version=spec_version)
    async with serving(package, lambda: package.EventSourceResponse(source()), scope) as served:
        await served.send.wait_for(2)
        await anyio.sleep(1)
        left_at = anyio.current_time()
        served.disconnect()
        await served.finish()
    assert source.ended == ["cancelled", "finally"]
    assert served.finished_at - left_at <= 0.1
    assert served.raised is None


async def test_the_close_handler_is_awaited_with_the_disconnect_before_the_source_ends(package: Package) -> None:
    source = Source()

    async def handler(message: Any) -> None:
        await anyio.sleep(1)
        source.ended.append(message["type"])

    def make() -> Any:
        return package.EventSourceResponse(source(), client_close_handler_callable=handler)

    async with serving(package, make) as served:
        await served.send.wait_for(2)
        served.disconnect()
        await served.finish()
    assert source.ended == ["http.disconnect", "cancelled", "finally"]


@pytest.mark.parametrize("ending", ["completed", SHUTDOWN])
async def test_the_close_handler_is_for_clients_that_leave_alone(package: Package, ending: str) -> None:
    told: list[Any] = []

    async def handler(message: Any) -> None:
        told.append(message)

    content: Any = ["x"] if ending == "completed" else Source()()

    def make() -> Any:
        return package.EventSourceResponse(content, client_close_handler_callable=handler)

    async with serving(package, make) as served:
        await served.send.wait_for(2)
        package.AppStatus.should_exit = ending == "shutdown"
        await served.finish()
    assert told == []


async def test_what_the_close_handler_raises_is_raised(package: Package) -> None:
    async def handler(message: Any) -> None:
        raise LookupError("no such client")

    source, ran = Source(), list[str]()

    def make() -> Any:
        return package.EventSourceResponse(
            source(), client_close_handler_callable=handler, background=BackgroundTask(ran.append, "ran")
        )

    async with serving(package, make) as served:
        await served.send.wait_for(2)
        served.disconnect()
        await served.finish()
    assert isinstance(served.raised, LookupError)
    assert source.ended == ["cancelled", "finally"]
    assert ran == []


@pytest.mark.differs("a send that shows that the client has left")
async def test_the_close_handler_is_called_too_where_a_send_alone_shows_the_disconnect(package: Package) -> None:
    told: list[Any] = []

    async def handler(message: Any) -> None:
        told.append(message)

    async def source() -> AsyncIterator[str]:
        while True:
            yield "x"
            await anyio.sleep(1)

    def make() -> Any:
        return package.EventSourceResponse(source(), client_close_handler_callable=handler)

    async with serving(package, make) as served:
        await served.send.wait_for(2)
        served.send.fail(OSError("gone"))
        await served.finish()
    assert told == [{"type": "http.disconnect"}]
    assert served.raised is None


# Failures


async def test_an_exception_of_the_source_is_raised_after_what_was_yielded(package: Package) -> None:
    served = await whole(package, lambda: package.EventSourceResponse(failing()))
    assert isinstance(served.raised, ValueError)
    assert served.body == b"data: x\r\n\r\n"


@pytest.mark.differs("a source that fails")
async def test_a_client_has_a_whole_response_when_the_source_fails(package: Package) -> None:
    served = await whole(package, lambda: package.EventSourceResponse(failing()))
    assert served.send.complete


def nest(error: Exception, deep: int) -> Exception:
    return nest(ExceptionGroup("a task group's", [error]), deep - 1) if deep else error


@pytest.mark.parametrize("nested", [1, 2])
async def test_a_group_of_one_exception_is_raised_as_that_exception(package: Package, nested: int) -> None:
    async def source() -> AsyncIterator[str]:
        yield "x"
        raise nest(ValueError("the one"), nested)

    served = await whole(package, lambda: package.EventSourceResponse(source()))
    assert isinstance(served.raised, ValueError)


async def test_a_group_of_two_stays_one(package: Package) -> None:
    async def source() -> AsyncIterator[str]:
        yield "x"
        raise ExceptionGroup("two", [ValueError(), KeyError()])

    served = await whole(package, lambda: package.EventSourceResponse(source()))
    assert isinstance(served.raised, ExceptionGroup)
    assert len(served.raised.exceptions) == 2


class Unsendable:
    """A source whose second item is no event, and whose cleanup takes a while, or for ever."""

    def __init__(self, cleanup: float) -> None:
        self.cleanup = cleanup
        self.closed: list[str] = []

    async def __call__(self) -> AsyncIterator[Any]:
        try:
            yield "x"
            yield {"data": "y", "kind": "z"}
        finally:
            self.closed.append("begun")
            await anyio.sleep(self.cleanup)
            self.closed.append("done")


async def test_a_source_whose_item_is_no_event_cleans_up_and_the_error_is_raised(package: Package) -> None:
    source = Unsendable(5)
    served = await whole(package, lambda: package.EventSourceResponse(source()))
    assert isinstance(served.raised, TypeError)
    assert source.closed == ["begun", "done"]


@pytest.mark.parametrize("limit", [0, 3])
async def test_nobody_waits_longer_than_cleanup_timeout_for_that(
    package: Package, limit: float, caplog: pytest.LogCaptureFixture
) -> None:
    source = Unsendable(500)
    served = await whole(package, lambda: package.EventSourceResponse(source(), cleanup_timeout=limit))
    assert isinstance(served.raised, TypeError)
    assert source.closed == ["begun"]
    assert limit <= served.finished_at <= limit + 0.1
    assert [record.levelname for record in caplog.records if "clean" in record.getMessage()] == ["WARNING"]


async def test_without_a_cleanup_timeout_it_takes_as_long_as_it_takes(package: Package) -> None:
    source = Unsendable(100)
    served = await whole(package, lambda: package.EventSourceResponse(source(), cleanup_timeout=None))
    assert served.finished_at >= 99.9
    assert source.closed == ["begun", "done"]


@pytest.mark.differs("an error before the first event")
async def test_an_error_before_the_first_event_is_the_apps_to_answer(package: Package) -> None:
    async def source() -> AsyncIterator[str]:
        raise HTTPException(403)
        yield ""

    async def endpoint(request: Request) -> Any:
        return package.EventSourceResponse(source())

    app = asgi(package, Starlette(routes=[Route("/", endpoint)]))
    async with running(app) as run:
        await run.finish()
    assert (run.send.status, run.send.body) == (403, b"Forbidden")


# The sender


async def test_a_sender_runs_beside_the_stream(package: Package) -> None:
    sending, receiving = anyio.create_memory_object_stream[str](1)

    async def sender() -> None:
        async with sending:
            for item in "abc":
                await sending.send(item)
                await anyio.sleep(1)

    served = await whole(package, lambda: package.EventSourceResponse(receiving, data_sender_callable=sender))
    await receiving.aclose()
    assert served.body == b"data: a\r\n\r\ndata: b\r\n\r\ndata: c\r\n\r\n"
    assert served.raised is None


async def test_a_sender_that_returns_does_not_end_the_stream(package: Package) -> None:
    async def sender() -> None:
        pass

    source = Source()
    async with serving(package, lambda: package.EventSourceResponse(source(), data_sender_callable=sender)) as served:
        await anyio.sleep(100)
        assert not served.is_finished
    assert source.ended == ["cancelled", "finally"]


async def test_a_sender_that_fails_ends_it_and_its_exception_is_raised(package: Package) -> None:
    async def sender() -> None:
        await anyio.sleep(3)
        raise LookupError("nothing to send")

    source = Source()
    served = await whole(package, lambda: package.EventSourceResponse(source(), data_sender_callable=sender))
    assert isinstance(served.raised, LookupError)
    assert served.finished_at <= 3.1
    assert source.ended == ["cancelled", "finally"]


@pytest.mark.parametrize("ending", ["completed", "client_left"])
async def test_a_sender_is_cancelled_at_the_end(package: Package, ending: str) -> None:
    ended: list[str] = []

    async def sender() -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            ended.append("sender")
            raise

    content: Any = ["x"] if ending == "completed" else Source()()
    async with serving(package, lambda: package.EventSourceResponse(content, data_sender_callable=sender)) as served:
        await served.send.wait_for(2)
        await anyio.sleep(1)
        if ending == "client_left":
            served.disconnect()
        await served.finish()
    assert ended == ["sender"]
    assert served.raised is None


async def test_a_sender_is_cancelled_and_not_told_of_a_broken_channel_when_the_client_leaves(package: Package) -> None:
    sending, receiving = anyio.create_memory_object_stream[str](0)
    seen: list[str] = []

    async def sender() -> None:
        async with sending:
            try:
                while True:
                    await sending.send("x")
                    await anyio.sleep(1)
            except BaseException as error:
                seen.append("cancelled" if isinstance(error, anyio.get_cancelled_exc_class()) else repr(error))
                raise

    def make() -> Any:
        return package.EventSourceResponse(receiving, data_sender_callable=sender)

    async with serving(package, make) as served:
        await served.send.wait_for(4)
        served.disconnect()
        await served.finish()
    await receiving.aclose()
    assert seen == ["cancelled"]


# Slow clients


async def test_a_send_that_takes_longer_than_send_timeout_ends_the_stream(package: Package) -> None:
    source, ran = Source(), list[str]()

    async def two() -> AsyncIterator[str]:
        try:
            yield "x"
            await anyio.sleep(1)
            yield "y"
        finally:
            source.ended.append("finally")

    def make() -> Any:
        return package.EventSourceResponse(two(), send_timeout=5, background=BackgroundTask(ran.append, "ran"))

    async with serving(package, make) as served:
        await served.send.wait_for(2)
        served.send.block()
        await served.finish()
        served.send.unblock()
    assert isinstance(served.raised, package.SendTimeoutError)
    assert 6 <= served.finished_at <= 6.1
    assert source.ended == ["finally"]
    assert ran == []


async def test_a_ping_is_a_send_too(package: Package) -> None:
    source = Source()
    async with serving(package, lambda: package.EventSourceResponse(source(), ping=2, send_timeout=5)) as served:
        await served.send.wait_for(2)
        served.send.block()
        await served.finish()
        served.send.unblock()
    assert isinstance(served.raised, package.SendTimeoutError)
    assert 7 <= served.finished_at <= 7.3
    assert source.ended == ["cancelled", "finally"]


async def test_so_is_the_answer_to_head(package: Package) -> None:
    def make() -> Any:
        return package.EventSourceResponse(["x"], send_timeout=5)

    async with serving(package, make, http_scope("HEAD"), blocked=True) as served:
        await served.finish()
        served.send.unblock()
    assert isinstance(served.raised, package.SendTimeoutError)
    assert 5 <= served.finished_at <= 5.1


@pytest.mark.differs("send_timeout at the start")
async def test_so_is_the_start(package: Package) -> None:
    source = Source()
    async with serving(package, lambda: package.EventSourceResponse(source(), send_timeout=5), blocked=True) as served:
        await anyio.sleep(6)
        assert isinstance(served.raised, package.SendTimeoutError)
        served.send.unblock()


# Shutdown


@pytest.mark.differs("the shutdown on trio", on="trio")
async def test_streams_end_at_once_at_a_shutdown(package: Package) -> None:
    source = Source()
    async with serving(package, lambda: package.EventSourceResponse(source())) as served:
        await served.send.wait_for(2)
        began = anyio.current_time()
        package.AppStatus.should_exit = True
        await served.finish()
    assert source.ended == ["cancelled", "finally"]
    assert served.finished_at - began <= 0.7
    assert served.raised is None


@pytest.mark.differs("a whole response at a shutdown")
async def test_their_clients_have_whole_responses(package: Package) -> None:
    async with serving(package, lambda: package.EventSourceResponse(Source()())) as served:
        await served.send.wait_for(2)
        package.AppStatus.should_exit = True
        await served.finish()
        assert served.send.complete


@pytest.mark.differs("when to come back after a shutdown")
async def test_a_stream_that_is_ended_says_when_to_come_back(package: Package) -> None:
    async with serving(package, lambda: package.EventSourceResponse(Source()())) as served:
        await served.send.wait_for(2)
        package.AppStatus.should_exit = True
        await served.finish()
    assert re.fullmatch(rb"data: x\r\n\r\nretry: \d+\r\n\r\n", served.body)


@pytest.mark.differs("the shutdown on trio", on="trio")
async def test_a_source_says_farewell_within_the_grace(package: Package) -> None:
    event = anyio.Event()

    async def source() -> AsyncIterator[str]:
        yield "x"
        await event.wait()
        await anyio.sleep(2)
        yield "bye"

    def make() -> Any:
        return package.EventSourceResponse(source(), shutdown_event=event, shutdown_grace_period=5)

    async with serving(package, make) as served:
        await served.send.wait_for(2)
        package.AppStatus.should_exit = True
        await served.finish()
    assert served.body == b"data: x\r\n\r\ndata: bye\r\n\r\n"
    assert served.send.complete
    assert served.raised is None


@pytest.mark.differs("the shutdown on trio", on="trio")
async def test_after_the_grace_it_is_cancelled(package: Package) -> None:
    event, source = anyio.Event(), Source()

    def make() -> Any:
        return package.EventSourceResponse(source(), shutdown_event=event, shutdown_grace_period=5)

    async with serving(package, make) as served:
        await served.send.wait_for(2)
        package.AppStatus.should_exit = True
        await event.wait()
        began = anyio.current_time()
        await served.finish()
    assert source.ended == ["cancelled", "finally"]
    assert source.ended_at is not None
    assert 4.9 <= source.ended_at - began <= 5.2


@pytest.mark.parametrize("ending", ["completed", "client_left"])
async def test_the_event_is_set_at_a_shutdown_alone(package: Package, ending: str) -> None:
    event = anyio.Event()
    content: Any = ["x"] if ending == "completed" else Source()()
    async with serving(package, lambda: package.EventSourceResponse(content, shutdown_event=event)) as served:
        await served.send.wait_for(2)
        if ending == "client_left":
            served.disconnect()
        await served.finish()
    assert not event.is_set()


async def test_a_handler_of_the_apps_may_say_so_unless_that_is_switched_off(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = package.AppStatus
    called: list[Any] = []
    monkeypatch.setattr(status, "original_handler", lambda *args: called.append(args))
    assert status.should_exit is False
    status.disable_automatic_graceful_drain()
    status.handle_exit(15, None)
    assert status.should_exit is False
    status.enable_automatic_graceful_drain_mode()
    status.handle_exit(15, None)
    assert status.should_exit is True
    assert called == [(15, None)] * 2


async def test_streams_are_served_again_once_it_is_taken_back(package: Package) -> None:
    package.AppStatus.should_exit = True
    package.AppStatus.should_exit = False
    async with serving(package, lambda: package.EventSourceResponse(Source()())) as served:
        await anyio.sleep(100)
        assert not served.is_finished


@pytest.mark.differs("a stream after the shutdown has begun")
async def test_a_stream_that_comes_too_late_is_refused(package: Package) -> None:
    package.AppStatus.should_exit = True
    served = await whole(package, lambda: package.EventSourceResponse(Source()()))
    assert served.send.status == 503
    assert served.send.complete
    assert b"retry-after" in served.send.headers


@pytest.mark.differs("a drain of the middleware")
async def test_a_source_can_ask_whether_its_server_shuts_down(package: Package) -> None:
    """A drain that the middleware has begun, of whichever server, is what the source reads."""
    seen: list[bool] = []

    async def source() -> AsyncIterator[str]:
        yield "x"
        while not package.AppStatus.should_exit:  # noqa: ASYNC110  what its users do
            await anyio.sleep(0.1)
        seen.append(package.AppStatus.should_exit)
        yield "bye"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await package.EventSourceResponse(source(), shutdown_grace_period=3)(scope, receive, send)

    middleware = SSEMiddleware(app)
    async with running(middleware) as run:
        await run.send.wait_for(2)
        middleware.drain()
        with anyio.fail_after(100):
            await run.finished.wait()
    assert seen == [True]
    assert run.send.body == b"data: x\r\n\r\ndata: bye\r\n\r\n"


# Background tasks


@pytest.mark.parametrize("ending", ["completed", "client_left", SHUTDOWN, "head", "error"])
async def test_a_background_task_runs_after_every_ending_but_an_exception(package: Package, ending: str) -> None:
    ran: list[str] = []
    content: Any = {"completed": ["x"], "error": failing()}.get(ending) or Source()()
    scope = http_scope("HEAD") if ending == "head" else None

    def make() -> Any:
        return package.EventSourceResponse(content, background=BackgroundTask(ran.append, "ran"))

    async with serving(package, make, scope) as served:
        await served.send.wait_for(2)
        if ending == "client_left":
            served.disconnect()
        package.AppStatus.should_exit = ending == "shutdown"
        await served.finish()
    assert ran == ([] if ending == "error" else ["ran"])


async def pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


class HoldingStart:
    """As compressing middlewares do, it decides about the start once it sees some of the body."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        held: list[Any] = []

        async def hold(message: Any) -> None:
            held.append(message)
            if message["type"] != "http.response.start":
                for each in held:
                    await send(each)
                held.clear()

        await self._app(scope, receive, hold)


@pytest.mark.parametrize("ending", ["completed", "client_left", "error"])
@pytest.mark.parametrize(
    "layers",
    [
        # Starlette's has the response sent by another task than the one that makes it.
        [Middleware(BaseHTTPMiddleware, dispatch=pass_on), Middleware(BaseHTTPMiddleware, dispatch=pass_on)],
        [Middleware(HoldingStart)],
        [Middleware(HoldingStart), Middleware(BaseHTTPMiddleware, dispatch=pass_on)],
    ],
    ids=["in another task", "holding the start", "both"],
)
async def test_all_of_it_holds_behind_middlewares_that_buffer(
    package: Package, ending: str, layers: list[Middleware]
) -> None:
    order: list[str] = []
    source = Source(cleanup=1)

    async def endpoint(request: Request) -> Any:
        content = {"completed": ["x"], "error": failing()}.get(ending) or source()
        return package.EventSourceResponse(content, background=BackgroundTask(order.append, "background"))

    app = asgi(package, Starlette(routes=[Route("/", endpoint)], middleware=layers))
    with anyio.fail_after(100_000):
        async with running(app) as run:
            await run.send.wait_for_bytes(b"data: x\r\n\r\n")
            if ending == "client_left":
                await anyio.sleep(1)
                run.disconnect()
            await run.finish(1000)
    assert order == ([] if ending == "error" else ["background"])
    if ending == "client_left":
        assert source.ended[-1] == "finally"


class CancellingOnceWhole:
    """Runs the app in a task of its own, and cancels that once the response is whole."""

    def __init__(self, app: Any, over: list[float]) -> None:
        self._app = app
        self._over = over

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        into, out_of = anyio.create_memory_object_stream[Any](10)
        with into, out_of:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._app, scope, receive, into.send)
                async for message in out_of:
                    await send(message)
                    if message["type"] == "http.response.body" and not message.get("more_body"):
                        break
                self._over.append(anyio.current_time())
                tasks.cancel_scope.cancel()


async def three() -> AsyncIterator[str]:
    for item in "abc":
        await anyio.sleep(1)
        yield item


async def test_a_middleware_that_does_something_after_the_response_does_it_after_the_stream(package: Package) -> None:
    over: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await package.EventSourceResponse(three())(scope, receive, send)

    began = anyio.current_time()
    with anyio.fail_after(100_000):
        async with running(asgi(package, CancellingOnceWhole(app, over))) as run:
            await run.finish(1000)
    assert run.send.complete
    assert [line for line in run.send.body.splitlines() if line.startswith(b"data")] == [
        b"data: a",
        b"data: b",
        b"data: c",
    ]
    assert over[0] - began >= 3


async def test_what_a_middleware_runs_in_the_background_comes_after_the_stream(package: Package) -> None:
    ran: list[float] = []

    async def note() -> None:
        ran.append(anyio.current_time())

    async def dispatch(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.background = BackgroundTask(note)
        return response

    async def endpoint(request: Request) -> Any:
        return package.EventSourceResponse(three())

    layers = [Middleware(BaseHTTPMiddleware, dispatch=dispatch)]
    began = anyio.current_time()
    with anyio.fail_after(100_000):
        async with running(asgi(package, Starlette(routes=[Route("/", endpoint)], middleware=layers))) as run:
            await run.finish(1000)
    assert ran[0] - began >= 3


def test_an_app_that_runs_on_another_event_loop_than_its_server() -> None:
    threads: set[int] = set()
    sent: list[Any] = []

    async def source() -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0.05)
        yield "b"

    async def elsewhere(scope: Any, receive: Any, send: Any) -> None:
        home = asyncio.get_running_loop()

        async def receive_at_home() -> Any:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(receive(), home))

        async def send_at_home(message: Any) -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(send(message), home))

        app = OURS.EventSourceResponse(source())
        await asyncio.to_thread(asyncio.run, app(scope, receive_at_home, send_at_home))

    async def serve() -> None:
        async def receive() -> Any:
            threads.add(threading.get_ident())
            await asyncio.sleep(100)

        async def send(message: Any) -> None:
            sent.append(message)

        async with asyncio.timeout(10):
            await SSEMiddleware(elsewhere)(http_scope(), receive, send)

    asyncio.run(serve())
    assert threads <= {threading.get_ident()}
    assert b"".join(message.get("body", b"") for message in sent) == b"data: a\r\n\r\ndata: b\r\n\r\n"
    assert not sent[-1]["more_body"]


async def test_what_a_response_leaves_open_is_as_the_middleware_has_it(package: Package) -> None:
    source = Source()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await package.EventSourceResponse(source())(scope, receive, send)

    middleware = SSEMiddleware(app, ping_interval=2, max_duration=10, drain_grace=2)
    async with running(middleware) as run:
        with anyio.fail_after(100):
            await run.finished.wait()
        assert 9 <= run.finished_at <= 10.1
        assert run.send.body.count(b": ping") == 4
        assert source.ended == ["cancelled", "finally"]
    assert middleware.stats().closed == {"max_duration": 1}
    assert run.send.complete


# Several event loops


@pytest.mark.parametrize("library", [PEER, OURS], ids=lambda each: each.name)
def test_event_loops_in_several_threads_serve_at_once(library: Package) -> None:
    bodies: list[bytes] = []

    async def source() -> AsyncIterator[str]:
        for item in "abc":
            yield item
            await anyio.sleep(1)

    async def serve() -> None:
        served = await whole(library, lambda: library.EventSourceResponse(source()))
        bodies.append(served.body)

    threads = [threading.Thread(target=run_virtually, args=("asyncio", serve)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [b"data: a\r\n\r\ndata: b\r\n\r\ndata: c\r\n\r\n"] * 3
