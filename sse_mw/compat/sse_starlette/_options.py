"""The engine's options for a response: what it leaves at sse-starlette's defaults stays as the middleware has it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ..._options import LONGEST, Options, Verbatim
from .event import ensure_bytes

PING_INTERVAL = 15
CLEANUP_TIMEOUT = 30.0
SHORTEST = 0.001
"""Seconds in the place of 0, which the engine takes for a mistake: the next tick comes later."""
MOST_KEPT = 64

PingFactory = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one response says of its stream, in sse-starlette's terms; `None`, or 0 for the grace: nothing."""

    ping_interval: float | None
    send_timeout: float | None
    shutdown_grace_period: float
    cleanup_timeout: float | None


def stamped_ping() -> Verbatim:
    """A comment with the time, UTC."""
    return Verbatim(f": ping - {datetime.now(UTC)}\n\n".encode())


def made_ping(factory: PingFactory, sep: str) -> Verbatim:
    """What a user's function gives, as whole lines: the end of one that is not whole would be the next event's."""
    block = ensure_bytes(factory(), sep).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if block.endswith(b"\n\n") or _is_comment(block) or not block.strip(b"\n"):
        return Verbatim(block)
    return Verbatim(block.rstrip(b"\n") + b"\n\n")


def _is_comment(block: bytes) -> bool:
    return block.endswith(b"\n") and all(line.startswith(b":") for line in block.splitlines())


def merged(base: Options, wishes: Wishes, factory: PingFactory | None, sep: str) -> Options:
    """`base` with the response's wishes in it."""
    if factory is not None:
        return replace(_without_factory(base, wishes), ping_event=lambda: made_ping(factory, sep))
    return _without_factory(base, wishes)


_kept: dict[tuple[int, Wishes], tuple[Options, Options]] = {}
"""By middleware and wishes, as most responses of an app are alike: the options that were merged, and the result."""


def _without_factory(base: Options, wishes: Wishes) -> Options:
    key = id(base), wishes
    kept = _kept.get(key)
    if kept is None or kept[0] is not base:
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        kept = _kept[key] = base, _merge(base, wishes)
    return kept[1]


def _merge(base: Options, wishes: Wishes) -> Options:
    changed: dict[str, Any] = {}
    if wishes.ping_interval is not None:
        changed["ping_interval"] = _seconds(wishes.ping_interval) if wishes.ping_interval else None
    if wishes.send_timeout is not None:
        changed["send_timeout"] = _seconds(wishes.send_timeout)
    if wishes.shutdown_grace_period:
        changed["drain_grace"] = _seconds(wishes.shutdown_grace_period) or LONGEST
    if wishes.cleanup_timeout != CLEANUP_TIMEOUT:
        changed["cleanup_timeout"] = _seconds(wishes.cleanup_timeout) or LONGEST
    if base.ping_event is None:
        changed["ping_event"] = stamped_ping
    return replace(base, **changed)


def _seconds(given: float | None) -> float | None:
    """As the engine takes it, with `None` for what is as good as for ever."""
    if given is None or not given <= LONGEST:
        return None
    return max(float(given), SHORTEST)
