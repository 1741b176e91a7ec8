"""The app that `BENCH_APP` names, and beside it `/control`: how many tasks there are, all garbage collected.

`/control?over` ends the sources that tick. A plain function hands on what the app returns, so that no frame of its own
is in the way of the app's events, nor in its memory.
"""

import asyncio
import gc
import json
import os
from collections.abc import Awaitable
from importlib import import_module
from typing import Any

from .plan import Epoch

module, _, name = os.environ["BENCH_APP"].partition(":")
target = getattr(import_module(module), name)


def app(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    if scope["type"] == "http" and scope["path"] == "/control":
        return control(scope, send)
    return target(scope, receive, send)


async def control(scope: Any, send: Any) -> None:
    if scope["query_string"] == b"over":
        Epoch.number += 1
    gc.collect()
    body = json.dumps({"tasks": len(asyncio.all_tasks()) - 1}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
