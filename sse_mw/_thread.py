"""One worker thread that belongs to one source for as long as it is open."""

import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue

from anyio import Event

from ._runtime import Backend

LOOK = 1.0
"""Seconds between two looks of a thread without work whether anybody is left who could give it some.

Who closes an event loop without a chance for its tasks, or ends the interpreter, must not have to wait for it for ever.
"""

Job = Callable[[], None]


class WorkerThread:
    """Calls one function after another, all in one context. Its methods are for the event loop's thread.

    It is a thread of anyio's, so that `anyio.from_thread` works in it, and counts against `max_threads`.
    """

    def __init__(self, context: Context, backend: Backend) -> None:
        self._backend = backend
        self._context = context
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._state = _State()
        self._cancel: Callable[[], object] | None = None
        self._call: _Call | None = None
        self.was_given_up = False
        """It was not had, and will not be."""

    async def call(self, function: Callable[[], object]) -> object:
        """Have the thread call `function`; what it returns or raises."""
        if self._cancel is None:
            self._cancel = self._backend.spawn(_hold, self._backend, self._jobs, self._context, self._state)
        self._call = call = _Call(function, self._backend)
        self._jobs.put(call.run)
        await call.done.wait()
        self._call = None
        return call.outcome()

    def give_up_waiting(self, result: object) -> None:
        """If there is no thread yet, let what waits for its call have `result`, and need none."""
        if self._cancel is not None and self._state.leave_unbegun():
            self.was_given_up = True
            self._cancel()
            if self._call is not None:
                self._call.answer(result)

    def leave(self) -> None:
        """Let the thread go, once it has done what it was given."""
        self._jobs.put(None)


class _State:
    """Whether the thread has begun or is not to: whichever is first, and both sides have to know."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decided = ""

    def begin(self) -> bool:
        return self._decide("begun")

    def leave_unbegun(self) -> bool:
        return self._decide("left")

    def _decide(self, decision: str) -> bool:
        with self._lock:
            self._decided = self._decided or decision
            return self._decided == decision


class _Call:
    """One call, on its way to the thread and back."""

    def __init__(self, function: Callable[[], object], backend: Backend) -> None:
        self._function = function
        self._backend = backend
        self._result: object = None
        self._error: BaseException | None = None
        self.done = Event()

    def run(self) -> None:
        """In the thread."""
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error
        with suppress(RuntimeError):  # the event loop is gone
            self._backend.call_from_thread(self.done.set)

    def answer(self, result: object) -> None:
        """In the thread's place."""
        self._result = result
        self.done.set()

    def outcome(self) -> object:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # a cycle, through its traceback
        return self._result


async def _hold(backend: Backend, jobs: "SimpleQueue[Job | None]", context: Context, state: _State) -> None:
    """A task of its own, as somebody has to wait for the thread."""

    def is_alone() -> bool:
        return not backend.is_alive or not threading.main_thread().is_alive()

    await backend.run_in_thread(lambda: context.run(_work, jobs, state, is_alone))


def _work(jobs: "SimpleQueue[Job | None]", state: _State, is_alone: Callable[[], bool]) -> None:
    if not state.begin():
        return
    while True:
        try:
            job = jobs.get(timeout=LOOK)
        except Empty:
            if is_alone():
                return
            continue
        if job is None:
            return
        job()
