"""Whatever happens to a source's stream, whenever: its cleanup comes to its end once, and so does all else."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_mw import sse_route
from sse_mw._types import Receive, Scope, Send
from sse_mw.testing._run import run_virtually
from support.driver import Recorded, running

STEP = st.sampled_from(["yield", "wait", "turn", "raise", "swallow"])
TROUBLE = st.sampled_from(["leaves", "cancelled", "stuck", "fails", "replaced"])
MOMENT = st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0, 1.02, 2.0, 3.0])
CLEANUP = 0.7


class Outcome:
    def __init__(self) -> None:
        self.yielded = 0
        self.begun = 0
        self.cleaned = 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("part", range(4))  # so that no test takes long
@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(STEP, max_size=6),
    # An ordinary response whose client does not read is the server's business.
    troubles=st.dictionaries(TROUBLE, MOMENT, max_size=2).filter(lambda given: set(given) != {"stuck", "replaced"}),
)
def test_a_source_is_cleaned_up_once_and_its_client_gets_a_prefix_of_its_events(
    part: int, backend: str, steps: list[str], troubles: dict[str, float]
) -> None:
    run_virtually(backend, partial(drive, steps, troubles))


async def drive(steps: list[str], troubles: dict[str, float]) -> None:
    outcome = Outcome()
    middleware = Recorded(answering(source_of(steps, outcome), replaced="replaced" in troubles), send_timeout=2)
    cancel = anyio.CancelScope()

    async def cancelling(scope: Scope, receive: Receive, send: Send) -> None:
        with cancel:
            await middleware(scope, receive, send)

    async with running(cancelling) as run, anyio.create_task_group() as tasks:
        for trouble, moment in troubles.items():
            tasks.start_soon(cause, trouble, moment, run, cancel)
        await run.finish(60)
        tasks.cancel_scope.cancel()
    assert outcome.cleaned == outcome.begun <= 1
    assert run.send.most_concurrent <= 1
    assert len(middleware.closed) == len(middleware.opened) <= 1
    if "replaced" in troubles:
        assert run.send.body in (b"something else", b"")
        return
    numbers = [block.removeprefix(b"data: ") for block in run.send.body.split(b"\n\n") if block.startswith(b"data")]
    assert numbers == [b"%d" % number for number in range(len(numbers))], "in order, none twice"
    assert len(numbers) <= outcome.yielded
    if middleware.closed and not {"leaves", "stuck", "fails"} & set(troubles):
        assert run.send.complete
        assert len(numbers) == outcome.yielded or "cancelled" in troubles
    assert middleware.stats().open == 0


def source_of(steps: list[str], outcome: Outcome) -> Any:
    @sse_route
    async def source(scope: Scope) -> AsyncIterator[str]:
        outcome.begun += 1
        ends_by_itself = False
        try:
            for step in steps:
                match step:
                    case "yield":
                        outcome.yielded += 1
                        yield str(outcome.yielded - 1)
                    case "wait":
                        await anyio.sleep(1)
                    case "turn":
                        await anyio.lowlevel.checkpoint()
                    case "swallow":
                        try:
                            await anyio.sleep(1)
                        except BaseException:
                            await anyio.sleep(0.1)
                    case _:
                        ends_by_itself = True
                        raise LookupError("a step of the source")
            ends_by_itself = True
        finally:
            # Nobody can tell a `finally` that a source has come to by itself from its other steps: it may be cancelled.
            if not ends_by_itself:
                await anyio.sleep(CLEANUP)
            outcome.cleaned += 1

    return source


def answering(endpoint: Any, *, replaced: bool) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def dropped(message: Any) -> None:
            pass

        await endpoint(scope, receive, dropped if replaced else send)
        if replaced:
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"something else"})

    return app


async def cause(trouble: str, moment: float, run: Any, cancel: anyio.CancelScope) -> None:
    await anyio.sleep(moment)
    match trouble:
        case "leaves":
            run.disconnect()
        case "cancelled":
            cancel.cancel()
        case "stuck":
            run.send.block()
        case "fails":
            run.send.fail(OSError("reset"))
        case _:
            pass
