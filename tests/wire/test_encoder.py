"""Encoding: the table, what is refused, and that no input yields a field or an event too many."""

import copy
import json
import pickle
from collections import OrderedDict, UserDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NoReturn, cast
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_mw._event import ServerSentEvent, encode_item
from sse_mw._wire import Decoder, encode_event
from sse_mw.exceptions import InvalidEvent, SSEError
from wire.cases import ENCODED, Case


@pytest.mark.parametrize("case", ENCODED, ids=str)
def test_an_event_is_encoded_as_the_table_says(case: Case) -> None:
    assert case.fields is not None
    assert ServerSentEvent(**case.fields).encode() == case.wire


@pytest.mark.parametrize("case", ENCODED, ids=str)
def test_a_mapping_means_the_same_event(case: Case) -> None:
    assert case.fields is not None
    before = dict(case.fields)
    for mapping in (case.fields, MappingProxyType(case.fields), UserDict(case.fields), OrderedDict(case.fields)):
        assert encode_item(mapping) == case.wire
    assert case.fields == before


def test_none_in_a_mapping_is_an_absent_field_but_null_data() -> None:
    fields = {"data": None, "event": None, "id": None, "retry": None, "comment": None}
    assert encode_item(fields) == b"data: null\n\n"


@pytest.mark.parametrize(
    "item", [b"id: 1\n", bytearray(b"id: 1\n"), memoryview(b"xxid: 1\n")[2:]], ids=lambda item: type(item).__name__
)
def test_bytes_are_framed_already(item: Any) -> None:
    encoded = encode_item(item)
    assert encoded == b"id: 1\n"
    assert type(encoded) is bytes


@pytest.mark.parametrize("case", [case for case in ENCODED if case.fields and [*case.fields] == ["data"]], ids=str)
def test_a_yielded_value_is_the_data(case: Case) -> None:
    assert case.fields is not None
    assert encode_item(case.fields["data"]) == case.wire


def test_a_yielded_event_is_itself() -> None:
    event = ServerSentEvent({"a": 1}, event="x")
    assert encode_item(event) is event.encode()


class Text(str, Enum):  # noqa: UP042  # StrEnum has a __str__ that would do
    A = "a\nb"

    def __str__(self) -> str:
        return "never this"


class Plain(Enum):
    A = "a"


class Number(IntEnum):
    THREE = 3


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "x\n\ndata: injected"

    def replace(self, *_: Any) -> str:
        return "x\n\ndata: injected"

    def __format__(self, _: str) -> str:
        return "x\n\ndata: injected"

    def __contains__(self, _: object) -> bool:
        return False


def test_a_str_subclass_counts_as_the_text_it_holds() -> None:
    assert encode_item(Text.A) == b"data: a\ndata: b\n\n"
    assert ServerSentEvent("", event=Loud("e"), id=Loud("i"), comment=Loud("c\nd")).encode() == (
        b": c\n: d\nevent: e\ndata: \nid: i\n\n"
    )
    assert ServerSentEvent(retry=Number.THREE).encode() == b"retry: 3\n\n"
    with pytest.raises(InvalidEvent):
        ServerSentEvent(event=Loud("a\nb"))


@dataclass
class Point:
    x: int
    tags: set[str] = field(default_factory=lambda: {"t"})


@attrs.define
class Order:
    id: int
    _note: str = "n"


class Model(pydantic.BaseModel):
    when: date
    point: Point


class Struct(msgspec.Struct):
    number: int = msgspec.field(name="no")
    model: Any = None


JSON = [
    (Point(1), {"x": 1, "tags": ["t"]}),
    (Order(1), {"id": 1, "_note": "n"}),
    (Model(when=date(2026, 1, 2), point=Point(1)), {"when": "2026-01-02", "point": {"x": 1, "tags": ["t"]}}),
    (Struct(1, Point(2)), {"no": 1, "model": {"x": 2, "tags": ["t"]}}),
    (Struct(1, Model(when=date(2026, 1, 2), point=Point(1))),
     {"no": 1, "model": {"when": "2026-01-02", "point": {"x": 1, "tags": ["t"]}}}),
    ([Order(1), {"p": Point(2)}], [{"id": 1, "_note": "n"}, {"p": {"x": 2, "tags": ["t"]}}]),
    (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
    (time(3, 4), "03:04:00"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal("1.10"), "1.10"),
    (PurePosixPath("/a/b"), "/a/b"),
    (Number.THREE, 3),
    (Plain.A, "a"),
    (frozenset({1}), [1]),
    ((1, 2), [1, 2]),
    ([MappingProxyType({"a": 1})], [{"a": 1}]),
    (2**70, 2**70),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), JSON, ids=lambda value: type(value).__name__)
def test_any_other_value_is_compact_json(value: Any, expected: Any) -> None:
    text = ServerSentEvent(value).text
    assert text is not None
    assert json.loads(text) == expected
    assert text == json.dumps(expected, separators=(",", ":"), ensure_ascii=False)
    assert encode_item(value) == f"data: {text}\n\n".encode()


class Hostile:
    """Raises from whatever a library could try on it."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        _boom()

    def __repr__(self) -> str:
        _boom()

    __str__ = __repr__

    def __getattr__(self, _: str) -> NoReturn:
        _boom()


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def _boom() -> NoReturn:
    raise RuntimeError("boom\nand more")


class Liar:
    """Says that it is a str."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return str


class BadMapping(dict[str, str]):
    def items(self) -> NoReturn:
        raise SilentError


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__qualname__", "__name__"):
            _boom()
        return type.__getattribute__(cls, name)


class NoName(metaclass=Meta):
    pass


def circle() -> list[Any]:
    own: list[Any] = []
    own.append(own)
    return own


def circular_point() -> Point:
    point = Point(1)
    point.x = cast(int, point)
    return point


def deep() -> list[Any]:
    outer: list[Any] = []
    for _ in range(100_000):
        outer = [outer]
    return outer


class Recursive:
    __attrs_attrs__ = (Enum("A", {"name": "x"}),)

    def __getattr__(self, name: str) -> Any:
        return self.__getattr__(name)


def numbers() -> Iterator[int]:
    yield 1


NO_JSON: list[Any] = [
    Hostile(), [Hostile()], {"a": object()}, object(), Liar(), [Liar()], NoName(), circle(), circular_point(), deep(),
    Recursive(), float("nan"), [float("inf")], {(1, 2): 3}, {b"a": 1}, [b"bytes"], 1j, numbers(), Point,
    10**5000, SilentError(), lambda: 1,
]  # fmt: skip


# In a list each, for pytest itself looks at its parameters, and some do not bear it.
@pytest.mark.parametrize("boxed", [[value] for value in NO_JSON], ids=lambda _: "value")
def test_what_has_no_json_form_is_refused_by_name(boxed: list[Any]) -> None:
    for make in (lambda: ServerSentEvent(boxed), lambda: encode_item(boxed)):
        with pytest.raises(InvalidEvent, match=r"^data: list \(") as caught:
            make()
        assert len(str(caught.value)) < 500
        assert "\n" not in str(caught.value)
        str(caught.value).encode()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"event": "a\nb"}, "event: str ('a\\nb') holds CR, LF or NUL"),
    ({"event": "a\rb"}, "event: "),
    ({"event": "a\0b"}, "event: "),
    ({"id": "a\n"}, "id: "),
    ({"id": "\r"}, "id: "),
    ({"id": "\0"}, "id: "),
    ({"id": 1}, "id: int (1) is not a str"),
    ({"event": b"a"}, "event: bytes (b'a') is not a str"),
    ({"comment": 1}, "comment: int (1)"),
    ({"event": Liar()}, "event: Liar"),
    ({"id": Hostile()}, "id: Hostile (its repr fails)"),
    ({"retry": True}, "retry: bool (True)"),
    ({"retry": -1}, "retry: int (-1)"),
    ({"retry": 2**63}, "retry: int (9223372036854775808)"),
    ({"retry": 10**5000}, "retry: int"),
    ({"retry": 1.0}, "retry: float (1.0)"),
    ({"retry": "1"}, "retry: str ('1')"),
    ({"retry": Hostile()}, "retry: Hostile"),
    ({"data": "a\ud800"}, "data: lone surrogate U+D800 at position 1"),
    ({"event": "\udfff"}, "event: lone surrogate"),
    ({"id": "\udfff"}, "id: lone surrogate"),
    ({"comment": "\udfff"}, "comment: lone surrogate"),
    ({"data": b"a"}, "data: bytes (b'a') is not text; decode it first"),
    ({"data": bytearray(b"a")}, "data: bytearray"),
    ({"id": NoName()}, "id: object ("),
    ({"comment": "a", "event": "b", "id": "cd\udfff", "data": "\n"}, "id: lone surrogate U+DFFF at position 2"),
    ({"data": memoryview(b"a")}, "data: memoryview"),
    ({"data": Hostile()}, "data: Hostile (its repr fails) has no JSON form"),
    ({"event": "x" * 10**7 + "\n"}, "event: str ('xxx"),
]


@pytest.mark.parametrize(
    ("fields", "message"), REFUSED, ids=lambda value: str(value)[:40] if isinstance(value, str) else ""
)
def test_an_illegal_field_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    for make in (lambda: ServerSentEvent(**fields), lambda: encode_item(fields)):
        with pytest.raises(InvalidEvent) as caught:
            make()
        text = str(caught.value)
        assert text.startswith(message)
        assert len(text) < 400
        text.encode()


@pytest.mark.parametrize("boxed", [["Data"], ["dta"], [""], ["data\n"], [1], [None], [("data",)], [Hostile()]],
                         ids=lambda _: "key")  # fmt: skip
def test_an_unknown_key_is_refused_by_name(boxed: list[Any]) -> None:
    key = boxed[0]
    with pytest.raises(InvalidEvent, match=r"data, event, id, retry, comment.*ServerSentEvent\(mapping\)") as caught:
        encode_item({"data": "a", key: "b"})
    if type(key) is str:
        assert repr(key) in str(caught.value)


def released() -> memoryview:
    view = memoryview(b"a")
    view.release()
    return view


@pytest.mark.parametrize("boxed", [[Hostile()], [BadMapping()], [released()], [Liar()], ["\ud800"]],
                         ids=lambda _: "item")  # fmt: skip
def test_whatever_is_yielded_only_invalid_event_is_raised(boxed: list[Any]) -> None:
    with pytest.raises(InvalidEvent):
        encode_item(boxed[0])


def foreign_events() -> list[Any]:
    from fastapi.sse import ServerSentEvent as OfFastAPI
    from litestar.response import ServerSentEventMessage as OfLitestar
    from sse_starlette import JSONServerSentEvent as JSONOfThePeer
    from sse_starlette import ServerSentEvent as OfThePeer

    return [OfFastAPI(data=1), OfLitestar("x"), OfThePeer("x"), JSONOfThePeer([1])]


@pytest.mark.parametrize("number", range(4))
def test_another_librarys_event_is_refused_and_not_sent_as_json_of_its_fields(number: int) -> None:
    with pytest.raises(InvalidEvent, match=r"is an event of \w+'s, not one of sse_mw's; yield sse_mw\.ServerSentEvent"):
        encode_item(foreign_events()[number])


def test_a_class_of_the_apps_own_may_have_such_a_name() -> None:
    @dataclass
    class ServerSentEventMessage:
        data: int

    assert encode_item(ServerSentEventMessage(1)) == b'data: {"data":1}\n\n'


def test_invalid_event_is_a_value_error_of_ours() -> None:
    assert issubclass(InvalidEvent, SSEError)
    assert issubclass(InvalidEvent, ValueError)


def test_an_interrupt_is_not_swallowed() -> None:
    @dataclass
    class Interrupting:
        x: int = 0

        def __getattribute__(self, name: str) -> Any:
            if name == "x":
                raise KeyboardInterrupt
            return object.__getattribute__(self, name)

    with pytest.raises(KeyboardInterrupt):
        encode_item(Interrupting())


def test_the_json_is_made_at_construction_and_the_object_left_alone() -> None:
    value = {"b": [1], "a": {2}}
    event = ServerSentEvent(value)
    assert value == {"b": [1], "a": {2}}
    value["b"] = [3]
    assert event.encode() == b'data: {"b":[1],"a":[2]}\n\n'
    assert event.data is value


def test_an_event_cannot_be_changed() -> None:
    event: Any = ServerSentEvent("a", id="1")
    for name in ("data", "text", "event", "id", "retry", "comment", "other"):
        with pytest.raises(AttributeError):
            setattr(event, name, "x")
    assert not hasattr(event, "__dict__")


def test_its_fields_can_be_read() -> None:
    event = ServerSentEvent([1], event="e", id="i", retry=1, comment="c")
    assert (event.data, event.text, event.event, event.id, event.retry, event.comment) == (
        [1], "[1]", "e", "i", 1, "c",
    )  # fmt: skip
    empty = ServerSentEvent()
    assert (empty.data, empty.text, empty.event, empty.id, empty.retry, empty.comment) == (None,) * 6


def test_its_repr_shows_what_was_given() -> None:
    assert repr(ServerSentEvent()) == "ServerSentEvent()"
    assert repr(ServerSentEvent(None, id="1")) == "ServerSentEvent(data=None, id='1')"
    assert repr(ServerSentEvent("a", event="", id="1", retry=0, comment="c")) == (
        "ServerSentEvent(data='a', event='', id='1', retry=0, comment='c')"
    )


def test_events_are_equal_when_their_bytes_are() -> None:
    assert ServerSentEvent({"a": 1}, id="1") == ServerSentEvent('{"a":1}', id="1")
    assert hash(ServerSentEvent({"a": 1})) == hash(ServerSentEvent('{"a":1}'))
    assert ServerSentEvent("a") != ServerSentEvent("b")
    assert ServerSentEvent() != ServerSentEvent(None)
    assert ServerSentEvent("a") != "a"


@pytest.mark.parametrize("event", [ServerSentEvent(id="1"), ServerSentEvent({"a": [1]}, event="x")], ids=repr)
def test_an_event_can_be_copied_and_pickled(event: ServerSentEvent[Any]) -> None:
    for other in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert other == event
        assert repr(other) == repr(event)
        assert other.data == event.data


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.builds(Hostile) | st.builds(object)
    | st.text(st.characters(categories=["L", "N", "P", "S", "Z", "C"], include_characters="\r\n\0\ud800\u2028")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.just("data"), inner),
    max_leaves=8,
)  # fmt: skip
hostile_text = st.text(st.sampled_from("\r\n\0:ad \x85\u2028\ufeff\ud800é"), max_size=12)
junk = hostile_text | anything


@given(data=junk, event=junk, id=junk, retry=junk, comment=junk)
def test_fields_of_any_kind_make_one_legal_block_or_invalid_event(
    data: Any, event: Any, id: Any, retry: Any, comment: Any
) -> None:
    try:
        wire = ServerSentEvent(data, event=event, id=id, retry=retry, comment=comment).encode()
    except InvalidEvent as error:
        str(error).encode()
        return
    assert isinstance(event, str | None)
    assert isinstance(id, str | None)
    assert isinstance(comment, str | None)
    _assert_one_block(wire, event=event, id=id)


def _assert_one_block(wire: bytes, event: str | None = None, id: str | None = None) -> None:
    comments: list[str] = []
    decoder = Decoder(comments.append)
    events = decoder.feed(wire)
    assert len(events) <= 1
    assert decoder.at_boundary
    assert all(decoded.event == (event or "message") for decoded in events)
    assert decoder.last_event_id == (id or "")
    # Exactly one blank line, at the end.
    assert wire == b"\n" or (wire.endswith(b"\n\n") and wire.count(b"\n\n") == 1)
    assert b"\r" not in wire
    names = [line.partition(b":")[0] for line in wire.split(b"\n")[:-2]]
    order = [b"", b"event", b"data", b"id", b"retry"]
    assert names == sorted(names, key=order.index)
    assert all(names.count(name) <= 1 for name in (b"event", b"id", b"retry"))
    assert all(line.partition(b":")[2][:1] == b" " for line in wire.split(b"\n")[:-2])


@given(junk.filter(lambda item: type(item) is not bytes))
def test_an_item_of_any_kind_makes_one_legal_block_or_invalid_event(item: Any) -> None:
    try:
        wire = encode_item(item)
    except InvalidEvent as error:
        str(error).encode()
        return
    if isinstance(item, dict):
        fields = cast("dict[str, Any]", item)
        _assert_one_block(wire, fields.get("event"), fields.get("id"))
    else:
        _assert_one_block(wire)


@given(st.text())
def test_a_yielded_str_is_the_event_with_that_data(text: str) -> None:
    assert encode_item(text) == ServerSentEvent(text).encode() == encode_event(text)
