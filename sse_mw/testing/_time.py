"""What tests say of time: that it is to be virtual, and that some is to pass."""

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, overload

import anyio

from ..exceptions import InvalidOption
from ._checks import check_backend, check_seconds
from ._clock import LIMIT, VirtualLoop
from ._run import run_virtually
from ._trio_clock import virtual_clock

T = TypeVar("T")
P = ParamSpec("P")

MOMENT = 1e-7
"""Seconds: more than nothing."""


def virtual_backend(backend: str = "asyncio", *, limit: float = LIMIT) -> tuple[str, dict[str, Any]]:
    """What anyio's fixture `anyio_backend` returns, to run tests on virtual time.

    Args:
        backend: `asyncio` or `trio`.
        limit: Seconds, real ones, that a test may take in jumps of the clock until it fails with `Deadlock`. On trio
            they are those of all tests that share the fixture.

    Raises:
        InvalidOption: It is neither.
        ImportError: trio is not installed.
    """
    check_backend(backend)
    check_seconds("limit", limit)
    if backend == "trio":
        return "trio", {"clock": virtual_clock(limit)}
    return "asyncio", {"loop_factory": partial(VirtualLoop, limit)}


@overload
def virtual_time(function: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T]: ...
@overload
def virtual_time(
    *, backend: str = "asyncio", limit: float = LIMIT
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, T]]: ...
def virtual_time(function: Any = None, /, *, backend: str = "asyncio", limit: float = LIMIT) -> Any:
    """Make an async test a plain one, which runs in an event loop of its own, on virtual time.

    No plugin for async tests is needed, and none gets in the way; its async fixtures are not available either.

    Args:
        function: The test, a coroutine function. Its parameters stay, so fixtures are passed as ever.
        backend: `asyncio` or `trio`.
        limit: Seconds, real ones, that the test may take in jumps of the clock until it fails with `Deadlock`.

    Raises:
        InvalidOption: The function is no coroutine function, or the backend is unknown.
        Deadlock: When it runs: it waits for what cannot happen.
    """
    check_backend(backend)
    check_seconds("limit", limit)
    decorate = partial(_on_virtual_time, backend=backend, limit=limit)
    return decorate if function is None else decorate(function)


def _on_virtual_time(function: Callable[P, Coroutine[Any, Any, T]], backend: str, limit: float) -> Callable[P, T]:
    if not inspect.iscoroutinefunction(function):
        raise InvalidOption(f"virtual_time was given {function!r:.80}, which is no coroutine function: put it next to "
                            "an `async def`, below other decorators")  # fmt: skip

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtually(backend, partial(function, *args, **kwargs), limit)

    return run


def is_virtual() -> bool:
    """Whether the running event loop has such a clock."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return type(trio.lowlevel.current_clock()).__name__ == "MockClock"
    return isinstance(asyncio.get_running_loop(), VirtualLoop)


async def advance(seconds: float) -> None:
    """Let virtual time pass, and with it whatever is due by then: pings, timeouts, sources' sleeps.

    Args:
        seconds: How much. What is due by then has happened when this returns.

    Raises:
        InvalidOption: It is no number of seconds above 0.
        RuntimeError: The running event loop has a real clock.
    """
    check_seconds("seconds", seconds)
    if not is_virtual():
        raise RuntimeError("advance() needs a virtual clock, and the running event loop has the real one: run the test "
                           "under @sse_mw.testing.virtual_time, or with sse_mw.testing.virtual_backend()")  # fmt: skip
    await anyio.sleep(seconds)
    await settle()


async def settle() -> None:
    """On a virtual clock, return when no other task can run: it stands still as long as one can."""
    await anyio.sleep(MOMENT)
