"""An app's lifespan, run as servers run it (ASGI, "Lifespan Protocol")."""

from typing import Any

import anyio

from .._types import ASGIApp, Message
from ._errors import LifespanFailed, UnexpectedMessage
from ._tasks import Owner, unwatch_generators, watch_generators
from ._waiting import Changes, backends, patience


class Lifespan:
    """One app's, from `start` to `stop`. An app that raises before it answers has none, which is fine."""

    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        """What the app has put into `scope["state"]`: each request gets a copy."""
        self.owner = Owner("the lifespan")
        self._app = app
        self._supported = True
        self._shutdown = anyio.Event()
        self._answers: dict[str, Message] = {}
        self._changes = Changes()
        self._is_over = self._asked = False
        self._error: BaseException | None = None

    async def start(self, within: float | None) -> None:
        """Run the app's startup.

        Raises:
            LifespanFailed: The app said that it had failed, or did not answer within so many seconds.
        """
        watch_generators()
        self._cancel = backends.get().spawn(self._run, context=self.owner.context)
        try:
            await self._wait_for("startup", within)
        except BaseException:
            unwatch_generators()
            self._cancel()
            raise

    async def stop(self, within: float | None) -> None:
        """Run the app's shutdown. Raises what `start` does."""
        self._shutdown.set()
        try:
            with anyio.CancelScope(shield=True):
                if self._supported:
                    await self._wait_for("shutdown", within)
        finally:
            unwatch_generators()
            self._cancel()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:
            self._error = error
        finally:
            self._is_over = True
            self._changes.tell()

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self._shutdown.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        # An app that does not look at what it is asked ends here, as it does with servers: it has no lifespan.
        if not message["type"].startswith("lifespan."):
            raise UnexpectedMessage(f"the app sent {message['type']} in its lifespan")
        self._answers[message["type"]] = message
        self._changes.tell()

    async def _wait_for(self, stage: str, within: float | None) -> None:
        seconds = patience(within)

        def answered() -> bool:
            return self._is_over or any(f"lifespan.{stage}.{how}" in self._answers for how in ("complete", "failed"))

        if not await self._changes.happen(answered, seconds):
            waiting = "".join(f"\n  {task}" for task in self.owner.waiting())
            raise LifespanFailed(f"the app's {stage} took longer than {seconds:g} s; it waits:{waiting}")
        self._judge(stage)

    def _judge(self, stage: str) -> None:
        failed = self._answers.get(f"lifespan.{stage}.failed")
        if failed is not None:
            raise LifespanFailed(f"the app's {stage} failed: {failed.get('message') or self._error!r}") from self._error
        if f"lifespan.{stage}.complete" in self._answers:
            return
        if stage == "shutdown" and self._error is not None:
            raise LifespanFailed(f"the app's shutdown raised {self._error!r:.200}") from self._error
        self._supported = False
