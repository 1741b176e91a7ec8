"""Comparing received events with what a test expects, and showing the difference."""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeGuard, cast

from .._event import ServerSentEvent, encode_item
from .._wire import Decoder
from ..exceptions import InvalidEvent
from ._events import ReceivedEvent


@dataclass(frozen=True)
class Expected:
    """One event that is expected."""

    event: ReceivedEvent
    has_id: bool
    """If not, any ID will do."""

    def fits(self, received: ReceivedEvent) -> bool:
        """Whether it is this one."""
        same_id = received.id == self.event.id or not self.has_id
        return same_id and received.event == self.event.event and _same_data(self.event.data, received.data)

    def shown(self, beside: ReceivedEvent | None) -> list[str]:
        """Its lines in a difference, without what is not told apart."""
        event = self.event
        if beside is not None and not self.has_id:
            event = replace(event, id=beside.id)
        if beside is not None and _same_data(event.data, beside.data):
            event = replace(event, data=beside.data)
        return render(event)


def assert_events(received: Iterable[ReceivedEvent], expected: Sequence[object]) -> None:
    """Assert that events are as expected, all of them and in order; if not, show both as a difference.

    Args:
        received: What a stream gave: `stream.events`, or what `take` returns.
        expected: Each as a source may yield it: a `str` for its data, a mapping for its fields, a `ServerSentEvent`,
            an object for JSON data (which is compared as JSON), bytes, or a `ReceivedEvent`. One that gives no ID
            leaves it open.

    Raises:
        AssertionError: They are not. The message has a line for each field, `-` for expected ones, `+` for received.
        InvalidEvent: What is expected is no event.
    """
    got = [*received]
    wanted = [_expected(index, item) for index, item in enumerate(expected)]
    if len(got) == len(wanted) and all(one.fits(event) for one, event in zip(wanted, got, strict=True)):
        return
    raise AssertionError("\n".join(["the events are not as expected:", *_difference(wanted, got)]))


def _difference(wanted: list[Expected], got: list[ReceivedEvent]) -> list[str]:
    beside = [*got, *[None] * (len(wanted) - len(got))]
    left = [line for one, event in zip(wanted, beside, strict=False) for line in one.shown(event)]
    right = [line for event in got for line in render(event)]
    return [line.rstrip("\n") for line in difflib.ndiff(left, right)]


def render(event: ReceivedEvent) -> list[str]:
    """An event as the lines that it had on the wire, more or less, and a blank one."""
    lines = [f"event: {event.event}"] if event.event != "message" else []
    lines += [f"data: {line}" for line in event.data.split("\n")]
    lines += [f"id: {event.id}"] if event.id else []
    return [*lines, ""]


def _expected(index: int, item: object) -> Expected:
    if isinstance(item, ReceivedEvent):
        return Expected(item, has_id=True)
    decoder = Decoder()
    found = decoder.feed(encode_item(item))
    if len(found) != 1:
        raise InvalidEvent(f"expected[{index}]={item!r:.80} is {len(found)} events for a client: give one with data")
    (event,) = found
    return Expected(ReceivedEvent(event.data, event.event, event.id), has_id=_has_id(item, event.id))


def _has_id(item: object, id: str) -> bool:
    return bool(id) or (isinstance(item, ServerSentEvent) and item.id is not None)


def _same_data(expected: str, received: str) -> bool:
    return expected == received or (_is_structure(expected) and _parsed(expected) == _parsed(received))


def _is_structure(text: str) -> bool:
    return text[:1] in ("{", "[") and _parsed(text) is not _NO_JSON


_NO_JSON = object()


def _number(text: str) -> tuple[object]:
    return (text if text == "NaN" else Decimal(text),)


def _parsed(text: str) -> Any:
    """JSON, with numbers that are equal if they are as numbers, but to `true` and `false`."""
    try:
        return json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_number)
    except (ValueError, RecursionError):
        return _NO_JSON


def explain(left: object, right: object) -> list[str] | None:
    """What pytest shows for `left == right` that failed, where both are lists of events."""
    if not (_are_events(left) and _are_events(right)):
        return None
    expected = [Expected(event, has_id=True) for event in right]
    return ["the events differ (- expected, + received):", *_difference(expected, left)]


def _are_events(value: object) -> TypeGuard[list[ReceivedEvent]]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return bool(items) and all(isinstance(item, ReceivedEvent) for item in items)
