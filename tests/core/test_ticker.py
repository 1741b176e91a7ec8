"""The shared tick: exact enough, fair, and gone when there is nothing to look after."""

import time
from math import inf

import anyio
import anyio.lowlevel
import pytest

from sse_mw._runtime import PerLoop
from sse_mw._stream import TICK
from sse_mw._ticker import SLICE, Bucket, Ticker

pytestmark = pytest.mark.anyio


class Visitor:
    """Comes back after each of the given delays, then never."""

    def __init__(self, *delays: float, error: Exception | None = None) -> None:
        self.bucket: Bucket | None = None
        self.delays = list(delays)
        self.visits: list[float] = []
        self.error = error

    def visit(self, now: float) -> float:
        self.visits.append(now)
        if self.error is not None:
            raise self.error
        return now + self.delays.pop(0) if self.delays else inf


def new_ticker() -> Ticker:
    return PerLoop(Ticker, 256).get()


async def test_visits_come_when_asked_for_or_a_tick_later() -> None:
    ticker, visitor = new_ticker(), Visitor(1, 0.5, 100)
    ticker.add(visitor)
    began = anyio.current_time()
    await anyio.sleep(110)
    first, *others = [at - began for at in visitor.visits]
    assert 0 < first <= TICK * 1.01
    expected = first
    for visited, delay in zip(others, (1, 0.5, 100), strict=True):
        expected += delay
        assert expected - 1e-6 <= visited <= expected + 4 * TICK
        expected = visited
    ticker.remove(visitor)


async def test_a_ticker_with_nothing_to_do_does_not_tick_and_starts_again() -> None:
    ticker, first, second = new_ticker(), Visitor(), Visitor()
    ticker.add(first)
    ticker.remove(first)
    await anyio.sleep(1)
    assert first.visits == []
    assert not ticker.is_running
    stale = ticker.now
    await anyio.sleep(100)
    ticker.add(second)
    assert ticker.now >= stale + 100, "the time is fresh for the first stream"
    await anyio.sleep(1)
    assert len(second.visits) == 1
    ticker.remove(second)


@pytest.mark.real_time
async def test_ten_thousand_visits_at_once_leave_the_loop_turns_in_between() -> None:
    ticker = new_ticker()
    visitors = [Visitor() for _ in range(10_000)]
    progress: list[int] = []
    for visitor in visitors:
        ticker.add(visitor)
    while not visitors[-1].visits:
        progress.append(sum(1 for visitor in visitors if visitor.visits))
        await anyio.lowlevel.checkpoint()
    assert len({count for count in progress if count}) >= 10_000 // SLICE - 1
    for visitor in visitors:
        ticker.remove(visitor)


async def test_a_visit_that_fails_is_logged_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    ticker, bad, good = new_ticker(), Visitor(error=LookupError("bad")), Visitor(1)
    ticker.add(bad)
    ticker.add(good)
    await anyio.sleep(2)
    assert (len(bad.visits), len(good.visits)) == (1, 2)
    assert caplog.text.count("visit failed") == 1
    ticker.remove(bad)
    ticker.remove(good)


async def test_a_visit_may_remove_another_that_is_due() -> None:
    ticker, victim = new_ticker(), Visitor()

    class Remover(Visitor):
        def visit(self, now: float) -> float:
            ticker.remove(victim)
            return super().visit(now)

    remover = Remover()
    ticker.add(remover)
    ticker.add(victim)
    await anyio.sleep(1)
    assert victim.visits == []
    ticker.remove(remover)


@pytest.mark.real_time
async def test_the_time_in_which_the_loop_stood_still_does_not_count() -> None:
    """A send that had begun before would look like one to a client that had stopped reading."""
    ticker, visitor = new_ticker(), Visitor(0.2)
    ticker.add(visitor)
    await anyio.sleep(3 * TICK)
    assert len(visitor.visits) == 1
    before = ticker.now
    time.sleep(0.5)  # noqa: ASYNC251  the stall
    await anyio.sleep(3 * TICK)
    assert ticker.now - before < 0.15
    assert ticker.fresh() - before < 0.15
    assert len(visitor.visits) == 1, "it is not due yet"
    await anyio.sleep(0.25)
    assert len(visitor.visits) == 2
    ticker.remove(visitor)
