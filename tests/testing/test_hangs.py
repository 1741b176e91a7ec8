"""A test never hangs, whatever its app does or it waits for itself."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import aiosqlite
import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from sse_mw import SSEMiddleware, sse_route
from sse_mw._types import Receive, Scope, Send
from sse_mw.testing import Deadlock, Leaked, connect, virtual_time
from support.driver import start
from support.testing_apps import fastapi

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture(autouse=True)
def short_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sse_mw.testing._run.CLOSING", 0.1)


def test_an_app_that_swallows_its_cancellation_is_an_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        while time.monotonic() < until:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1)

    async def look() -> None:
        async with connect(app, lifespan=False, within=3):
            pass

    until = time.monotonic() + 20
    with pytest.raises(Leaked, match="went on for 3 s") as failed:
        virtual_time(look)()
    assert "What was left could not be ended" in failed.value.__notes__[0]
    until = 0  # what is left comes to its end when it is collected


SHIELDED = """
import sse_mw.testing._trio_clock as clock, trio
from sse_mw.testing import connect, virtual_time

clock.CLOSING = 0.1

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    with trio.CancelScope(shield=True):
        while True:
            await trio.sleep(1)

@virtual_time(backend="trio", limit=0.3)
async def look():
    async with connect(app, lifespan=False, within=3):
        pass

look()
"""


@pytest.mark.server  # a process of its own, as what trio leaves of such a run is not to be had here
def test_on_trio_the_run_itself_fails() -> None:
    run = subprocess.run([sys.executable, "-c", SHIELDED], capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 1
    assert "jumped on and on" in run.stderr


@BACKENDS
@pytest.mark.parametrize("ticks", [False, True], ids=["nothing happens", "pings go on and on"])
def test_a_test_that_waits_for_something_else_fails_where_it_waits(backend: str, ticks: bool) -> None:
    seen: list[BaseException] = []

    async def wait_for_nothing() -> None:
        try:
            await anyio.Event().wait()
        except BaseException as error:
            seen.append(error)
            raise

    async def look() -> None:
        if not ticks:
            await wait_for_nothing()
        async with connect(SSEMiddleware(fastapi()), "/clock"):
            await wait_for_nothing()

    with pytest.raises(Deadlock, match="jumped on and on for 0.3 s" if ticks else "nothing can ever happen"):
        virtual_time(backend=backend, limit=0.3)(look)()
    assert isinstance(seen[0], Deadlock)


def test_who_sleeps_for_ever_waits_for_nothing_too() -> None:
    with pytest.raises(Deadlock, match="no deadline is set"):
        virtual_time(anyio.sleep_forever)()


MODULE_SCOPED = """
import anyio, pytest
from sse_mw.testing import virtual_backend

@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request):
    return virtual_backend(request.param)

@pytest.mark.anyio
async def test_stuck():
    await anyio.Event().wait()

@pytest.mark.anyio
async def test_fine():
    await anyio.sleep(3600)
"""


@pytest.mark.server
def test_one_deadlock_does_not_spoil_the_tests_after_it(tmp_path: Path) -> None:
    (tmp_path / "test_module.py").write_text(MODULE_SCOPED)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "anyio.pytest_plugin", str(tmp_path)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "test_fine[asyncio]" not in run.stdout.partition("short test summary")[2], run.stdout
    assert "Deadlock" in run.stdout


# Threads


async def queries(request: Request) -> AsyncIterator[str]:
    for _ in range(3):
        await asyncio.sleep(5)
        async with request.state.database.execute("SELECT slow(?)", ("x",)) as rows:
            yield (await rows.fetchone())[0]


def slow(text: str) -> str:
    threading.Event().wait(0.05)
    return text


@virtual_time
async def test_a_database_driver_with_a_thread_of_its_own_is_waited_for() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, aiosqlite.Connection]]:
        async with aiosqlite.connect(":memory:") as database:
            await database.create_function("slow", 1, slow)
            threading.Event().wait(0.6)  # long enough for its thread to be no newcomer any more
            yield {"database": database}

    app = SSEMiddleware(Starlette(routes=[Route("/", sse_route(queries))], lifespan=lifespan))
    async with connect(app) as stream:
        # Not waited for, the time would have jumped there. While it waits it goes on, the more so on a busy machine.
        events = await stream.take(3, within=1000)
        times = [0.0, *(event.at for event in events)]
        assert all(5 <= later - earlier < 500 for earlier, later in pairwise(times)), times


@virtual_time
async def test_a_pool_of_the_apps_own_is_waited_for() -> None:
    with ThreadPoolExecutor() as pool:
        for _ in range(2):
            async with asyncio.timeout(60):
                await asyncio.wrap_future(pool.submit(slow, "x"))
        started = time.monotonic()
        await asyncio.sleep(3600)
        assert time.monotonic() - started < 15  # and not the 36 s that a thread at work would make of it


def test_a_thread_that_does_not_end_does_not_hide_what_failed() -> None:
    release = threading.Event()

    async def look() -> None:
        asyncio.get_running_loop().run_in_executor(None, release.wait)
        await asyncio.sleep(0.01)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        virtual_time(look)()
    release.set()


@virtual_time
async def test_a_stream_of_another_event_loop_is_refused() -> None:
    opened = connect(SSEMiddleware(fastapi()), "/clock")
    async with opened as stream:

        async def elsewhere() -> None:
            with pytest.raises(RuntimeError, match="GET /clock was opened on another event loop"):
                await stream.receive()

        await asyncio.to_thread(asyncio.run, elsewhere())
