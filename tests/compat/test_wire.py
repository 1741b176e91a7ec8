"""The bytes of events."""

from enum import Enum
from typing import Any

import pytest

from sse_mw import ServerSentEvent as OwnEvent
from support.compat import OURS, PEER, Package


class Colour(str, Enum):  # noqa: UP042  whose str() is not its text
    RED = "red"


EVENTS: list[tuple[dict[str, Any], bytes]] = [
    ({}, b"\r\n"),
    ({"data": "d"}, b"data: d\r\n\r\n"),
    ({"data": ""}, b"data: \r\n\r\n"),
    ({"id": ""}, b"id: \r\n\r\n"),
    ({"event": ""}, b"event: \r\n\r\n"),
    ({"comment": ""}, b": \r\n\r\n"),
    ({"retry": 0}, b"retry: 0\r\n\r\n"),
    (
        {"data": "d", "event": "e", "id": "i", "retry": 5, "comment": "c"},
        b": c\r\nid: i\r\nevent: e\r\ndata: d\r\nretry: 5\r\n\r\n",
    ),
    ({"data": "a\nb"}, b"data: a\r\ndata: b\r\n\r\n"),
    ({"data": "a\r\nb\rc\nd"}, b"data: a\r\ndata: b\r\ndata: c\r\ndata: d\r\n\r\n"),
    ({"data": "a\n"}, b"data: a\r\ndata: \r\n\r\n"),
    ({"data": "\r\n\r\n"}, b"data: \r\ndata: \r\ndata: \r\n\r\n"),
    ({"data": "\u2028|\x85|\x0b|\x0c|\x1c"}, "data: \u2028|\x85|\x0b|\x0c|\x1c\r\n\r\n".encode()),
    ({"comment": "a\nb"}, b": a\r\n: b\r\n\r\n"),
    ({"comment": 5}, b": 5\r\n\r\n"),
    ({"id": "a\r\nb\nc\rd"}, b"id: abcd\r\n\r\n"),
    ({"event": "a\r\nb\nc\rd"}, b"event: abcd\r\n\r\n"),
    ({"event": Colour.RED, "data": "x"}, b"event: red\r\ndata: x\r\n\r\n"),
    ({"event": "a\0b"}, b"event: a\0b\r\n\r\n"),
    ({"data": {"a": 1}}, b"data: {'a': 1}\r\n\r\n"),
    ({"data": 5}, b"data: 5\r\n\r\n"),
    ({"data": b"x"}, b"data: b'x'\r\n\r\n"),
    ({"data": "d", "sep": "\n"}, b"data: d\n\n"),
    ({"data": "a\nb", "sep": "\r"}, b"data: a\rdata: b\r\r"),
    ({"data": "é\U0001f600"}, "data: é\U0001f600\r\n\r\n".encode()),
]

ITEMS: list[tuple[Any, str, bytes]] = [
    ("x", "\n", b"data: x\n\n"),
    ("x", "\r\n", b"data: x\r\n\r\n"),
    ("a\nb", "\r\n", b"data: a\r\ndata: b\r\n\r\n"),
    ("a\rb", "\n", b"data: a\ndata: b\n\n"),
    ("", "\r\n", b"data: \r\n\r\n"),
    (None, "\r\n", b"data: None\r\n\r\n"),
    (5, "\r\n", b"data: 5\r\n\r\n"),
    ([1], "\r\n", b"data: [1]\r\n\r\n"),
    (b"data: raw\n\n", "\r\n", b"data: raw\n\n"),
    (b"", "\r\n", b""),
    (memoryview(b"data: raw\n\n"), "\r\n", b"data: raw\n\n"),
    ({"data": "d", "id": "1"}, "\n", b"id: 1\ndata: d\n\n"),
    ({"data": "d", "sep": "\r"}, "\n", b"data: d\n\n"),
    ({}, "\n", b"\n"),
]


@pytest.mark.parametrize(("fields", "expected"), EVENTS, ids=str)
def test_an_event(library: Package, fields: dict[str, Any], expected: bytes) -> None:
    assert library.ServerSentEvent(**fields).encode() == expected


def _name(value: object) -> str:
    return (
        "memoryview" if isinstance(value, memoryview) else str(value)
    )  # whose str() is another in each of xdist's workers


@pytest.mark.parametrize(("item", "sep", "expected"), ITEMS, ids=_name)
def test_what_a_stream_may_yield(library: Package, item: Any, sep: str, expected: bytes) -> None:
    assert library.ensure_bytes(item, sep) == expected


def test_an_event_has_its_own_line_ends_whatever_the_responses(library: Package) -> None:
    assert library.ensure_bytes(library.ServerSentEvent("x"), "\n") == b"data: x\r\n\r\n"


def test_a_dict_is_not_changed(library: Package) -> None:
    given = {"data": "x"}
    library.ensure_bytes(given, "\n")
    assert given == {"data": "x"}


def test_a_dict_with_another_key_is_refused(library: Package) -> None:
    with pytest.raises(TypeError):
        library.ensure_bytes({"data": "x", "type": "y"}, "\n")


@pytest.mark.parametrize("retry", ["5", 5.0])
def test_a_retry_that_is_no_int_is_refused_when_it_is_encoded(library: Package, retry: Any) -> None:
    event = library.ServerSentEvent("x", retry=retry)
    with pytest.raises(TypeError, match="retry argument must be int"):
        event.encode()


def test_a_lone_surrogate_is_refused(library: Package) -> None:
    with pytest.raises(UnicodeEncodeError):
        library.ServerSentEvent("\ud800").encode()


def test_fields_can_be_changed_until_the_event_is_encoded(library: Package) -> None:
    event = library.ServerSentEvent("x")
    event.data, event.event, event.id, event.retry, event.comment = "y", "e", "1", 2, "c"
    assert event.encode() == b": c\r\nid: 1\r\nevent: e\r\ndata: y\r\nretry: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"a": [1, "é", None]}, 'data: {"a":[1,"é",null]}\r\n\r\n'),
        ("text", 'data: "text"\r\n\r\n'),
        (None, "\r\n"),
        ("a\nb", 'data: "a\\nb"\r\n\r\n'),
    ],
)
def test_json(library: Package, data: Any, expected: str) -> None:
    assert library.JSONServerSentEvent(data).encode() == expected.encode()


def test_json_has_an_events_other_fields_too(library: Package) -> None:
    event = library.JSONServerSentEvent([1], event="e", id="i", retry=1, comment="c", sep="\n")
    assert isinstance(event, library.ServerSentEvent)
    assert event.encode() == b": c\nid: i\nevent: e\ndata: [1]\nretry: 1\n\n"


@pytest.mark.parametrize(("data", "error"), [(float("nan"), ValueError), (object(), TypeError)])
def test_what_json_does_not_know_is_refused_when_the_event_is_made(
    library: Package, data: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        library.JSONServerSentEvent(data)


@pytest.mark.differs("NUL in an id")
def test_a_nul_in_an_id_is_left_out(library: Package) -> None:
    assert library.ServerSentEvent(id="a\0b").encode() == b"id: ab\r\n\r\n"


@pytest.mark.differs("an id that is no text")
def test_an_id_that_is_no_text_is_made_some(library: Package) -> None:
    assert library.ensure_bytes({"id": 5, "data": "x"}, "\n") == b"id: 5\ndata: x\n\n"
    assert library.ensure_bytes({"event": 5, "data": "x"}, "\n") == b"event: 5\ndata: x\n\n"


@pytest.mark.differs("a retry that clients ignore")
@pytest.mark.parametrize("retry", [True, False, -1])
def test_a_retry_that_clients_ignore_is_left_out(library: Package, retry: int) -> None:
    assert library.ServerSentEvent("x", retry=retry).encode() == b"data: x\r\n\r\n"


@pytest.mark.differs("bytearray")
def test_a_bytearray_goes_out_as_it_is(library: Package) -> None:
    assert library.ensure_bytes(bytearray(b"data: x\n\n"), "\n") == b"data: x\n\n"


@pytest.mark.differs("the line end of an event")
@pytest.mark.parametrize("sep", ["", "x", "\n\n"])
def test_an_event_is_made_with_a_line_end_alone(library: Package, sep: str) -> None:
    with pytest.raises(ValueError, match="sep"):
        library.ServerSentEvent("x", sep=sep)


@pytest.mark.differs("events of other libraries")
def test_events_of_this_packages_own_kind_are_taken(library: Package) -> None:
    assert library.ensure_bytes(OwnEvent({"a": 1}, id="1"), "\r\n") == b'data: {"a":1}\nid: 1\n\n'


def test_so_are_those_that_a_library_still_makes_with_the_peer() -> None:
    assert OURS.ensure_bytes(PEER.ServerSentEvent("x", id="1"), "\n") == b"id: 1\r\ndata: x\r\n\r\n"
