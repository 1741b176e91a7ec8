"""The ways to launch a server: each a row of the table in docs/guide/servers.md."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest

from support.client import Address, RawClient, TooLate
from support.h2_client import H2Client, H2Connection
from support.servers import START_DEADLINE, Server, free_port, start_process

APP = "support.matrix.app:app"


@dataclass(frozen=True)
class Launch:
    """A command that serves the app. In it, {port}, {socket}, {folder}, {cert}, {key} and {requests} are filled in."""

    name: str
    title: str
    command: tuple[str, ...]
    http: Literal["1.1", "h2", "h2c"] = "1.1"
    tls: bool = False
    loop: Literal["asyncio", "uvloop", "trio"] = "asyncio"
    processes: int = 1
    """Which run the lifespan."""
    own_seconds: float = 0.0
    """What the server itself takes to notice a signal, with no stream open, beyond half a second."""
    waits_for_cleanup: bool = True
    recycling: Literal["requests", "touch", "SIGHUP"] | None = None
    """What makes it end by itself, or start its app anew."""
    cannot: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why something cannot hold, by the name of its test."""
    absent: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why something makes no sense."""
    unreliable: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why something may or may not hold, by chance, so that it is not run."""
    remarks: Mapping[str, str] = field(default_factory=dict[str, str])
    """What is to be known of something that holds."""

    def require(self) -> None:
        if self.loop == "uvloop" and find_spec("uvloop") is None:
            pytest.skip("platform: no uvloop here")

    def start(self, folder: Path, certificate: tuple[str, str], *, requests: int = 100_000,
              environment: Mapping[str, str] | None = None) -> "Launched":  # fmt: skip
        """Start it, and return once it accepts connections."""
        address = self._address(folder)
        filled = {"port": address[1], "socket": address[0], "folder": folder, "requests": requests,
                  "cert": certificate[0], "key": certificate[1]}  # fmt: skip
        command = [sys.executable, "-m", *(part.format(**filled) for part in self.command), APP]
        journal = folder / "journal"
        journal.touch()
        variables = {"JOURNAL": str(journal), **(environment or {})}
        server = start_process(self.name, command, folder / "server.log", variables, folder, address)
        server.wait_for_output("lifespan startup", count=self.processes, within=START_DEADLINE)
        return Launched(self, server, journal)

    def _address(self, folder: Path) -> Address:
        if any("{socket}" in part for part in self.command):
            # A Unix socket's path may have about a hundred bytes, which pytest's folders exceed.
            return f"/tmp/sse_mw-{os.getpid()}-{random.randrange(10**9)}.sock", 0
        return "127.0.0.1", free_port()


@dataclass(frozen=True)
class Launched:
    """A running server."""

    launch: Launch
    server: Server
    journal: Path

    @property
    def address(self) -> Address:
        return self.server.address

    def connect(self, *, receive_buffer: int | None = None) -> RawClient | H2Client:
        """A client that speaks the server's HTTP."""
        if self.launch.http == "1.1":
            return RawClient(self.address, receive_buffer=receive_buffer, tls=self.launch.tls)
        return H2Client(H2Connection(self.address, tls=self.launch.tls))

    def entries(self, what: str, path: str) -> list[dict[str, Any]]:
        """What the app has noted."""
        noted = [json.loads(line) for line in self.journal.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [entry for entry in noted if (entry["what"], entry["path"]) == (what, path)]

    def wait_for(self, what: str, path: str, *, within: float = 5.0) -> dict[str, Any]:
        until = time.monotonic() + within
        while not (found := self.entries(what, path)):
            if time.monotonic() > until:
                raise TooLate(f"no {what!r} of {path} within {within} s, but:\n{self.journal.read_text()[-2000:]}"
                              f"\nand on its output:\n{self.server.output()[-2000:]}")  # fmt: skip
            time.sleep(0.005)
        return found[0]

    def curls(self, folder: Path, paths: Mapping[str, int]) -> "Curls":
        return Curls(self, folder, paths)


class Fresh(Protocol):
    """Starts a server for one test alone, which is stopped after it."""

    def __call__(self, *, requests: int = 100_000, grace: float = 1) -> Launched: ...


class Curls:
    """One curl that reads many responses at once, each into a file, and says how each of them ended."""

    def __init__(self, launched: Launched, folder: Path, paths: Mapping[str, int]) -> None:
        folder.mkdir()
        self._folder = folder
        self._wanted = sum(paths.values())
        unix = launched.address[0] if launched.address[0].startswith("/") else None
        host = "localhost" if unix else f"{launched.address[0]}:{launched.address[1]}"
        scheme = "https" if launched.launch.tls else "http"
        how = {"1.1": ["--http1.1"], "h2": ["--http2"], "h2c": ["--http2-prior-knowledge"]}[launched.launch.http]
        command = ["curl", "-skN", "-Z", "--parallel-immediate", "--parallel-max", "200", *how, "-w", "%{exitcode}\\n"]
        command += ["--unix-socket", unix] if unix else []
        for path, count in paths.items():
            command += ["-o", str(folder / f"{path}-#1"), f"{scheme}://{host}/{path}/[1-{count}]"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def wait_until_begun(self, within: float = 20.0) -> None:
        """Until each has something of its body."""
        until = time.monotonic() + within
        while sum(file.stat().st_size > 0 for file in self._folder.iterdir()) < self._wanted:
            if time.monotonic() > until:
                raise TooLate(f"{len([*self._folder.iterdir()])} of {self._wanted} responses have begun")
            time.sleep(0.02)

    def exit_codes(self, within: float = 10.0) -> list[int]:
        """curl's exit code for each."""
        output, _ = self._process.communicate(timeout=within)
        return [int(line) for line in output.split()]

    def bodies(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self._folder.iterdir()}

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


CYCLES, LOOPS = "test_twenty_starts_and_stops_in_one_process", "test_two_event_loops_in_two_threads"
RECYCLING, HTTP_1_0 = "test_recycling_ends_streams_whole", "test_an_http_1_0_client_gets_a_plain_body"
PIPELINED, STUCK = "test_a_pipelined_request_hides_no_disconnect", "test_a_client_that_stops_reading_is_let_go"

FAREWELL = "test_a_source_says_good_bye_when_its_server_is_told_to_end"
SIGTERM = "test_sigterm_ends_the_server_in_time_and_every_response_whole"
SIGINT = "test_sigint_ends_the_server_in_time_and_every_response_whole"

SAME: dict[str, str] = dict.fromkeys(
    (CYCLES, LOOPS), "the same server as in another row, started by a process of its own"
)
NOT_RECYCLED = {RECYCLING: "it does not recycle"}
NOT_HTTP_1 = {HTTP_1_0: "it speaks HTTP/2", PIPELINED: "HTTP/2 has streams in its place"}
CHUNKED = {HTTP_1_0: "uvicorn's httptools sends chunks to HTTP/1.0 clients, which do not know them"}
CUT_BY_PARENT = dict.fromkeys(
    (FAREWELL, SIGTERM, SIGINT),
    "as soon as one of hypercorn's workers has ended, its parent kills the others, with whatever streams they have: "
    "use `-w 0` and several processes, or `python -m sse_mw run --workers`",
)
CLOSED_TOO_SOON = dict.fromkeys(
    (FAREWELL, SIGTERM, SIGINT),
    "hypercorn on trio may close an HTTP/2 connection before it has sent its last frame; the events before arrive",
)

HYPERCORN_TLS = ("--certfile={cert}", "--keyfile={key}")
UVICORN_TLS = ("--ssl-certfile={cert}", "--ssl-keyfile={key}")
UVICORN = ("uvicorn", "--host=127.0.0.1", "--port={port}", "--no-access-log")


def _uvicorn(name: str, title: str, *options: str, **more: Any) -> Launch:
    more.setdefault("absent", SAME | NOT_RECYCLED)
    return Launch(f"uvicorn-{name}", f"uvicorn, {title}", (*UVICORN, *options), **more)


def _hypercorn(name: str, title: str, *options: str, **more: Any) -> Launch:
    command = (
        ("hypercorn", *options) if "--bind" in " ".join(options) else ("hypercorn", "--bind=127.0.0.1:{port}", *options)
    )
    more.setdefault("absent", SAME | NOT_RECYCLED)
    return Launch(f"hypercorn-{name}", f"hypercorn, {title}", command, **more)


def _granian(name: str, title: str, *options: str, **more: Any) -> Launch:
    command = ("granian", "--interface=asgi", "--host=127.0.0.1", "--port={port}", *options)
    more.setdefault("absent", SAME | NOT_RECYCLED)
    return Launch(f"granian-{name}", f"granian, {title}", command, **more)


def _hypercorn_loop(loop: Any) -> list[Launch]:
    worker = f"--worker-class={loop}"
    h2: dict[str, Any] = {
        "absent": SAME | NOT_RECYCLED | NOT_HTTP_1,
        "unreliable": CLOSED_TOO_SOON if loop == "trio" else {},
    }
    return [
        _hypercorn(loop, loop, worker, loop=loop, absent=NOT_RECYCLED),
        _hypercorn(f"{loop}-h2", f"{loop}, HTTP/2", worker, *HYPERCORN_TLS, loop=loop, http="h2", tls=True, **h2),
        _hypercorn(f"{loop}-h2c", f"{loop}, h2c", worker, loop=loop, http="h2c", **h2),
    ]


ONE_REACTOR = dict.fromkeys((CYCLES, LOOPS), "Twisted's reactor runs once in a process")
CANCELS = {FAREWELL: "daphne cancels its requests at once: their streams end whole, but no source has a say"}
NO_CLEANUP: dict[str, str] = dict.fromkeys(
    (SIGTERM, SIGINT), "daphne ends when the first of the requests that it has cancelled has cleaned up"
)
NO_SIGINT = {
    SIGINT: "gunicorn's SIGINT does not end uvicorn's worker, with streams or without, until `graceful_timeout`"
}
QUICK = {SIGINT: "SIGINT is gunicorn's quick shutdown, which waits for nothing"}
SLOW = {SIGTERM: "gunicorn's worker takes a second of its own to end, with streams or without"}

GUNICORN = ("gunicorn", "--bind=127.0.0.1:{port}")
RUN = ("sse_mw", "run", "--log-level=info", "--bind=127.0.0.1:{port}")

LAUNCHES = [
    _uvicorn("h11", "h11", "--http=h11", "--loop=asyncio", absent=NOT_RECYCLED),
    _uvicorn("httptools", "httptools", "--http=httptools", "--loop=asyncio", absent=NOT_RECYCLED, cannot=CHUNKED),
    _uvicorn("uvloop", "httptools, uvloop", "--http=httptools", "--loop=uvloop", loop="uvloop", absent=NOT_RECYCLED,
             cannot=CHUNKED),
    _uvicorn("tls", "h11, TLS", "--http=h11", "--loop=asyncio", *UVICORN_TLS, tls=True),
    _uvicorn("tls-uvloop", "httptools, uvloop, TLS", "--http=httptools", "--loop=uvloop", *UVICORN_TLS, loop="uvloop",
             tls=True, cannot=CHUNKED),
    _uvicorn("workers", "`--workers 2`", "--http=h11", "--workers=2", processes=2),
    _uvicorn("reload", "`--reload`", "--http=h11", "--reload", "--reload-dir={folder}", recycling="touch", absent=SAME),
    _uvicorn("limit", "`--limit-max-requests`", "--http=h11", "--limit-max-requests={requests}", recycling="requests",
             absent=SAME),
    Launch("uvicorn-thread", "uvicorn, `Server` in a thread", ("support.matrix.in_thread", "{port}"), cannot=CHUNKED,
           absent=SAME | NOT_RECYCLED),
    Launch("uvicorn-unix", "uvicorn, Unix socket", ("uvicorn", "--uds={socket}", "--no-access-log", "--http=h11"),
           absent=SAME | NOT_RECYCLED),
    Launch("gunicorn-uvicorn", "gunicorn, uvicorn's worker", (*GUNICORN, "-k", "uvicorn_worker.UvicornWorker"),
           recycling="SIGHUP", cannot=CHUNKED, absent=SAME, unreliable=NO_SIGINT),
    Launch("gunicorn-asgi", "gunicorn, its own worker", (*GUNICORN, "-k", "asgi"), recycling="SIGHUP", cannot=QUICK,
           absent=SAME, own_seconds=1.0, remarks=SLOW),
    *_hypercorn_loop("asyncio"),
    *_hypercorn_loop("uvloop"),
    *_hypercorn_loop("trio"),
    _hypercorn("in-process", "`-w 0`", "--workers=0"),
    _hypercorn("workers", "2 workers", "--workers=2", processes=2, unreliable=CUT_BY_PARENT),
    Launch("run", "`python -m sse_mw run`", RUN, absent=SAME | NOT_RECYCLED),
    Launch("run-workers", "`python -m sse_mw run --workers 2`", (*RUN, "--workers=2"), processes=2,
           absent=SAME | NOT_RECYCLED),
    _granian("asyncio", "asyncio", "--loop=asyncio", "--task-impl=asyncio", absent=NOT_RECYCLED),
    _granian("rust", "Rust tasks", "--loop=asyncio", "--task-impl=rust"),
    _granian("uvloop", "uvloop", "--loop=uvloop", loop="uvloop"),
    _granian("workers", "2 workers", "--loop=asyncio", "--workers=2", processes=2),
    Launch("daphne", "daphne", ("daphne", "-b", "127.0.0.1", "-p", "{port}"), processes=0, cannot=CANCELS,
           absent=NOT_RECYCLED | ONE_REACTOR, waits_for_cleanup=False, remarks=NO_CLEANUP),
]  # fmt: skip
