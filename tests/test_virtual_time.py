"""The clock that every other test relies on."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_mw.testing._clock import Deadlock, VirtualLoop
from sse_mw.testing._trio_clock import virtual_clock

pytestmark = pytest.mark.anyio


async def test_an_hour_takes_no_time() -> None:
    started = time.monotonic()
    before = anyio.current_time()
    await anyio.sleep(3600)
    assert anyio.current_time() - before == pytest.approx(3600)
    assert time.monotonic() - started < 30


async def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    woken: list[tuple[float, str]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await anyio.sleep(seconds)
        woken.append((round(anyio.current_time() - before, 6), name))

    before = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for name, seconds in [("c", 30.0), ("a", 0.001), ("d", 86400.0 * 3), ("b", 1.5)]:
            tasks.start_soon(sleeper, name, seconds)
    assert woken == [(0.001, "a"), (1.5, "b"), (30.0, "c"), (259200.0, "d")]


async def test_timeouts_fire_at_their_moment() -> None:
    before = anyio.current_time()
    with anyio.move_on_after(15) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() - before == pytest.approx(15)


async def test_the_clock_stands_still_while_a_task_can_run() -> None:
    before = anyio.current_time()
    with anyio.move_on_after(0.001):
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
            time.sleep(0.0001)  # noqa: ASYNC251  the loop is kept busy on purpose
    assert anyio.current_time() == before


async def test_a_busy_thread_is_waited_for_and_no_timeout_is_jumped_to() -> None:
    with anyio.fail_after(60):
        assert await anyio.to_thread.run_sync(_slow_answer) == 42
    # A worker thread that is idle again holds up nothing.
    started = time.monotonic()
    for _ in range(100):
        await anyio.sleep(3600)
    assert time.monotonic() - started < 30


async def test_a_thread_that_nobody_knows_of_is_waited_for_while_it_is_young(anyio_backend_name: str) -> None:
    """As adapters start them: it wakes the loop by itself."""
    woken = anyio.Event()
    wake: Callable[[], object]
    if anyio_backend_name == "trio":
        wake = partial(trio.lowlevel.current_trio_token().run_sync_soon, woken.set)
    else:
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, woken.set)
    thread = threading.Thread(target=lambda: (threading.Event().wait(0.03), wake()))
    thread.start()
    with anyio.fail_after(60):
        await woken.wait()
    thread.join()
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    started = time.monotonic()
    await anyio.sleep(10)
    await anyio.sleep(3600)
    assert time.monotonic() - started < 15
    ended.set()
    thread.join()


async def test_a_thread_may_call_back_and_wait_for_the_clock() -> None:
    assert await anyio.to_thread.run_sync(anyio.from_thread.run, _tenth_of_a_second_later) == "woken"


def test_waiting_for_what_cannot_happen_is_an_error_that_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("_clock", "_trio_clock"):
        monkeypatch.setattr(f"sse_mw.testing.{module}.LAST_LOOK", 0.1)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        with pytest.raises(Deadlock, match=r"nothing can ever happen\n.* in wait"):
            runner.run(_wait_for_nothing())
    with pytest.raises(Deadlock, match="nothing can ever happen"):
        trio.run(_wait_for_nothing, clock=virtual_clock())


async def test_the_test_itself_sees_the_deadlock_on_trio(anyio_backend_name: str) -> None:
    if anyio_backend_name == "trio":
        with pytest.RaisesGroup(Deadlock):
            async with anyio.create_task_group():
                await anyio.sleep_forever()


@pytest.mark.real_time
async def test_real_time_is_there_for_those_who_ask() -> None:
    started = time.monotonic()
    await anyio.sleep(0.05)
    assert time.monotonic() - started >= 0.045


@given(st.integers(0, 10**6))
@settings(max_examples=20)
async def test_hypothesis_works_with_it(seconds: int) -> None:
    before = anyio.current_time()
    await anyio.sleep(seconds)
    assert anyio.current_time() - before == pytest.approx(seconds)


async def _tenth_of_a_second_later() -> str:
    await anyio.sleep(0.1)
    return "woken"


async def _wait_for_nothing() -> None:
    await anyio.Event().wait()


def _slow_answer() -> int:
    threading.Event().wait(0.1)
    return 42
