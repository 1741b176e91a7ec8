"""How a Python value is written: JSON text for the wire, and one short line for an error message.

Nothing here trusts the value. It may be circular, a mile deep, or raise from any of its methods:
the only exception that leaves is `InvalidEvent`, and the value itself is never changed.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from json import JSONEncoder
from pathlib import PurePath
from reprlib import Repr
from typing import Any, cast
from uuid import UUID

from .exceptions import InvalidEvent

_SHOWN = 80

_repr = Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = _SHOWN

# JSON forbids raw C0 controls, but these may stand in it and yet end a line for clients that split
# with str.splitlines() or the like. A lone surrogate has no UTF-8 form at all.
_ESCAPED = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


def describe(value: object) -> str:
    """Name a value's type and show its beginning; never raises, never more than a line."""
    try:
        name = f"{type(value).__qualname__}"
    except Exception:  # a metaclass may raise whatever it likes
        name = "object"
    try:
        shown = _repr.repr(value)
    except Exception:
        shown = "its repr fails"
    return f"{name} ({_one_line(shown)})"


def reason(error: Exception) -> str:
    """Say what went wrong inside the user's value; never raises."""
    try:
        return f"{type(error).__name__}: {_one_line(str(error))}"
    except Exception:
        return "an exception that cannot be shown"


def to_json(value: object, field: str) -> str:
    """Write a value as one line of JSON that no line splitter in the wild can tear apart."""
    try:
        text = _encoder.encode(value)
        if not text.isascii():
            text = _ESCAPED.sub(_escape, text)
    except Exception as error:
        raise InvalidEvent(
            f"{field}: {describe(value)} has no JSON form ({reason(error)}); pass a str, or turn it "
            "into plain dicts with str keys, lists, str, finite numbers, bool and None first"
        ) from error
    return text


def _one_line(text: str) -> str:
    # A lone surrogate in a message would make the log line itself fail to be written.
    text = text.encode("utf-8", "backslashreplace").decode()
    text = " ".join(text[: _SHOWN * 2].split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _plain(value: object) -> object:
    """Give the next simpler form of what JSON does not know; the encoder calls again for the parts."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (UUID, Decimal, PurePath)):
        return str(value)  # a Decimal as a float would lose digits that somebody chose to keep
    if isinstance(value, (set, frozenset)):
        return list(cast("set[object] | frozenset[object]", value))
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("bytes are not text: decode them, or encode them as base64 first")
    return _fields(value)


def _fields(value: object) -> object:
    # Shallow on purpose: dataclasses.asdict and attrs.asdict copy deeply, so they break on what
    # cannot be copied, and loop for ever on a circle that the JSON encoder would detect.
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    attributes = getattr(type(value), "__attrs_attrs__", None)
    if attributes is not None:
        return {attribute.name: getattr(value, attribute.name) for attribute in attributes}
    # An object of theirs can only exist if their module has been imported: look, never import.
    # "pydantic" alone loads lazily, so touching its attribute would import half of it.
    pydantic: Any = sys.modules.get("pydantic.main")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return cast(Any, value).model_dump(mode="json")
    msgspec: Any = sys.modules.get("msgspec")
    if msgspec is not None and isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, enc_hook=_plain)
    raise TypeError(f"{type(value).__qualname__} is not a type that JSON knows")


_encoder = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
