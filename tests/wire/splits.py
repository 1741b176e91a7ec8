"""Cutting bytes at every place, for the tests that say that it makes no difference."""

from hypothesis import strategies as st

# Bytes that mean something to a parser come up often enough to meet each other.
stream_bytes = st.lists(
    st.sampled_from(
        [b"data", b"data: ", b"event:", b"event: x", b"id: ", b"id:1", b"retry:", b"retry: 12", b":", b" ", b"\n",
         b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\xef\xbb\xbf", b"\xef", b"\xbb", "é€😀".encode(), b"a", b"7"]
    )
    | st.binary(max_size=3),
    max_size=24,
).map(b"".join)  # fmt: skip


def cuts(wire: bytes) -> list[list[bytes]]:
    """The bytes whole, one by one, and in two parts at every place (of very many bytes, at every few)."""
    halves = [[wire[:at], wire[at:]] for at in range(1, len(wire), 1 + len(wire) // 300)]
    return [[wire], singly(wire), *halves]


def singly(wire: bytes) -> list[bytes]:
    return [wire[at : at + 1] for at in range(len(wire))]


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    """The bytes cut at some places, which may be equal: a chunk may be empty."""
    edges = sorted(place % (len(wire) + 1) for place in places)
    return [wire[start:end] for start, end in zip([0, *edges], [*edges, len(wire)], strict=True)]


places = st.lists(st.integers(min_value=0, max_value=500), max_size=12)
