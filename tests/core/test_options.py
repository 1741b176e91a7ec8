"""Every option is checked where it enters, and the message says which, what and what instead."""

from math import inf, nan
from typing import Any

import pytest

from sse_mw import InvalidOption, ServerSentEvent, SSEMiddleware
from support.driver import chunks_app

DURATIONS = ["ping_interval", "send_timeout", "idle_timeout", "max_duration", "cleanup_timeout"]


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [0, -1, 0.0, nan, inf, -inf, True, False, "15", [], 2e9])
def test_a_duration_that_is_none_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidOption) as caught:
        SSEMiddleware(chunks_app(), **{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}=")
    assert "seconds above 0" in message
    assert ("None to switch it off" in message) == (name != "cleanup_timeout")


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [0.001, 1, 10**6, None])
def test_a_duration_is_taken(name: str, value: Any) -> None:
    options = {name: value}
    if options == {"cleanup_timeout": None}:
        with pytest.raises(InvalidOption, match="cleanup_timeout=None"):
            SSEMiddleware(chunks_app(), **options)
    else:
        SSEMiddleware(chunks_app(), **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry", -1), ("retry", True), ("retry", 1.5), ("retry", "3000"), ("retry", 2**63),
        ("padding", -1), ("padding", True), ("padding", None), ("padding", 65537),
        ("on_open", 3), ("on_close", "f"), ("on_error", []), ("debug", 1), ("debug", None),
        ("ping_event", 3), ("ping_event", ""), ("ping_event", "a\nb"), ("ping_event", b""), ("ping_event", b"data: x"),
        ("ping_event", b"data: x\n"), ("ping_event", b"id: 1\n\n"), ("ping_event", {"id": "1"}),
        ("ping_event", {"nonsense": "1"}), ("ping_event", ServerSentEvent("x", id="7")),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=f"^{name}="):
        SSEMiddleware(chunks_app(), **{name: value})


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="ping_intervall"):
        SSEMiddleware(chunks_app(), ping_intervall=3)  # type: ignore[call-arg]


async def ping_later() -> str:
    return "ping"


def test_a_ping_that_would_have_to_be_awaited_is_refused_by_name() -> None:
    with pytest.raises(InvalidOption, match=r"^ping_event="):
        SSEMiddleware(chunks_app(), ping_event=ping_later)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
