"""nginx with the settings that it proxies with by default: it buffers, and is told not to."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from support.client import RawClient
from support.servers import StartServer

CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; }} }}
}}
"""


@pytest.fixture
def nginx(server: StartServer, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The address of an nginx in front of a real server; nothing but `proxy_pass` is configured."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("needs nginx")
    upstream = server("support.streams:app")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=tmp_path, port=port, upstream=upstream.address[1]))
    process = subprocess.Popen([program, "-c", str(configuration), "-e", str(tmp_path / "error.log")])
    try:
        until = time.monotonic() + 5
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, (tmp_path / "error.log").read_text()
                assert time.monotonic() < until, "nginx does not listen"
                time.sleep(0.02)
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait(5)


def test_events_come_through_nginx_one_by_one(nginx: tuple[str, int]) -> None:
    with RawClient(nginx) as client:
        client.request(path="/paced/").head()
        client.read_events(12)
        times = [at for at, _ in client.pieces]
    gaps = sorted(late - early for early, late in pairwise(times))
    assert len(gaps) >= 11, "one by one: nothing was held back and sent with another"
    assert gaps[-2] < 0.2, gaps  # one may be late, as the machine may be busy with other tests


def test_the_head_comes_through_nginx_though_the_source_is_silent(nginx: tuple[str, int]) -> None:
    with RawClient(nginx) as client:
        began = time.monotonic()
        client.request(path="/silent/").read_until(b":\n\n")
        assert time.monotonic() - began < 0.2


def test_a_client_that_leaves_nginx_leaves_the_app(nginx: tuple[str, int]) -> None:
    with RawClient(nginx) as client:
        client.request(path="/idle/").read_events(1)
    until = time.monotonic() + 5
    while True:
        with RawClient(nginx) as client:
            client.request(path="/journal").read_end()
            if b'"client_left"' in client.body:
                break
        assert time.monotonic() < until
        time.sleep(0.02)
