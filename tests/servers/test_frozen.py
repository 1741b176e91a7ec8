"""Clients that are stopped in the middle of a flood, as a laptop is whose lid is closed: what the server keeps of them,
and what its other clients notice.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.paced import Listener, p99, summary
from support.servers import Server, StartServer

FROZEN = 20
SIZE = 500_000
"""Bytes of an event of a flood."""
WARM = ["/flood/warm", "/source/warm"]
SEND_TIMEOUT = 1.5
MARGIN = 1.0
"""Seconds after `send_timeout` until everything is back: ticks, resets, and a machine with other things to do."""
TOO_EARLY = 0.5
"""Seconds: a send counts from the last tick before it, which may be a while ago on a loop that is busy writing."""
QUIET = 1.5
"""Seconds of the paced stream before the freeze, and after it: 150 events."""
FILLING, FULL, AFTER = "while the buffers fill", "while they are full, and reset", "after"
LATE = {FULL: 0.05, AFTER: 0.05}
"""Seconds: what a 99th percentile may be on a busy machine without anything being wrong."""
FLOOD_LATE = 0.5
"""The same while the server writes megabytes at once, which costs it time whether its clients are frozen or not."""
NEVER_AS_EVER = 0.25
"""And what it may not be, however late events were before the freeze."""
ATTEMPTS = 3
"""What else the machine does may be noticed too, but not each time; what the freeze does is."""
KEPT = 0.25
"""Of the memory that the frozen clients cost, what an allocator may keep for the next of its kind."""
MEGABYTE = 1_000_000
COLLECTED = ("hypercorn-asyncio", "hypercorn-uvloop")
"""Here asyncio's StreamReader keeps what a failed write has raised, which leads back to the data, until the garbage is
collected.
"""
RESET = "read nothing for send_timeout; its connection was reset."
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Held:
    """What the server's process holds at a moment, as the kernel counts it."""

    at: float
    memory: int
    descriptors: int

    @classmethod
    def by(cls, pid: int) -> "Held":
        process = Path("/proc", str(pid))
        resident = int((process / "statm").read_text().split()[1]) * PAGE
        return cls(time.monotonic(), resident, len([*(process / "fd").iterdir()]))


def journal(server: Server, path: str = "/journal") -> Any:
    # Its own connection is gone with the answer: no descriptor is left that the test would have to subtract.
    with server.connect() as client:
        client.request(path=path, headers={"Connection": "close"}).read_end()
        return json.loads(client.body)


@contextmanager
def curls(server: Server, paths: Iterable[str]) -> Generator[list["subprocess.Popen[bytes]"]]:
    """Real clients, each of which reads a stream as fast as it comes."""
    with ExitStack() as cleanup:
        processes: list[subprocess.Popen[bytes]] = []
        for path in paths:
            process = subprocess.Popen(["curl", "-sN", "-o", os.devnull, server.url + path])
            cleanup.callback(process.wait)
            cleanup.callback(process.kill)  # it ends one that is stopped too
            processes.append(process)
        yield processes


def wait_until(server: Server, done: Callable[[Any], bool], what: str, within: float = 15) -> None:
    until = time.monotonic() + within
    while not done(seen := journal(server)):
        assert time.monotonic() < until, f"waited {within} s for {what}, and saw {seen!s:.2000}"
        time.sleep(0.05)


def are_flowing(seen: Any, paths: Iterable[str]) -> bool:
    return all(len(seen["handed_over"].get(path, [])) > 3 for path in paths)


def warm_up(server: Server) -> None:
    """Clients that read, and leave: what a first stream costs once is not to be counted."""
    with curls(server, WARM):
        wait_until(server, lambda seen: are_flowing(seen, WARM), "the first floods")
    wait_until(server, lambda seen: are_closed(seen, WARM), "the end of the first floods")


def watch(server: Server, pid: int, before: Held, paths: list[str], within: float) -> list[Held]:
    """What the server holds, look by look, until it is back at what it was; or for as long as there is time."""
    seen = [Held.by(pid)]
    until = time.monotonic() + within
    while time.monotonic() < until:
        time.sleep(0.02)
        closed = are_closed(journal(server), paths)
        if closed and server.name in COLLECTED:
            journal(server, "/journal/collected")
        seen.append(Held.by(pid))
        if closed and is_back(seen, before):
            break
    return seen


def are_closed(seen: Any, paths: list[str]) -> bool:
    return all(path in seen["closed"] for path in paths)


def is_back(seen: list[Held], before: Held) -> bool:
    peak = max(held.memory for held in seen)
    now = seen[-1]
    return now.descriptors <= before.descriptors and now.memory - before.memory <= KEPT * (peak - before.memory)


def freeze(processes: "list[subprocess.Popen[bytes]]") -> None:
    for process in processes:
        process.send_signal(signal.SIGSTOP)


@pytest.fixture
def running(server: StartServer, monkeypatch: pytest.MonkeyPatch) -> Server:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    monkeypatch.setenv("SEND_TIMEOUT", str(SEND_TIMEOUT))
    monkeypatch.setenv("SIZE", str(SIZE))
    # Freed memory goes back to the system, where it shows: glibc keeps large blocks for the next ones by default.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")
    return server("support.frozen:app")


@pytest.mark.timeout(120)
def test_frozen_clients_cost_nothing_after_send_timeout_and_nobody_else_notices(running: Server) -> None:
    pid = journal(running)["process"]
    warm_up(running)
    with Listener(running.address, "/paced") as paced:
        attempts, noticed = 0, {FILLING, FULL, AFTER}
        while noticed and attempts < ATTEMPTS:
            attempts += 1
            noticed &= noticeable(freeze_all(running, pid, paced, attempts))
    assert noticed == set(), f"in each of {attempts} attempts"
    assert running.output().count(RESET) == FROZEN * attempts, "each client is named once"
    assert "Traceback" not in running.output()


def freeze_all(running: Server, pid: int, paced: Listener, attempt: int) -> dict[str, list[float]]:
    """Freeze clients until the server has let go of them all; how late the paced stream's events were meanwhile."""
    paths = [f"/{kind}/{attempt}-{number}" for number in range(FROZEN // 2) for kind in ("flood", "source")]
    time.sleep(QUIET)
    said = len(running.output())
    before = Held.by(pid)
    with curls(running, paths) as clients:
        wait_until(running, lambda seen: are_flowing(seen, paths), "the floods")
        frozen_at = time.monotonic()
        freeze(clients)
        seen = watch(running, pid, before, paths, within=15)
        time.sleep(QUIET)
        ended_at = time.monotonic()
    after = seen[-1]
    stuck_at = max(journal(running)["handed_over"][path][-1] for path in paths)
    print_memory(before, seen, after.at - stuck_at)
    check_closed(running, paths, stuck_at, running.output()[said:])
    assert max(held.memory for held in seen) - before.memory > FROZEN * SIZE / 2, "too little to show anything"
    assert is_back(seen, before)
    assert after.at - stuck_at <= SEND_TIMEOUT + MARGIN
    late = {
        "before": paced.between(before.at - QUIET, before.at),
        FILLING: paced.between(frozen_at, stuck_at),
        FULL: paced.between(stuck_at, after.at),
        AFTER: paced.between(after.at, ended_at),
    }
    for when, seconds in late.items():
        print(f"events of another stream, {when}: {summary(seconds)} late")
    return late


def noticeable(late: dict[str, list[float]]) -> set[str]:
    """When another client would have noticed something."""
    as_ever = min(3 * p99(late["before"]), NEVER_AS_EVER)
    return {when for when, seconds in late.items() if p99(seconds) > max(as_ever, LATE.get(when, FLOOD_LATE))}


def check_closed(server: Server, paths: list[str], stuck_at: float, said: str) -> None:
    """Each was given its `send_timeout` from its last event, and was named in the log once (a port may come again).

    Its end is timed from the last one's: while the server is busy writing, the time in which it does nothing else does
    not count for any of them.
    """
    seen = journal(server)
    for path in paths:
        at, reason, (host, port) = seen["closed"][path]
        assert reason == "send_timeout"
        assert at - seen["handed_over"][path][-1] >= SEND_TIMEOUT - TOO_EARLY
        assert at - stuck_at <= SEND_TIMEOUT + MARGIN
        assert said.count(f"('{host}', {port}) {RESET}") == 1


def print_memory(before: Held, seen: list[Held], took: float) -> None:
    peak = max(seen, key=lambda held: held.memory)
    for what, held in {"before": before, "at its peak": peak, "after": seen[-1]}.items():
        print(f"{what}: {held.memory / MEGABYTE:.1f} MB, {held.descriptors} descriptors")
    print(f"back {took:.2f} s after the last client had stopped to read (send_timeout={SEND_TIMEOUT})")
