"""The wire format both ways: bytes from checked fields, and the standard's incremental parser.

Section numbers and quotations are of the WHATWG HTML standard, "Server-sent events"
(https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .exceptions import InvalidEvent

MAX_RETRY: Final = 2**63 - 1


def encode_data(text: str) -> bytes:
    """Encode an event of nothing but data: the path that nearly every event takes.

    "stream = [ bom ] *event", "event = *( comment / field ) end-of-line".
    """
    try:
        if "\n" in text or "\r" in text:
            return b"data: %b\n\n" % _split(b"data: ", text)
        return f"data: {text}\n\n".encode()
    except UnicodeEncodeError as error:
        raise _lone_surrogate(error, {"data": text}) from error


def encode_event(
    data: str | None,
    *,
    event: str | None = None,
    id: str | None = None,
    retry: int | None = None,
    comment: str | None = None,
) -> bytes:
    """Encode fields that the caller has checked: no CR, LF or NUL in `event` and `id`.

    `None` leaves a field out. The one space after the colon is always written, because the parser
    removes one ("If value starts with a U+0020 SPACE character, remove it from value").
    """
    try:
        block = b"" if comment is None else b": %b\n" % _split(b": ", comment)
        if event is not None:
            block += b"event: %b\n" % event.encode()
        if data is not None:
            block += b"data: %b\n" % _split(b"data: ", data)
        if id is not None:
            block += b"id: %b\n" % id.encode()
        if retry is not None:
            block += b"retry: %d\n" % retry
        return block + b"\n"
    except UnicodeEncodeError as error:
        texts = {"comment": comment, "event": event, "data": data, "id": id}
        raise _lone_surrogate(error, texts) from error


def _split(prefix: bytes, text: str) -> bytes:
    """Begin every further line with the prefix.

    "Lines must be separated by either a U+000D CARRIAGE RETURN U+000A LINE FEED (CRLF) character
    pair, a single U+000A LINE FEED (LF) character, or a single U+000D CARRIAGE RETURN (CR)
    character", and by nothing else: str.splitlines() would split on U+2028, U+0085, VT and FF too.
    """
    block = text.encode()  # first, as replacing in bytes takes half as long; no other character has such a byte
    if b"\r" not in block:
        return block.replace(b"\n", b"\n" + prefix)
    lines = block.splitlines()  # of bytes: at those three alone
    if block.endswith((b"\n", b"\r")):
        lines.append(b"")  # the text after the last line end, which has none
    return (b"\n" + prefix).join(lines)


def _lone_surrogate(error: UnicodeEncodeError, texts: dict[str, str | None]) -> InvalidEvent:
    culprit = error.object[error.start]
    # In the wire's order: a field before it that held the same would have failed first.
    field, text = next((field, text) for field, text in texts.items() if text and culprit in text)
    return InvalidEvent(
        f"{field}: lone surrogate U+{ord(culprit):04X} at position {text.index(culprit)} has no UTF-8 form; "
        'decode the text with errors="replace" where it enters the program'
    )


@dataclass(frozen=True, slots=True)
class DecodedEvent:
    """What a client's event listener is given: `type`, `data` and `lastEventId`."""

    event: str = "message"
    data: str = ""
    id: str = ""


class Decoder:
    """Section 9.2.6, "Interpreting an event stream", fed chunk by chunk.

    Not for concurrent use. Time is linear in the bytes, however they are cut. There is no finish:
    "Once the end of the file is reached, any pending data must be discarded."
    """

    def __init__(self, on_comment: Callable[[str], object] | None = None) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._on_comment = on_comment
        self._id_buffer = ""
        self._event_type = ""
        self._data: list[str] = []
        self._events: list[DecodedEvent] = []
        self._partial = bytearray()
        self._skip_lf = False
        self._first = True
        self._in_block = False

    def __repr__(self) -> str:
        return f"<Decoder last_event_id={self.last_event_id!r} pending={self.pending}>"

    @property
    def pending(self) -> bool:
        """Whether complete lines are buffered on which the next blank line would act."""
        return bool(self._data or self._event_type or self._id_buffer != self.last_event_id)

    @property
    def at_boundary(self) -> bool:
        """Whether the last thing seen is a blank line, or nothing at all."""
        return not self._in_block and not self._partial

    def feed(self, chunk: bytes) -> list[DecodedEvent]:
        """Take the next bytes, cut anywhere; return the events that they complete, in order."""
        if not chunk:
            return []
        # A CR ends its line at once, for the line end is certain: only a following LF is in doubt.
        if self._skip_lf and chunk[:1] == b"\n":
            chunk = chunk[1:]
        self._skip_lf = chunk[-1:] == b"\r"
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *lines = chunk.split(b"\n")
        self._partial += first
        for line in lines:
            self._line(bytes(self._partial))
            self._partial = bytearray(line)
        events, self._events = self._events, []
        return events

    def _line(self, line: bytes) -> None:
        if self._first:
            self._first = False
            # "The UTF-8 decode algorithm strips one leading UTF-8 Byte Order Mark (BOM), if any."
            line = line.removeprefix(b"\xef\xbb\xbf")
        self._in_block = bool(line)
        if not line:
            self._dispatch()
            return
        # Decoding by the line equals decoding the stream: a line end is never part of a character.
        name, _, rest = line.partition(b":")
        if name == b"":
            if self._on_comment is not None:  # "If the line starts with a U+003A COLON: ignore"
                self._on_comment(_text(rest))
        elif name == b"data":
            self._data.append(_text(rest))
        elif name == b"event":
            self._event_type = _text(rest)
        elif name == b"id":
            if b"\0" not in rest:  # "If the field value does not contain U+0000 NULL"
                self._id_buffer = _text(rest)
        elif name == b"retry":
            self._set_retry(rest.removeprefix(b" "))

    def _set_retry(self, value: bytes) -> None:
        # "If the field value consists of only ASCII digits"; an empty value holds no integer.
        # bytes.isdigit() knows no other digits. No client counts beyond 64 bits, and int() refuses
        # thousands of digits, so a longer number stands for the greatest.
        if value.isdigit():
            digits = value.lstrip(b"0")
            self.retry = min(int(digits or b"0"), MAX_RETRY) if len(digits) < 20 else MAX_RETRY

    def _dispatch(self) -> None:
        # "Set the last event ID string to the value of the last event ID buffer. The buffer does
        # not get reset": so an ID moves the cursor even where no event follows.
        self.last_event_id = self._id_buffer
        # "If the data buffer is an empty string": every data line has appended a LF, so a bare
        # "data:" is not empty, and dispatches "".
        if self._data:
            self._events.append(DecodedEvent(self._event_type or "message", "\n".join(self._data), self.last_event_id))
            self._data = []
        self._event_type = ""


def _text(value: bytes) -> str:
    """Decode what follows the colon, without the one space that may stand there."""
    return value.removeprefix(b" ").decode("utf-8", "replace")
