"""Build the wrapped application and serve it on hypercorn: in this process, or in workers of their own.

hypercorn starts each worker by `spawn`, and each builds its application from the settings in the environment
(`from_environment`), because an application cannot be sent to a process.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias, cast

import anyio
from hypercorn.config import Config
from hypercorn.run import run
from hypercorn.utils import LifespanFailureError, LifespanTimeoutError

from .. import SSEMiddleware
from .._types import ASGIApp, Receive, Scope, Send
from ..exceptions import InvalidOption
from . import _target, demo
from ._ending import LONGER, Requests, drain_grace, forward_signals, watch_signals, worker
from ._errors import CannotRun, first_line
from ._settings import Settings

Group: TypeAlias = BaseExceptionGroup[BaseException]

HERE = "asgi:sse_mw.cli._serve:from_environment()"
"""hypercorn evaluates what stands after the module, so that an import alone builds nothing."""


def build(settings: Settings) -> ASGIApp:
    """The application, wrapped; everything that is wrong with the target or an option ends here."""
    _set_up_logging(settings.log_level)
    try:
        if settings.target is None:
            return demo.application(**settings.options)
        return _wrap(_target.load(settings.target, factory=settings.factory), settings)
    except InvalidOption as error:
        raise CannotRun(str(error)) from error


def _set_up_logging(level: str) -> None:
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s")
    # Python 3.11's asyncio logs a traceback for each connection that hypercorn cancels as it ends.
    logging.getLogger("asyncio").addFilter(_is_no_cancellation)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _wrap(app: ASGIApp, settings: Settings) -> ASGIApp:
    if not isinstance(app, SSEMiddleware):
        return SSEMiddleware(app, **settings.options)
    if settings.options:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in settings.options)
        raise CannotRun(f"{settings.target!r} is an SSEMiddleware already; leave out {given}, or set it there")
    return app


def from_environment() -> ASGIApp:
    """The application of a worker process."""
    settings = Settings.inherited()
    try:
        return worker(build(settings))
    except CannotRun as error:
        if not settings.reload:
            raise
        return worker(_says(str(error)))


def _says(problem: str) -> ASGIApp:
    """Stand in for an application that a change broke, until the next one; ending would end the reloading."""
    logging.getLogger("sse_mw").error(problem)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": problem.encode()})

    return app


def configure(
    *,
    worker_class: str,
    workers: int,
    reload: bool,
    log_level: str,
    certfile: str | None,
    keyfile: str | None,
) -> Config:
    """hypercorn's configuration, without the addresses."""
    config = Config()
    config.worker_class = worker_class
    config.workers = workers
    config.use_reloader = reload
    config.loglevel = log_level
    config.errorlog = logging.getLogger("hypercorn.error")  # its own handler would say everything twice
    config.certfile, config.keyfile = certfile, keyfile
    try:
        config.create_ssl_context()
    except (OSError, ValueError) as error:
        raise CannotRun(
            f"--certfile {certfile}, --keyfile {keyfile}: {first_line(error)}; "
            "give a PEM certificate and the key that belongs to it"
        ) from error
    return config


def set_patience(config: Config, app: ASGIApp) -> None:
    """Have hypercorn cut no connection before the requests have ended."""
    config.graceful_timeout = drain_grace(app) + 2 * LONGER


def serve_here(app: ASGIApp, config: Config, ready: Callable[[], None]) -> int:
    """Serve in this process until a signal; `ready` is called once requests are answered."""
    backend = "trio" if config.worker_class == "trio" else "asyncio"
    options: dict[str, Any] = {} if backend == "trio" else {"use_uvloop": config.worker_class == "uvloop"}
    try:
        anyio.run(_serve(backend), app, config, ready, backend=backend, backend_options=options)
    except* (LifespanFailureError, LifespanTimeoutError) as group:
        raise CannotRun(f"the application did not start: {first_line(_leaf(group))}") from group
    return 0


def _leaf(group: Group) -> BaseException:
    first = group.exceptions[0]
    return _leaf(cast(Group, first)) if isinstance(first, BaseExceptionGroup) else first


def _serve(backend: str) -> Callable[..., Any]:
    # By name, since hypercorn's types for an application are not those of this package.
    serve: Callable[..., Any] = import_module(f"hypercorn.{backend}").serve
    return partial(_until_signalled, serve)


async def _until_signalled(serve: Callable[..., Any], app: ASGIApp, config: Config, ready: Callable[[], None]) -> None:
    requests, signalled = Requests(app), anyio.Event()

    async def trigger() -> None:
        # hypercorn awaits this once the application has started and the sockets accept.
        ready()
        await signalled.wait()

    async def serving() -> None:
        await serve(requests, config, shutdown_trigger=trigger, mode="asgi")
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        await tasks.start(watch_signals, signalled, requests)
        # In a task of its own: hypercorn cancels its task to end it, which the task group would take for its own.
        tasks.start_soon(serving)


def serve_workers(settings: Settings, config: Config) -> int:
    """Serve in worker processes, each of which wraps by itself."""
    settings.publish()
    forward_signals()
    config.application_path = HERE
    return 0 if run(config) == 0 else 1


def adopt(config: Config, sockets: Sequence[socket.socket]) -> None:
    """Hand the listening sockets over to hypercorn, which closes them."""
    config.bind = [f"fd://{listener.detach()}" for listener in sockets]
