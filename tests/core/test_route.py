"""The decorator itself: what it takes, what it refuses, and what a framework sees of the endpoint."""

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import pytest

from sse_mw import InvalidOption, InvalidSource, MiddlewareMissing, SSEMiddleware, current_stream, sse_route
from sse_mw._types import Receive, Scope, Send
from sse_mw.testing._server import http_scope
from support.driver import Recorded, body, running, start

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found] # pyright: ignore[reportMissingImports]

pytestmark = pytest.mark.anyio


async def ticks(*_: Any) -> AsyncIterator[str]:
    yield "tick"


async def test_a_framework_that_streams_by_itself_what_is_decorated_is_named() -> None:
    """As FastAPI does for `response_class=EventSourceResponse`."""
    decorated = sse_route(ticks)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["endpoint"] = decorated
        await answering(b"text/event-stream", b"data: x\n\n")(scope, receive, send)

    run = await serve(app)
    assert isinstance(run.error, InvalidSource)
    assert "leave response_class=EventSourceResponse out" in str(run.error)
    assert run.send.messages == []


async def undecorated() -> AsyncIterator[str]:
    yield "x"


async def serve(endpoint: Any, **options: Any) -> Any:
    async with running(SSEMiddleware(endpoint, **options)) as run:
        await run.finish()
    return run


# As an ASGI app


@pytest.mark.parametrize("count", [0, 1, 2, 3])
async def test_a_raw_asgi_app_takes_as_many_arguments_as_it_wants(count: int) -> None:
    given: list[Any] = []

    async def none() -> AsyncIterator[str]:
        given.append(())
        yield "x"

    async def one(scope: Scope) -> AsyncIterator[str]:
        given.append((scope,))
        yield "x"

    async def two(scope: Scope, receive: Receive) -> AsyncIterator[str]:
        given.append((scope, receive))
        yield "x"

    async def three(scope: Scope, receive: Receive, send: Send) -> AsyncIterator[str]:
        given.append((scope, receive, send))
        yield "x"

    forms: list[Any] = [none, one, two, three]
    run = await serve(sse_route(forms[count]))
    assert run.send.body == b"data: x\n\n"
    assert len(given[0]) == count


async def test_a_method_may_be_an_asgi_app() -> None:
    class Clock:
        word = "tick"

        @sse_route
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> AsyncIterator[str]:
            yield self.word

        @staticmethod
        @sse_route
        async def static(scope: Scope) -> AsyncIterator[str]:
            yield "static"

        @sse_route
        @classmethod
        async def of_class(cls, scope: Scope) -> AsyncIterator[str]:
            yield cls.word

    assert (await serve(Clock())).send.body == b"data: tick\n\n"
    assert (await serve(Clock.static)).send.body == b"data: static\n\n"
    assert (await serve(Clock().of_class)).send.body == b"data: tick\n\n"


async def test_a_raw_asgi_app_may_be_any_kind_of_function() -> None:
    def sync(scope: Scope) -> Iterator[str]:
        yield "tick"

    def returning(scope: Scope) -> Any:
        return ["tick"]

    async def awaited(scope: Scope) -> Any:
        return ticks()

    forms: list[Any] = [ticks, sync, returning, awaited, functools.partial(ticks, 1)]
    for function in forms:
        assert (await serve(sse_route(function))).send.body == b"data: tick\n\n"


async def test_an_asgi_app_that_sends_by_itself_is_looked_after_with_the_routes_options() -> None:
    @sse_route(ping_interval=2)
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"data: x\n\n"))
        await anyio.sleep(3)
        await send(body(b"", more=False))

    run = await serve(app)
    assert run.send.body == b"data: x\n\n: ping\n\n"


async def test_lifespan_and_websockets_are_answered_politely() -> None:
    messages: list[Any] = []
    script = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return script.pop(0)

    async def send(message: Any) -> None:
        messages.append(message["type"])

    app = SSEMiddleware(sse_route(ticks))
    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket"}, receive, send)
    assert messages == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


# Options of the route


async def test_a_route_changes_only_the_options_that_it_names() -> None:
    @sse_route(ping_interval=2, retry=50)
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        await anyio.sleep(5)

    middleware = Recorded(source, ping_interval=100, padding=10)
    async with running(middleware) as run:
        await run.finish()
    padding = b":        \n"
    assert run.send.body == padding + b"retry: 50\n\ndata: x\n\n" + (padding + b": ping\n\n") * 2
    assert middleware.reasons == ["completed"]


async def test_a_route_may_switch_a_limit_of_the_middlewares_off() -> None:
    @sse_route(idle_timeout=None, ping_interval=None)
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        await anyio.sleep(50)
        yield "y"

    run = await serve(source, idle_timeout=1, ping_interval=1)
    assert run.send.body == b"data: x\n\ndata: y\n\n"


async def test_a_route_may_have_a_grace_of_its_own_when_the_server_shuts_down() -> None:
    @sse_route(drain_grace=3)
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        await anyio.sleep_forever()

    middleware = Recorded(source, drain_grace=60)
    async with running(middleware) as run:
        await anyio.sleep(1)
        middleware.drain()
        start = anyio.current_time()
        await run.finish()
        assert 3 <= anyio.current_time() - start < 4
    assert middleware.reasons == ["drain"]


def test_a_route_has_every_option_but_those_of_the_whole_app() -> None:
    of_a_route = set(inspect.signature(sse_route).parameters) - {"endpoint"}
    assert of_a_route == set(inspect.signature(SSEMiddleware).parameters) - {"app", "max_threads"}


async def test_two_middlewares_may_share_a_route() -> None:
    @sse_route(ping_interval=2)
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        await anyio.sleep(3)

    for _ in range(2):
        assert (await serve(source, retry=7)).send.body == b"retry: 7\n\ndata: x\n\n: ping\n\n"
        assert (await serve(source, retry=8)).send.body == b"retry: 8\n\ndata: x\n\n: ping\n\n"


@pytest.mark.parametrize(
    "options",
    [{"ping_interval": 0}, {"send_timeout": True}, {"open_timeout": -1}, {"retry": 1.5}, {"on_close": 3},
     {"frame": "words"}, {"frame": {"text/plain": "lines"}}, {"ping_event": b"data: x"}, {"debug": 1}],
    ids=str,
)  # fmt: skip
def test_an_option_that_cannot_be_meant_is_refused_where_it_is_written(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(options))):
        sse_route(**options)


# Responses of the framework's own


def answering(content_type: bytes, *chunks: bytes, status: int = 200, more: tuple[Any, ...] = ()) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(status, [(b"content-type", content_type), *more]))
        for chunk in chunks:
            await send(body(chunk))
        await send(body(b"", more=False))

    return app


@pytest.mark.parametrize(
    ("frame", "expected"),
    [("lines", b"data: one\n\ndata: two\n\n"), ("chunks", b"data: on\n\ndata: e\ndata: two\ndata: \n\n")],
)
async def test_frame_turns_a_body_into_events_for_every_client(frame: Any, expected: bytes) -> None:
    run = await serve(sse_route(frame=frame)(answering(b"text/plain", b"on", b"e\ntwo\n")))
    assert run.send.body == expected
    assert run.send.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert b"vary" not in run.send.headers, "nothing was negotiated"


@pytest.mark.parametrize(
    ("status", "more"),
    [(404, ()), (204, ()), (206, ()), (302, ()), (200, ((b"content-encoding", b"gzip"),))],
)
async def test_frame_leaves_alone_what_is_no_ordinary_answer(status: int, more: tuple[Any, ...]) -> None:
    run = await serve(sse_route(frame="lines")(answering(b"text/plain", b"one\n", status=status, more=more)))
    assert (run.send.status, run.send.body) == (status, b"one\n")


async def test_a_response_that_is_an_event_stream_already_is_not_framed() -> None:
    run = await serve(sse_route(frame="lines")(answering(b"text/event-stream", b"data: x\n\n")))
    assert run.send.body == b"data: x\n\n"


async def test_an_endpoint_may_hand_over_to_another() -> None:
    inner = sse_route(ticks)

    @sse_route
    async def outer(request: Any) -> Any:
        return await inner(request)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        placeholder: Any = await outer("request")
        await placeholder(scope, receive, send)

    assert (await serve(app)).send.body == b"data: tick\n\n"


# Mistakes


@pytest.mark.parametrize("endpoint", [sse_route(ticks), sse_route(lambda scope: ["x"])], ids=["async", "sync"])
async def test_without_the_middleware_an_endpoint_says_what_to_write(endpoint: Any) -> None:
    with pytest.raises(MiddlewareMissing, match=r"app = SSEMiddleware\(app\)"):
        await endpoint(http_scope())
    with pytest.raises(MiddlewareMissing, match="under @sse_route, was called outside of an SSEMiddleware"):
        await endpoint(http_scope(), None, None) if inspect.iscoroutinefunction(endpoint) else endpoint(1)


async def test_after_the_request_there_is_no_middleware_any_more() -> None:
    await serve(sse_route(ticks))
    with pytest.raises(MiddlewareMissing):
        current_stream()


@pytest.mark.parametrize(
    ("given", "remedy"),
    [(None, "yield the events"), ("text", "yield it"), (b"bytes", "yield it"), ({"data": "x"}, "yield it"),
     (42, "yield it"), (object(), "yield it")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_return_value_that_is_no_source_is_refused(given: object, remedy: str, asynchronous: bool) -> None:
    def function(*_: Any) -> object:
        return given

    async def coroutine_function(*_: Any) -> object:
        return given

    endpoint: Any = sse_route(coroutine_function if asynchronous else function)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        result = endpoint("request")
        if isinstance(result, Awaitable):
            await result

    run = await serve(app)
    assert isinstance(run.error, InvalidSource)
    assert "stands under @sse_route, but returned" in str(run.error)
    assert remedy in str(run.error)
    assert run.send.messages == []


async def test_a_function_that_returns_a_coroutine_is_told_to_be_async() -> None:
    async def coroutine() -> None: ...

    endpoint = sse_route(lambda request: coroutine())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        endpoint("request")

    run = await serve(app)
    assert isinstance(run.error, InvalidSource)
    assert "make it `async def`" in str(run.error)


class Handler:
    """What a framework's decorator may leave in place of a function."""

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    "given", [Handler(), Handler, 42, "path", None], ids=["instance", "class", "int", "str", "None"]
)
def test_what_is_no_function_is_refused_with_the_right_order(given: Any) -> None:
    with pytest.raises(InvalidSource, match="put it below the framework's own decorator"):
        sse_route()(given)


def test_frame_is_refused_for_what_yields() -> None:
    with pytest.raises(InvalidSource, match="ticks yields: leave frame out"):
        sse_route(frame="lines")(ticks)


@pytest.mark.parametrize("status", [200, 500])
async def test_a_misplaced_decorator_is_named(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """The router's word is that it has called the bare function."""

    async def bare() -> AsyncIterator[str]:
        yield "x"

    sse_route(bare)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["endpoint"] = bare
        await answering(b"text/plain", b"x", status=status)(scope, receive, send)

    run = await serve(app)
    told = str(run.error) if status == 200 else caplog.text
    assert "bare stands under @sse_route, but the framework calls the function itself" in told
    assert (run.send.messages == []) == (status == 200)


@pytest.mark.parametrize("endpoint", [undecorated, [], object(), Handler], ids=["function", "list", "object", "class"])
async def test_other_endpoints_are_not_taken_for_misplaced(endpoint: object) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["endpoint"] = endpoint
        await answering(b"text/plain", b"x")(scope, receive, send)

    run = await serve(app)
    assert run.send.body == b"x"


async def test_a_request_has_one_stream() -> None:
    errors: list[BaseException] = []

    @sse_route
    async def second(request: Any) -> AsyncIterator[str]:
        yield "x"

    @sse_route
    async def first(scope: Scope) -> AsyncIterator[str]:
        yield "x"
        await anyio.sleep(1)
        try:
            await second("request")
        except InvalidSource as error:
            errors.append(error)

    run = await serve(first)
    assert run.send.body == b"data: x\n\n"
    assert "a request has one" in str(errors[0])


# What a framework sees


def test_the_signature_is_the_endpoints_own() -> None:
    async def endpoint(name: str, *, count: Annotated[int, "query"] = 1) -> AsyncIterator[str]:
        """What it does."""
        yield name

    decorated = sse_route(endpoint)
    signature = inspect.signature(decorated)
    assert str(signature) == f"(name: str, *, count: {inspect.formatannotation(Annotated[int, 'query'])} = 1) -> str"
    assert decorated.__name__ == "endpoint"
    assert decorated.__doc__ == "What it does."
    assert decorated.__module__ == __name__
    assert inspect.iscoroutinefunction(decorated)
    assert not inspect.isasyncgenfunction(decorated)
    assert inspect.unwrap(decorated) is decorated, "frameworks that unwrap would find the generator function"


def test_a_partial_has_the_name_of_its_function() -> None:
    decorated = sse_route(functools.partial(ticks, 1))
    assert (decorated.__name__, decorated.__qualname__) == ("ticks", "ticks")


def test_a_sync_endpoint_stays_one() -> None:
    def endpoint() -> Iterator[str]:
        yield "x"

    decorated = sse_route(endpoint)
    assert not inspect.iscoroutinefunction(decorated)
    assert not inspect.isgeneratorfunction(decorated)


def test_annotations_that_are_strings_are_evaluated_one_by_one() -> None:
    async def endpoint(given: "Scope", missing: "Unknown", nothing) -> "AsyncIterator[Unknown]":  # type: ignore[no-untyped-def]
        yield nothing

    parameters = inspect.signature(sse_route(endpoint)).parameters
    assert parameters["given"].annotation == Scope
    assert parameters["missing"].annotation == "Unknown"
    assert parameters["nothing"].annotation is inspect.Parameter.empty


class FrameworkResponse:
    headers: dict[str, str] = {}  # noqa: RUF012

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


async def to_source() -> AsyncIterator[str]:
    return ticks()


async def to_list() -> list[str]:
    return []


async def to_str() -> str:
    return ""


async def to_response() -> FrameworkResponse:
    return FrameworkResponse()


async def to_anything():  # type: ignore[no-untyped-def]
    return ticks()


@pytest.mark.parametrize(
    ("endpoint", "returned"),
    [(to_source, str), (to_list, str), (to_str, str), (to_anything, str), (to_response, FrameworkResponse)],
)
def test_an_endpoint_that_returns_a_source_is_said_to_return_a_placeholder(
    endpoint: Callable[..., Any], returned: type
) -> None:
    decorated = sse_route(endpoint)
    assert inspect.signature(decorated).return_annotation is returned
    assert decorated.__annotations__["return"] is returned


def test_the_decorated_function_is_left_as_it_was() -> None:
    before = dict(vars(ticks)), inspect.signature(ticks)
    sse_route(ticks)
    assert (dict(vars(ticks)), inspect.signature(ticks)) == before
