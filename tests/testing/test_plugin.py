"""The plugin in a pytest of its own, and the tools under other plugins for async tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
import asyncio
from collections.abc import AsyncIterator
import pytest
from sse_mw import SSEMiddleware, sse_route
from sse_mw.testing import assert_events, connect, virtual_backend, virtual_time, ReceivedEvent

@sse_route
async def endpoint(scope) -> AsyncIterator[str]:
    yield "one"
    await asyncio.sleep(20)
    yield "two"
    await asyncio.sleep(10**6)

app = SSEMiddleware(endpoint)
"""

PASSING = {
    "the fixture": (
        """
def test_it(sse_client):
    with sse_client(app).connect("/") as stream:
        assert_events(stream.take(2), ["one", "two"])
        assert stream.pings == ["ping"]
""",
        [],
    ),
    "the decorator, with fixtures": (
        """
@virtual_time
async def test_it(tmp_path):
    async with connect(app) as stream:
        assert_events(await stream.take(2), ["one", "two"])
    assert tmp_path.exists()
""",
        [],
    ),
    "anyio's plugin": (
        """
@pytest.fixture
def anyio_backend():
    return virtual_backend()

@pytest.fixture
async def stream(anyio_backend):
    async with connect(app) as stream:
        yield stream

@pytest.mark.anyio
async def test_it(stream):
    assert_events(await stream.take(2), ["one", "two"])
""",
        ["-p", "anyio.pytest_plugin"],
    ),
    "pytest-asyncio, in real time": (
        """
import pytest_asyncio

@pytest_asyncio.fixture
async def stream():
    async with connect(app) as stream:
        yield stream

@pytest.mark.asyncio
async def test_it(stream):
    assert_events(await stream.take(1), ["one"])
""",
        ["-p", "pytest_asyncio.plugin"],
    ),
    "pytest-asyncio, and a test on virtual time": (
        """
@virtual_time
async def test_it():
    async with connect(app) as stream:
        assert_events(await stream.take(2), ["one", "two"])
""",
        ["-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto"],
    ),
}


def run(folder: Path, source: str, *options: str) -> "subprocess.CompletedProcess[str]":
    (folder / "test_sample.py").write_text(APP + source)
    loop_scope = "asyncio_default_fixture_loop_scope = function\n" if "pytest_asyncio.plugin" in options else ""
    (folder / "pytest.ini").write_text(f"[pytest]\n{loop_scope}filterwarnings = error\n")
    ours = ["-p", "sse_mw.testing.pytest_plugin"]  # as pytest finds it by its entry point
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *ours, *options, str(folder)],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.server  # it starts processes, which take their time
@pytest.mark.parametrize("case", PASSING)
def test_it_works_with(case: str, tmp_path: Path) -> None:
    source, options = PASSING[case]
    done = run(tmp_path, source, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.server
def test_lists_of_events_that_differ_are_shown_as_a_difference(tmp_path: Path) -> None:
    source = """
def test_it():
    assert [ReceivedEvent("a"), ReceivedEvent("b")] == [ReceivedEvent("a"), ReceivedEvent("c", "named")]
"""
    done = run(tmp_path, source)
    assert done.returncode == 1
    for line in (
        "the events differ (- expected, + received):",
        "- event: named",
        "- data: c",
        "+ data: b",
        "  data: a",
    ):
        assert line in done.stdout
    assert "1 failed" in done.stdout


def test_pytest_finds_it_by_itself() -> None:
    from importlib.metadata import entry_points

    (found,) = entry_points(group="pytest11", name="sse_mw")
    assert found.value == "sse_mw.testing.pytest_plugin"
    assert callable(found.load().sse_client)


@pytest.mark.server
def test_it_costs_a_pytest_without_event_streams_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_none.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    assert not [name for name in sys.modules if name.startswith('sse_mw.testing._')]\n"
        "    assert not {'httpx', 'trio'} & set(sys.modules)\n"
    )
    done = run(tmp_path, "def test_other(): pass", "test_none.py")
    assert "1 passed" in done.stdout, done.stdout
