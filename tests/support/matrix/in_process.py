"""Servers started by a program, many in one process: `python -m support.matrix.in_process LAUNCH cycles|loops`.

Raises, and so ends with a traceback, if a stream is not whole or something is left behind.
"""

import gc
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from support.client import Address, RawClient, connected
from support.matrix.app import app
from support.servers import free_port

CYCLES = 20
LEAKED = {"granian-asyncio": 1}
"""Descriptors that a server keeps for each time that it was started, whatever it serves."""
PATHS = ("/idle", "/passed-through", "/good-bye")
PATIENCE = 10.0
POLL = 0.01


async def told(stop: threading.Event) -> None:
    # One event for threads and both async libraries; polled, as this is a test's.
    while not stop.is_set():  # noqa: ASYNC110
        await anyio.sleep(POLL)


async def uvicorn(http: str, port: int, stop: threading.Event) -> None:
    from uvicorn import Config, Server

    server = Server(Config(app, port=port, http=http, access_log=False, log_level="warning"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await told(stop)
        server.should_exit = True


async def hypercorn(library: str, port: int, stop: threading.Event) -> None:
    from importlib import import_module

    from hypercorn.config import Config

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = None
    serve: Any = import_module(f"hypercorn.{library}").serve
    await serve(app, config, shutdown_trigger=partial(told, stop))


async def granian(port: int, stop: threading.Event) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server: Any = Server(app, port=port, interface=Interfaces.ASGI, log_enabled=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await told(stop)
        server.stop()


SERVERS: dict[str, tuple[Callable[..., Any], str]] = {
    "uvicorn-h11": (partial(uvicorn, "h11"), "asyncio"),
    "uvicorn-httptools": (partial(uvicorn, "httptools"), "asyncio"),
    "uvicorn-uvloop": (partial(uvicorn, "httptools"), "uvloop"),
    "hypercorn-asyncio": (partial(hypercorn, "asyncio"), "asyncio"),
    "hypercorn-uvloop": (partial(hypercorn, "asyncio"), "uvloop"),
    "hypercorn-trio": (partial(hypercorn, "trio"), "trio"),
    "granian-asyncio": (granian, "asyncio"),
}


class Loop:
    """An event loop in a thread, which serves on each of the ports in turn, each until it is told to stop."""

    def __init__(self, name: str, ports: list[int]) -> None:
        self._serve, loop = SERVERS[name]
        self._ports = ports
        self._stop = threading.Event()
        backend = "trio" if loop == "trio" else "asyncio"
        options: dict[str, Any] = {} if loop == "trio" else {"use_uvloop": loop == "uvloop"}
        run = partial(anyio.run, self._serve_all, backend=backend, backend_options=options)
        self._thread = threading.Thread(target=run)
        self._thread.start()

    async def _serve_all(self) -> None:
        for port in self._ports:
            self._stop = threading.Event()
            await self._serve(port, self._stop)

    def stop(self) -> None:
        """The server that runs now."""
        self._stop.set()

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server does not end"


def wait_until_accepting(address: Address) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError):
            connected(address).close()
            return
        assert time.monotonic() < until, f"nobody listens on {address}"
        time.sleep(POLL)


def open_streams(port: int) -> list[RawClient]:
    address = ("127.0.0.1", port)
    wait_until_accepting(address)
    clients = [RawClient(address).request(path=path) for path in PATHS]
    for client in clients:
        client.read_until(b"data: x\n\n")
    return clients


def read_ends(clients: list[RawClient]) -> None:
    for client in clients:
        with client:
            assert client.read_end(within=PATIENCE) == "complete", client.body
            assert b"event: bye" in client.body or b"retry: " in client.body, client.body


def cycle(loop: Loop, port: int) -> None:
    clients = open_streams(port)
    loop.stop()
    read_ends(clients)


def held() -> tuple[int, ...]:
    """Descriptors, threads, and the event loops that the middleware knows of."""
    gc.collect()
    return len([*Path("/proc/self/fd").iterdir()]), threading.active_count(), len(app._loops.all())


def settled(allowed: tuple[int, ...]) -> None:
    """Wait until no more is held: what ends does so in its own time."""
    until = time.monotonic() + PATIENCE
    while any(now > most for now, most in zip(held(), allowed, strict=True)):
        assert time.monotonic() < until, f"{held()}, and not {allowed}"
        time.sleep(0.1)


def cycles(name: str) -> None:
    """In one event loop, each port several times; then each in a loop and a thread of its own."""
    first, second = free_port(), free_port()
    in_a_loop_of_its_own(name, first)
    descriptors, *others = held()
    ports = [first, second] * (CYCLES // 4)
    loop = Loop(name, ports)
    for port in ports:
        cycle(loop, port)
    loop.join()
    for port in ports:
        in_a_loop_of_its_own(name, port)
    settled((descriptors + CYCLES * LEAKED.get(name, 0), *others))


def in_a_loop_of_its_own(name: str, port: int) -> None:
    loop = Loop(name, [port])
    cycle(loop, port)
    loop.join()


def loops(name: str) -> None:
    """One ends, and the other goes on."""
    first, second = free_port(), free_port()
    one, other = Loop(name, [first]), Loop(name, [second])
    clients, others = open_streams(first), open_streams(second)
    with RawClient(("127.0.0.1", second)).request(path="/paced") as paced:
        paced.read_events(1)
        one.stop()
        read_ends(clients)
        one.join()
        paced.read_events(len(paced.body.split(b"\n\n")) + 20)
        fresh = open_streams(second)
        other.stop()
        read_ends([*others, *fresh])
        other.join()
    assert not app.stats().open


if __name__ == "__main__":
    {"cycles": cycles, "loops": loops}[sys.argv[2]](sys.argv[1])
