"""How serving ends: a signal, then a grace for what is open, then the end, with exit code 0.

Event streams end by themselves, as the middleware drains them. For other requests hypercorn has a grace of its own
(`graceful_timeout`), but on asyncio it starts to run only once the server has closed, and since Python 3.12 that waits
for every connection. So the requests that are left when the streams have ended are cancelled here.

In this process the signals are ours. With workers they are hypercorn's: its parent process tells the workers to end
through an event that they share, and which is not for us to see, so we tell them by SIGTERM as well.
"""

import asyncio
import multiprocessing
import signal
import socket
import sys
import threading
from functools import partial
from multiprocessing.process import BaseProcess

import anyio
from anyio.abc import TaskStatus

from .. import SSEMiddleware
from .._types import ASGIApp, Receive, Scope, Send

LONGER = 1.0
"""Seconds that other requests have longer than event streams, which are given up at the latest by then."""


class Requests:
    """Passes each request on to the application, and can end those that are open."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: set[anyio.CancelScope] = set()
        self.patience = drain_grace(app) + LONGER
        """Seconds for open requests after the signal."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        with anyio.CancelScope() as request:
            self._open.add(request)
            try:
                await self._app(scope, receive, send)
            finally:
                self._open.discard(request)

    def end(self) -> None:
        """Cancel what is left; from within the event loop."""
        for request in self._open:
            request.cancel()


def drain_grace(app: ASGIApp) -> float:
    """What event streams have, in seconds."""
    # Of the same package, and for nobody else to see.
    return app._options.drain_grace if isinstance(app, SSEMiddleware) else 0.0  # pyright: ignore[reportPrivateUsage]


async def watch_signals(signalled: anyio.Event, requests: Requests, *, task_status: TaskStatus[None]) -> None:
    """The first signal ends the server; the open requests have until the second, or for their patience."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        await anext(signals)
        signalled.set()
        with anyio.move_on_after(requests.patience):
            await anext(signals)
        requests.end()


def forward_signals() -> None:
    """Pass SIGINT and SIGTERM on to the workers, as SIGTERM, beside whatever handlers hypercorn installs."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach())
    threading.Thread(target=_forward, args=(reader,), daemon=True).start()


def _forward(reader: socket.socket) -> None:
    while numbers := reader.recv(64):
        if signal.SIGINT in numbers or signal.SIGTERM in numbers:
            for worker in multiprocessing.active_children():
                worker.terminate()


def worker(app: ASGIApp) -> ASGIApp:
    """The application of a worker process, which on SIGTERM ends its open requests in the end, and no more.

    The server itself ends by hypercorn's event. SIGTERM may come several times: from the parent, from systemd, which
    sends it to all of them, and from hypercorn, to those that outlive the first.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return app
    signal.signal(signal.SIGTERM, partial(_leave_if_orphaned, parent))
    requests = Requests(app)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # it comes first, and once
            _heed_sigterm(parent, requests)
        await requests(scope, receive, send)

    return serve


def _heed_sigterm(parent: BaseProcess, requests: Requests) -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return  # trio, where hypercorn's own grace does it

    def terminated() -> None:
        _leave_if_orphaned(parent)
        loop.call_later(requests.patience, requests.end)

    loop.add_signal_handler(signal.SIGTERM, terminated)


def _leave_if_orphaned(parent: BaseProcess, *_: object) -> None:
    if not parent.is_alive():
        sys.exit(1)
