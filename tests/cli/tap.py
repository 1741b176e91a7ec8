"""A tap between browser and server: it passes everything on, and notes when the browser lets go of one.

How long a browser takes to close a tab is its own affair; what the server does from then on is ours.
"""

import contextlib
import socket
import threading
import time
from typing import Self

from support.client import Address


class Tap:
    """Listens on `address`; `let_go` holds the moments (monotonic) at which the browser ended one."""

    def __init__(self, server: Address) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: Address = self._listener.getsockname()
        self.let_go: list[float] = []
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                browser, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [browser, server]
                threading.Thread(target=self._pass, args=(browser, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, browser, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, from_browser: bool) -> None:
        with contextlib.suppress(OSError):
            while received := source.recv(65536):
                sink.sendall(received)
        if from_browser:
            self.let_go.append(time.monotonic())
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
