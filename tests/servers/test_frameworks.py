"""Frameworks on real servers: each ends its streams in its own way, and none is to lose by being wrapped."""

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

from support.client import RawClient
from support.servers import KINDS, Server, StartServer

# One server that waits in its `send`, and one that does not; the others are in `test_streams.py`.
SERVERS = [kind for kind in KINDS if kind.name in ("uvicorn-h11-asyncio", "hypercorn-asyncio")]
SETTLED = 0.4
"""Seconds after which a background task that has not come to its end never will; it takes a tenth."""

pytestmark = pytest.mark.parametrize("server_kind", SERVERS, indirect=True, ids=lambda kind: kind.name)
Serve = Callable[[str], Server]


@pytest.fixture
def serve(server: StartServer, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Starts a server with this framework of `support.frameworks`."""

    def start(framework: str) -> Server:
        monkeypatch.setenv("FRAMEWORK", framework)
        return server("support.frameworks:app")

    return start


def entries(server: Server, what: str) -> list[dict[str, Any]]:
    with server.connect() as client:
        client.request(path="/journal").read_end()
        return [entry for entry in json.loads(client.body)["journal"] if entry["what"] == what]


def wait_for(server: Server, what: str, count: int, within: float = 5.0) -> list[dict[str, Any]]:
    until = time.monotonic() + within
    while len(found := entries(server, what)) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} {what!r}:\n{server.output()}"
        time.sleep(0.02)
    return found


def stream(server: Server, path: str) -> RawClient:
    """A client that has its first event."""
    client = server.connect().request(path=path).head()
    assert client.headers["content-type"].startswith("text/event-stream")
    client.read_until(b"data: x")
    return client


@pytest.mark.parametrize("framework", ["quart", "litestar", "django", "fastapi", "sse_starlette"])
def test_a_client_that_leaves_an_idle_stream_ends_its_source_within_100_ms(serve: Serve, framework: str) -> None:
    """The median of several, as the machine may be busy with other tests."""
    running = serve(framework)
    left_at: list[float] = []
    for attempt in range(5):
        client = stream(running, "/idle")
        left_at.append(time.monotonic())
        client.close() if attempt % 2 else client.abort()
        wait_for(running, "finally", attempt + 1)
    ended_at = [entry["at"] for entry in entries(running, "finally")]
    assert median(ended - left for ended, left in zip(ended_at, left_at, strict=True)) <= 0.1
    assert [entry["reason"] for entry in wait_for(running, "closed", 5)] == ["client_left"] * 5
    assert "Traceback" not in running.output()


@pytest.mark.parametrize("framework", ["quart", "django"])
def test_a_source_that_its_framework_has_cancelled_cleans_up_to_the_end(serve: Serve, framework: str) -> None:
    running = serve(framework)
    for attempt in range(3):
        client = stream(running, "/cleans")
        client.close() if attempt % 2 else client.abort()
    wait_for(running, "finally", 3)
    wait_for(running, "cleaned", 3, within=2)


@pytest.mark.parametrize(("framework", "prefix"), [("litestar", "/"), ("litestar", "/events/"), ("starlette", "/")])
def test_a_background_task_runs_exactly_when_it_does_unwrapped(serve: Serve, framework: str, prefix: str) -> None:
    running = serve(framework)
    outcomes = {query: [_background(running, prefix + name + query) for name in ("idle", "ends", "fails")]
                for query in ("", "?bare")}  # fmt: skip
    assert outcomes[""] == outcomes["?bare"]
    assert outcomes[""][:2] == ["runs to its end"] * 2, "so that there is something to compare"


def _background(server: Server, path: str) -> str:
    """What becomes of the background task of one stream."""
    starts, ends = (len(entries(server, what)) for what in ("background starts", "background ends"))
    client = stream(server, path)
    if "idle" not in path:
        client.read_end()
    client.close()
    until = time.monotonic() + SETTLED
    while time.monotonic() < until:
        if len(entries(server, "background ends")) > ends:
            return "runs to its end"
        time.sleep(0.02)
    return "is cut" if len(entries(server, "background starts")) > starts else "does not run"


def test_clients_that_leave_a_wsgi_app_leave_its_workers(serve: Serve) -> None:
    """More of them than it has workers: a worker comes back when its source is through, whoever still reads."""
    running = serve("flask")
    for _ in range(12):
        stream(running, "/ticks").close()
    with running.connect() as client:
        client.request(path="/ordinary")
        assert client.read_end() == "complete"
        assert client.body == b"here"
    wait_for(running, "finally", 12)
    assert {entry["reason"] for entry in wait_for(running, "closed", 12)} == {"client_left"}


@pytest.mark.parametrize("framework", ["fastapi", "sse_starlette", "starlette"])
def test_a_source_that_fails_is_an_error_though_its_framework_has_sent_an_end(serve: Serve, framework: str) -> None:
    running = serve(framework)
    with stream(running, "/fails") as client:
        assert client.read_end() == "complete"
    assert [entry["reason"] for entry in wait_for(running, "closed", 1)] == ["error"]
    before, _, after = running.wait_for_output("LookupError: in mid-stream").partition("failed in its event stream")
    assert after, "it is in our log"
    assert "Traceback" not in before
    assert "in ASGI" not in running.output(), "neither uvicorn nor hypercorn was told"
