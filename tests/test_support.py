"""The harness itself: real servers start, clients measure, fakes record, and CI's gate counts."""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from sse_mw.testing._server import Receive, Send, http_scope
from support.apps import ticks
from support.client import TooLate
from support.servers import TESTS, StartServer


def test_events_arrive_one_by_one(server: StartServer) -> None:
    with server("support.apps:ticks").connect() as client:
        client.request("GET", "/").head()
        assert client.headers["content-type"] == "text/event-stream"
        assert client.read_events(10) == [f"data: {n}".encode() for n in range(10)]
        assert client.read_end() == "complete"
        assert client.pieces[-1][0] - client.pieces[0][0] > 0.1


def test_a_server_sees_a_client_that_vanishes(server: StartServer) -> None:
    running = server("support.apps:silent")
    with running.connect() as client:
        client.request().read_events(1)
        client.expect_silence(0.05)
        with pytest.raises(TooLate, match=r"waited 0.05 s for b'more'.*data: only"):
            client.read_until(b"more", within=0.05)
        client.abort()
    running.wait_for_output("client left")


def test_a_client_that_stops_reading_has_a_small_window(server: StartServer) -> None:
    with server("support.apps:flood").connect(receive_buffer=4096) as client:
        assert len(client.request().read_events(3)) == 3


def test_a_server_that_cannot_start_says_why(server: StartServer) -> None:
    with pytest.raises(TooLate, match="no_such_app"):
        server("support.apps:no_such_app")


@pytest.mark.anyio
async def test_the_fakes_run_an_app() -> None:
    receive, send = Receive(b"a", b"b"), Send()
    assert await receive() == {"type": "http.request", "body": b"a", "more_body": True}
    assert await receive() == {"type": "http.request", "body": b"b", "more_body": False}
    await ticks(http_scope(headers={"Accept": "text/event-stream"}), receive, send)
    assert send.complete
    assert send.status == 200
    assert send.body.count(b"\n\n") == 10
    assert send.times[-1] - send.times[0] == pytest.approx(0.2)


@pytest.mark.anyio
async def test_a_blocked_send_goes_on_when_it_is_told_to() -> None:
    send = Send()
    send.block()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, {"type": "http.response.start", "status": 200})
        await anyio.sleep(60)
        assert not send.messages
        send.unblock()
        await send.wait_for(1)
    send.fail(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await send({"type": "http.response.body"})


GATED = {
    "passes": ("def test_it(): pass", 0),
    "fails": ("def test_it(): assert False", 1),
    "nothing": ("", 5),
    "tool": ("import pytest\ndef test_it(): pytest.skip('no chromium')\ndef test_other(): pass", 1),
    "tool-module": ("import pytest\npytest.importorskip('no_such_module')", 5),
    "only-platform": ("import pytest\ndef test_it(): pytest.skip('platform: no fork')", 1),
    "platform": ("import pytest\ndef test_it(): pytest.skip('platform: no fork')\ndef test_other(): pass", 0),
    "xfail": ("import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\ndef test_other(): pass", 0),
}


@pytest.mark.server  # processes, which take their time to start
@pytest.mark.parametrize(
    ("case", "xdist"),
    [(case, ()) for case in GATED] + [(case, ("-n2",)) for case in ("nothing", "tool", "tool-module", "platform")],
)
def test_ci_accepts_no_run_without_tests_or_with_a_missing_tool(
    case: str, xdist: tuple[str, ...], tmp_path: Path
) -> None:
    source, exit_code = GATED[case]
    (tmp_path / "test_sample.py").write_text(source)
    (tmp_path / "pytest.ini").write_text("[pytest]")  # so that no settings above it are found
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['support.gate']")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist", *xdist, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "CI": "true", "PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == exit_code, run.stdout
    assert ("CI gate:" in run.stdout) == (exit_code != 0 and case != "fails")
