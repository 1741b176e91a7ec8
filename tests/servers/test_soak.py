"""Everything that clients and apps do, all at once and over and over, and what is left of it.

    SOAK_SECONDS=600 python -m pytest tests/servers/test_soak.py

A minute, all in all, in the suite, ten of them as `python -m nox -s soak`.
"""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import pytest

import sse_mw
from support.client import RawClient
from support.paced import Listener, summary
from support.servers import KINDS, TESTS, Server, StartServer

SERVERS = [kind for kind in KINDS if kind.name in ("uvicorn-httptools-uvloop", "hypercorn-asyncio")]
SECONDS = float(os.environ.get("SOAK_SECONDS", "25"))
WARM_UP = 15.0
"""Seconds until what is made once has been made: caches, pools, threads, and the memory that an allocator keeps."""
REST = 25.0
"""Seconds at most until a server that has nothing to do has put everything away."""
STEADY = 6.0
"""Seconds without a change until it counts as having done so: hypercorn keeps connections for five."""
GROWTH = 10_000_000
"""Bytes. A leak of one stream's few kilobytes would be more after a minute, and ten times as much after ten."""
OBJECTS = 1000
"""How many there may be more: less than one for each stream."""
BLOCKS = 3000 + round(10 * SECONDS)
"""The same of all that Python has allocated: free lists and caches go on filling up. One for each stream would be ten
times as much in the long run.
"""
THREADS = 10
"""More than there were: the pool's, as many as sync sources have ever been open at once."""
LATE = 1.0
"""Seconds: half the events of a stream that is read all the while come sooner. The 99th percentile is printed alone: it
is the machine's more than the server's, as the load takes all processors that it gets.
"""
OPEN_AT_THE_END = {"/paced": 20, "/source": 20, "/thread": 5, "/silent": 5}
GRACE = 0.5
"""The app's `drain_grace`."""
# hypercorn (0.18) never ends the task of a connection whose client has sent more while a response was under way, and
# leaves then, whatever the app does: H11Protocol waits for `can_read` without end.
LEFT_OUT = {"hypercorn-asyncio": ["pipeline"]}
# What may be said, line by line; whatever else is said is a failure.
SAID = [
    # The servers' own.
    r"INFO: +(Started|Finished) server process .*",
    r"INFO: +(Waiting for application|Application) (startup|shutdown)( complete)?\.",
    r"INFO: +Uvicorn running on .*",
    r"INFO: +Shutting down",
    r"INFO: +Waiting for (connections to close|background tasks to complete)\. .*",
    r"WARNING: +Invalid HTTP request received\.",
    r"\[.*\] \[INFO\] Running on http://.*",
    # uvicorn's httptools tells a pipelined request alone that its client has left, and not the one that is under way,
    # and takes it ill then that this one is left too.
    r"ERROR: +ASGI callable returned without completing response\.",
    # asyncio's, of a server that has not seen yet that its connection is lost, and goes on writing.
    r"socket\.send\(\) raised exception\.",
    # Ours.
    r"sse_mw: INFO: .* read nothing (for send_timeout|when its stream was to end); its connection was reset\.",
    r"sse_mw: ERROR: The app of GET /(fails|source-fails) failed in its event stream; it was ended\.",
    r"because of LookupError\('in (mid-stream|a source)'\)",
    r"sse_mw: ERROR: The app of GET /forgets returned without ending its event stream; it was ended for it\.",
    r"sse_mw: INFO: The server has stopped listening; its event streams are drained\.",
    # A client that leaves in the very moment of its timeout: there is nothing to be reset.
    r"sse_mw: WARNING: .* its stream was ended, but its connection could not be reset: .*",
]
KNOWN = re.compile("|".join(f"(?:{line})" for line in SAID))


@pytest.mark.timeout(WARM_UP + SECONDS + 2 * REST + 90)
@pytest.mark.parametrize("server_kind", SERVERS, indirect=True, ids=lambda kind: kind.name)
def test_a_soak_leaves_nothing_behind(server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # The process's memory is to show what it uses: glibc's heap, with an arena for each thread and no large block given
    # back, goes on growing by a megabyte a minute while nothing more is used.
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")
    running = server("support.soaking:app")
    load(running, WARM_UP)
    before = at_rest(running)
    with Listener(running.address, "/paced") as paced:
        began = time.monotonic()
        done = load(running, SECONDS)
        took = time.monotonic() - began
        late = paced.between(began, began + took)
    after = at_rest(running)
    print_figures(before, after, done, took)
    print(f"events of a stream that read all the while: {summary(late)} late")
    drain_at_the_end(running)
    unexpected = [line for line in running.output().splitlines() if not KNOWN.fullmatch(line)]
    assert unexpected == []
    assert grown(before, after) == {}
    assert after["memory"] - before["memory"] <= GROWTH
    assert median(late) <= LATE


def load(server: Server, seconds: float) -> dict[str, int]:
    """Have clients do whatever clients do for so long; how often they did what."""
    command = [sys.executable, "-m", "support.soak", str(server.address[1]), str(seconds)]
    folders = [str(TESTS), str(Path(sse_mw.__file__).parent.parent)]
    finished = subprocess.run(
        [*command, *LEFT_OUT.get(server.name, [])],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    done: dict[str, int] = json.loads(finished.stdout)
    return done


def counts(server: Server) -> Any:
    with server.connect() as client:
        client.request(path="/counts", headers={"Connection": "close"}).read_end(within=30)
        return json.loads(client.body)


def at_rest(server: Server) -> Any:
    """The counts once no stream is open, and nothing more is put away."""
    now, since = counts(server), time.monotonic()
    until = since + REST
    while time.monotonic() < min(until, since + STEADY):
        time.sleep(0.5)
        last, now = now, counts(server)
        if any(last[what] != now[what] for what in ("open", "tasks", "descriptors")):
            since = time.monotonic()
    assert now["open"] == 0
    return now


def grown(before: Any, after: Any) -> dict[str, int]:
    """What there is more of than there may be."""
    allowed = {"tasks": 0, "descriptors": 0, "threads": THREADS, "objects": OBJECTS, "blocks": BLOCKS}
    more = {what: after[what] - before[what] for what in allowed}
    return {what: count for what, count in more.items() if count > allowed[what]}


def drain_at_the_end(server: Server) -> None:
    """The real one, with streams open: each gets a whole response, and the server ends in time."""
    with ExitStack() as cleanup:
        clients: list[RawClient] = [
            cleanup.enter_context(server.connect()).request(path=path)
            for path, count in OPEN_AT_THE_END.items()
            for _ in range(count)
        ]
        for client in clients:
            client.read_events(1)
        told = time.monotonic()
        server.signal()
        assert {client.read_end() for client in clients} == {"complete"}
        server.wait()
        print(f"{len(clients)} streams drained and the server ended in {time.monotonic() - told:.2f} s")
        assert all(b"retry: " in client.body for client in clients)
        assert time.monotonic() - told <= GRACE + 5


def print_figures(before: Any, after: Any, done: dict[str, int], took: float) -> None:
    ended = {why: count - before["ended"].get(why, 0) for why, count in after["ended"].items()}
    streams = sum(ended.values())
    print(f"{streams} streams in {took:.0f} s, {streams / took:.0f} a second: {ended}")
    print(f"what the clients did: {done}")
    print(f"memory after the warm-up {before['memory'] / 1e6:.1f} MB, at the end {after['memory'] / 1e6:.1f} MB")
    for what in ("tasks", "descriptors", "threads", "objects", "blocks"):
        print(f"{what}: {before[what]} after the warm-up, {after[what]} at the end")
