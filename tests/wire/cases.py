"""One table drives the encoder, our decoder, and three parsers that nobody here wrote.

`fields` is what the event is made of (None: a stream that others write, so only decoders see it); `wire` its
bytes; `events` what the standard makes of them, as (type, data, lastEventId).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple


class Seen(NamedTuple):
    event: str
    data: str
    id: str = ""


@dataclass(frozen=True)
class Case:
    name: str
    wire: bytes
    events: tuple[Seen, ...]
    fields: dict[str, Any] | None = None
    last_event_id: str = ""
    retry: int | None = None

    def __str__(self) -> str:
        return self.name


def made(name: str, fields: dict[str, Any], wire: str, *events: Seen, last: str = "", retry: int | None = None) -> Case:
    return Case(name, wire.encode(), events, fields, last, retry)


def read(name: str, wire: bytes, *events: Seen, last: str = "", retry: int | None = None) -> Case:
    return Case(name, wire, events, None, last, retry)


def data(text: str) -> Seen:
    return Seen("message", text)


ENCODED = [
    made("one line", {"data": "a"}, "data: a\n\n", data("a")),
    made("empty data", {"data": ""}, "data: \n\n", data("")),
    made("leading space", {"data": " a"}, "data:  a\n\n", data(" a")),
    made("leading colon", {"data": ":a"}, "data: :a\n\n", data(":a")),
    made("trailing LF", {"data": "a\n"}, "data: a\ndata: \n\n", data("a\n")),
    made("LF alone", {"data": "\n"}, "data: \ndata: \n\n", data("\n")),
    made("CRLF alone", {"data": "\r\n"}, "data: \ndata: \n\n", data("\n")),
    made("LF CR is two line ends", {"data": "a\n\rb"}, "data: a\ndata: \ndata: b\n\n", data("a\n\nb")),
    made(
        "the three line ends",
        {"data": "a\r\nb\rc\nd"},
        "data: a\ndata: b\ndata: c\ndata: d\n\n",
        data("a\nb\nc\nd"),
    ),
    made(
        "what is no line end",
        {"data": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"},
        "data: a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n\n",
        data("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"),
    ),
    made("NUL in data", {"data": "a\0b"}, "data: a\0b\n\n", data("a\0b")),
    made("a BOM in data", {"data": "\ufeffa"}, "data: \ufeffa\n\n", data("\ufeffa")),
    made("beyond the BMP", {"data": "é€😀"}, "data: é€😀\n\n", data("é€😀")),
    made(
        "an event in the data",
        {"data": "a\n\ndata: b\n\nid: 1"},
        "data: a\ndata: \ndata: data: b\ndata: \ndata: id: 1\n\n",
        data("a\n\ndata: b\n\nid: 1"),
    ),
    made("null", {"data": None}, "data: null\n\n", data("null")),
    made("a number", {"data": 1.5}, "data: 1.5\n\n", data("1.5")),
    made("true", {"data": True}, "data: true\n\n", data("true")),
    made("a list", {"data": [1, "é\n"]}, 'data: [1,"é\\n"]\n\n', data('[1,"é\\n"]')),
    made(
        "JSON escapes what naive clients split on",
        {"data": ["\u2028\u2029\x85\ud800😀"]},
        'data: ["\\u2028\\u2029\\u0085\\ud800😀"]\n\n',
        data('["\\u2028\\u2029\\u0085\\ud800😀"]'),
    ),
    made("named", {"data": "a", "event": "tick"}, "event: tick\ndata: a\n\n", Seen("tick", "a")),
    made(
        "a name with colon and space", {"data": "a", "event": " x: y"}, "event:  x: y\ndata: a\n\n", Seen(" x: y", "a")
    ),
    made("an empty name is message", {"data": "a", "event": ""}, "event: \ndata: a\n\n", data("a")),
    made("a name without data", {"event": "tick"}, "event: tick\n\n"),
    made("with id", {"data": "a", "id": "é:1"}, "data: a\nid: é:1\n\n", Seen("message", "a", "é:1"), last="é:1"),
    made("an empty id", {"data": "a", "id": ""}, "data: a\nid: \n\n", data("a")),
    made("id alone", {"id": "7"}, "id: 7\n\n", last="7"),
    made("retry alone", {"retry": 0}, "retry: 0\n\n", retry=0),
    made("the greatest retry", {"retry": 2**63 - 1}, f"retry: {2**63 - 1}\n\n", retry=2**63 - 1),
    made("comment alone", {"comment": "ping"}, ": ping\n\n"),
    made("empty comment", {"comment": ""}, ": \n\n"),
    made("a comment of lines", {"comment": "a\r\nb\rdata: c\n"}, ": a\n: b\n: data: c\n: \n\n"),
    made("nothing", {}, "\n"),
    made(
        "everything, in order",
        {"retry": 5, "id": "1", "data": "d\ne", "event": "x", "comment": "c"},
        ": c\nevent: x\ndata: d\ndata: e\nid: 1\nretry: 5\n\n",
        Seen("x", "d\ne", "1"),
        last="1",
        retry=5,
    ),
]

READ = [
    read("empty stream", b""),
    read("no space after the colon", b"data:a\n\n", data("a")),
    read("a field name alone", b"data\n\n", data("")),
    read("two bare data lines", b"data\ndata\n\n", data("\n")),
    read("bare data, then its end is missing", b"data\n\ndata\ndata\n\ndata:", data(""), data("\n")),
    read("one space is removed, not two", b"data:  a\n\n", data(" a")),
    read("a tab is not a space", b"data:\ta\n\n", data("\ta")),
    read(
        "CRLF",
        b"data: a\r\nid: 1\r\n\r\ndata: b\r\n\r\n",
        Seen("message", "a", "1"),
        Seen("message", "b", "1"),
        last="1",
    ),
    read("CR", b"data: a\rdata: b\r\r", data("a\nb")),
    read("mixed line ends", b"data: a\r\ndata: b\rdata: c\n\r\n", data("a\nb\nc")),
    read("CR CR LF is two line ends", b"data: a\r\r\ndata: b\n\n", data("a"), data("b")),
    read("blank lines only", b"\n\r\n\r\r\n\n"),
    read("leading BOM", b"\xef\xbb\xbfdata: a\n\n", data("a")),
    read("second BOM", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", data("b")),
    read("late BOM", b"data: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n", data("a"), data("c")),
    read("half a BOM", b"\xef\xbbdata: a\n\ndata: b\n\n", data("b")),
    read(
        "not UTF-8",
        b"data: \xff\xe2\x82a\xc0\xaf\xed\xa0\x80\xf0\x9f\n\n",
        data("\ufffd\ufffda\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"),
    ),
    read("unterminated event", b"data: a\n\ndata: b\n", data("a")),
    read("unterminated line", b"data: a\n\ndata: b", data("a")),
    read("unterminated id", b"id: 1\ndata: a\n\nid: 2\n", Seen("message", "a", "1"), last="1"),
    read("field names are case-sensitive", b"Data: a\nDATA: b\ndata: c\n\n", data("c")),
    read("unknown fields", b"dta: a\ndata : b\n data: c\n{}\ndata: d\n\n", data("d")),
    read("comments between", b": a\ndata: b\n:\n:data: c\ndata: d\n\n", data("b\nd")),
    read("the last name wins", b"event: a\nevent: b\ndata: c\n\n", Seen("b", "c")),
    read("an empty name clears", b"event: a\nevent\ndata: c\n\n", data("c")),
    read("a name does not outlive its block", b"event: a\n\ndata: b\n\n", data("b")),
    read(
        "the id stays", b"id: 1\ndata: a\n\ndata: b\n\n", Seen("message", "a", "1"), Seen("message", "b", "1"), last="1"
    ),
    read("a bare id clears", b"id: 1\ndata: a\n\nid\ndata: b\n\n", Seen("message", "a", "1"), data("b")),
    read("an id-only block moves the cursor", b"id: 1\n\ndata: a\n\n", Seen("message", "a", "1"), last="1"),
    read(
        "an id with NUL is ignored",
        b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n",
        Seen("message", "a", "1"),
        Seen("message", "b", "1"),
        last="1",
    ),
    read("the last id wins", b"id: 1\nid: 2\ndata: a\n\n", Seen("message", "a", "2"), last="2"),
    read("retry takes effect at its line", b"retry: 12\n", retry=12),
    read("retry with leading zeros", b"retry:007\n\n", retry=7),
    read(
        "retry that is not digits",
        b"retry: 5\nretry: 1.5\nretry: -1\nretry: +1\nretry: 1_0\nretry: 6 \nretry:  6\n\n",
        retry=5,
    ),
    read("retry with other digits", "retry: 5\nretry: ٣\nretry: ²\n\n".encode(), retry=5),
    read("empty retry", b"retry: 5\nretry:\nretry\n\n", retry=5),
    read("endless retry", b"retry: " + b"9" * 5000 + b"\n\n", retry=2**63 - 1),
]

CASES = ENCODED + READ
