"""Server processes: start many, pin them to a core of their own, read what they use, end them.

Linux only, as the processes' CPU clocks and `/proc` are read.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .variants import AIOHTTP, Variant

ROOT = Path(__file__).parent.parent
SUPPORTED = sys.platform == "linux"
START_DEADLINE = 60.0
PAGE = os.sysconf("SC_PAGE_SIZE") if SUPPORTED else 4096
QUIET_WINDOW, QUIET_USE, QUIET_DEADLINE = 0.05, 0.002, 10.0
PINNED = SUPPORTED and len(os.sched_getaffinity(0)) > 1
UVICORN = "uvicorn"
KINDS = {
    UVICORN: "uvicorn --interface asgi3 --no-access-log --http httptools --loop uvloop",
    "uvicorn, h11 on asyncio": "uvicorn --interface asgi3 --no-access-log --http h11 --loop asyncio",
    "hypercorn": "hypercorn --worker-class asyncio --workers 0",
    "granian": "granian --interface asgi --no-access-log --workers 1 --loop uvloop",
}
"""How each is started, to which `--log-level warning` comes."""


class ServerFailedError(Exception):
    """A server did not start, or answered otherwise than it must."""


@dataclass
class Server:
    """A running server, of one process or a parent with workers."""

    variant: Variant
    process: "subprocess.Popen[bytes]"
    port: int
    log: IO[bytes]

    def processes(self) -> list[int]:
        return _family(self.process.pid)

    def cpu(self) -> float:
        """Seconds of CPU that all of its processes have used, threads that have ended among them.

        From the kernel's own clock of each process, which is exact, where /proc/PID/stat counts in hundredths.
        """
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.processes())

    def resident(self) -> int:
        """Bytes of memory."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.processes()) * PAGE

    def get(self, target: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            response = b""
            while piece := connection.recv(65536):
                response += piece
        return response

    def wait_until_quiet(self) -> None:
        """Wait until it does nothing more about what was before; a little at least, ten seconds at most."""
        deadline, used = time.monotonic() + QUIET_DEADLINE, self.cpu()
        time.sleep(QUIET_WINDOW)
        while (now := self.cpu()) - used > QUIET_USE and time.monotonic() < deadline:
            used = now
            time.sleep(QUIET_WINDOW)

    def wait_until_ready(self, target: str) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                response = self.get(target)
            except OSError:
                time.sleep(0.05)
                continue
            if not response.startswith(b"HTTP/1.1 200"):
                raise ServerFailedError(f"{self.variant.name} answered {response[:200]!r}: {self.output()}")
            return
        raise ServerFailedError(f"{self.variant.name} did not start: {self.output()}")

    def output(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-2000:]

    def kill(self) -> None:
        """At once: there is nothing that a benchmark's server would have to finish."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


@dataclass
class Meter:
    """What a stretch of work took: `seconds`, the server's CPU, and the CPU of this process, the client."""

    seconds: float = 0.0
    cpu: float = 0.0
    client: float = 0.0

    @property
    def client_busy(self) -> float:
        return 100 * self.client / self.seconds


@contextmanager
def metered(server: Server) -> Iterator[Meter]:
    meter = Meter()
    cpu, client, began = server.cpu(), time.process_time(), time.perf_counter()
    yield meter
    meter.seconds = time.perf_counter() - began
    meter.client = time.process_time() - client
    meter.cpu = server.cpu() - cpu


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def pin(pids: list[int], core: int) -> None:
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


@contextmanager
def running(
    variants: list[Variant], kind: str = UVICORN, *, controlled: bool = False, ping: float | None = None
) -> Iterator[dict[str, Server]]:
    """One server for each variant, on the second core, and this process, which is the client, on the first."""
    cores = sorted(os.sched_getaffinity(0))
    servers: dict[str, Server] = {}
    try:
        for variant in variants:
            servers[variant.name] = _start(variant, kind, controlled, ping)
        for server in servers.values():
            server.wait_until_ready("/control" if controlled else "/")
        if PINNED:
            for server in servers.values():
                pin(server.processes(), cores[1])
            os.sched_setaffinity(0, {cores[0]})
        yield servers
    finally:
        os.sched_setaffinity(0, cores)
        for server in servers.values():
            server.kill()


def _start(variant: Variant, kind: str, controlled: bool, ping: float | None) -> Server:
    port = _free_port()
    target = "benchmarks.apps.controlled:app" if controlled else variant.target
    environment = {
        "PYTHONPATH": str(ROOT),
        "BENCH_APP": variant.target,
        "BENCH_PING": "" if ping is None else str(ping),
    }
    command = [sys.executable, "-m", *_command(variant, kind, target, port)]
    log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
    return Server(variant, _spawn(command, environment, log), port, log)


def _command(variant: Variant, kind: str, target: str, port: int) -> list[str]:
    if variant is AIOHTTP:
        return ["benchmarks.apps.on_aiohttp", str(port)]
    where = ["--bind", f"127.0.0.1:{port}"] if kind == "hypercorn" else ["--host", "127.0.0.1", "--port", str(port)]
    return [*KINDS[kind].split(), "--log-level", "warning", *where, target]


def _spawn(command: list[str], environment: Mapping[str, str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    # A process group of its own, so that workers can be ended with their parent.
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
