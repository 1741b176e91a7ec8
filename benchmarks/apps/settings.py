"""What a server process is told by its environment."""

import inspect
import os

from sse_mw import SSEMiddleware

PING = float(os.environ["BENCH_PING"]) if os.environ.get("BENCH_PING") else None
"""Seconds between pings; `None` leaves every package at its default."""
OPTIONS = {} if PING is None else {"ping_interval": PING}
COALESCES = "coalesce" in inspect.signature(SSEMiddleware).parameters
UNCOALESCED = {**OPTIONS, "coalesce": False} if COALESCES else OPTIONS
