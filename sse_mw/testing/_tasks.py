"""Whose task is whose: what an app under test has started, where it waits, and what it has left behind.

Everything that an app starts inherits its context variables, and so the mark of its request. Async generators show
themselves to the hooks that event loops install for them, in the context of whoever iterates.
"""

import asyncio
import gc
import re
import sys
import sysconfig
import threading
import weakref
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias, TypeGuard, TypeVar

import anyio

GRACE = 0.5
"""Seconds, of whichever clock, that what is left behind has to end by itself."""

LOOK = 0.01
"""Seconds between two looks at it: nothing tells when a task ends."""

owner: ContextVar["Owner"] = ContextVar("sse_mw.testing.owner")
"""Whose code runs."""

T = TypeVar("T")
Generator: TypeAlias = Any
"""An async generator: the type that hooks are declared with lacks its attributes."""


class Owner:
    """A request, or an app's lifespan: what its code has started. For one event loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._generators: list[tuple[weakref.ref[Generator], str]] = []
        self._collected: list[str] = []
        self.context = copy_context()
        """What its code is to run in."""
        self.context.run(owner.set, self)

    def began(self, generator: Generator) -> None:
        """Its code iterates an async generator for the first time."""
        if _is_own(generator):
            self._generators.append((weakref.ref(generator), _describe(generator)))

    def collected(self, generator: Generator) -> None:
        """An async generator that was not closed is being thrown away."""
        if _is_own(generator):
            self._collected.append(f"{_describe(generator)}, thrown away at {_place(generator)}")

    def find(self, variable: ContextVar[T]) -> T | None:
        """The value that a context variable has in its code: the running one's, else in any of its tasks."""
        found = variable.get(None)
        others = (context.get(variable) for _, _, context in _all_tasks() if _is_of(context, self))
        return found if found is not None else next((value for value in others if value is not None), None)

    def waiting(self) -> list[str]:
        """Where its tasks wait: those that run code of the app's own, or all if none does."""
        tasks = [*_tasks_of(self)]
        chosen = [task for task in tasks if any(map(_is_apps, _frames(task[1])))] or tasks
        return [f"task {name!r} at {_place(task)}" if _is_own(task) else f"at {_place(task)}" for name, task in chosen]

    def leaks(self) -> list[str]:
        """What it has left behind by now.

        Not what is a library's, or the standard library's, which libraries start too: many keep a task for as long as
        the event loop runs, from the first request on.
        """
        tasks = [f"task {name!r} at {_place(coroutine)}" for name, coroutine in _tasks_of(self) if _is_own(coroutine)]
        opened = ((ref(), name) for ref, name in self._generators)
        left = [f"async generator {name}, open at {_place(found)}" for found, name in opened if _is_open(found)]
        return tasks + left + [f"async generator {name}" for name in self._collected]

    async def leaks_after_grace(self) -> list[str]:
        """What it leaves behind, once that had the time to end."""
        leaks = self.leaks()
        for _ in range(round(GRACE / LOOK)):
            if len(leaks) == len(self._collected):
                break
            await anyio.sleep(LOOK)
            leaks = self.leaks()
        return leaks


def _is_open(generator: Generator | None) -> bool:
    return generator is not None and generator.ag_frame is not None


def _describe(generator: Generator) -> str:
    code = generator.ag_code
    return f"{generator.__qualname__} ({code.co_filename}:{code.co_firstlineno})"


# Where something waits

STANDARD = sysconfig.get_path("stdlib")
INSTALLED = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(Path(__file__).parent.parent))
"""Packages, and this one wherever it is."""


def _is_own(waiting: Any) -> bool:
    """Whether a task or generator is of the app's own code."""
    code = next((getattr(waiting, name) for name in ("cr_code", "ag_code", "gi_code") if hasattr(waiting, name)), None)
    return code is not None and not code.co_filename.startswith((STANDARD, *INSTALLED))  # what is compiled has none


def _place(waiting: Any) -> str:
    """The innermost line that is no library's; if there is none, the innermost."""
    frames = list(_frames(waiting))
    if not frames:
        return "its start"
    frame = ([*filter(_is_apps, frames)] or frames)[-1]
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def _is_apps(frame: FrameType) -> bool:
    return not frame.f_code.co_filename.startswith((STANDARD, *INSTALLED))


def _frames(waiting: Any) -> Iterator[FrameType]:
    """From the outermost in."""
    while waiting is not None:
        frame = next((getattr(waiting, name, None) for name in ("cr_frame", "ag_frame", "gi_frame")
                      if hasattr(waiting, name)), None)  # fmt: skip
        if frame is not None:
            yield frame
        waiting = _awaited(waiting)


def _awaited(waiting: Any) -> Any:
    for name in ("cr_await", "ag_await", "gi_yieldfrom"):
        if hasattr(waiting, name):
            return getattr(waiting, name)
    # What `async for` awaits shows its generator to the garbage collector alone.
    if type(waiting).__name__.startswith("async_generator_"):
        return next((found for found in gc.get_referents(waiting) if hasattr(found, "ag_frame")), None)
    return None


# Tasks


def _tasks_of(who: Owner) -> Iterator[tuple[str, Any]]:
    return ((name, coroutine) for name, coroutine, context in _all_tasks() if _is_of(context, who))


def _is_of(context: Context | None, who: Owner) -> TypeGuard[Context]:
    return context is not None and context.get(owner) is who


def _all_tasks() -> Iterator[tuple[str, Any, Context | None]]:
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        yield from ((task.name, task.coro, task.context) for task in _descendants(trio.lowlevel.current_root_task()))
    else:
        for task in asyncio.all_tasks():
            yield _asyncio_name(task), task.get_coro(), _asyncio_context(task)


def _descendants(task: Any) -> Iterator[Any]:
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield child
            yield from _descendants(child)


def _asyncio_name(task: "asyncio.Task[Any]") -> str:
    """The name that it was given, else its function's, as trio has it."""
    name = task.get_name()
    return str(getattr(task.get_coro(), "__qualname__", name)) if re.fullmatch(r"Task-\d+", name) else name


def _asyncio_context(task: Any) -> Context | None:
    if sys.version_info >= (3, 12):
        found: Context = task.get_context()
        return found
    return next((found for found in gc.get_referents(task) if isinstance(found, Context)), None)


# Async generators


class _Hooks(threading.local):
    """Those of a thread, around its event loop's own, while anybody watches."""

    def __init__(self) -> None:
        self.watching = 0
        self.first: Callable[[Generator], None] | None = None
        self.last: Callable[[Generator], None] | None = None
        self.owners: dict[int, Owner] = {}
        """By the generator's identity, as its weak references are gone when it is thrown away."""


_hooks = _Hooks()


def watch_generators() -> None:
    """From now on owners are told of their async generators, in this thread. Call `unwatch_generators` as often."""
    now = sys.get_asyncgen_hooks()
    if now.firstiter is not _began:  # the first, or an event loop has begun to run since
        _hooks.first, _hooks.last = now
        sys.set_asyncgen_hooks(_began, _collected)
    _hooks.watching += 1


def unwatch_generators() -> None:
    """Leave the event loop's own hooks as they were, after the last."""
    _hooks.watching -= 1
    if _hooks.watching:
        return
    _hooks.owners.clear()
    if sys.get_asyncgen_hooks().firstiter is _began:
        sys.set_asyncgen_hooks(_hooks.first, _hooks.last)


def _began(generator: Generator) -> None:
    who = owner.get(None)
    if who is None:
        _hooks.owners.pop(id(generator), None)  # of one that is gone
    else:
        who.began(generator)
        _hooks.owners[id(generator)] = who
    if _hooks.first is not None:
        _hooks.first(generator)


def _collected(generator: Generator) -> None:
    who = _hooks.owners.pop(id(generator), None)
    if who is not None:
        who.collected(generator)
    if _hooks.last is not None:
        _hooks.last(generator)
