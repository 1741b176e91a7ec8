"""Servers that come back where they were, and what those that are gone have noted."""

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.servers import Server, ServerKind, StartServer

PATIENCE = 5.0
"""Seconds."""


def start_at(port: int, server: StartServer, kind: ServerKind, app: str, *options: str) -> Server:
    where = f"--port={port}" if kind.module == "uvicorn" else f"--bind=127.0.0.1:{port}"
    running = server(app, where, *options)
    running.address = ("127.0.0.1", port)  # hypercorn listens where its kind says as well
    return running


def kill(server: Server) -> None:
    """SIGKILL to the server, and to hypercorn's worker, which would outlive it; return once nobody listens."""
    for pid in [*children(server.pid), server.pid]:
        os.kill(pid, signal.SIGKILL)
    server.process.wait()
    until = time.monotonic() + PATIENCE
    with suppress(ConnectionRefusedError):
        while True:
            socket.create_connection(server.address).close()
            assert time.monotonic() < until, "it listens still"


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def notes(server: Server, what: str) -> list[dict[str, Any]]:
    """Those that `support.faults` has made so far: the streams that were "opened" or "closed"."""
    lines = server.output().splitlines()
    return [note for line in lines if line.startswith('{"what"') and (note := json.loads(line))["what"] == what]
