"""Running an async function on virtual time, to its end and that of what it has left."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ._clock import CLOSING, LIMIT, Deadlock, VirtualLoop
from ._trio_clock import import_trio, virtual_clock

T = TypeVar("T")


def run_virtually(backend: str, function: Callable[[], Coroutine[Any, Any, T]], limit: float = LIMIT) -> T:
    """Run an async function on virtual time, from a synchronous test."""
    if backend == "trio":  # not through anyio, which ignored the clock before version 4.8
        return import_trio().run(function, clock=virtual_clock(limit))  # type: ignore[no-any-return]
    loop = VirtualLoop(limit)
    runner = asyncio.Runner(loop_factory=lambda: loop)
    try:
        result = runner.run(function())
    except BaseException as error:
        _close(runner, loop, error)
        raise
    _close(runner, loop, None)
    return result


def _close(runner: asyncio.Runner, loop: VirtualLoop, failed: BaseException | None) -> None:
    """Cancel what is left, as ever; if that does not end, it must not hide what has failed before."""
    loop.limit = CLOSING
    try:
        runner.close()
    except Deadlock as stuck:
        if failed is None:
            raise
        failed.add_note(f"What was left could not be ended: {stuck}")
