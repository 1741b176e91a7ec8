"""Decoding: the table, every split, an oracle written straight from the standard, and the way there and back."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_mw._event import ServerSentEvent
from sse_mw._wire import DecodedEvent, Decoder
from wire.cases import CASES, Case
from wire.splits import cut, cuts, places, singly, stream_bytes


@dataclass
class Outcome:
    events: Sequence[tuple[str, str, str]]
    last_event_id: str
    retry: int | None


def decode(chunks: list[bytes]) -> Outcome:
    decoder = Decoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return Outcome([(event.event, event.data, event.id) for event in events], decoder.last_event_id, decoder.retry)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_stream_means_what_the_table_says_however_it_is_cut(case: Case) -> None:
    expected = Outcome([*case.events], case.last_event_id, case.retry)
    for chunks in cuts(case.wire):
        assert decode(chunks) == expected


def oracle(stream: bytes) -> Outcome:
    """Section 9.2.6 word by word, on the whole stream at once; slow, and knows nothing of chunks."""
    text = stream.decode("utf-8", "replace")
    text = text.removeprefix("\ufeff")
    events: list[tuple[str, str, str]] = []
    data = event_type = last_id_buffer = last_id = ""
    reconnection_time = None
    # What follows the last line end is no line: the end of the file has no meaning of a line end.
    for line in re.split("\r\n|\n|\r", text)[:-1]:
        if line == "":
            last_id = last_id_buffer
            if data == "":
                event_type = ""
                continue
            data = data.removesuffix("\n")
            events.append((event_type if event_type != "" else "message", data, last_id))
            data = event_type = ""
            continue
        if line.startswith(":"):
            continue
        if ":" in line:
            at = line.index(":")
            name, value = line[:at], line[at + 1 :]
            value = value.removeprefix(" ")
        else:
            name, value = line, ""
        if name == "event":
            event_type = value
        elif name == "data":
            data += value
            data += "\n"
        elif name == "id" and "\0" not in value:
            last_id_buffer = value
        elif name == "retry" and value != "" and all(character in "0123456789" for character in value):
            reconnection_time = min(int(value), 2**63 - 1)
    return Outcome(events, last_id, reconnection_time)


@given(stream_bytes, places)
def test_any_bytes_mean_what_the_standard_says_however_they_are_cut(stream: bytes, where: list[int]) -> None:
    expected = oracle(stream)
    assert decode(cut(stream, where)) == expected
    assert decode(singly(stream)) == expected


# "\r" in data is legal; what arrives is "\n".
name_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))
free_text = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n\0: \ufeff\u2028\x85"))
legal_fields = st.fixed_dictionaries(
    {},
    optional={
        "data": free_text,
        "event": name_text,
        "id": name_text,
        "retry": st.integers(min_value=0, max_value=2**63 - 1),
        "comment": free_text,
    },
)


@given(st.lists(legal_fields, max_size=4), places)
def test_every_legal_event_comes_back_as_it_was(sent: list[dict[str, Any]], where: list[int]) -> None:
    wire = b"".join(ServerSentEvent(**fields).encode() for fields in sent)
    events: list[tuple[str, str, str]] = []
    expected = Outcome(events, "", None)
    comments: list[str] = []
    for fields in sent:
        expected.last_event_id = fields.get("id", expected.last_event_id)
        expected.retry = fields.get("retry", expected.retry)
        if "data" in fields:
            events.append((fields.get("event") or "message", _lf(fields["data"]), expected.last_event_id))
        comments += _lf(fields["comment"]).split("\n") if "comment" in fields else []
    assert decode([wire]) == decode(singly(wire)) == decode(cut(wire, where)) == expected
    seen: list[str] = []
    Decoder(seen.append).feed(wire)
    assert seen == comments


def _lf(text: str) -> str:
    return re.sub("\r\n|\r", "\n", text)


@given(legal_fields)
def test_a_short_event_survives_every_cut_in_two(fields: dict[str, Any]) -> None:
    wire = ServerSentEvent(**fields).encode()[-200:]
    expected = decode([wire])
    for chunks in cuts(wire):
        assert decode(chunks) == expected


def test_pending_tells_what_the_next_blank_line_would_do() -> None:
    decoder = Decoder()
    for chunk, pending, at_boundary in [
        (b"", False, True),
        (b": comment\n", False, False),
        (b"retry: 1\n", False, False),
        (b"\n", False, True),
        (b"data", False, False),
        (b": a\n", True, False),
        (b"\r", False, True),
        (b"\n", False, True),
        (b"event: x\n", True, False),
        (b"\n", False, True),
        (b"id: 1\n", True, False),
        (b"\n", False, True),
        (b"id: 1\n", False, False),
    ]:
        decoder.feed(chunk)
        assert (decoder.pending, decoder.at_boundary) == (pending, at_boundary), chunk


def test_an_event_is_dispatched_at_the_cr_that_ends_it() -> None:
    decoder = Decoder()
    assert decoder.feed(b"data: a\r\r") == [DecodedEvent("message", "a", "")]
    assert decoder.feed(b"\ndata: b\r\n\r") == [DecodedEvent("message", "b", "")]


def test_an_id_counts_from_the_blank_line_on() -> None:
    decoder = Decoder()
    decoder.feed(b"id: 1\ndata: a\n")
    assert decoder.last_event_id == ""
    decoder.feed(b"\n")
    assert decoder.last_event_id == "1"


def test_a_decoded_event_is_frozen_and_shown() -> None:
    event = DecodedEvent(data="a")
    assert repr(event) == "DecodedEvent(event='message', data='a', id='')"
    with pytest.raises(FrozenInstanceError):
        event.data = "b"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    assert repr(Decoder()) == "<Decoder last_event_id='' pending=False>"


def _seconds(chunks: list[bytes]) -> float:
    fastest = float("inf")
    for _ in range(3):
        decoder = Decoder()
        start = time.process_time()
        for chunk in chunks:
            decoder.feed(chunk)
        fastest = min(fastest, time.process_time() - start)
    return fastest


def long_line(size: int) -> list[bytes]:
    return singly(b"data: " + b"x" * size)


def long_event(size: int) -> list[bytes]:
    return singly(b"data: x\n" * (size // 8))


def long_line_in_chunks(size: int) -> list[bytes]:
    return [b"x" * 1000] * (size // 10)


def blank_lines(size: int) -> list[bytes]:
    return [b"\n" * size * 4]


def many_digits(size: int) -> list[bytes]:
    return [b"retry: " + b"9" * size * 100 + b"\n"]


@pytest.mark.parametrize("make", [long_line, long_event, long_line_in_chunks, blank_lines, many_digits])
def test_time_is_linear_in_the_bytes(make: Callable[[int], list[bytes]]) -> None:
    # Quadratic time would make it 64 times; the slack is for a busy machine.
    assert _seconds(make(80_000)) < 30 * _seconds(make(10_000)) + 0.02
