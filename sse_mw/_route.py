"""`@sse_route`: an endpoint that yields events, in whichever framework.

The decorated endpoint is called as ever. What it gives is left with the request's exchange, and the framework gets a
placeholder to make its response of; docs/design/sources.md has the reasons.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, ParamSpec, Protocol, TypeAlias, overload

import anyio.to_thread

from ._current import find_exchange
from ._frameworks import is_response, make_placeholder, respond, split_response
from ._misplaced import note_bare, note_wrapper
from ._negotiate import Mark
from ._options import ErrorHook, FrameMode, Hook, Options, PingEvent, check_frame_mode
from ._signature import imitate
from ._types import Receive, Scope, Send
from ._values import describe
from .exceptions import InvalidSource

P = ParamSpec("P")
Function: TypeAlias = Callable[..., Any]


class Endpoint(Protocol[P]):
    """What `@sse_route` makes of a function, for type checkers: a function still, and an ASGI app."""

    __name__: str
    __qualname__: str

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...
    @overload
    def __call__(self, scope: Scope, receive: Receive, send: Send, /) -> Awaitable[Any]: ...
    def __get__(self, instance: Any, owner: Any = None, /) -> Callable[..., Any]: ...


class Decorator(Protocol):
    """`@sse_route` with options given."""

    def __call__(self, endpoint: Callable[P, Any], /) -> Endpoint[P]: ...


class _Unset:
    def __repr__(self) -> str:
        return "<the middleware's>"


UNSET: Any = _Unset()


@overload
def sse_route(endpoint: Callable[P, Any], /) -> Endpoint[P]: ...
@overload
def sse_route(
    *,
    frame: Literal["lines", "chunks"] | None = None,
    ping_interval: float | None = ...,
    ping_event: PingEvent | None = ...,
    padding: int = ...,
    send_timeout: float | None = ...,
    idle_timeout: float | None = ...,
    max_duration: float | None = ...,
    open_timeout: float | None = ...,
    cleanup_timeout: float = ...,
    drain_grace: float = ...,
    retry: int | None = ...,
    coalesce: bool = ...,
    on_open: Hook | None = ...,
    on_close: Hook | None = ...,
    on_error: ErrorHook | None = ...,
    debug: bool = ...,
) -> Decorator: ...
def sse_route(
    endpoint: Function | None = None,
    /,
    *,
    frame: FrameMode | None = None,
    ping_interval: float | None = UNSET,
    ping_event: PingEvent | None = UNSET,
    padding: int = UNSET,
    send_timeout: float | None = UNSET,
    idle_timeout: float | None = UNSET,
    max_duration: float | None = UNSET,
    open_timeout: float | None = UNSET,
    cleanup_timeout: float = UNSET,
    drain_grace: float = UNSET,
    retry: int | None = UNSET,
    coalesce: bool = UNSET,
    on_open: Hook | None = UNSET,
    on_close: Hook | None = UNSET,
    on_error: ErrorHook | None = UNSET,
    debug: bool = UNSET,
) -> Any:
    """Make an endpoint's response an event stream: `@sse_route`, next to the function, or `@sse_route(retry=3000)`.

    The endpoint may be

    - a generator function, async or not;
    - a function or coroutine function that returns an async iterable, an iterable, or a receive stream of anyio's;
    - one that returns an ordinary response, with `frame`, to have its body made events; a response that is an event
      stream already needs none;
    - with the parameters `scope`, `receive` and `send`, or the first of them, an ASGI app by itself.

    An item that it gives is an event: a `str` its data, a mapping its fields, a `ServerSentEvent` itself, `bytes` are
    sent as they are, and anything else is JSON data. What it raises before its first event is the framework's to
    answer, as is any response that it returns; what it raises later ends the stream (`on_error`).

    A source is iterated and closed by one task, in the endpoint's context. When the client leaves it is cancelled where
    it waits, once, and its cleanup may await. Sync sources have worker threads, and end when their step under way does.

    Any number of requests may call the endpoint at once. An `SSEMiddleware` must be around the app.

    Args:
        endpoint: The function. The framework's own decorator goes above.
        frame: How the body of the response that the endpoint returns becomes events: `"lines"`, an event for each line,
            or `"chunks"`, one for each body message. Only a response with a status of 2xx is touched.
        ping_interval: This and the others are the middleware's options, for this endpoint; those that are not given
            stay as the middleware has them.

    Raises:
        InvalidOption: An option cannot be meant.
        InvalidSource: What is decorated is no function.
    """
    given: dict[str, Any] = {
        "ping_interval": ping_interval,
        "ping_event": ping_event,
        "padding": padding,
        "send_timeout": send_timeout,
        "idle_timeout": idle_timeout,
        "max_duration": max_duration,
        "open_timeout": open_timeout,
        "cleanup_timeout": cleanup_timeout,
        "drain_grace": drain_grace,
        "retry": retry,
        "coalesce": coalesce,
        "on_open": on_open,
        "on_close": on_close,
        "on_error": on_error,
        "debug": debug,
    }
    overrides = {name: value for name, value in given.items() if value is not UNSET}
    Options(**overrides)  # refuses here what cannot be meant
    check_frame_mode(frame)
    if endpoint is not None:
        return _decorate(endpoint, frame, overrides)

    def decorator(endpoint: Function, /) -> Any:
        return _decorate(endpoint, frame, overrides)

    return decorator


def _decorate(endpoint: Any, frame: FrameMode | None, overrides: Mapping[str, Any]) -> Any:
    if type(endpoint) in (staticmethod, classmethod):
        return type(endpoint)(_decorate(endpoint.__func__, frame, overrides))
    return Route(endpoint, frame, overrides).wrapper()


class Route:
    """One decorated endpoint."""

    def __init__(self, endpoint: Any, frame: FrameMode | None, overrides: Mapping[str, Any]) -> None:
        if not (inspect.isroutine(endpoint) or hasattr(endpoint, "func")):  # a functools.partial has one
            raise InvalidSource(
                f"@sse_route was given {describe(endpoint)}, which is no function: put it below the framework's own "
                "decorator, next to the function; of a class, decorate the methods"
            )
        self._endpoint = endpoint
        self._frame: FrameMode | None = frame
        self._overrides = overrides
        self._parameters: tuple[inspect.Parameter, ...] | None = None
        self._merged: tuple[Options, Options] | None = None
        self._name = getattr(endpoint, "__qualname__", repr(endpoint))
        self._yields = inspect.isasyncgenfunction(endpoint) or inspect.isgeneratorfunction(endpoint)
        if self._yields and inspect.isfunction(endpoint):
            note_bare(endpoint)
        if frame is not None and self._yields:
            raise InvalidSource(
                f"@sse_route(frame={frame!r}) is for an endpoint that returns a response, and {self._name} yields: "
                "leave frame out, what it yields are events already"
            )

    def wrapper(self) -> Function:
        """The function that takes the endpoint's place: a coroutine function if the endpoint is asynchronous."""

        async def call(*args: Any, **kwargs: Any) -> Any:
            if _is_asgi_call(args, kwargs):
                return await self._serve(*args)
            self._enter()
            given = self._endpoint(*args, **kwargs)
            if not self._yields:
                given = await given
            if self._is_response(given, args):
                return given
            source, rest = split_response(given)
            await find_exchange(self._name).begin(source, self._name)
            placeholder = make_placeholder(args)
            return (placeholder, *rest) if rest else placeholder

        def call_in_thread(*args: Any, **kwargs: Any) -> Any:
            if _is_asgi_call(args, kwargs):
                return self._serve(*args)
            self._enter()
            given = self._endpoint(*args, **kwargs)
            if self._is_response(given, args):
                return given
            source, rest = split_response(given)
            begun = find_exchange(self._name).begin_in_thread(source, self._name)
            placeholder = make_placeholder(args, begun)
            return (placeholder, *rest) if rest else placeholder

        is_async = inspect.isasyncgenfunction(self._endpoint) or inspect.iscoroutinefunction(self._endpoint)
        chosen = call if is_async else call_in_thread
        imitate(chosen, self._endpoint, streams=self._yields, frames=self._frame is not None)
        note_wrapper(chosen)
        return chosen

    def _enter(self) -> None:
        """Leave the endpoint's mark, before it is called."""
        exchange = find_exchange(f"{self._name}, under @sse_route, was called")
        exchange.mark(Mark(frame=self._frame), self._options(exchange.options))

    def _options(self, base: Options) -> Options:
        if not self._overrides:
            return base
        # One middleware, as a rule: its options are merged once.
        if self._merged is None or self._merged[0] is not base:
            self._merged = base, replace(base, **self._overrides)
        return self._merged[1]

    def _is_response(self, given: object, arguments: tuple[Any, ...]) -> bool:
        """Whether what was returned is not to be iterated."""
        if self._frame is not None or is_response(given, arguments):
            return True
        return given is None and find_exchange(self._name).has_started  # it has sent its response by itself

    async def _serve(self, *args: Any) -> None:
        """The endpoint as an ASGI app."""
        *bound, scope, receive, send = args
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await self._serve_http(bound, scope, receive, send)

    async def _serve_http(self, bound: list[Any], scope: Scope, receive: Receive, send: Send) -> None:
        self._enter()
        arguments = [*bound, *(scope, receive, send)[: self._count_of_asgi_arguments(len(bound))]]
        if inspect.iscoroutinefunction(self._endpoint):
            given = await self._endpoint(*arguments)
            if self._frame is not None or given is None:
                return  # it is an ASGI app by itself, and has sent its response
        elif self._yields:
            given = self._endpoint(*arguments)
        else:
            given = await anyio.to_thread.run_sync(self._endpoint, *arguments)
        await find_exchange(self._name).begin(given, self._name)
        await respond(send)

    def _count_of_asgi_arguments(self, bound: int) -> int:
        parameters = self._parameters
        if parameters is None:
            parameters = self._parameters = tuple(inspect.signature(self._endpoint).parameters.values())
        if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
            return 3
        return sum(parameter.kind <= parameter.POSITIONAL_OR_KEYWORD for parameter in parameters) - bound


def _is_asgi_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    if kwargs or len(args) not in (3, 4):
        return False
    scope, receive, send = args[-3:]
    return isinstance(scope, Mapping) and "type" in scope and callable(receive) and callable(send)


async def _live(receive: Receive, send: Send) -> None:
    """The lifespan of an app that has nothing to do in it."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
