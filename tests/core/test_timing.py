"""Every timing decision, as a table: the marks and the time in, what to do and when to look again out."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_mw import CloseReason
from sse_mw._options import Options
from sse_mw._stream import (
    BOUNDARY_WAIT,
    DISCONNECT_GRACE,
    TICK,
    Action,
    Decision,
    Marks,
    decide,
    decide_ended,
)

DEFAULTS = Options()
SILENT = Options(ping_interval=None, send_timeout=None, idle_timeout=5)
BARE = Options(ping_interval=None, send_timeout=None)
OPEN = Marks(
    draining_since=None,
    opened=100,
    app_sent=100,
    app_active=100,
    ours_sent=100,
    sending_since=None,
    head_only=False,
    at_boundary=True,
)


@pytest.mark.parametrize(
    ("options", "changes", "now", "action", "reason"),
    [
        (DEFAULTS, {}, 101, Action.NONE, None),
        (DEFAULTS, {"head_only": True}, 100.02, Action.OPEN, None),
        (DEFAULTS, {"head_only": True, "sending_since": 100.0}, 100.02, Action.NONE, None),
        (DEFAULTS, {}, 115, Action.NONE, None),
        (DEFAULTS, {}, 115.2, Action.PING, None),
        (DEFAULTS, {"ours_sent": 110}, 115.2, Action.NONE, None),
        (DEFAULTS, {"app_sent": 110}, 115.2, Action.NONE, None),
        (DEFAULTS, {"at_boundary": False}, 500, Action.NONE, None),
        (DEFAULTS, {"sending_since": 114.0}, 120, Action.NONE, None),
        (DEFAULTS, {"sending_since": 114.0}, 143.9, Action.NONE, None),
        (DEFAULTS, {"sending_since": 114.0}, 144, Action.END, CloseReason.SEND_TIMEOUT),
        (BARE, {"sending_since": 114.0}, 10**6, Action.NONE, None),
        (BARE, {}, 10**6, Action.NONE, None),
        (SILENT, {"ours_sent": 104}, 105, Action.END, CloseReason.IDLE_TIMEOUT),
        (SILENT, {"app_active": 101}, 105, Action.NONE, None),
        (SILENT, {"sending_since": 101.0}, 105, Action.NONE, None),
        (SILENT, {"at_boundary": False}, 105, Action.NONE, None),
        (SILENT, {"at_boundary": False}, 105 + BOUNDARY_WAIT, Action.END, CloseReason.IDLE_TIMEOUT),
        (replace(BARE, idle_timeout=60), {"sending_since": 109.0}, 160, Action.NONE, None),
    ],
)  # fmt: skip
def test_what_to_do(
    options: Options, changes: dict[str, Any], now: float, action: Action, reason: CloseReason | None
) -> None:
    decision = decide(options, inf, replace(OPEN, **changes), now)
    assert (decision.action, decision.reason) == (action, reason)


@pytest.mark.parametrize(
    ("changes", "now", "action"),
    [
        ({}, 159.9, Action.NONE),
        ({}, 160, Action.END),
        ({"sending_since": 159.0}, 160, Action.END),
        ({"at_boundary": False}, 160, Action.NONE),
        ({"at_boundary": False}, 160 + BOUNDARY_WAIT, Action.END),
    ],
)
def test_the_lifetime(changes: dict[str, Any], now: float, action: Action) -> None:
    decision = decide(BARE, 60, replace(OPEN, **changes), now)
    assert decision.action is action
    assert decision.reason is (CloseReason.MAX_DURATION if action is Action.END else None)


def test_a_stream_without_limits_is_not_looked_at_again() -> None:
    assert decide(BARE, inf, OPEN, 200) == Decision(Action.NONE, inf)


MOMENT = st.floats(min_value=0, max_value=200)


@given(
    limits=st.tuples(*[st.none() | st.floats(min_value=0.1, max_value=50)] * 3),
    lifetime=st.just(inf) | st.floats(min_value=0.1, max_value=300),
    times=st.tuples(MOMENT, MOMENT, st.none() | MOMENT),
    at_boundary=st.booleans(),
    now=st.floats(min_value=200, max_value=300),
)
def test_nothing_is_due_before_the_next_look(
    limits: Any, lifetime: float, times: Any, at_boundary: bool, now: float
) -> None:
    """If nothing happens to a stream meanwhile, then looking just before `look_again` finds nothing to do."""
    ping, send, idle = limits
    options = Options(ping_interval=ping, send_timeout=send, idle_timeout=idle)
    marks = Marks(
        0, times[0], times[0], times[1], times[2], head_only=False, draining_since=None, at_boundary=at_boundary
    )
    decision = decide(options, lifetime, marks, now)
    if decision.action is not Action.NONE:
        return
    assert decision.look_again > now
    between = min(decision.look_again, now + 1000)
    if between - 1e-6 > now:
        assert decide(options, lifetime, marks, between - 1e-6).action is Action.NONE


def test_the_grace_then_the_cancellation_then_one_warning() -> None:
    assert decide_ended(100, None, 30, 100) == Decision(Action.NONE, 100 + DISCONNECT_GRACE)
    assert decide_ended(100, None, 30, 100 + DISCONNECT_GRACE).action is Action.CANCEL
    assert decide_ended(100, 101, 30, 130.9) == Decision(Action.NONE, 131)
    assert decide_ended(100, 101, 30, 131) == Decision(Action.WARN, inf)


def test_all_of_it_is_within_100_ms() -> None:
    """The pump is there a tick after the start, and the cancellation a tick after the grace."""
    assert DISCONNECT_GRACE + 2 * TICK <= 0.1
