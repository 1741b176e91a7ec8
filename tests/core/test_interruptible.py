"""A source's task on asyncio is cancelled where it waits, once, and where anyio itself would cancel it."""

import asyncio
from collections.abc import AsyncIterator
from contextvars import Context
from typing import Any

import anyio
import pytest

from sse_mw import SSEMiddleware, _runtime, sse_route
from sse_mw._runtime import AsyncioBackend, AsyncioInterruptible, Interruptible, ScopedInterruptible
from sse_mw._types import Message, Receive, Scope, Send
from sse_mw.testing._clock import VirtualLoop
from support.driver import running

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualLoop}


@pytest.fixture(params=["by anyio's table of scopes", "by scopes, as that table is not there"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Interruptible]:
    if request.param == "by anyio's table of scopes":
        return AsyncioInterruptible
    monkeypatch.setattr(_runtime, "find_scope_of", lambda: None)
    return ScopedInterruptible


def spawn(kind: type[Interruptible], function: _runtime.TaskFunction) -> Interruptible:
    interruptible = AsyncioBackend(asyncio.get_running_loop(), 1).spawn_interruptible(function, Context())
    assert type(interruptible) is kind
    return interruptible


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_what_a_finally_awaits_goes_on(kind: type[Interruptible]) -> None:
    notes: list[str] = []

    async def source() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
            with anyio.move_on_after(1):
                await anyio.sleep(0.5)
            async with asyncio.timeout(1):
                await asyncio.sleep(0.5)
            notes.append("cleaned")

    task = spawn(kind, source)
    await turn()
    assert task.interrupt()
    await asyncio.sleep(3)
    assert notes == ["cleaned"]


async def test_a_shield_is_respected(kind: type[Interruptible]) -> None:
    notes: list[str] = []

    async def source() -> None:
        with anyio.CancelScope(shield=True), anyio.CancelScope():
            await asyncio.sleep(1)
        try:
            await asyncio.sleep(60)
        finally:
            notes.append("finally")

    task = spawn(kind, source)
    await turn()
    assert not task.interrupt()
    await asyncio.sleep(2)
    assert not notes
    assert task.interrupt()
    await turn()
    assert notes == ["finally"]


async def test_nor_does_it_go_into_what_comes_after_a_timeout_of_its_own(kind: type[Interruptible]) -> None:
    notes: list[str] = []

    async def source() -> None:
        with anyio.move_on_after(1):
            try:
                await asyncio.sleep(60)
            finally:
                with anyio.CancelScope(shield=True):
                    await asyncio.sleep(1)
                    notes.append("cleaned")
        await asyncio.sleep(60)

    task = spawn(kind, source)
    await asyncio.sleep(1.5)
    assert not task.interrupt()
    await asyncio.sleep(1)
    assert notes == ["cleaned"]
    assert task.interrupt()
    await turn()


async def test_a_result_that_has_come_is_not_lost(kind: type[Interruptible]) -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()
    got: list[str] = []

    async def source() -> None:
        while True:
            got.append(await queue.get())

    task = spawn(kind, source)
    await turn()
    queue.put_nowait("x")
    assert not task.interrupt()
    await turn()
    assert got == ["x"]
    assert task.interrupt()
    await turn()


async def test_children_end_with_it(kind: type[Interruptible]) -> None:
    notes: list[str] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            notes.append("child")

    async def source() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            await anyio.sleep_forever()

    task = spawn(kind, source)
    await turn()
    assert task.interrupt()
    await asyncio.sleep(1)
    assert notes == ["child"]


async def test_neither_itself_nor_what_has_ended(kind: type[Interruptible]) -> None:
    tasks: list[Interruptible] = []
    answers: list[bool] = []

    async def source() -> None:
        await asyncio.sleep(1)
        answers.append(tasks[0].interrupt())

    tasks.append(spawn(kind, source))
    await asyncio.sleep(2)
    assert answers == [False]
    assert not tasks[0].interrupt()


async def test_a_whole_stream_ends_so(kind: type[Interruptible]) -> None:
    notes: list[str] = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        with anyio.CancelScope(shield=True):
            await anyio.sleep(3)
            notes.append("committed")
        try:
            await anyio.sleep(60)
        finally:
            await anyio.sleep(1)
            notes.append("cleaned")

    async with running(SSEMiddleware(source)) as run:
        await run.send.wait_for_bytes(b"data: x")
        await anyio.sleep(1)
        run.disconnect()
        await run.finish(10)
    assert notes == ["committed", "cleaned"]


async def test_the_task_of_an_abandoned_source_ends_though_its_stream_never_opens() -> None:
    """It has failed, and something around the endpoint keeps its response back for longer than `cleanup_timeout`."""
    notes: list[str] = []
    states: list[bool] = []
    tasks: list[asyncio.Task[Any]] = []

    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await anyio.sleep(1)
        try:
            raise LookupError
            yield
        finally:
            notes.append("failed")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def drop(message: Message) -> None: ...

        await source(scope, receive, drop)
        await anyio.sleep(5)
        states.append(tasks[0].done())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with running(SSEMiddleware(app, cleanup_timeout=1)) as run:
        await run.finish(20)
    assert notes == ["failed"]
    assert states == [True]


async def test_anyio_keeps_its_scopes_where_they_are_looked_for() -> None:
    scope_of = _runtime.find_scope_of()
    assert scope_of is not None, "each stream takes 1.6 KiB more: look where anyio keeps them now"
    task = asyncio.current_task()
    assert task is not None
    outside = scope_of(task)
    with anyio.CancelScope() as outer, anyio.CancelScope() as inner:
        assert scope_of(task) is inner
        assert getattr(inner, "_parent_scope") is outer  # noqa: B009
        await turn()
    assert scope_of(task) is outside


async def test_an_anyio_without_that_table_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from anyio._backends import _asyncio

    monkeypatch.delattr(_asyncio, "_task_states")
    assert _runtime.find_scope_of() is None
