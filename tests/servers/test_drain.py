"""A server that is told to end with streams open: it ends in time, and each client gets a whole response."""

import shutil
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.servers import StartServer

STREAMS = {"/idle": 50, "/passed-through": 50, "/busy": 10}
TRUNCATED = 18
"""curl's exit code for a body that was cut off."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("grace", [0, 1])
def test_a_server_that_is_told_to_end_does_so_in_time_and_no_response_is_cut_off(
    server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grace: int, number: int
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    monkeypatch.setenv("GRACE", str(grace))
    running = server("support.draining:app")
    with ExitStack() as cleanup:
        clients: list[tuple[Path, subprocess.Popen[bytes]]] = []
        for path, count in STREAMS.items():
            for index in range(count):
                output = tmp_path / f"{path[1:]}-{index}"
                command = ["curl", "-sN", "-o", str(output), running.url + path]
                process = subprocess.Popen(command)
                cleanup.callback(process.kill)
                clients.append((output, process))
        until = time.monotonic() + 20
        while not all(output.exists() and output.stat().st_size for output, _ in clients):
            assert time.monotonic() < until, "not every stream has begun"
            time.sleep(0.05)
        told = time.monotonic()
        running.signal(number)
        running.wait(within=grace + 5)
        took = time.monotonic() - told
        codes = [process.wait(5) for _, process in clients]
    assert codes == [0] * len(clients), f"{codes.count(TRUNCATED)} of {len(codes)} truncated"
    assert took < grace + 1
    assert "lifespan shutdown" in running.output()
    assert "Traceback" not in running.output()
    for output, _ in clients:
        assert b"retry: " in output.read_bytes().rpartition(b"data: ")[2], "when to come back"
