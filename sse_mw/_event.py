"""`ServerSentEvent`, and what a value that a source yields means.

Reject, never repair: whatever could break the stream's grammar is refused here, where the caller's
traceback still points at the culprit, and before a byte of it has been sent.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Generic, NoReturn, TypeVar, cast, overload

from ._values import describe, reason, to_json
from ._wire import MAX_RETRY, encode_data, encode_event
from .exceptions import InvalidEvent

T_co = TypeVar("T_co", covariant=True)


class Unset(Enum):
    """The type of `UNSET`: an Enum, so that it is one object even after pickling."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return self.name


UNSET: Final = Unset.UNSET


class ServerSentEvent(Generic[T_co]):
    """One event, checked and encoded when it is made; immutable from then on.

    `data` that is a `str` is sent as it is, line by line; anything else as JSON, `None` as `null`.
    Left out, the event has no data field: clients then dispatch nothing, but `id` still moves
    their cursor and `retry` still sets their delay. Events are equal when their bytes are.
    """

    __slots__ = ("_comment", "_data", "_event", "_id", "_retry", "_text", "_wire")

    _data: Any  # typed by the overloads alone: T_co, or UNSET where T_co is None

    @overload
    def __init__(
        self: "ServerSentEvent[None]",
        *,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
        comment: str | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        data: T_co,
        *,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
        comment: str | None = None,
    ) -> None: ...
    def __init__(
        self,
        data: object = UNSET,
        *,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
        comment: str | None = None,
    ) -> None:
        self._data = data
        self._text = None if data is UNSET else _data_text(data)
        self._event = None if event is None else _name("event", event)
        self._id = None if id is None else _name("id", id)
        self._retry = None if retry is None else _milliseconds(retry)
        self._comment = None if comment is None else _plain_str("comment", comment)
        self._wire = encode_event(self._text, event=self._event, id=self._id, retry=self._retry, comment=self._comment)

    @classmethod
    def from_mapping(cls, mapping: Mapping[Any, Any], /) -> "ServerSentEvent[Any]":
        """Make an event of the keys data, event, id, retry and comment; no other key may be there.

        `None` means absent for each of them but data, where it is JSON's `null`.
        """
        return cls(**_known_fields(mapping))

    @property
    def data(self) -> T_co:
        """The object as it was given; `None` where there is no data field."""
        return cast(T_co, None if self._data is UNSET else self._data)

    @property
    def text(self) -> str | None:
        """The data field's text, JSON for all but `str`; `None` where there is no data field."""
        return self._text

    @property
    def event(self) -> str | None:
        """The event's name; clients take an absent or empty one for `message`."""
        return self._event

    @property
    def id(self) -> str | None:
        """The ID that a client sends back as `Last-Event-ID`; an empty one clears its memory."""
        return self._id

    @property
    def retry(self) -> int | None:
        """Milliseconds that the client waits before it reconnects."""
        return self._retry

    @property
    def comment(self) -> str | None:
        """Text that every client ignores."""
        return self._comment

    def encode(self) -> bytes:
        """Return the bytes on the wire, the blank line at the end included; made once."""
        return self._wire

    def __eq__(self, other: object) -> bool:
        return self._wire == other._wire if isinstance(other, ServerSentEvent) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._wire)

    def __repr__(self) -> str:
        given = {
            "data": self._data,
            "event": self._event,
            "id": self._id,
            "retry": self._retry,
            "comment": self._comment,
        }
        shown = (
            f"{field}={value!r}" for field, value in given.items() if value is not (UNSET if field == "data" else None)
        )
        return f"{type(self).__name__}({', '.join(shown)})"


FOREIGN: Final = {
    "ServerSentEvent": {"fastapi", "sse_starlette", "sse_mw"},  # sse_mw.compat's, for its own response class
    "JSONServerSentEvent": {"sse_starlette", "sse_mw"},
    "ServerSentEventMessage": {"litestar"},
}
"""Events of other libraries, by the names of their classes and packages."""

_ALLOWED: Final = ("data", "event", "id", "retry", "comment")


def encode_item(item: object) -> bytes:
    """Encode what a source has yielded.

    `str`: data as it is. `bytes`, `bytearray`, `memoryview`: framed already, so verbatim. A
    mapping: an event's fields. A `ServerSentEvent`: itself. Anything else: JSON data.
    """
    if type(item) is str:
        return encode_data(item)
    if type(item) is bytes:
        return item
    if issubclass(type(item), ServerSentEvent):
        return cast("ServerSentEvent[object]", item).encode()
    try:
        # A __class__ that raises, a released memoryview: nothing but InvalidEvent may come of it.
        if issubclass(type(item), (bytes, bytearray, memoryview)):
            return bytes(cast(bytes, item))
        is_mapping = isinstance(item, Mapping)
    except Exception as error:
        raise InvalidEvent(f"cannot read {describe(item)}: {reason(error)}") from error
    if is_mapping:
        return ServerSentEvent.from_mapping(cast("Mapping[Any, Any]", item)).encode()
    if type(item).__name__ in FOREIGN:
        _refuse_foreign(item)
    return encode_data(_data_text(item))


def _refuse_foreign(item: object) -> None:
    """Another library's event has fields of an event, and would go out as JSON of them: nobody can mean that."""
    package = str(type(item).__module__).partition(".")[0]
    if package in FOREIGN[type(item).__name__]:
        raise InvalidEvent(
            f"{describe(item)} is an event of {package}'s, not one of sse_mw's; yield sse_mw.ServerSentEvent(data, "
            "event=..., id=...), or a mapping of the event's fields"
        )


def _data_text(data: object) -> str:
    if issubclass(type(data), str):
        return _plain_str("data", data)
    if issubclass(type(data), (bytes, bytearray, memoryview)):
        raise InvalidEvent(
            f"data: {describe(data)} is not text; decode it first, as in data.decode(), or yield the "
            "bytes by themselves if they are an event already"
        )
    return to_json(data, "data")


def _plain_str(field: str, value: Any) -> str:
    # str.__str__ gives the text that a subclass holds; str() of a (str, Enum) member gives "E.A".
    if not issubclass(type(value), str):
        raise InvalidEvent(f"{field}: {describe(value)} is not a str; convert it with str() first")
    return str.__str__(value)


def _name(field: str, value: object) -> str:
    """Refuse what would end the field's line, or make clients ignore it.

    Its value is of "any-char: a scalar value other than U+000A LINE FEED (LF) or U+000D CARRIAGE
    RETURN (CR)"; an ID counts "if the field value does not contain U+0000 NULL".
    """
    text = _plain_str(field, value)
    if "\n" in text or "\r" in text or "\0" in text:
        raise InvalidEvent(
            f"{field}: {describe(text)} holds CR, LF or NUL, which no client can receive in this "
            f"field; remove them, or send the text as data"
        )
    return text


def _milliseconds(value: Any) -> int:
    if not issubclass(type(value), int) or value is True or value is False:
        _bad_retry(value)
    # Exact, whatever operators a subclass has redefined.
    number = int.__index__(value)
    if not 0 <= number <= MAX_RETRY:
        _bad_retry(value)
    return number


def _bad_retry(value: object) -> NoReturn:
    raise InvalidEvent(
        f"retry: {describe(value)} is not a whole number of milliseconds from 0 to 2**63 - 1; "
        "pass an int, such as 3000 for three seconds"
    )


def _known_fields(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        for key, value in mapping.items():
            name = str.__str__(key) if issubclass(type(key), str) else ""
            if name not in _ALLOWED:
                raise InvalidEvent(
                    f"unknown key {describe(key)} in a mapping of event fields, which are "
                    f"{', '.join(_ALLOWED)}; to send the mapping itself as JSON, use "
                    "ServerSentEvent(mapping)"
                )
            found[name] = value
    except InvalidEvent:
        raise
    except Exception as error:
        raise InvalidEvent(f"cannot read {describe(mapping)}: {reason(error)}") from error
    return found
