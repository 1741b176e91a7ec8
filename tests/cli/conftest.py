"""The run command as a process of its own, and a tab to look at it with."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from cli.launch import ADDRESS, HERE, READY, Refused, Run, environment
from support.servers import Server


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started: list[Server] = []

    def start(*arguments: str, bind: str = "127.0.0.1:0") -> Server:
        command = [sys.executable, "-m", "sse_mw", "run", "--bind", bind, "--app-dir", str(HERE), *arguments]
        log = tmp_path / f"run-{len(started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=tmp_path,
                env=environment(),
            )
        server = Server("the run command", process, log)
        started.append(server)
        address = ADDRESS.search(server.wait_for_output(READY, within=20.0))
        if address:
            server.address = ("127.0.0.1", int(address[1]))
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    def call(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "sse_mw", "run", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(),
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, ""), done
        (line,) = done.stderr.splitlines()
        return line.removeprefix("sse_mw: ")

    return call


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab that must not log an error."""
    context = browser.new_context()
    errors: list[str] = []
    tab = context.new_page()
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield tab
    context.close()
    assert errors == []
