"""Real servers, each in a process of its own, on a port that the kernel chose."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import pytest

import sse_mw
from support.client import Address, RawClient, TooLate, connected

START_DEADLINE = 20.0
STOP_DEADLINE = 10.0
KILL_AFTER = 3.0
POLL = 0.01
TESTS = Path(__file__).parent.parent
# Both servers say it in these words once they listen; with port 0 there is no port to fight for.
RUNNING_ON = re.compile(r"[Rr]unning on https?://127\.0\.0\.1:(\d+)")


class StartServer(Protocol):
    """The `server` fixture: starts `app` ("module:attribute") with further command line options."""

    def __call__(self, app: str, *options: str) -> "Server": ...


@dataclass
class Server:
    """A running server process."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path
    address: Address = ("127.0.0.1", 0)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def connect(self, *, receive_buffer: int | None = None) -> RawClient:
        return RawClient(self.address, receive_buffer=receive_buffer)

    def output(self) -> str:
        """What the server has written to stdout and stderr so far."""
        return self.log.read_text(errors="replace")

    def wait_for_output(self, expected: str, within: float = 5.0, *, count: int = 1) -> str:
        """Wait until the server has written `expected` so many times."""
        enough = f"{count} × {expected!r} from {self.name}"
        _poll(lambda: self.output().count(expected) >= count, within, enough, self.output)
        return self.output()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, within: float = STOP_DEADLINE) -> int:
        """Wait for the process to exit by itself; its exit code."""
        _poll(lambda: self.process.poll() is not None, within, f"the exit of {self.name}", self.output)
        return self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that takes too long; a process that has ended already is fine."""
        if self.process.poll() is None:
            self.signal()
        try:
            self.process.wait(KILL_AFTER)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class ServerKind:
    """One way to serve: a server with its protocol implementation and event loop."""

    name: str
    module: str
    options: tuple[str, ...]
    loop: str = "asyncio"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    def require(self) -> None:
        if self.loop == "uvloop" and find_spec("uvloop") is None:
            pytest.skip("platform: no uvloop here")

    def start(self, app: str, *options: str, log: Path) -> Server:
        """Start it, and return once it accepts connections."""
        command = [sys.executable, "-m", self.module, *self.options, *options, app]
        return start_process(self.name, command, log, self.environment)


def free_port() -> int:
    """One that stays the test's own while nobody listens on it: below those that the kernel gives to others."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def start_process(
    name: str,
    command: list[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    address: Address | None = None,
) -> Server:
    """Run a command; return once it accepts connections, at `address` or where it says, as uvicorn and hypercorn do."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd or log.parent,
            env={**os.environ, "PYTHONPATH": _python_path(), "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
    server = Server(name, process, log)
    try:
        if address is None:
            _poll(lambda: _found_address(server), START_DEADLINE, f"{name} to listen", server.output)
        else:
            server.address = address
        _poll(lambda: _accepts(server), START_DEADLINE, f"{name} to accept", server.output)
    except BaseException:
        server.stop()
        raise
    return server


def _accepts(server: Server) -> bool:
    _check_alive(server)
    with suppress(OSError):
        connected(server.address).close()
        return True
    return False


def _check_alive(server: Server) -> None:
    if server.process.poll() is not None:
        raise TooLate(f"{server.name} ended with {server.process.returncode}:\n{server.output()}")


def _found_address(server: Server) -> bool:
    _check_alive(server)
    announced = RUNNING_ON.search(server.output())
    if announced:
        server.address = ("127.0.0.1", int(announced[1]))
    return announced is not None


def _python_path() -> str:
    folders = [str(TESTS), str(Path(sse_mw.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, folders))


def _poll(done: Callable[[], bool], within: float, what: str, instead: Callable[[], str]) -> None:
    until = time.monotonic() + within
    while not done():
        if time.monotonic() > until:
            raise TooLate(f"waited {within} s for {what}, and saw:\n{instead()}")
        time.sleep(POLL)


def _uvicorn(http: str, loop: str) -> ServerKind:
    options = ("--host=127.0.0.1", "--port=0", "--no-access-log", f"--http={http}", f"--loop={loop}")
    return ServerKind(f"uvicorn-{http}-{loop}", "uvicorn", options, loop)


def _hypercorn(loop: str) -> ServerKind:
    return ServerKind(f"hypercorn-{loop}", "hypercorn", ("--bind=127.0.0.1:0", f"--worker-class={loop}"), loop)


KINDS = [
    _uvicorn("h11", "asyncio"),
    _uvicorn("httptools", "asyncio"),
    _uvicorn("httptools", "uvloop"),
    _hypercorn("asyncio"),
    _hypercorn("uvloop"),
    _hypercorn("trio"),
]
