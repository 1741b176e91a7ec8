"""The debug linter: reads what an app sends as an event stream, and names what clients take otherwise.

It only looks; the bytes go out as they are. Each distinct fault is named once, and memory is bounded: of an
endless line only the beginning is kept.
"""

import codecs
from difflib import get_close_matches
from typing import Final

from ._values import describe

_BOM: Final = b"\xef\xbb\xbf"
_FIELDS: Final = ("data", "event", "id", "retry")
_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_LONGEST_MAGIC: Final = 4
_KEPT: Final = 512
_NAMES: Final = 8
_CORS_LENGTH: Final = 128

# Fetch, "CORS-unsafe request-header byte": "byte is less than 0x20 and is not 0x09 HT", or one of these.
_CORS_UNSAFE: Final = frozenset(range(0x20)) - {0x09} | frozenset(b'"():<>?@[\\]{}\x7f')

_PREFLIGHT: Final = (
    "so a browser that reconnects from another origin sends a CORS preflight, which fails unless it is "
    "answered; use short IDs of letters, digits, '-', '.' and '_'"
)


class Linter:
    """Checks one response's body. Do not feed it a body whose head declares a content coding.

    Not for concurrent use. `feed` and `finish` return the faults that are new, each a line for the log.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._found: list[str] = []
        self._names = 0
        self._start: bytes | None = b""
        self._compressed = False
        self._utf8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
        self._line = b""
        self._length = 0
        self._nul = False
        self._first = True
        self._skip_lf = False
        self._open = False

    def feed(self, chunk: bytes) -> list[str]:
        """Take the next bytes, cut anywhere."""
        if self._start is not None:
            # The magic numbers may come in pieces.
            chunk = self._start + chunk
            self._start = chunk
            if len(chunk) < _LONGEST_MAGIC:
                return []
            self._start = None
            self._check_magic(chunk)
        if chunk and not self._compressed:
            self._check_utf8(chunk, final=False)
            self._split(chunk)
        return self._take()

    def finish(self) -> list[str]:
        """Take the body's end, wherever it came."""
        rest, self._start = self._start, None
        if rest:
            self._check_magic(rest)
            found = self.feed(rest)
        else:
            found = []
        if not self._compressed:
            self._check_utf8(b"", final=True)
            self._check_end()
        return found + self._take()

    def _check_magic(self, start: bytes) -> None:
        for magic, coding in _MAGIC.items():
            if start.startswith(magic):
                self._compressed = True
                self._name(
                    f"the body begins like {coding}, no Content-Encoding says so: clients read it as text; "
                    f"set 'Content-Encoding: {coding}', or send the stream as it is"
                )

    def _check_utf8(self, chunk: bytes, final: bool) -> None:
        if self._utf8 is None:
            return
        try:
            self._utf8.decode(chunk, final)
        except UnicodeDecodeError as error:
            self._utf8 = None
            byte = error.object[error.start]
            self._name(
                f"byte 0x{byte:02x} is not UTF-8, as every event stream is, whatever its charset says; "
                "clients show U+FFFD: encode the text as UTF-8, and binary data as base64"
            )

    def _split(self, chunk: bytes) -> None:
        if self._skip_lf and chunk[:1] == b"\n":
            chunk = chunk[1:]
        self._skip_lf = chunk[-1:] == b"\r"
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._extend(line)
            self._end_line()
        self._extend(rest)

    def _extend(self, piece: bytes) -> None:
        self._length += len(piece)
        self._nul = self._nul or b"\0" in piece
        self._line += piece[: _KEPT - len(self._line)]

    def _end_line(self) -> None:
        line, length, nul = self._line, self._length, self._nul
        self._line, self._length, self._nul = b"", 0, False
        if line.startswith(_BOM):
            line, length = line[len(_BOM) :], length - len(_BOM)
            if not self._first:
                self._name(_LATE_BOM)
            elif line.startswith(_BOM):
                line, length = line[len(_BOM) :], length - len(_BOM)
                self._name(_LATE_BOM)
        self._first = False
        if not length:
            self._open = False
            return
        name, _, value = line.partition(b":")
        if name:
            removed = length - len(line)  # the end of the line that was not kept
            self._check_field(name, value.removeprefix(b" "), removed, nul)

    def _check_field(self, name: bytes, value: bytes, removed: int, nul: bool) -> None:
        if name == b"id":
            self._open = True
            self._check_id(value, removed, nul)
        elif name == b"retry":
            if not value.isdigit():
                self._name(
                    "a retry is not digits alone, so clients ignore it; send whole milliseconds",
                    f" (the first is {describe(value)})",
                )
        elif name in (b"data", b"event"):
            self._open = True
        else:
            self._unknown(name)

    def _check_id(self, value: bytes, removed: int, nul: bool) -> None:
        if nul:
            self._name("an id holds NUL, so clients ignore it and resume at the wrong place; remove the NUL")
        elif len(value) + removed > _CORS_LENGTH:
            self._name(f"an id is longer than {_CORS_LENGTH} bytes, {_PREFLIGHT}")
        if not nul and not _CORS_UNSAFE.isdisjoint(value):
            byte = next(byte for byte in value if byte in _CORS_UNSAFE)
            self._name(f"an id holds a byte that CORS calls unsafe, {_PREFLIGHT}", f" (the first is 0x{byte:02x})")

    def _unknown(self, name: bytes) -> None:
        text = name[:40].decode("utf-8", "replace")
        fault = f"{text!r} is no field, so clients ignore the line"
        if fault in self._seen or self._names == _NAMES:
            return
        self._names += 1
        near = get_close_matches(text.strip().lower(), _FIELDS, n=1)
        self._name(fault, f"; is {near[0]!r} meant?" if near else "; begin each line of text with 'data: '")

    def _check_end(self) -> None:
        # A line without its end is lost; but of a comment nobody misses anything.
        lost = self._length and not self._line.startswith(b":")
        if self._open or lost:
            self._name(
                "the stream ended inside an event, which clients drop; end each event, the last one too, "
                r"with a blank line ('\n\n')"
            )

    def _name(self, fault: str, detail: str = "") -> None:
        # The detail, which may differ each time, does not make a fault a new one.
        if fault not in self._seen:
            self._seen.add(fault)
            self._found.append(fault + detail)

    def _take(self) -> list[str]:
        found, self._found = self._found, []
        return found


_LATE_BOM: Final = (
    "a byte order mark that is not the stream's first bytes becomes part of a field's name, so clients "
    "ignore the line; remove the mark, as in decoding with 'utf-8-sig' what is joined to the stream"
)


def lint_headers(headers: list[tuple[bytes, bytes]]) -> list[str]:
    """Name what is wrong with a stream's response headers: a body that is compressed twice."""
    codings = [
        coding
        for name, value in headers
        if name.lower() == b"content-encoding"
        for coding in value.decode("latin-1").lower().replace(" ", "").replace("\t", "").split(",")
        if coding not in ("", "identity")
    ]
    if len(codings) < 2:
        return []
    fault = (
        f"the stream is compressed more than once (Content-Encoding: {', '.join(codings)}), which not every "
        "client undoes; leave one compressing middleware, or exclude text/event-stream from all but one"
    )
    return [fault]
