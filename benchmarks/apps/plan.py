"""The stream that a request asks for in its query string, and the sources that give it.

`kind=texts`: `count` events, of which `ready` at once and then a pause of `pause` seconds, and so on; 0 is one turn of
the event loop, and without `pause` there is none. `kind=ticks`: an event each `pause` seconds that holds the time at
which it was made, from a moment by chance on, so that many streams do not tick in step. `kind=silence`: nothing.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

TEXT = "0123456789abcdef"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
END = {"type": "http.response.body", "body": b"", "more_body": False}


@dataclass(frozen=True, slots=True)
class Plan:
    kind: str = "texts"
    count: int = 1
    ready: int = 1
    pause: float | None = None

    @classmethod
    def of(cls, query: bytes | str) -> "Plan":
        text = query.decode() if isinstance(query, bytes) else query
        types: dict[str, Callable[[str], Any]] = {"kind": str, "count": int, "ready": int, "pause": float}
        return cls(**{name: types[name](value) for name, value in parse_qsl(text)})

    @property
    def turns(self) -> int:
        return self.count // self.ready


class Epoch:
    """Sources that tick end with it: a bare app would go on for a client that has left."""

    number = 0


def source(query: bytes | str, form: Callable[[str], str] = str) -> AsyncIterator[str]:
    """What an endpoint yields; a package that leaves the encoding to its users has it done by `form`."""
    plan = Plan.of(query)
    return SOURCES[plan.kind](plan, form)


def encoded(text: str) -> str:
    return f"data: {text}\n\n"


async def texts(plan: Plan, form: Callable[[str], str]) -> AsyncIterator[str]:
    item = form(TEXT)
    for _ in range(plan.turns):
        for _ in range(plan.ready):
            yield item
        if plan.pause is not None:
            await asyncio.sleep(plan.pause)


async def ticks(plan: Plan, form: Callable[[str], str]) -> AsyncIterator[str]:
    assert plan.pause is not None
    epoch = Epoch.number
    await asyncio.sleep(plan.pause * random.random())
    while Epoch.number == epoch:
        yield form(str(time.perf_counter_ns()))
        await asyncio.sleep(plan.pause)


async def silence(plan: Plan, form: Callable[[str], str]) -> AsyncIterator[str]:
    await asyncio.Event().wait()
    yield form("never")


SOURCES = {"texts": texts, "ticks": ticks, "silence": silence}
