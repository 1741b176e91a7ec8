"""An endpoint that speaks as OpenAI's streaming chat completions: with `@sse_route`, and with the compat class."""

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
from fastapi import FastAPI, HTTPException
from starlette.responses import Response

from sse_mw import SSEMiddleware, sse_route
from sse_mw.compat.sse_starlette import EventSourceResponse

api = FastAPI()
WORDS = ["Grüße", " aus", "\n", " der", "\u2028", "Ferne", "."]


def chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "tests", "choices": [choice]}


async def tokens(asked: dict[str, Any]) -> AsyncIterator[str]:
    """The data of each event."""
    words = itertools.cycle(WORDS) if asked["model"] == "endless" else iter(WORDS)
    try:
        yield json.dumps(chunk({"role": "assistant", "content": ""}))
        for word in words:
            await anyio.sleep(0.12)
            yield json.dumps(chunk({"content": word}), ensure_ascii=False)
        yield json.dumps(chunk({}, "stop"))
        yield "[DONE]"
    finally:
        print("stopped", flush=True)


@api.post("/route/chat/completions")
@sse_route
async def with_route(asked: dict[str, Any]) -> AsyncIterator[str]:
    if asked["model"] == "none":
        raise HTTPException(404, "no such model")
    source = tokens(asked)
    try:
        async for token in source:
            yield token
    finally:
        await source.aclose()  # type: ignore[attr-defined]


@api.post("/compat/chat/completions")
async def with_compat(asked: dict[str, Any]) -> Response:
    return EventSourceResponse(tokens(asked))


app = SSEMiddleware(api, ping_interval=0.05)  # a ping between any two tokens
