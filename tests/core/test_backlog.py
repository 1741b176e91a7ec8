"""Backpressure where the server has none: by what its `send` shows of itself. The servers' own are in tests/matrix."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from sse_mw._backlog import HELD, needed_backpressure
from sse_mw._types import Message

pytestmark = pytest.mark.anyio

BODY = {"type": "http.response.body", "body": b"x", "more_body": True}


class Hypercorn:
    """What its HTTP/2 shows: the app's `send` is a stream's, whose own is its protocol's, which has the buffers."""

    def __init__(self) -> None:
        self.buffer = SimpleNamespace(buffer=bytearray())
        self.stream_buffers = {1: self.buffer}
        self.stream = SimpleNamespace(send=self.stream_send, stream_id=1)

    async def stream_send(self, message: Message) -> None: ...

    @property
    def send(self) -> Any:
        async def app_send(stream: object, message: Message) -> None:
            self.buffer.buffer += bytes(HELD)

        return app_send.__get__(self.stream)

    def take(self) -> None:
        self.buffer.buffer.clear()


class Daphne:
    """What it shows: its protocol is bound to the app's `send`, and has Twisted's transport."""

    def __init__(self) -> None:
        self.transport = SimpleNamespace(dataBuffer=b"", _tempDataLen=0, offset=0, disconnected=False)
        self.channel = SimpleNamespace(transport=self.transport)

    @property
    def send(self) -> Any:
        async def handle_reply(protocol: object, message: Message) -> None:
            self.transport._tempDataLen += HELD

        return partial(handle_reply, self)

    def take(self) -> None:
        self.transport._tempDataLen = 0


@pytest.mark.parametrize("server", [Hypercorn, Daphne])
async def test_a_send_waits_until_the_server_holds_little(server: type[Hypercorn | Daphne]) -> None:
    server_side = server()
    backpressure = needed_backpressure(server_side.send)
    assert backpressure is not None
    await backpressure.send(BODY)
    began = anyio.current_time()

    async def take_later() -> None:
        await anyio.sleep(10)
        server_side.take()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_later)
        await backpressure.send(BODY)
        assert 10 <= anyio.current_time() - began <= 10.05


@pytest.mark.parametrize("server", [Hypercorn, Daphne])
async def test_a_client_that_was_given_up_is_not_waited_for(server: type[Hypercorn | Daphne]) -> None:
    backpressure = needed_backpressure(server().send)
    assert backpressure is not None
    await backpressure.send(BODY)
    with anyio.move_on_after(10) as waits:
        await backpressure.send(BODY)
    assert waits.cancelled_caught
    backpressure.given_up = True
    with anyio.fail_after(1):
        await backpressure.send(BODY)


async def test_a_stream_that_has_ended_holds_nothing() -> None:
    hypercorn, daphne = Hypercorn(), Daphne()
    hypercorn.stream_buffers.clear()
    daphne.transport.disconnected = True
    for server in (hypercorn, daphne):
        backpressure = needed_backpressure(server.send)
        assert backpressure is not None
        with anyio.fail_after(1):
            await backpressure.send(BODY)
            await backpressure.send(BODY)


async def plain(*arguments: Any) -> None: ...


UNKNOWN = [plain, partial(plain), partial(plain, None), partial(plain, SimpleNamespace(channel=None)), [].append]


@pytest.mark.parametrize("send", UNKNOWN)
async def test_what_shows_nothing_is_left_as_it_is(send: Any) -> None:
    assert needed_backpressure(send) is None
