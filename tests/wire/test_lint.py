"""The debug linter: each fault named once, with its remedy; silence on clean streams; bounded memory."""

import gzip
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_mw._event import ServerSentEvent
from sse_mw._lint import Linter, lint_headers
from wire.splits import cut, cuts, places, singly, stream_bytes

END = "ended inside an event"
NUL = "holds NUL"
LONG = "longer than 128 bytes"
UNSAFE = "CORS calls unsafe"
BOM = "byte order mark"
UTF8 = "not UTF-8"
RETRY = "not digits alone"


def lint(chunks: list[bytes]) -> list[str]:
    linter = Linter()
    return [fault for chunk in chunks for fault in linter.feed(chunk)] + linter.finish()


FAULTS = [
    (b"data: a\n", [END]),
    (b"data: a\n\ndata: b", [END]),
    (b"data: a\r\n", [END]),
    (b"id: 1\n", [END]),
    (b"event: x\ndata: a\n", [END]),
    (b"da", [END]),
    (b"id: a\0b\ndata: a\n\nid: \0\n\n", [NUL]),
    (b"id:" + b"x" * 129 + b"\n\n", [LONG]),
    (b"id: " + b"x" * 100_000 + b"\n\n", [LONG]),
    (b"id: " + b"x" * 1000 + b"\0\n\n", [NUL]),
    (b'id: {"a":1}\n\nid: a:b\n\n', [UNSAFE + ".*0x7b"]),
    (b"id: a\x7f\n\n", [UNSAFE + ".*0x7f"]),
    (b"id: a\x01\n\n", [UNSAFE + ".*0x01"]),
    (b"data: a\n\n\xef\xbb\xbfdata: b\n\n\xef\xbb\xbfdata: c\n\n", [BOM]),
    (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", [BOM]),
    (b"data: \xff\n\ndata: \xfe\n\n", ["0xff is " + UTF8]),
    (b"data: \xe2\x82\n\n", [UTF8]),
    (b"data: a\n\n: \xe2\x82", [UTF8]),
    (b"dta: a\n\ndta: b\n\n", ["'dta' is no field.*is 'data' meant"]),
    (b"Data: a\n\n", ["'Data' is no field.*is 'data' meant"]),
    (b" data: a\n\n", ["' data' is no field.*is 'data' meant"]),
    (b"evnt: a\nretyr: 1\nidd: 1\n\n", ["'event' meant", "'retry' meant", "'id' meant"]),
    (b'{"a": 1}\n\n', ["is no field.*begin each line of text with 'data: '"]),
    (b"retry: 1.5\n\nretry: -1\n\n", [RETRY + r".*b'1\.5'"]),
    (b"retry:\n\n", [RETRY]),
    (gzip.compress(b"data: a\n\n", mtime=0), ["begins like gzip.*Content-Encoding: gzip"]),
    (b"\x28\xb5\x2f\xfd\x04\x00I", ["begins like zstd.*Content-Encoding: zstd"]),
    (b"\x1f\x8b", ["begins like gzip"]),
    (b"dta: \xff\nretry: x\nid: \0\ndata: a", [UTF8, "'dta'", RETRY, NUL, END]),
]


@pytest.mark.parametrize(("body", "expected"), FAULTS, ids=lambda value: repr(value)[:40])
def test_each_fault_is_named_once_with_its_remedy(body: bytes, expected: list[str]) -> None:
    for chunks in cuts(body):
        found = lint(chunks)
        assert len(found) == len(expected), found
        for pattern in expected:
            matching = [fault for fault in found if re.search(pattern, fault)]
            assert len(matching) == 1, (pattern, found)


CLEAN = [
    b"",
    b"\n",
    b": ping\n",
    b": ping",
    b": ping\n\n",
    b"data: a\n\n",
    b"data: a\r\n\r\n",
    b"data: a\r\r",
    b"\xef\xbb\xbfdata: a\n\n",
    b"data:a\ndata\nid:1\nretry:5\nevent\n\n",
    b"retry: 5\n",
    b"id: " + b"x" * 128 + b"\n\n",
    b"id\n\n",
    "id: é-1_2.3~/=+;,\t !#$%&'*^`|\n\n".encode(),
    "data: \ufeff\0\x1f\u2028 dta: x id: \0\n\n".encode(),
    b"data: " + b"x" * 10_000 + b":\n\n",
    b": \0 comment: \x1f\n\n",
]


@pytest.mark.parametrize("body", CLEAN, ids=lambda value: repr(value)[:40])
def test_a_clean_stream_has_no_fault(body: bytes) -> None:
    for chunks in cuts(body):
        assert lint(chunks) == []


safe_id = st.text("abc-_.0123456789", max_size=128)
name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))
text = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n\ufeff\0:"))


@given(st.lists(st.builds(ServerSentEvent[str], text, event=st.none() | name, id=st.none() | safe_id,
                          retry=st.none() | st.integers(0, 10**6), comment=st.none() | text)), places)  # fmt: skip
def test_what_our_encoder_writes_is_clean(events: list[ServerSentEvent[str]], where: list[int]) -> None:
    wire = b"".join(event.encode() for event in events)
    assert lint([wire]) == lint(cut(wire, where)) == []


@given(stream_bytes, places)
def test_any_bytes_have_the_same_faults_however_they_are_cut(body: bytes, where: list[int]) -> None:
    whole = sorted(lint([body]))
    assert sorted(lint(cut(body, where))) == sorted(lint(singly(body))) == whole
    assert len(set(whole)) == len(whole)


def _footprint(linter: Linter) -> int:
    values: list[Any] = list(vars(linter).values())
    values += [fault for kept in (vars(linter)["_seen"], vars(linter)["_found"]) for fault in kept]
    return sum(map(sys.getsizeof, values))


@pytest.mark.parametrize(
    "chunk",
    [
        b"x" * 1000,
        b"id: " + b"x" * 1000,
        b"data: x\n",
        b"\n",
        b"\r",
        b"\xff",
        b"id: \x01\n\n",
        b"\x1f\x8b",
    ],
    ids=lambda value: repr(value)[:12],
)
def test_memory_is_bounded_on_endless_input(chunk: bytes) -> None:
    linter = Linter()
    for _ in range(3000):
        linter.feed(chunk)
    assert _footprint(linter) < 8_000


def test_memory_is_bounded_on_endless_names_and_values() -> None:
    linter = Linter()
    found = [fault for n in range(3000) for fault in linter.feed(b"name%d: x\nretry: x%d\nid: (%d\n" % (n, n, n))]
    assert len(found) == 8 + 2
    assert _footprint(linter) < 12_000


@pytest.mark.parametrize(
    ("headers", "codings"),
    [
        ([], None),
        ([(b"content-encoding", b"gzip")], None),
        ([(b"content-encoding", b"identity, gzip")], None),
        ([(b"content-encoding", b"")], None),
        ([(b"content-type", b"gzip, br")], None),
        ([(b"Content-Encoding", b"gzip"), (b"content-encoding", b"GZIP")], "gzip, gzip"),
        ([(b"content-encoding", b"gzip ,br")], "gzip, br"),
        ([(b"content-encoding", b"gzip,\xff")], "gzip, ÿ"),
    ],
)
def test_double_compression_is_named(headers: list[tuple[bytes, bytes]], codings: str | None) -> None:
    found = lint_headers(headers)
    if codings is None:
        assert found == []
    else:
        (fault,) = found
        assert f"(Content-Encoding: {codings})" in fault
        assert "leave one" in fault
