"""Sync sources that block all the time, beside ordinary endpoints."""

import time
from collections.abc import Iterator

from fastapi import FastAPI

from sse_mw import SSEMiddleware, sse_route

api = FastAPI()


@api.get("/blocking")
@sse_route
def blocking() -> Iterator[str]:
    while True:
        yield "x"
        time.sleep(0.5)


@api.get("/async")
async def on_the_loop() -> str:
    return "here"


@api.get("/sync")
def in_a_thread() -> str:
    return "here"


app = SSEMiddleware(api)
