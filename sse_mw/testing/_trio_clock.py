"""Virtual time on trio, by the rules of `_clock`."""

import time
from math import inf
from typing import TYPE_CHECKING, Any

from ._clock import CLOSING, DEADLOCK, ENDLESS, LAST_LOOK, LIMIT, THREAD_SLICE, Deadlock
from ._threads import Strangers

if TYPE_CHECKING:
    from trio.testing import MockClock


def import_trio() -> Any:
    """trio with its test tools.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import trio
        import trio.testing  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise ImportError("The backend trio was asked for, and is not installed: pip install trio") from error
    return trio


def virtual_clock(limit: float = LIMIT) -> "MockClock":
    """A trio clock by the same rules. trio's own autojump knows rule 1 alone, and the class cannot be
    subclassed.
    """
    trio = import_trio()
    clock: Any = trio.testing.MockClock(autojump_threshold=0)
    strangers, watch = Strangers(), _Watch(limit)

    def autojump() -> None:
        deadline = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if trio.testing.active_thread_count() or strangers.at_work():
            time.sleep(THREAD_SLICE)
            clock.jump(min(THREAD_SLICE, max(deadline, 0)))
        elif deadline < inf:
            watch.jumped()
            pause = strangers.pause_before(deadline)
            if pause:
                time.sleep(pause)
            if not (pause and (strangers.at_work() or trio.lowlevel.current_statistics().run_sync_soon_queue_size)):
                clock.jump(max(deadline, 0))
        else:
            watch.look_once_more()
            return
        watch.idle_since = None

    clock._autojump = autojump
    made: MockClock = clock
    return made


class _Watch:
    """How long a trio clock has had nothing to jump to, and how long it has jumped on and on."""

    def __init__(self, limit: float) -> None:
        self.idle_since: float | None = None
        self._limit = limit
        self._jumping_from: float | None = None
        self._has_given_up = False

    def jumped(self) -> None:
        now = time.monotonic()
        if self._jumping_from is None:
            self._jumping_from = now
        elif now > self._jumping_from + self._limit:
            limit, self._limit, self._jumping_from = self._limit, CLOSING, now
            self._give_up(ENDLESS.format(limit))

    def look_once_more(self) -> None:
        now = time.monotonic()
        if self.idle_since is None:
            self.idle_since = now
        if now < self.idle_since + LAST_LOOK:
            time.sleep(THREAD_SLICE)
            return
        self.idle_since = None
        self._give_up(DEADLOCK)

    def _give_up(self, why: str) -> None:
        """What trio does to deliver a KeyboardInterrupt. Raising here would crash the run loop, and the test runner.

        So that is what is done if the test is over, and what is left of its app does not end.
        """
        from trio._core._run import GLOBAL_RUN_CONTEXT

        def fail() -> Any:
            raise Deadlock(why)

        main_task: Any = getattr(GLOBAL_RUN_CONTEXT.runner, "main_task")  # noqa: B009
        if main_task is not None and main_task.coro.cr_frame is not None and not self._has_given_up:
            self._has_given_up = True
            main_task._attempt_abort(fail)
        else:
            fail()
