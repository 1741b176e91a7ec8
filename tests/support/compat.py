"""sse-starlette and our face of it, side by side: one test runs on both, bare and inside the middleware."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import anyio

from sse_mw import SSEMiddleware
from sse_mw._types import Message, Receive, Scope, Send
from sse_mw.testing._server import Send as RecordingSend
from support.driver import Run, running

FOR_EVER = 100_000
"""Virtual seconds: the peer polls for the shutdown, so that a test that is stuck on it would never notice."""


@dataclass(frozen=True)
class Package:
    """One of the two, and whether an `SSEMiddleware` is around its responses."""

    name: str
    module: str
    inside: bool = False

    @property
    def is_peer(self) -> bool:
        return self.module == "sse_starlette"

    def __getattr__(self, name: str) -> Any:
        for module in (self.module, f"{self.module}.sse", f"{self.module}.event"):
            if hasattr(import_module(module), name):
                return getattr(import_module(module), name)
        raise AttributeError(name)


PEER = Package("sse-starlette", "sse_starlette")
OURS = Package("compat", "sse_mw.compat.sse_starlette")
INSIDE = Package("compat in the middleware", "sse_mw.compat.sse_starlette", inside=True)


class App:
    """Answers with what `make` gives, and keeps what that raises."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self.raised: BaseException | None = None
        self.response: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.response = self._make()
        try:
            await self.response(scope, receive, send)
        except BaseException as error:
            self.raised = error
            raise


class Served:
    """One response at work."""

    def __init__(self, run: Run, app: App) -> None:
        self._run = run
        self._app = app

    @property
    def send(self) -> RecordingSend:
        return self._run.send

    @property
    def raised(self) -> BaseException | None:
        """What the response has raised, for the app around it to see."""
        return self._app.raised

    @property
    def response(self) -> Any:
        return self._app.response

    @property
    def body(self) -> bytes:
        return self._run.send.body

    @property
    def messages(self) -> list[Message]:
        return self._run.send.messages

    @property
    def is_finished(self) -> bool:
        return self._run.finished.is_set()

    @property
    def finished_at(self) -> float:
        return self._run.finished_at

    def disconnect(self) -> None:
        self._run.disconnect()

    async def finish(self) -> None:
        await self._run.finish(FOR_EVER)


def asgi(package: Package, app: Any) -> Any:
    """The app as a server gets it. The middleware has the peer's defaults, which are not its own."""
    return SSEMiddleware(app, drain_grace=0, send_timeout=None) if package.inside else app


@asynccontextmanager
async def serving(
    package: Package, make: Callable[[], Any], scope: Scope | None = None, *, blocked: bool = False
) -> AsyncGenerator[Served]:
    """The response that `make` gives, at work. At the block's end its client leaves."""
    app = App(make)
    with anyio.fail_after(FOR_EVER):
        async with running(asgi(package, app), scope) as run:
            if blocked:
                run.send.block()
            yield Served(run, app)


async def whole(package: Package, make: Callable[[], Any], scope: Scope | None = None) -> Served:
    """The response that `make` gives, once it has ended by itself."""
    async with serving(package, make, scope) as served:
        await served.finish()
    return served
