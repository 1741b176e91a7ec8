"""The endpoints that need nothing of their framework, each a plain function under `@sse_route`, and the journal."""

import inspect
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from importlib import import_module
from typing import Any

import anyio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sse_mw import ServerSentEvent, SSEMiddleware, StreamInfo, current_stream, sse_route
from sse_mw._types import ASGIApp, Receive, Scope, Send

journal: list[dict[str, Any]] = []
tracer = TracerProvider().get_tracer("conformance")
held: ContextVar[str] = ContextVar("held", default="nothing")
set_before: ContextVar[str] = ContextVar("set_before", default="nothing")


def note(what: str, **more: Any) -> None:
    journal.append({"what": what, "key": current_stream().last_event_id, "at": time.monotonic(), **more})


def seen(error: BaseException) -> None:
    """For the place of a framework where an error tracker listens. Quart's tasks are in a group from Python 3.12 on."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    note("seen", error=type(error).__name__)


class Tracker:
    """An error tracker's middleware, around the framework: what fails in mid-stream comes out of its sending, which
    the error handlers of most do not see, nor what stands inside a BaseHTTPMiddleware.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            seen(error)
            raise


ITEMS: list[Any] = [
    "one\nline",
    {"event": "load", "data": "two", "id": "2"},
    ServerSentEvent({"n": 3}, event="order"),
    b"data: four\n\n",
    [5],
]


async def from_async_generator(*_: Any) -> AsyncIterator[Any]:
    for item in ITEMS:
        yield item


def from_sync_generator(*_: Any) -> Iterator[Any]:
    yield from ITEMS


def from_returned_generator(*_: Any) -> Any:
    return (item for item in ITEMS)


def from_returned_async_iterable(*_: Any) -> Any:
    return from_async_generator()


async def from_awaited_async_iterable(*_: Any) -> Any:
    return from_async_generator()


async def from_awaited_list(*_: Any) -> Any:
    return ITEMS


async def from_receive_stream(*_: Any) -> Any:
    sender, receiver = anyio.create_memory_object_stream[Any](len(ITEMS))
    with sender:
        for item in ITEMS:
            sender.send_nowait(item)
    return receiver


async def empty(*_: Any) -> AsyncIterator[Any]:
    return
    yield


async def silent(*_: Any) -> AsyncIterator[Any]:
    await anyio.sleep(3600)
    yield "never"


async def idle(*_: Any) -> AsyncIterator[Any]:
    """Cleans up with an await, in the task and the context in which it began."""
    note("begun")
    task = anyio.get_current_task().id
    set_before.set("in the source")
    try:
        yield "x"
        await anyio.sleep(3600)
    finally:
        same = task == anyio.get_current_task().id and set_before.get() == "in the source"
        note("finally", same=same)
        await anyio.sleep(0.05)
        note("cleaned")


def idle_in_thread(*_: Any) -> Iterator[Any]:
    try:
        while True:
            yield "x"
            time.sleep(0.02)
    finally:
        note("finally", thread=threading.current_thread().name)


async def holds(*_: Any) -> AsyncIterator[Any]:
    """A token, a span and a cancel scope, each entered before a `yield` and left after it."""
    token = held.set("something")
    with tracer.start_as_current_span("stream") as span, anyio.fail_after(30):
        for number in range(3):
            yield str(number)
            await anyio.sleep(0.01)
            assert trace.get_current_span() is span
    held.reset(token)
    note("held")


async def busy(*_: Any) -> AsyncIterator[Any]:
    count = 0
    try:
        while True:
            count += 1
            yield "x"
    finally:
        note("finally", count=count)


async def fails(*_: Any) -> AsyncIterator[Any]:
    yield "one"
    yield "two"
    raise LookupError("in mid-stream")


async def fails_at_once(*_: Any) -> AsyncIterator[Any]:
    raise LookupError("at once")
    yield


async def unsendable(*_: Any) -> AsyncIterator[Any]:
    yield {"data": "x", "evnt": "typo"}


async def unsendable_later(*_: Any) -> AsyncIterator[Any]:
    yield "x"
    yield {"data": "x", "evnt": "typo"}


async def not_iterable(*_: Any) -> Any:
    return 42


async def reconnects(*_: Any) -> AsyncIterator[Any]:
    yield f"after {current_stream().last_event_id}"


async def paced(*_: Any) -> AsyncIterator[Any]:
    yield "x"
    await anyio.sleep(3600)


async def told(error: BaseException) -> dict[str, str]:
    return {"event": "failed", "data": "sorry"}


PLAIN: dict[str, Callable[..., Any]] = {
    "/async-generator": from_async_generator,
    "/sync-generator": from_sync_generator,
    "/returned-generator": from_returned_generator,
    "/returned-async-iterable": from_returned_async_iterable,
    "/awaited-async-iterable": from_awaited_async_iterable,
    "/awaited-list": from_awaited_list,
    "/receive-stream": from_receive_stream,
    "/empty": empty,
    "/silent": silent,
    "/idle": idle,
    "/idle-in-thread": idle_in_thread,
    "/holds": holds,
    "/busy": busy,
    "/fails": fails,
    "/fails-at-once": fails_at_once,
    "/unsendable": unsendable,
    "/unsendable-later": unsendable_later,
    "/not-iterable": not_iterable,
    "/reconnects": reconnects,
}


def endpoints(*, parameters: bool) -> dict[str, Callable[..., Any]]:
    """The endpoints by path. With `parameters` they take whatever arguments they are called with; without, none, which
    frameworks that inject arguments need to see.
    """
    functions = [*PLAIN.values(), paced]
    if not parameters:
        for function in functions:
            function.__signature__ = inspect.Signature()  # type: ignore[attr-defined]
    decorated = {path: sse_route(function) for path, function in PLAIN.items()}
    # The others have longer: a thread may be late on a busy machine, with a refusal that is to be in time.
    decorated["/silent"] = sse_route(open_timeout=0.1)(silent)
    decorated["/pings"] = sse_route(ping_interval=0.2)(paced)
    return decorated


async def read_journal(request: Request) -> Response:
    key = request.query_params["key"]
    return JSONResponse([entry for entry in journal if entry["key"] == key])


def closed(info: StreamInfo) -> None:
    note("closed", reason=info.reason, mode=info.mode)


# What the server serves: the framework that `FRAMEWORK` names; without the middleware for the query `?bare`.

bare: ASGIApp = import_module(f"support.conformance.{os.environ['FRAMEWORK']}_app").make() if (
    "FRAMEWORK" in os.environ) else Starlette()  # fmt: skip
wrapped = SSEMiddleware(bare, open_timeout=2.0, on_close=closed, on_error=told)
its_journal = Starlette(routes=[Route("/journal", read_journal)])


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" and scope["path"] == "/journal":
        await its_journal(scope, receive, send)
    elif scope["type"] == "http" and scope["query_string"] == b"bare":
        await bare(scope, receive, send)
    else:
        await wrapped(scope, receive, send)
