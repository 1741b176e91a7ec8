"""What an endpoint may give as the source of its events, and the one way in which all of them are iterated.

An async iterable is iterated as it is. A sync one may block at each step, so each step is a worker thread's, but for
lists and the like, which never do.
"""

import inspect
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextvars import Context
from typing import Any, Protocol

from ._runtime import Backend
from ._thread import WorkerThread
from ._values import describe
from .exceptions import InvalidSource

AT_HAND = (list, tuple, deque, set, frozenset, range)
"""Iterables whose next item is there already, so that no thread is needed to fetch it."""

ONE_ITEM = (str, bytes, bytearray, memoryview, Mapping)
"""Iterables that are items themselves."""

_END = object()


class Source(Protocol):
    """One source, at work once at most. It is iterated, then closed, by one and the same task."""

    interruptible: bool
    """Whether a cancellation reaches it where it waits."""

    def __aiter__(self) -> AsyncIterator[object]: ...

    def stop(self) -> None:
        """It is to end. Called from outside, while its task may wait for its next item."""
        ...

    async def aclose(self) -> None:
        """Run its cleanup, whether it was started or not."""
        ...


class AsyncSource:
    """An async iterable: a generator, a receive stream of anyio or trio, or what else has `__aiter__`."""

    __slots__ = ("_iterable", "_iterator")

    interruptible = True

    def __init__(self, iterable: AsyncIterable[object]) -> None:
        self._iterable = iterable
        self._iterator: AsyncIterator[object] | None = None

    def __aiter__(self) -> AsyncIterator[object]:
        # The iterable's own: nothing of ours stands between it and the `async for`.
        try:
            self._iterator = aiter(self._iterable)
        except StopAsyncIteration as error:  # would end the stream as if all had been said
            raise RuntimeError("a source's __aiter__ raised StopAsyncIteration") from error
        return self._iterator

    def stop(self) -> None:
        """Its task is interrupted, which is all that it needs."""

    async def aclose(self) -> None:
        try:
            if self._iterator is not None and self._iterator is not self._iterable:
                await _aclose(self._iterator)
        finally:
            await _aclose(self._iterable)


async def _aclose(closable: Any) -> None:
    if hasattr(closable, "aclose"):
        await closable.aclose()


class ThreadedSource:
    """A sync iterable: one worker thread takes its steps and closes it, in the context of the endpoint.

    It keeps its thread, since what it holds may belong to that: a connection of sqlite3, Django's, a thread-local.
    """

    interruptible = False

    def __init__(self, iterable: Iterable[object], context: Context, backend: Backend) -> None:
        self._iterable = iterable
        self._iterator: Iterator[object] | None = None
        self._thread = WorkerThread(context, backend)
        self._stopped = False

    def __aiter__(self) -> AsyncIterator[object]:
        return self

    async def __anext__(self) -> object:
        item = await self._thread.call(self._advance)
        if item is _END:
            raise StopAsyncIteration
        return item

    def stop(self) -> None:
        self._stopped = True
        self._thread.give_up_waiting(_END)

    async def aclose(self) -> None:
        try:
            if self._thread.was_given_up or (inspect.isgenerator(self._iterable) and self._iterator is None):
                self._close()  # there is nothing in it to run
            else:
                await self._thread.call(self._close)
        finally:
            self._thread.leave()

    def _close(self) -> None:
        try:
            if self._iterator is not None and self._iterator is not self._iterable:
                _close(self._iterator)
        finally:
            _close(self._iterable)

    def _advance(self) -> object:
        if self._stopped:
            return _END
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        try:
            return next(self._iterator, _END)
        except StopAsyncIteration as error:  # would end the stream as if all had been said
            raise RuntimeError("a sync source raised StopAsyncIteration") from error


def _close(closable: Any) -> None:
    if hasattr(closable, "close"):
        closable.close()


async def _each(collection: Iterable[object]) -> AsyncIterator[object]:
    for item in collection:
        yield item


def make_source(given: Any, endpoint: str, context: Context, backend: Backend) -> Source:
    """The source in what an endpoint has returned.

    Raises:
        InvalidSource: It is nothing that events come from one by one.
    """
    kind = given.__class__
    if hasattr(kind, "__aiter__"):
        return AsyncSource(given)
    if issubclass(kind, AT_HAND):
        return AsyncSource(_each(given))
    if hasattr(kind, "__iter__") and not issubclass(kind, ONE_ITEM):
        return ThreadedSource(given, context, backend)
    if inspect.iscoroutine(given):
        given.close()
    raise InvalidSource(
        f"{endpoint} stands under @sse_route, but returned {describe(given)}, which is no source of events: "
        f"{_remedy(given)}"
    )


def _remedy(given: object) -> str:
    if given is None:
        return "yield the events, or return an iterable of them"
    if inspect.isawaitable(given):
        return "make it `async def`, so that what it returns is awaited"
    return "yield it, to send it as one event, or return an iterable of events"
