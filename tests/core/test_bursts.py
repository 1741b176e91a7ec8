"""What the app sends without waiting in between goes out as one message; what it paces goes out as it comes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import trio

from sse_mw import SSEMiddleware, sse_route
from sse_mw._types import Message, Receive, Scope, Send
from sse_mw._writer import FAIRNESS, MOST_HELD, MOST_MESSAGES
from sse_mw.testing._server import http_scope
from support.driver import Recorded, body, running, sending, start

pytestmark = pytest.mark.anyio


def event(number: int) -> bytes:
    return b"data: %d\n\n" % number


def events(count: int, first: int = 0) -> bytes:
    return b"".join(map(event, range(first, first + count)))


async def burst(send: Send, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        await send(body(event(number)))


async def last(send: Send) -> None:
    await send(body(b"", more=False))


def refusing_nines(app: Any, error: BaseException) -> Any:
    """The app in the middleware, and around that something whose `send` raises at a 9."""

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        async def picky(message: Message) -> None:
            if b"9" in message.get("body", b""):
                raise error
            await send(message)

        await SSEMiddleware(app)(scope, receive, picky)

    return around


def passed_through(count: int) -> Any:
    async def script(send: Send) -> None:
        await burst(send, count)
        await last(send)

    return sending(script)


def from_a_source(count: int) -> Any:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        for number in range(count):
            yield str(number)

    return source


@pytest.mark.parametrize("stream", [passed_through, from_a_source])
async def test_a_burst_goes_out_as_one_message_after_the_first(stream: Callable[[int], Any]) -> None:
    middleware = Recorded(stream(100))
    async with running(middleware) as run:
        await run.finish()
    assert run.send.body == events(100)
    assert run.send.complete
    assert len(run.send.chunks) <= 4
    assert middleware.closed[0].messages >= 100


@pytest.mark.parametrize("stream", [passed_through, from_a_source])
async def test_a_burst_of_any_size_comes_out_whole_in_messages_of_no_more_than_may_be_held(
    stream: Callable[[int], Any],
) -> None:
    async with running(SSEMiddleware(stream(50_000))) as run:
        await run.finish()
    assert run.send.body == events(50_000)
    assert max(map(len, run.send.chunks)) <= MOST_HELD
    assert run.send.most_concurrent == 1


async def test_a_burst_is_sent_while_its_app_is_silent() -> None:
    async def script(send: Send) -> None:
        await burst(send, 100)
        await anyio.sleep_forever()

    async with running(SSEMiddleware(sending(script))) as run:
        await run.send.wait_for_bytes(event(99))
        assert run.send.times[-1] == run.send.times[0]


@pytest.mark.parametrize("app_waits", [0.0, 0.002, 1.0])
async def test_what_is_paced_is_handed_on_object_by_object(app_waits: float) -> None:
    messages = [body(event(number)) for number in range(50)]

    async def script(send: Send) -> None:
        for message in messages:
            await send(message)
            await anyio.sleep(app_waits)
        await last(send)

    async with running(SSEMiddleware(sending(script))) as run:
        await run.finish()
    handed_on = {id(message) for message in run.send.messages}
    # At the quickest pace a few are held, which shows that there is nothing to be won.
    assert len([message for message in messages if id(message) not in handed_on]) <= (0 if app_waits else 5)
    assert len(run.send.chunks) >= (51 if app_waits else 45)


async def test_an_app_that_blocks_the_loop_between_its_messages_has_each_sent_at_once() -> None:
    async def script(send: Send) -> None:
        for number in range(10):
            await send(body(event(number)))
            advance(0.2)
        sent.extend(run.send.chunks)
        await last(send)

    sent: list[bytes] = []
    async with running(SSEMiddleware(sending(script))) as run:
        await run.finish()
    assert sent == [event(number) for number in range(10)]


async def test_what_an_app_sends_after_it_has_blocked_the_loop_does_not_wait_for_its_next_message() -> None:
    async def script(send: Send) -> None:
        await burst(send, 3)
        advance(0.2)
        await send(body(event(3)))
        seen.append(run.send.body)
        await last(send)

    seen: list[bytes] = []
    async with running(SSEMiddleware(sending(script))) as run:
        await run.finish()
    assert seen == [events(4)]


def advance(seconds: float) -> None:
    """Let time pass as if the app had blocked the loop."""
    try:
        clock: Any = trio.lowlevel.current_clock()
    except RuntimeError:
        loop: Any = asyncio.get_running_loop()
        loop.advance(seconds)
    else:
        clock.jump(seconds)


async def test_without_coalescing_every_message_is_the_apps_own() -> None:
    messages = [body(event(number)) for number in range(50)]

    async def script(send: Send) -> None:
        for message in messages:
            await send(message)
        await last(send)

    async with running(SSEMiddleware(sending(script), coalesce=False)) as run:
        await run.finish()
    assert [id(message) for message in run.send.messages[1:-1]] == [id(message) for message in messages]


async def test_an_endpoint_may_switch_it_off_for_itself() -> None:
    @sse_route(coalesce=False)
    async def source(scope: Scope) -> AsyncIterator[str]:
        for number in range(10):
            yield str(number)

    async with running(SSEMiddleware(source)) as run:
        await run.finish()
    assert run.send.chunks == [*map(event, range(10)), b""]


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_a_buffer_of_the_apps_is_not_read_after_its_send(kind: Any) -> None:
    async def script(send: Send) -> None:
        buffer = bytearray(event(0))
        for number in range(10):
            buffer[:] = event(number)
            await send(body(buffer if kind is bytearray else bytes(buffer)))
        await last(send)

    async with running(SSEMiddleware(sending(script))) as run:
        await run.finish()
    sent = [bytes(chunk) for chunk in run.send.chunks if type(chunk) is bytes]
    assert kind is bytearray or b"".join(sent) == events(10)
    assert len(run.send.chunks) == 11 if kind is bytearray else len(run.send.chunks) < 5


async def test_a_slow_client_holds_its_app_back() -> None:
    made: list[int] = []

    async def script(send: Send) -> None:
        while True:
            made.append(0)
            await send(body(b"data: %s\n\n" % (b"x" * 100)))

    async with running(SSEMiddleware(sending(script))) as run:
        await run.send.wait_for(10)
        run.send.block()
        await anyio.sleep(5)
        before = len(made)
        await anyio.sleep(5)
        assert len(made) == before
        ahead = len(made) * 108 - len(run.send.body)
        assert ahead <= MOST_HELD + 2 * 108


async def test_a_client_that_stops_reading_in_a_burst_is_let_go_of_after_send_timeout() -> None:
    async def script(send: Send) -> None:
        await send(body(event(0)))
        run.send.block()
        await burst(send, 10, first=1)
        await anyio.sleep_forever()

    middleware = Recorded(sending(script), send_timeout=3)
    async with running(middleware) as run:
        await anyio.sleep(3.2)
        assert middleware.reasons == ["send_timeout"]


async def test_a_client_that_leaves_in_a_burst_that_is_stuck_does_not_keep_the_app() -> None:
    async def script(send: Send) -> None:
        await send(body(event(0)))
        await anyio.sleep(1)
        run.send.block()
        await burst(send, 10, first=1)
        await anyio.sleep_forever()

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        await anyio.sleep(2)
        left_at = anyio.current_time()
        run.disconnect()
        await run.finish()
    assert middleware.reasons == ["client_left"]
    assert run.finished_at - left_at <= 0.1


async def test_a_send_of_a_burst_that_fails_is_a_client_that_left() -> None:
    async def script(send: Send) -> None:
        await burst(send, 2)
        run.send.fail(BrokenPipeError())
        await burst(send, 10, first=2)
        await anyio.sleep_forever()

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        await run.finish()
    assert middleware.reasons == ["client_left"]
    assert run.error is None


@pytest.mark.parametrize("more", [True, False])
async def test_what_something_around_us_raises_about_a_burst_is_raised_by_the_apps_next_send(more: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await burst(send, 10)
        await anyio.sleep(1)
        with pytest.raises(ValueError, match="not this one"):
            await send(body(event(10), more=more))
        caught.append(True)
        await send(body(event(11), more=False))

    caught: list[bool] = []
    async with running(refusing_nines(app, ValueError("not this one"))) as run:
        await run.finish()
    assert caught == [True]
    assert run.error is None
    assert run.send.complete


async def test_an_app_that_fails_after_a_burst_has_it_delivered() -> None:
    async def script(send: Send) -> None:
        await burst(send, 10)
        raise ValueError("failed")

    middleware = Recorded(sending(script))
    async with running(middleware) as run:
        await run.finish()
    assert run.send.body == events(10)
    assert run.send.complete
    assert middleware.reasons == ["error"]


async def test_a_server_that_cancels_the_request_after_a_burst_has_it_delivered() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.CancelScope() as scope_of_server:

            async def inner(scope: Scope, receive: Receive, send: Send) -> None:
                await send(start())
                await burst(send, 10)
                scope_of_server.cancel()
                await anyio.sleep_forever()

            await SSEMiddleware(inner)(scope, receive, send)

    async with running(app) as run:
        await run.finish()
    assert run.send.body.startswith(events(10) + b"retry: ")
    assert run.send.complete


async def test_an_app_whose_own_timeout_ends_its_wait_loses_nothing_of_its_burst() -> None:
    async def script(send: Send) -> None:
        await send(body(event(0)))
        run.send.delay = 5
        await burst(send, 9, first=1)
        with anyio.move_on_after(1):
            await anyio.sleep_forever()
        await burst(send, 10, first=10)
        await last(send)

    async with running(SSEMiddleware(sending(script))) as run:
        await run.finish()
    assert run.send.body == events(20)
    assert run.send.most_concurrent == 1


async def test_two_tasks_of_an_app_may_burst_at_once() -> None:
    async def script(send: Send) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(burst, send, 500, 0)
            tasks.start_soon(burst, send, 500, 1000)
        await last(send)

    async with running(SSEMiddleware(sending(script))) as run:
        await run.finish()
    got = [int(line[6:]) for line in run.send.body.splitlines() if line]
    assert sorted(got) == [*range(500), *range(1000, 1500)]
    assert [number for number in got if number < 500] == [*range(500)]
    assert [number for number in got if number >= 500] == [*range(1000, 1500)]


async def test_a_ping_comes_after_a_burst_and_not_inside() -> None:
    async def script(send: Send) -> None:
        await burst(send, 10)
        await send(body(b"data: ha"))
        await anyio.sleep(10)
        await send(body(b"lf\n\n"))
        await anyio.sleep(3)
        await last(send)

    async with running(SSEMiddleware(sending(script), ping_interval=2)) as run:
        await run.finish()
    assert run.send.body == events(10) + b"data: half\n\n: ping\n\n"


@pytest.mark.real_time  # virtual time stands still while anything is busy
async def test_a_burst_without_a_byte_leaves_the_loop_its_turns() -> None:
    async def script(send: Send) -> None:
        await send(body(event(0)))
        while True:
            turns.append(0)
            await send(body(b""))

    turns: list[int] = []
    async with running(SSEMiddleware(sending(script))) as run:
        await run.send.wait_for(2)
        run.disconnect()
        await run.finish()
    assert len(turns) <= 50 * MOST_MESSAGES


async def test_a_burst_that_never_ends_stops_soon_after_its_client_has_left() -> None:
    made: list[int] = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        while True:
            made.append(0)
            yield "x"

    async with running(SSEMiddleware(source)) as run:
        await run.send.wait_for(20)
        run.disconnect()
        before = len(made)
        await run.finish()
    assert len(made) - before <= MOST_MESSAGES + FAIRNESS


async def test_a_large_body_is_not_copied() -> None:
    large = b"data: %s\n\n" % (b"x" * MOST_HELD)

    async def script(send: Send) -> None:
        await burst(send, 5)
        for _ in range(3):
            await send(body(large))
        await burst(send, 5, first=5)
        await last(send)

    async with running(SSEMiddleware(sending(script))) as run:
        await run.finish()
    assert run.send.body == events(5) + large * 3 + events(5, first=5)
    assert len([chunk for chunk in run.send.chunks if chunk is large]) == 3


async def test_trailers_come_after_the_burst() -> None:
    trailers = {"type": "http.response.trailers", "headers": [(b"x-checksum", b"1")], "more_trailers": False}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**start(), "trailers": True})
        await burst(send, 10)
        await last(send)
        await send(trailers)

    async with running(SSEMiddleware(app)) as run:
        await run.finish()
    assert run.send.body == events(10)
    assert run.send.types[-1] == "http.response.trailers"


async def test_a_timeout_around_the_last_send_loses_nothing_of_the_burst_before_it() -> None:
    async def script(send: Send) -> None:
        await send(body(event(0)))
        run.send.block()
        await burst(send, 40, first=1)
        with anyio.move_on_after(1):
            await last(send)
        run.send.unblock()
        await burst(send, 10, first=41)
        await last(send)

    async with running(SSEMiddleware(sending(script))) as run:
        await run.finish()
    assert run.send.body == events(51)
    assert run.send.complete


async def test_sends_that_are_under_way_at_once_go_out_in_their_order() -> None:
    large = b"data: %s\n\n" % (b"x" * 70_000)

    async def send_large(send: Send) -> None:
        await send(body(large))

    async def script(send: Send) -> None:
        await send(body(event(0)))
        run.send.delay = 1
        await burst(send, 9, first=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_large, send)
            await anyio.sleep(0.1)
            await last(send)

    async with running(SSEMiddleware(sending(script))) as run:
        await run.finish()
    assert run.send.body == events(10) + large


class Odd(BaseException):
    """Nothing that a server should raise."""


@pytest.mark.parametrize("odd", [Odd, asyncio.CancelledError])
async def test_a_server_whose_send_raises_what_is_no_exception_fails_the_one_request(odd: type[BaseException]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await burst(send, 10)
        await anyio.sleep(1)
        with pytest.raises(RuntimeError, match="The server's send was cancelled"):
            await send(body(event(10)))
        await last(send)

    async with running(refusing_nines(app, odd())) as run:
        await run.finish()
    assert run.error is None
    assert run.send.complete


async def test_a_refused_burst_whose_app_sends_nothing_more_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await burst(send, 10)
        await anyio.sleep(1)

    async with running(refusing_nines(app, ValueError("not this one"))) as run:
        await run.finish()
    assert "refused the app's last events" in caplog.text
    assert run.send.complete


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_server_that_cancels_twice_has_the_burst_delivered_to_a_slow_client(turns: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def inner(scope: Scope, receive: Receive, send: Send) -> None:
            await send(start())
            await send(body(event(0)))
            run.send.delay = 1.5
            await burst(send, 99, first=1)
            sent.set()
            await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(SSEMiddleware(inner), scope, receive, send)
            await sent.wait()
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    sent = anyio.Event()
    async with running(app) as run:
        await run.finish()
        await run.send.wait_for_bytes(b"retry: ")
    assert run.send.body.startswith(events(100))


async def test_a_burst_is_sent_in_the_context_of_its_app() -> None:
    request: ContextVar[str] = ContextVar("request", default="none")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request.set("mine")
        await send(start())
        await burst(send, 10)
        await anyio.sleep(1)
        await last(send)

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        async def asking(message: Message) -> None:
            if message.get("more_body"):
                asked.add(request.get())
            await send(message)

        await SSEMiddleware(app)(scope, receive, asking)

    asked: set[str] = set()
    async with running(around) as run:
        await run.finish()
    assert asked == {"mine"}


async def test_an_app_that_has_blocked_the_loop_after_a_burst_has_its_next_ones_sent_at_once() -> None:
    async def script(send: Send) -> None:
        for first in range(0, 40, 4):
            await burst(send, 4, first)
            advance(0.5)
            await anyio.sleep(0.001)
        await last(send)

    async with running(SSEMiddleware(sending(script))) as run:
        await run.finish()
    assert run.send.body == events(40)
    assert run.send.chunks[-33:-1] == [event(number) for number in range(8, 40)]


@pytest.mark.parametrize("waits", [True, False])
def test_a_request_that_is_thrown_away_in_a_burst_after_its_loop_has_gone_closes_quietly(waits: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await burst(send, 10)
        if waits:
            await send(body(b"data: %s\n\n" % (b"x" * 70_000)))
        await asyncio.sleep(100)

    async def never_mind(message: Message) -> None:
        if message.get("body", b"").endswith(event(9)):
            await asyncio.sleep(100)

    async def never() -> Message:
        await asyncio.sleep(100)
        raise AssertionError

    call = SSEMiddleware(app)(http_scope(), never, never_mind)
    loop = asyncio.new_event_loop()
    task = loop.create_task(call)
    loop.run_until_complete(asyncio.sleep(0.01))
    others = asyncio.all_tasks(loop) - {task}
    loop.close()
    call.close()
    for each in (*others, task):
        each._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine = each.get_coro()
        assert coroutine is not None
        coroutine.close()


async def test_a_wait_for_a_cancelled_turn_changes_nothing_for_the_burst() -> None:
    """A task that gives up waiting while the burst is under way leaves the others their order."""

    async def given_up(send: Send) -> None:
        with anyio.move_on_after(1):
            await send(body(b"data: given up\n\n"))

    async def script(send: Send) -> None:
        await send(body(event(0)))
        run.send.block()
        await burst(send, 9, first=1)
        await anyio.sleep(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(given_up, send)
            await anyio.sleep(2)
            run.send.unblock()
        await burst(send, 10, first=10)
        await last(send)

    async with running(SSEMiddleware(sending(script))) as run:
        await run.finish()
    assert run.send.body == events(20)
