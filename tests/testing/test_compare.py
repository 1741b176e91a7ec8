"""Events that are not as expected are shown as a difference."""

from dataclasses import dataclass
from typing import Any

import pytest

from sse_mw import InvalidEvent, ServerSentEvent
from sse_mw.testing import ReceivedEvent, assert_events
from sse_mw.testing._compare import explain


@dataclass
class Order:
    number: int


RECEIVED = [
    ReceivedEvent("tick", at=1.0),
    ReceivedEvent('{"number": 7}', "order", "1", at=2.5),
    ReceivedEvent("a\nb", id="1"),
]


@pytest.mark.parametrize(
    "expected",
    [
        ["tick", {"event": "order", "data": {"number": 7}, "id": "1"}, "a\nb"],
        ["tick", ServerSentEvent(Order(7), event="order"), {"data": "a\nb", "id": "1"}],
        [b"data: tick\n\n", b'event: order\ndata: {"number":7}\n\n', ReceivedEvent("a\nb", id="1")],
        RECEIVED,
    ],
)
def test_what_a_source_may_yield_is_what_can_be_expected(expected: list[Any]) -> None:
    assert_events(RECEIVED, expected)
    assert_events(iter(RECEIVED), expected)


@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        (["tick", ServerSentEvent(Order(8), event="order"), "a\nb"], ['- data: {"number":8}', '+ data: {"number": 7}']),
        (["tick", {"event": "order", "data": {"number": 7}}], ["+ data: a", "+ data: b"]),
        (["tick", {"event": "order", "data": {"number": 7}}, "a\nb", "more"], ["- data: more"]),
        (["tick", {"event": "order", "data": {"number": 7}, "id": "2"}, "a\nb"], ["- id: 2", "+ id: 1"]),
        (["tick", {"event": "ordre", "data": {"number": 7}}, "a\nb"], ["- event: ordre", "+ event: order"]),
        ([], ["+ data: tick"]),
    ],
)
def test_a_difference_is_shown_by_its_lines_and_nothing_else_is(expected: list[Any], lines: list[str]) -> None:
    with pytest.raises(AssertionError, match=r"^the events are not as expected:\n") as failed:
        assert_events(RECEIVED, expected)
    told = str(failed.value).split("\n")[1:]
    for line in lines:
        assert line in told
    if len(expected) == len(RECEIVED):
        assert [line for line in told if line[:1] in "+-" and line] == lines


def test_json_is_compared_as_json() -> None:
    assert_events([ReceivedEvent('{"b": 1.0, "a": [true, null]}')], [{"data": {"a": [True, None], "b": 1}}])
    for received in ('{"a": 1}', '{"a": "true"}', '{"a": [true]}', "[" * 100_000):
        with pytest.raises(AssertionError):
            assert_events([ReceivedEvent(received)], [{"data": {"a": True}}])


def test_json_that_is_text_is_compared_as_text_where_it_is_no_structure() -> None:
    with pytest.raises(AssertionError, match=r"- data: 1\.0\n(.*\n)*\+ data: 1"):
        assert_events([ReceivedEvent("1")], [1.0])
    with pytest.raises(AssertionError):
        assert_events([ReceivedEvent("{not json")], [{"data": "{}"}])


@pytest.mark.parametrize("item", [{"retry": 5}, b": comment\n\n", b"data: a\n\ndata: b\n\n", b"data: unfinished"])
def test_what_is_not_one_event_cannot_be_expected(item: Any) -> None:
    with pytest.raises(InvalidEvent, match=r"expected\[1\]=.* is [02] events for a client"):
        assert_events([], ["fine", item])


def test_lists_of_events_are_explained_to_pytest_and_others_are_left_to_it() -> None:
    shown = explain(RECEIVED, [*RECEIVED[:1], ReceivedEvent("other")])
    assert shown is not None
    assert "- data: other" in shown
    others: list[tuple[object, object]] = [(RECEIVED, "text"), ([], RECEIVED), ([1], [1]), (None, None)]
    for left, right in others:
        assert explain(left, right) is None
