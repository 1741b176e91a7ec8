"""Real proxies in front of real servers, each with little more than what names its upstream."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from support.client import Address, RawClient
from support.restarts import children
from support.servers import Server

DEADLINE = 5.0
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; {options} }} }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    {options}
listen proxy
    bind 127.0.0.1:{port}
    server upstream 127.0.0.1:{upstream}
"""
HAPROXY_OPTIONS = "option http-no-delay\n    option abortonclose"


@dataclass(frozen=True)
class ProxyKind:
    """One proxy program, with a configuration that a test may add `options` to."""

    name: str
    configuration: str
    arguments: tuple[str, ...]
    options: str = ""

    @contextmanager
    def run(self, upstream: Server, folder: Path, port: int, options: str = "") -> Generator["Proxy", None, None]:
        """Start it in front of `upstream`; yield once it listens, and kill what is left of it at the end."""
        program = shutil.which(self.name) or shutil.which(f"/usr/sbin/{self.name}")
        if program is None:
            pytest.skip(f"needs {self.name}")
        values = {"folder": folder, "port": port, "upstream": upstream.address[1], "options": options or self.options}
        configuration = folder / f"{self.name}.conf"
        configuration.write_text(self.configuration.format(**values))
        command = [program, *(argument.format(folder=folder) for argument in self.arguments), str(configuration)]
        with (folder / "output.log").open("ab") as output:
            # A process group of its own: nginx's worker outlives a master that is killed alone.
            process = subprocess.Popen(command, stderr=output, start_new_session=True)
        proxy = Proxy(process, ("127.0.0.1", port), folder)
        try:
            proxy.wait_until_it_listens()
            yield proxy
        finally:
            proxy.end(signal.SIGKILL)


@dataclass
class Proxy:
    """A running proxy."""

    process: "subprocess.Popen[bytes]"
    address: Address
    folder: Path

    def connect(self) -> RawClient:
        return RawClient(self.address)

    def wait_until_it_listens(self) -> None:
        until = time.monotonic() + DEADLINE
        while True:
            try:
                return socket.create_connection(self.address).close()
            except ConnectionRefusedError:
                said = "".join(path.read_text() for path in self.folder.glob("*.log"))
                assert self.process.poll() is None, said
                assert time.monotonic() < until, f"the proxy does not listen: {said}"
                time.sleep(0.02)

    def end(self, number: int) -> None:
        """End it by a signal: SIGKILL goes to all of its processes."""
        if number != signal.SIGKILL:
            self.process.send_signal(number)
        elif self.process.returncode is None:  # else the number of the group may be somebody else's by now
            os.killpg(self.process.pid, number)
        self.process.wait(DEADLINE)

    def workers(self) -> set[int]:
        return children(self.process.pid)

    def reload(self) -> set[int]:
        """Have new workers started; return the old ones once a new one is there."""
        old = self.workers()
        self.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + DEADLINE
        while not self.workers() - old:
            assert time.monotonic() < until, (self.folder / "error.log").read_text()
            time.sleep(0.02)
        return old


class StartProxy(Protocol):
    """The `proxy` fixture: a proxy in front of `upstream`, by default on a port of the test's own."""

    def __call__(self, upstream: Server, *, options: str = "") -> Proxy: ...


nginx = ProxyKind("nginx", NGINX, ("-e", "{folder}/error.log", "-c"))
haproxy = ProxyKind("haproxy", HAPROXY, ("-db", "-f"), HAPROXY_OPTIONS)
PROXIES = [nginx, haproxy]
