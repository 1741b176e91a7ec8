"""httpx and httpx2 on an app's live streams, without a server."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from httpx_sse import SSEError, aconnect_sse, connect_sse

import sse_mw.testing.httpx as of_httpx
import sse_mw.testing.httpx2 as of_httpx2
from sse_mw import SSEMiddleware, sse_route
from sse_mw._types import Receive, Scope, Send
from sse_mw.testing import Faults, StreamTimeout
from support.driver import body, start
from support.testing_apps import deaf, ended, fastapi, with_lifespan

anyio_tests = pytest.mark.anyio
LIBRARIES = pytest.mark.parametrize(
    ("library", "ours"), [(httpx, of_httpx), (httpx2, of_httpx2)], ids=["httpx", "httpx2"]
)
# What the libraries leave behind when a client breaks off, as trio says.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(httpx|httpx2|httpx_sse)[.]")
URL = "http://test/clock?count=2"


@anyio_tests
@LIBRARIES
async def test_an_endless_stream_is_read_as_it_comes(library: ModuleType, ours: ModuleType) -> None:
    ended.clear()
    transport = ours.AsyncStreamTransport(SSEMiddleware(fastapi()))
    async with library.AsyncClient(transport=transport, timeout=60) as client:
        async with client.stream("GET", URL) as response:
            assert response.status_code == 200
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            began = anyio.current_time()
            lines = response.aiter_lines()
            seen = [await anext(lines) for _ in range(6)]
            assert seen == ["data: from 2", "id: 0", "", ": ping", "", "event: tick"]
            assert anyio.current_time() - began == pytest.approx(20, abs=0.01)
            await lines.aclose()
        assert ended == ["clock"]


@anyio_tests
async def test_httpx_sse_reads_it() -> None:
    app = SSEMiddleware(fastapi(), ping_interval=None)  # which it takes for an event
    async with httpx.AsyncClient(transport=of_httpx.AsyncStreamTransport(app)) as client:
        async with aconnect_sse(client, "GET", URL, headers={"Last-Event-ID": "5"}, timeout=60) as source:
            events = source.aiter_sse()
            assert [(event.event, event.id) for event in [await anext(events), await anext(events)]] == [
                ("message", "5"),
                ("tick", "5"),
            ]
        async with aconnect_sse(client, "GET", "http://test/json") as source:
            with pytest.raises(SSEError):
                await anext(source.aiter_sse())


@anyio_tests
async def test_httpx2_reads_it_by_its_own_means() -> None:
    async with httpx2.AsyncClient(transport=of_httpx2.AsyncStreamTransport(SSEMiddleware(fastapi()))) as client:
        seen: list[Any] = []
        async with client.sse(URL, timeout=60) as source:
            async for event in source:
                seen.append(event.event)
                if len(seen) == 2:
                    break
        assert seen == ["message", "tick"]


@anyio_tests
@LIBRARIES
async def test_a_read_timeout_counts_on_the_clock_of_the_loop(library: ModuleType, ours: ModuleType) -> None:
    transport = ours.AsyncStreamTransport(SSEMiddleware(fastapi(), ping_interval=None))
    async with library.AsyncClient(transport=transport, timeout=7) as client:
        async with client.stream("GET", URL) as response:
            parts = response.aiter_bytes()
            await anext(parts)
            began = anyio.current_time()
            with pytest.raises(library.ReadTimeout, match="waited 7 s for more of the body of GET /clock"):
                await anext(parts)
            assert anyio.current_time() - began == pytest.approx(7)
        async with client.stream("GET", URL, timeout=None) as response:
            parts = response.aiter_bytes()
            assert b"tick" in [await anext(parts), await anext(parts)][1]
            await parts.aclose()


@anyio_tests
@LIBRARIES
async def test_an_ordinary_response_is_one(library: ModuleType, ours: ModuleType) -> None:
    async with library.AsyncClient(transport=ours.AsyncStreamTransport(fastapi())) as client:
        response = await client.get("http://test/json")
        assert (response.status_code, response.json()) == (404, {"detail": "none"})
        response = await client.post("http://test/echo-none", content=chunks(b"a", b"b"))
        assert response.status_code == 404


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@anyio_tests
@LIBRARIES
async def test_a_request_is_what_the_client_has_made(library: ModuleType, ours: ModuleType) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["body"] = (await receive())["body"]
        seen.append(scope)
        await send(start(200, [(b"x-twice", b"1"), (b"x-twice", b"2")]))
        await send(body(b"", more=False))

    seen: list[Scope] = []
    async with library.AsyncClient(transport=ours.AsyncStreamTransport(app, lifespan=False)) as client:
        response = await client.post(
            "https://test:81/caf%C3%A9?a=1", content=chunks(b"a", b"b"), headers={"X-One": "1"}
        )
        assert response.headers.get_list("x-twice") == ["1", "2"]
    (scope,) = seen
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/café", b"/caf%C3%A9", b"a=1")
    assert (scope["scheme"], scope["server"], scope["body"]) == ("https", ("test", 81), b"ab")
    assert dict(scope["headers"])[b"host"] == b"test:81"


@anyio_tests
@LIBRARIES
async def test_a_connection_that_breaks_off_is_what_the_library_calls_it(library: ModuleType, ours: ModuleType) -> None:
    transport = ours.AsyncStreamTransport(SSEMiddleware(fastapi()), faults=Faults(truncate_after=1))
    async with library.AsyncClient(transport=transport, timeout=60) as client:
        async with client.stream("GET", URL) as response:
            with pytest.raises(library.RemoteProtocolError, match="without sending complete message body"):
                await response.aread()


@anyio_tests
@LIBRARIES
async def test_what_the_app_raises(library: ModuleType, ours: ModuleType) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/first":
            await send(start())
        raise LookupError

    async with library.AsyncClient(transport=ours.AsyncStreamTransport(app, lifespan=False)) as client:
        for path in ("first", "later"):
            with pytest.raises(LookupError):
                await client.get(f"http://test/{path}")
    transport = ours.AsyncStreamTransport(app, lifespan=False, raise_app_exceptions=False)
    async with library.AsyncClient(transport=transport) as client:
        for path in ("first", "later"):
            with pytest.raises(library.RemoteProtocolError) as failed:
                await client.get(f"http://test/{path}")
            assert isinstance(failed.value.__cause__, LookupError)


@anyio_tests
@LIBRARIES
async def test_the_lifespan_runs_while_the_client_is_open(library: ModuleType, ours: ModuleType) -> None:
    events: list[str] = []
    async with library.AsyncClient(transport=ours.AsyncStreamTransport(with_lifespan(events))) as client:
        async with client.stream("GET", "http://test/") as response:
            assert await anext(response.aiter_text()) == "data: open\n\n"
    assert events == ["startup", "shutdown"]


# Without an event loop of the test's


@LIBRARIES
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_plain_function_reads_an_endless_stream(library: ModuleType, ours: ModuleType, backend: str) -> None:
    ended.clear()
    events: list[str] = []
    transport = ours.StreamTransport(SSEMiddleware(fastapi()), backend=backend)
    with library.Client(transport=transport, timeout=60) as client:
        with client.stream("GET", URL) as response:
            lines: Iterator[str] = response.iter_lines()
            assert [next(lines) for _ in range(6)][-1] == "event: tick"
        assert ended == ["clock"]
        assert client.get("http://test/json").status_code == 404
        with pytest.raises(library.ReadTimeout):
            client.get(URL, timeout=3)
    with library.Client(transport=ours.StreamTransport(with_lifespan(events))) as client:
        with client.stream("GET", "http://test/") as response:
            assert next(response.iter_text()) == "data: open\n\n"
    assert events == ["startup", "shutdown"]


def test_httpx_sse_reads_it_there_too() -> None:
    app = SSEMiddleware(fastapi(), ping_interval=None)
    with httpx.Client(transport=of_httpx.StreamTransport(app), timeout=60) as client:
        with connect_sse(client, "GET", URL) as source:
            events = source.iter_sse()
            assert [next(events).event, next(events).event] == ["message", "tick"]


def test_a_plain_client_that_is_never_entered_has_no_lifespan_and_may_be_closed() -> None:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        yield "x"

    client = httpx.Client(transport=of_httpx.StreamTransport(SSEMiddleware(source)))
    assert client.get("http://test/").text == "data: x\n\n"
    client.close()
    client.close()


@LIBRARIES
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_open_when_the_client_is_closed_is_closed_with_it(
    library: ModuleType, ours: ModuleType, backend: str
) -> None:
    ended.clear()
    client = library.Client(transport=ours.StreamTransport(SSEMiddleware(fastapi()), backend=backend))
    request = client.build_request("GET", URL)
    response = client.send(request, stream=True)
    next(response.iter_raw())
    client.close()
    assert ended == ["clock"]
    response.close()


@anyio_tests
@LIBRARIES
async def test_a_client_without_a_read_timeout_waits_long_but_not_for_ever(
    library: ModuleType, ours: ModuleType
) -> None:
    app = SSEMiddleware(silent, ping_interval=None)
    async with library.AsyncClient(transport=ours.AsyncStreamTransport(app, lifespan=False), timeout=None) as client:
        with pytest.raises(StreamTimeout, match="waited 100 s for more of the body"):
            await client.get("http://test/")


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    await send(start())
    await anyio.sleep_forever()


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sse_mw.testing._transport.LONGEST", 100)


def test_an_app_that_ignores_its_client_is_cancelled_when_it_is_closed() -> None:
    with httpx.Client(transport=of_httpx.StreamTransport(deaf, lifespan=False)) as client:
        with client.stream("GET", "http://test/") as response:
            assert next(response.iter_text()) == "data: x\n\n"


@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_an_extra_that_is_missing_is_named(name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None; import sse_mw.testing.{name}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"pip install 'sse_mw[{name}]'" in run.stderr.splitlines()[-1]
