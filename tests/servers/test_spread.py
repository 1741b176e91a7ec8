"""A deploy with a thousand open streams: their clients come back to the new server one by one, not as a herd.

Both servers listen on one socket, as under a socket-activating supervisor: no client is turned away in between, and
the only thing that decides when one comes back is what it was told by the old server.
"""

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import sse_mw
from support.servers import KINDS, TESTS, Server, ServerKind

NAMES = ("uvicorn-h11-asyncio", "uvicorn-httptools-uvloop", "hypercorn-asyncio")
SERVERS = [kind for kind in KINDS if kind.name in NAMES]
STREAMS = 1000
DESCRIPTORS = 4096
"""More than a server or the fleet needs."""
RETRY = 2.0
"""Seconds; a client is told between half and one and a half times as much."""
BIN = 0.1
"""Seconds."""
HERD = 3
"""Times the mean that a bin may hold: ten standard deviations of chance, or a machine that stood still for two bins."""
SLACK = 0.5
"""Seconds that a busy machine may add, beside the time that the ending of all the streams takes."""
BACKLOG = 2048
PATIENCE = 30.0


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many as it takes, for this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip(f"platform: no process may open {DESCRIPTORS} descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        listener.set_inheritable(True)
        yield listener


@pytest.mark.server
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.name)
def test_the_clients_of_a_server_that_is_replaced_come_back_spread_over_the_retry_window(
    kind: ServerKind, listening: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.require()
    monkeypatch.setenv("RETRY", str(round(RETRY * 1000)))
    with ExitStack() as cleanup:
        old = start_on(listening, kind, tmp_path / "old.log", cleanup)
        fleet = start_fleet(listening, cleanup)
        assert read_line(fleet) == "open\n"
        new = start_on(listening, kind, tmp_path / "new.log", cleanup)
        told = time.monotonic()
        old.signal()
        clients = json.loads(read_line(fleet))
        old.wait()
        for server in (old, new):
            assert "Traceback" not in server.output()
    check_all_came_back(clients)
    check_spread(clients, told)


def start_on(listening: socket.socket, kind: ServerKind, log: Path, cleanup: ExitStack) -> Server:
    """A server on the socket that is there already."""
    own = [option for option in kind.options if not option.startswith(("--host", "--port", "--bind"))]
    where = f"--fd={listening.fileno()}" if kind.module == "uvicorn" else f"--bind=fd://{listening.fileno()}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", kind.module, *own, where, f"--backlog={BACKLOG}", "support.spread:app"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listening.fileno()],
            env=environment(),
        )
    server = Server(kind.name, process, log)
    cleanup.callback(server.stop)
    server.wait_for_output("unning on", within=PATIENCE)
    return server


def start_fleet(listening: socket.socket, cleanup: ExitStack) -> "subprocess.Popen[str]":
    port = str(listening.getsockname()[1])
    fleet = subprocess.Popen(
        [sys.executable, "-m", "support.reconnecting", port, str(STREAMS)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    cleanup.enter_context(fleet)  # waits for its end
    cleanup.callback(fleet.kill)
    return fleet


def environment() -> dict[str, str]:
    folders = [str(TESTS), str(Path(sse_mw.__file__).parent.parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "PYTHONUNBUFFERED": "1"}


def read_line(fleet: "subprocess.Popen[str]") -> str:
    assert fleet.stdout is not None
    return fleet.stdout.readline()  # a fleet that waits in vain is ended by the test's own timeout


def check_all_came_back(clients: list[dict[str, Any]]) -> None:
    """None was cut off, and each was served by the one server before, and by the other after."""
    assert len(clients) == STREAMS
    assert all(client["was_complete"] for client in clients)
    before, after = ({client[which] for client in clients} for which in ("first", "second"))
    assert (len(before), len(after)) == (1, 1)
    assert before != after


def check_spread(clients: list[dict[str, Any]], told: float) -> None:
    came = [client["back_at"] - told for client in clients]
    bins = Counter(int(at / BIN) for at in came)
    for number in range(min(bins), max(bins) + 1):
        print(f"{number * BIN:4.1f} s {bins[number]:4d} {'#' * (bins[number] // 2)}")
    mean = STREAMS * BIN / RETRY
    ended = [client["ended_at"] - told for client in clients]
    print(f"the streams ended {min(ended):.2f} to {max(ended):.2f} s after the signal")
    print(f"their clients came back {min(came):.2f} to {max(came):.2f} s after it")
    print(f"a bin holds {max(bins.values())} at most, {mean:.0f} in the mean")
    window = max(came) - min(came)
    assert window >= RETRY * 0.9, "it is covered"
    assert window <= RETRY + max(ended) - min(ended) + SLACK, "and not left"
    assert max(bins.values()) <= HERD * mean
