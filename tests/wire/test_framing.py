"""Boundaries in others' bytes, and text that becomes events."""

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_mw import _framing
from sse_mw._framing import (
    NOTHING_SENT,
    ChunkFramer,
    Framer,
    LineFramer,
    at_boundary,
    line_end,
    make_framer,
)
from sse_mw._wire import Decoder
from sse_mw.exceptions import InvalidEvent, InvalidOption
from wire.splits import cut, cuts, places, singly, stream_bytes


@pytest.mark.parametrize(
    ("sent", "boundary", "end"),
    [
        (b"", True, b"\n"),
        (b"data: a\n\n", True, b"\n"),
        (b"data: a\r\r", True, b"\r"),
        (b"data: a\r\n\r\n", True, b"\r\n"),
        (b"data: a\n\r\n", True, b"\r\n"),
        (b"data: a\r\r\n", True, b"\r\n"),
        (b"data: a\r\n\n", True, b"\n"),
        (b"\n", True, b"\n"),
        (b"\r\n", True, b"\r\n"),
        (b"\r", False, None),
        (b"data: a", False, None),
        (b"data: a\n", False, None),
        (b"data: a\r", False, None),
        (b"data: a\r\n", False, None),
        (b"data: a\n\r", False, None),
        (b"data: a\r\n\r", False, None),
        (b"\n\ndata: a", False, None),
        (b"\xef\xbb\xbf", False, None),
    ],
)
def test_a_boundary_is_where_a_blank_line_has_surely_ended(sent: bytes, boundary: bool, end: bytes | None) -> None:
    tail = (NOTHING_SENT + sent)[-4:]
    assert at_boundary(tail) is at_boundary(bytearray(tail)) is boundary
    if end is not None:
        assert line_end(tail) == end


@given(stream_bytes)
def test_a_boundary_is_where_the_decoder_stands_after_a_blank_line(sent: bytes) -> None:
    decoder = Decoder()
    decoder.feed(sent)
    tail = (NOTHING_SENT + sent)[-4:]
    half_a_crlf = tail.endswith(b"\n\r")
    first_line_after_a_mark = sent in (b"\xef\xbb\xbf\n", b"\xef\xbb\xbf\r\n", b"\xef\xbb\xbf\r")
    if not half_a_crlf and not first_line_after_a_mark:
        assert at_boundary(tail) is decoder.at_boundary


@given(stream_bytes, stream_bytes)
def test_a_ping_at_a_boundary_changes_nothing_that_the_app_has_said(before: bytes, after: bytes) -> None:
    tail = (NOTHING_SENT + before)[-4:]
    if not before or not at_boundary(tail):
        return
    ping = b": ping" + line_end(tail) * 2
    plain, pinged = Decoder(), Decoder()
    assert pinged.feed(before + ping + after) == plain.feed(before + after)
    assert (pinged.last_event_id, pinged.retry, pinged.pending) == (plain.last_event_id, plain.retry, plain.pending)


def run(framer: Framer, chunks: list[bytes]) -> bytes:
    return b"".join(map(framer.feed, chunks)) + framer.finish()


def decoded(wire: bytes) -> list[str]:
    decoder = Decoder()
    events = decoder.feed(wire)
    assert decoder.at_boundary
    assert all(event.event == "message" and event.id == "" for event in events)
    return [event.data for event in events]


def lines_of(text: str) -> list[str]:
    *lines, rest = re.split("\r\n|\r|\n", text)
    return [*lines, rest] if rest else lines


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\r\nb\rc\nd", ["a", "b", "c", "d"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"\r\r", ["", ""]),
        (b" \n", [" "]),
        ("\ufeffé\u2028€\x85\n😀".encode(), ["é\u2028€\x85", "😀"]),
        (b"data: x\nid: 1\n", ["data: x", "id: 1"]),
        (b"a\xe2\x82", ["a\ufffd"]),
        (b"\xe2\x82\n", ["\ufffd"]),
    ],
)
def test_each_line_of_text_is_an_event(body: bytes, expected: list[str]) -> None:
    for chunks in cuts(body):
        assert decoded(run(make_framer("lines", "text/plain"), chunks)) == expected


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/json; charset=utf-8", ""])
def test_a_blank_line_of_ndjson_is_a_keep_alive(content_type: str) -> None:
    body = b'{"a":1}\n\n\r\n \t\n[2]\n\n3'
    expected = ['{"a":1}', "[2]", "3"] if content_type else ['{"a":1}', "", "", " \t", "[2]", "", "3"]
    for chunks in cuts(body):
        assert decoded(run(make_framer("lines", content_type), chunks)) == expected


def test_an_event_leaves_with_the_chunk_that_ends_its_line() -> None:
    framer = make_framer("lines", "text/plain")
    assert framer.feed(b"a") == b""
    assert framer.feed(b"b\r") == b"data: ab\n\n"
    assert framer.feed(b"\nc\nd") == b"data: c\n\n"
    assert framer.finish() == b"data: d\n\n"
    assert framer.finish() == b""


body_text = st.text(st.sampled_from("ab é€😀\r\n\u2028\x85\ufeff\0") | st.characters(exclude_categories=["Cs"]))


@given(body_text, places)
def test_lines_are_the_same_however_the_body_is_cut(text: str, where: list[int]) -> None:
    body = text.encode()
    expected = lines_of(text.removeprefix("\ufeff"))
    for chunks in ([body], singly(body), cut(body, where)):
        assert decoded(run(LineFramer(), chunks)) == expected


@given(stream_bytes, places, st.booleans())
def test_any_bytes_make_the_same_lines_however_they_are_cut(body: bytes, where: list[int], skip: bool) -> None:
    whole = run(LineFramer("utf-8", skip), [body])
    assert run(LineFramer("utf-8", skip), cut(body, where)) == run(LineFramer("utf-8", skip), singly(body)) == whole
    decoded(whole)


@given(body_text, places)
def test_the_data_of_chunks_joined_is_the_text(text: str, where: list[int]) -> None:
    body = text.encode()
    expected = re.sub("\r\n|\r", "\n", text.removeprefix("\ufeff"))
    for chunks in ([body], singly(body), cut(body, where)):
        assert "".join(decoded(run(ChunkFramer(), chunks))) == expected


def test_each_chunk_is_an_event_of_whole_characters() -> None:
    framer = make_framer("chunks", "text/plain; charset=utf-8")
    assert framer.feed(b"Hel") == b"data: Hel\n\n"
    assert framer.feed(b"") == b""
    assert framer.feed("é".encode()[:1]) == b""
    assert framer.feed("é".encode()[1:] + b"\r") == "data: é\n\n".encode()
    assert framer.feed(b"\nx\n") == b"data: \ndata: x\ndata: \n\n"
    assert framer.feed(b"\r") == b""
    assert framer.feed(b"\r") == b"data: \ndata: \n\n"
    assert framer.finish() == b"data: \ndata: \n\n"
    assert framer.finish() == b""


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [
        ("text/plain", "utf-8"),
        ("text/plain; charset=utf-8", "utf-8"),
        ('TEXT/PLAIN; Charset="UTF-8"', "utf-8"),
        ("text/plain;charset=iso-8859-1", "latin-1"),
        ("text/plain; format=flowed; charset=windows-1252", "cp1252"),
        ("text/plain; charset=shift_jis", "shift_jis"),
        ("text/plain; charset=gb18030", "gb18030"),
        ("text/plain; charset=utf-16le", "utf-16-le"),
        ("text/plain; charset=utf-16", "utf-16-le"),
        ("text/plain; charset=utf-32-be", "utf-32-be"),
        ("text/plain; charset=no-such-thing", "utf-8"),
        ("text/plain; charset=", "utf-8"),
        ("text/plain; charset=hex", "utf-8"),
        ("text/plain; charset=idna", "utf-8"),
        ("text/plain; charset=utf-7", "utf-8"),
        ("text/plain; charset=unicode_escape", "utf-8"),
        ("text/plain; charset=a\0b", "utf-8"),
        ("text/plain; charset=\r\nx", "utf-8"),
        ("text/plain; charset*=utf-8''latin-1", "latin-1"),
        ("text/plain; charset=é", "utf-8"),
        (";;;", "utf-8"),
    ],
)
def test_the_body_is_decoded_as_declared(content_type: str, codec: str) -> None:
    text = "ab" if codec != "shift_jis" else "a日本"
    text = text + "é" if codec in ("latin-1", "cp1252", "utf-8", "utf-16-le", "utf-32-be", "gb18030") else text
    body = f"{text}\r\nc".encode(codec)
    for chunks in cuts(body):
        assert decoded(run(make_framer("lines", content_type), chunks)) == [text, "c"]
    assert "".join(decoded(run(make_framer("chunks", content_type), singly(body)))) == f"{text}\nc"


def test_a_mark_is_removed_from_the_beginning_alone() -> None:
    body = "\ufeffa\n\ufeffb".encode("utf-16-le")
    assert decoded(run(make_framer("lines", "text/plain; charset=utf-16"), singly(body))) == ["a", "\ufeffb"]


def python_charsets() -> list[str]:
    from encodings.aliases import aliases

    return sorted({*aliases.values(), "undefined", "idna", "punycode", "unicode_escape", "raw_unicode_escape"})


@given(st.sampled_from(python_charsets()), st.binary(max_size=40), places)
def test_no_charset_and_no_bytes_make_a_framer_fail(charset: str, body: bytes, where: list[int]) -> None:
    content_type = f"text/plain; charset={charset}"
    whole = run(make_framer("lines", content_type), [body])
    assert run(make_framer("lines", content_type), cut(body, where)) == whole
    run(make_framer("chunks", content_type), cut(body, where))


@given(st.text())
def test_no_content_type_makes_a_framer_fail(content_type: str) -> None:
    assert decoded(run(make_framer("chunks", content_type), [b"a"])) == ["a"]
    # Some digits are the name of a code page, in which these bytes are another character.
    assert len(decoded(run(make_framer("lines", f"text/plain; charset={content_type}"), [b"a\n"]))) == 1


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_line_without_an_end_is_refused_after_the_lines_before_it(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_framing, "MAX_LINE", 100)
    body = b"x" * 100 + b"\n" + b"y" * 100 + b"\n" + b"z" * 101 + b"\nlater\n"
    framer = LineFramer()
    out = b""

    def feed_all() -> None:
        nonlocal out
        for at in range(0, len(body), size):
            out += framer.feed(body[at : at + size])
        framer.finish()

    with pytest.raises(InvalidEvent, match='frame="chunks"'):
        feed_all()
    assert decoded(out) == ["x" * 100, "y" * 100]
    with pytest.raises(InvalidEvent):
        framer.feed(b"\n")


def test_the_longest_line_that_passes_has_16_mi_characters() -> None:
    framer = LineFramer()
    assert framer.feed(b"x" * 2**24) == b""
    assert len(framer.feed(b"\n")) == 2**24 + len(b"data: \n\n")
    framer.feed(b"x" * 2**24)
    with pytest.raises(InvalidEvent, match="16 Mi"):
        framer.feed(b"x")


def test_an_unknown_mode_is_refused_by_name() -> None:
    mode: Any = "words"
    with pytest.raises(InvalidOption, match="frame: 'words'"):
        make_framer(mode, "text/plain")


def _seconds(mode: Any, chunks: list[bytes]) -> float:
    fastest = float("inf")
    for _ in range(3):
        framer = make_framer(mode, "text/plain")
        start = time.process_time()
        run(framer, chunks)
        fastest = min(fastest, time.process_time() - start)
    return fastest


@pytest.mark.parametrize("mode", ["lines", "chunks"])
@pytest.mark.parametrize("text", [b"x", b"\r", b"\xff", b"x\n"])
def test_time_is_linear_in_the_bytes(mode: str, text: bytes) -> None:
    few, many = singly(text * 5_000), singly(text * 40_000)
    assert _seconds(mode, many) < 30 * _seconds(mode, few) + 0.02
