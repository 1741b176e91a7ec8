"""Every timing decision of a stream, as pure functions of its marks and the time. No clock is read here.

The rules:

1. A send that has been under way for `send_timeout` ends the stream: the client has stopped reading.
2. `max_duration` ends the stream, `idle_timeout` ends one whose app is silent. Both wait for an event boundary, for at
   most `BOUNDARY_WAIT`, so that the client gets whole events and a `retry:`; the session waits for the send under way.
3. A stream whose head alone has been sent gets an opening comment: some servers and proxies hold the head until
   the first body bytes.
4. A ping is due when nothing was *sent* for `ping_interval`, and goes out at an event boundary only. It comes a little
   late, so that an app that pings at the same interval always comes first, and no client gets two.
5. A stream that has ended leaves its app `DISCONNECT_GRACE` to end by itself, then it is cancelled; if it
   is still there `cleanup_timeout` later, that is said once.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf

from ._options import Options
from ._stats import CloseReason

TICK = 0.02
"""Seconds between two looks at the time. An event stamps the last look, so every limit is exact to a tick or two."""

DISCONNECT_GRACE = 0.01
"""Seconds between telling the app that the client left and cancelling it: with two ticks well within 100 ms."""

HEAD_START = 0.1
"""Seconds that an app's own ping may be later than ours would be; a twentieth of the interval at most."""

DRAIN_WAIT = 0.5
"""Seconds that the ending of a drain waits for an event to be finished, or for a send under way."""

BOUNDARY_WAIT = 5.0
"""Seconds that an ending waits for the app to finish the event it is in."""


class Action(Enum):
    """What is to be done with a stream now."""

    NONE = "none"
    OPEN = "open"
    PING = "ping"
    END = "end"
    CANCEL = "cancel"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and when to look again (`inf`: no more)."""

    action: Action
    look_again: float
    reason: CloseReason | None = None


@dataclass(slots=True)
class Marks:
    """The times of a stream's last doings, in the clock's seconds."""

    opened: float
    app_sent: float
    """When the app's last message had been sent; the start counts."""
    app_active: float
    """When the app last gave us anything, sent on or not."""
    ours_sent: float
    """When the last ping or comment of ours had been sent."""
    sending_since: float | None
    """When the send under way began."""
    head_only: bool
    """No body byte has been sent yet."""
    draining_since: float | None
    """When the drain of its event loop began."""
    at_boundary: bool
    """The app's bytes so far end with a whole event."""


def decide(options: Options, lifetime: float, marks: Marks, now: float) -> Decision:
    """What an open stream needs at the time `now`. `lifetime` is `max_duration` with its jitter, or `inf`."""
    ending = _ending(options, lifetime, marks, now)
    if ending is not None:
        return ending
    look_again = _next_deadline(options, lifetime, marks, now)
    if marks.sending_since is not None:
        return Decision(Action.NONE, look_again)
    if marks.head_only:
        return Decision(Action.OPEN, look_again)
    if options.ping_interval is None or now < max(marks.app_sent, marks.ours_sent) + _patience(options.ping_interval):
        return Decision(Action.NONE, look_again)
    if not marks.at_boundary:
        return Decision(Action.NONE, look_again)  # whatever makes it a boundary starts the interval anew
    return Decision(Action.PING, min(look_again, now + options.ping_interval))


def _patience(ping_interval: float) -> float:
    """Seconds from the last send's mark, which may be a tick old, to a ping."""
    return ping_interval + TICK + min(HEAD_START, ping_interval / 20)


def _ending(options: Options, lifetime: float, marks: Marks, now: float) -> Decision | None:
    since = marks.sending_since
    if since is not None and options.send_timeout is not None and now >= since + options.send_timeout:
        return Decision(Action.END, inf, CloseReason.SEND_TIMEOUT)
    if marks.draining_since is not None and now >= marks.draining_since + options.drain_grace:
        return _at_boundary(CloseReason.DRAIN, marks, marks.draining_since + options.drain_grace, now, DRAIN_WAIT)
    if now >= marks.opened + lifetime:
        return _at_boundary(CloseReason.MAX_DURATION, marks, marks.opened + lifetime, now)
    # A source that waits for a slow client is not silent.
    if since is None and options.idle_timeout is not None and now >= marks.app_active + options.idle_timeout:
        return _at_boundary(CloseReason.IDLE_TIMEOUT, marks, marks.app_active + options.idle_timeout, now)
    return None


def _at_boundary(
    reason: CloseReason, marks: Marks, due: float, now: float, wait: float = BOUNDARY_WAIT
) -> Decision | None:
    # A send under way may end the event: the session waits for it, and decides anew.
    if marks.at_boundary or marks.sending_since is not None or now >= due + wait:
        return Decision(Action.END, inf, reason)
    return Decision(Action.NONE, now + TICK)


def _next_deadline(options: Options, lifetime: float, marks: Marks, now: float) -> float:
    """The earliest time at which anything can be due, whatever the app does in between."""
    deadlines = [marks.opened + lifetime]
    if marks.draining_since is not None:
        deadlines.append(marks.draining_since + options.drain_grace)
    if options.send_timeout is not None:
        since = now if marks.sending_since is None else marks.sending_since
        deadlines.append(since + options.send_timeout)
    if options.idle_timeout is not None:
        deadlines.append((marks.app_active if marks.sending_since is None else now) + options.idle_timeout)
    if options.ping_interval is not None:
        last_sent = max(marks.app_sent, marks.ours_sent) if marks.sending_since is None else now
        due = last_sent + _patience(options.ping_interval)
        deadlines.append(due if due > now else now + options.ping_interval)
    return min(deadlines)


def decide_ended(ended_at: float, cancelled_at: float | None, cleanup_timeout: float, now: float) -> Decision:
    """What the app of an ended stream needs at the time `now`."""
    if cancelled_at is None:
        due = ended_at + DISCONNECT_GRACE
        return Decision(Action.CANCEL, now + cleanup_timeout) if now >= due else Decision(Action.NONE, due)
    due = cancelled_at + cleanup_timeout
    return Decision(Action.WARN, inf) if now >= due else Decision(Action.NONE, due)
