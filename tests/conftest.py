"""Fixtures for every test: both async backends on virtual time, and real servers."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import sse_mw
from sse_mw.testing._clock import VirtualLoop
from sse_mw.testing._trio_clock import virtual_clock
from support.servers import KINDS, Server, ServerKind, StartServer

pytest_plugins = ["support.browser", "support.gate", "support.outcomes"]


def pytest_report_header() -> str:
    return f"sse_mw from {Path(sse_mw.__file__).parent}"


def pytest_sessionstart() -> None:
    if os.environ.get("SSE_MW_INSTALLED") and "site-packages" not in Path(sse_mw.__file__).parts:
        pytest.exit(f"meant to test the installed wheel, but sse_mw is {sse_mw.__file__}", returncode=1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    starting = {"server", "server_kind", "server_of_framework", "launch"}
    for item in items:
        if isinstance(item, pytest.Function) and starting & set(item.fixturenames):
            item.add_marker("server")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Each anyio test runs on both backends, on virtual time unless it is marked `real_time`."""
    if request.node.get_closest_marker("real_time"):
        return request.param, {}
    if request.param == "asyncio":
        return "asyncio", {"loop_factory": VirtualLoop}
    return "trio", {"clock": virtual_clock()}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def server_kind(request: pytest.FixtureRequest) -> ServerKind:
    kind: ServerKind = request.param
    kind.require()
    return kind


@pytest.fixture
def server(server_kind: ServerKind, tmp_path: Path) -> Iterator[StartServer]:
    """Starts real servers, `server("support.apps:ticks")`, of each kind in turn; they are stopped after the
    test.
    """
    started: list[Server] = []
    yield partial(_start, started, server_kind, tmp_path)
    for running in started:
        running.stop()


def _start(started: list[Server], kind: ServerKind, folder: Path, app: str, *options: str) -> Server:
    running = kind.start(app, *options, log=folder / f"server-{len(started)}.log")
    started.append(running)
    return running
