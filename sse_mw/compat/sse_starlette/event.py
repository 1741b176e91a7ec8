"""Events as sse-starlette's users write them, and their bytes.

An app that changes one import is not to fail on what has worked; nor may anything that it gives become a broken wire.
So what no client could receive is left out here, where `sse_mw.ServerSentEvent` refuses it.
"""

import json
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, cast

from ..._event import ServerSentEvent as OwnEvent

SEPARATORS = ("\r\n", "\r", "\n")
_IN_A_NAME = str.maketrans("", "", "\r\n")
_IN_AN_ID = str.maketrans(
    "", "", "\r\n\0"
)  # "If the field value does not contain U+0000 NULL": else it counts for nothing


class ServerSentEvent:
    """One event. Its fields may be changed until it is encoded; a field that is `None` is left out.

    Args:
        data: Any object; its `str()` is sent, each line of it as a field of its own.
        event: The event's name; CR and LF are left out.
        id: The event's ID; CR, LF and NUL are left out.
        retry: Milliseconds until a client reconnects. A bool or a negative number, which clients ignore, is left out.
        comment: Text that clients ignore.
        sep: The line end, "\\r\\n", "\\r" or "\\n"; `None` for `DEFAULT_SEPARATOR`.

    Raises:
        ValueError: `sep` is no line end.
    """

    DEFAULT_SEPARATOR = "\r\n"

    def __init__(
        self,
        data: Any | None = None,
        *,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
        comment: str | None = None,
        sep: str | None = None,
    ) -> None:
        self.data = data
        self.event = event
        self.id = id
        self.retry = retry
        self.comment = comment
        self._sep = checked_separator(self.DEFAULT_SEPARATOR if sep is None else sep)

    def encode(self) -> bytes:
        """The event's bytes, with the blank line at its end.

        Raises:
            TypeError: `retry` is no int.
            UnicodeEncodeError: A field has a lone surrogate.
        """
        fields: list[str] = []
        if self.comment is not None:
            fields += _lines(": ", str(self.comment))
        if self.id is not None:
            fields.append(f"id: {_text(self.id).translate(_IN_AN_ID)}")
        if self.event is not None:
            fields.append(f"event: {_text(self.event).translate(_IN_A_NAME)}")
        if self.data is not None:
            fields += _lines("data: ", str(self.data))
        if self.retry is not None:
            fields += _retry(self.retry)
        return self._sep.join([*fields, "", ""] if fields else ["", ""]).encode()


class JSONServerSentEvent(ServerSentEvent):
    """An event whose data is JSON, on one line; `None` is no data.

    Raises:
        TypeError: `data` is nothing that JSON knows.
        ValueError: `data` holds a number that is not finite, or itself.
    """

    def __init__(self, data: Any | None = None, *args: Any, **kwargs: Any) -> None:
        text = None if data is None else json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        super().__init__(text, *args, **kwargs)


def ensure_bytes(data: Any, sep: str) -> bytes:
    """The bytes of whatever a stream may yield.

    Bytes, in whichever buffer, go out as they are; an event in its own line ends; a dict has an event's fields; the
    `str()` of anything else is data.

    Raises:
        TypeError: A dict has a key that is no field of an event's, or a `retry` that is no int.
        UnicodeEncodeError: A text has a lone surrogate.
    """
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(cast("bytes", data))
    if isinstance(data, ServerSentEvent | OwnEvent):
        return data.encode()
    if isinstance(data, dict):
        fields: dict[str, Any] = {**data, "sep": sep}
        return ServerSentEvent(**fields).encode()
    if _is_of_the_peer(data):
        encoded: bytes = data.encode()
        return encoded
    return ServerSentEvent(str(data), sep=sep).encode()


@cache
def encoder(sep: str) -> Callable[[object], bytes]:
    """`ensure_bytes` for one line end, quicker for plain text, which most items are."""
    end = sep + sep

    def encode(item: object) -> bytes:
        if type(item) is str and "\n" not in item and "\r" not in item:
            return f"data: {item}{end}".encode()
        return ensure_bytes(item, sep)

    return encode


def checked_separator(sep: str) -> str:
    """`sep`, if it is a line end."""
    if sep not in SEPARATORS:
        raise ValueError(rf"sep={sep!r:.80} is no line end: give '\r\n', '\r' or '\n'")
    return sep


def _lines(prefix: str, text: str) -> list[str]:
    # No splitlines(), to which VT, FF, U+0085, U+2028 and others are line ends too.
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return [prefix + line for line in text.split("\n")]


def _text(value: object) -> str:
    # A member of a (str, Enum) is the text that it holds.
    return str.__str__(value) if isinstance(value, str) else str(value)


def _retry(value: object) -> list[str]:
    if not isinstance(value, int):
        raise TypeError(f"retry argument must be int, in milliseconds, and {value!r:.80} is none")
    # "If the field value consists of only ASCII digits": clients ignore any other.
    return [] if isinstance(value, bool) or value < 0 else [f"retry: {int(value)}"]


def _is_of_the_peer(item: object) -> bool:
    """Whether some library still makes its events with sse-starlette itself."""
    peer: Any = sys.modules.get("sse_starlette.event")
    return peer is not None and isinstance(item, peer.ServerSentEvent)
