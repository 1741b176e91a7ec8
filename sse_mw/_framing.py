"""Where one event ends, and how text that is no event stream becomes one.

The boundary tracker judges from the last four bytes that the app has sent, because judging costs
something and is needed only when a ping falls due. The framers turn a legacy body into events.
"""

import codecs
import re
from email.message import Message
from typing import Final, Literal, Protocol

from ._wire import encode_data
from .exceptions import InvalidEvent, InvalidOption

# Before the first byte we stand where a blank line would leave us.
NOTHING_SENT: Final = b"\n\n"
MAX_LINE: Final = 16 * 1024 * 1024


def at_boundary(tail: bytes | bytearray) -> bool:
    """Say whether the last bytes sent, preceded by `NOTHING_SENT`, end with a blank line.

    "\\n\\r" does not count: a LF may follow that makes it CRLF, and whatever stood between the two
    would change what the app has said. After "\\r\\r" no such harm is done: an app that ends its
    lines with CR sends no LF, and one that does ends a line that is blank already.
    """
    return tail.endswith((b"\n\n", b"\r\r", b"\n\r\n", b"\r\r\n"))


def line_end(tail: bytes | bytearray) -> bytes:
    """Give the line end that the stream itself uses, judged at a boundary; LF where unknown."""
    if tail.endswith(b"\r\n"):
        return b"\r\n"
    return b"\r" if tail.endswith(b"\r") else b"\n"


class Framer(Protocol):
    """Turns one response's body into an event stream.

    Not for concurrent use. Events come out in the order of the text; nothing is lost but what the
    mode says, as long as `finish` is called when the body ends.
    """

    def feed(self, chunk: bytes) -> bytes:
        """Take the body's next bytes; return the events they complete, `b""` if none."""
        ...

    def finish(self) -> bytes:
        """Take the body's end; return what was held back. Neither method may be called again."""
        ...


class _Text:
    """The incremental decoding that both framers need: charset, a leading BOM, whole characters."""

    def __init__(self, charset: str) -> None:
        self._decoder = _decoder_for(charset)
        self._started = False

    def decode(self, chunk: bytes, final: bool = False) -> str:
        text = self._decoder.decode(chunk, final)
        if text and not self._started:
            # Ours must not carry one (W1), and inside of a data line it would be text.
            self._started = True
            text = text.removeprefix("\ufeff")
        return text


class LineFramer:
    """One event for each line; LF, CRLF and CR end a line, as they do in an event stream."""

    def __init__(self, charset: str = "utf-8", skip_blank: bool = False) -> None:
        self._text = _Text(charset)
        self._skip_blank = skip_blank
        self._partial: list[str] = []
        self._length = 0
        self._skip_lf = False
        self._too_long = False

    def feed(self, chunk: bytes) -> bytes:
        return self._take(self._text.decode(chunk))

    def finish(self) -> bytes:
        out = self._take(self._text.decode(b"", True))
        rest = "".join(self._partial)
        self._partial, self._length = [], 0
        return out + self._event(rest) if rest else out

    def _take(self, text: str) -> bytes:
        if self._too_long:
            _refuse_line()
        if not text:
            return b""
        # A CR ends its line at once (a progress bar sends nothing else); an LF after it is dropped.
        if self._skip_lf and text[0] == "\n":
            text = text[1:]
        self._skip_lf = text.endswith("\r")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return b"".join(self._events(text.split("\n")))

    def _events(self, lines: list[str]) -> list[bytes]:
        events: list[bytes] = []
        last = len(lines) - 1
        for number, line in enumerate(lines):
            self._length += len(line)
            if self._length > MAX_LINE:
                # The lines before it are delivered first, wherever the chunks were cut.
                self._too_long = True
                self._partial = []
                return events or _refuse_line()
            self._partial.append(line)
            if number < last:
                events.append(self._event("".join(self._partial)))
                self._partial, self._length = [], 0
        return events

    def _event(self, line: str) -> bytes:
        if self._skip_blank and not line.strip(" \t"):
            return b""
        return encode_data(line)


class ChunkFramer:
    """One event for each chunk, its line ends kept: joined, the events' data is the text."""

    def __init__(self, charset: str = "utf-8") -> None:
        self._text = _Text(charset)
        self._held = ""

    def feed(self, chunk: bytes) -> bytes:
        text = self._held + self._text.decode(chunk)
        # Half a CRLF would come out as a line end of its own, and the other half as a second.
        self._held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r")
        return encode_data(text) if text else b""

    def finish(self) -> bytes:
        text = self._held + self._text.decode(b"", True)
        self._held = ""
        return encode_data(text) if text else b""


def make_framer(mode: Literal["lines", "chunks"], content_type: str) -> Framer:
    """Make the framer for a response; the content type gives the charset, and what a blank line is.

    In text a blank line is content. In NDJSON and its like it carries nothing: a keep-alive.
    """
    header = Message()
    header["content-type"] = _UNPRINTABLE.sub(" ", content_type)
    charset = header.get_content_charset("utf-8")
    if mode == "lines":
        return LineFramer(charset, skip_blank=header.get_content_maintype() != "text")
    if mode == "chunks":
        return ChunkFramer(charset)
    raise InvalidOption(f'frame: {mode!r} is not a way of framing; use "lines" or "chunks"')


_UNPRINTABLE: Final = re.compile("[^ -~]")  # Message refuses line ends, and decodes the rest by rules of mail

# What bodies are declared in. Python knows more, but their decoders raise on some input (idna, iso2022_jp),
# take quadratic time (utf-7) or make lone surrogates (unicode_escape).
_CHARSETS: Final = re.compile(
    r"ascii|utf-8|utf-(16|32)-[bl]e|iso8859-\d+|cp\d+|koi8-\w|mac-\w+|tis-620|"
    r"big5\w*|gb\w+|euc_\w+|shift_jis\w*|johab|ptcp154|kz1048"
)


def _decoder_for(charset: str) -> codecs.IncrementalDecoder:
    try:
        name = codecs.lookup(charset.strip()).name
    except (LookupError, ValueError):  # unknown, or with a NUL in it
        name = "utf-8"
    # Without a mark Python's decoder raises; the Encoding standard says: "utf-16" is UTF-16LE.
    name = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(name, name)
    if not _CHARSETS.fullmatch(name):
        name = "utf-8"
    return codecs.getincrementaldecoder(name)(errors="replace")


def _refuse_line() -> list[bytes]:
    raise InvalidEvent(
        f'frame="lines": a line is longer than {MAX_LINE // 2**20} Mi characters; is this text cut into '
        'lines at all? Use frame="chunks" to make an event of each chunk'
    )
