"""What a response is, and with which headers it goes out: a pure function of the request and the response's head."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ._framing import Framer, make_framer
from ._options import FrameMode, FrameRule
from ._types import Headers, Message, Scope

EVENT_STREAM = b"text/event-stream"
CONTENT_TYPE = (b"content-type", b"text/event-stream; charset=utf-8")
CACHE_CONTROL = (b"cache-control", b"no-cache, no-transform")
NO_PROXY_BUFFER = (b"x-accel-buffering", b"no")
VARY_ACCEPT = (b"vary", b"accept")

BODILESS = frozenset({204, 205, 304})
UNSTREAMABLE = BODILESS | {206}

DROPPED = frozenset({
    # Wrong as soon as anything of ours is in the body.
    b"content-length", b"etag",
    # Of one connection (RFC 9110, 7.6.1), so for the server to say; HTTP/2 forbids them.
    b"connection", b"proxy-connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade",
})  # fmt: skip


class Mode(Enum):
    """The ways in which a response is handled."""

    PASS = "pass"
    SUPERVISE = "supervise"
    FRAME = "frame"
    SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Mark:
    """What `@sse_route` has said about the response of the endpoint that was called."""

    frame: FrameMode | None = None
    """How to turn the response's body into events."""
    has_source: bool = False
    """The endpoint gave a source: the body is to be its events, whatever the framework makes of the placeholder."""
    status: int | None = None
    """The status of the source's own response, which says by itself of what type it is; `None` for a placeholder."""
    content_type: bytes = b""
    """That type. A response of another type is not the source's: something has answered in its place."""
    line_end: bytes = b"\n"
    """What the source's events end their lines with."""


@dataclass(slots=True)
class Plan:
    """What to do with a response."""

    mode: Mode
    start: Message
    """The `http.response.start` to send."""
    pings: bool = True
    """Whether anything of ours may go into the body; not into one that something inside has compressed."""
    framer: Framer | None = None
    """Turns the body into events; for `FRAME`."""
    line_end: bytes = b"\n"
    """What the events end their lines with, as far as it is known."""


def passes(start: Message, rules: tuple[FrameRule, ...]) -> bool:
    """Whether a response that no endpoint has marked certainly passes as it is: at a glance, as most responses do."""
    headers: Headers | None = start.get("headers")
    if rules or type(headers) is not list:
        return False
    for name, value in headers:
        if name == b"content-type":
            beginning = bytes(value[:6]).lower()
            return not (beginning == b"text/e" or beginning[:1].isspace())
    return False


def negotiate(scope: Scope, start: Message, rules: tuple[FrameRule, ...], mark: Mark | None = None) -> Plan:
    """Decide by the endpoint's mark first, then by the response's content type, then by the `frame` option's rules.

    A mark is of no account where the framework answers with something else in the end: an error, a redirect, a 304.
    """
    given = start.get("headers", ())
    # Some apps send a one-shot iterator (Sanic): it is read once, and a list goes on in its place.
    headers: Headers = given if type(given) in (list, tuple) else list(given)
    content_type = _find(headers, b"content-type")
    media_type = content_type.partition(b";")[0].strip().lower()
    streamable = 200 <= start["status"] < 300 and start["status"] not in UNSTREAMABLE
    if mark is not None and mark.has_source and _is_own(mark, start["status"], content_type, streamable=streamable):
        return Plan(Mode.SOURCE, _with_headers(start, _source_headers(headers, mark)), line_end=mark.line_end)
    if media_type == EVENT_STREAM and start["status"] not in BODILESS:
        return Plan(Mode.SUPERVISE, _with_headers(start, _stream_headers(headers)), pings=not is_coded(headers))
    if mark is not None and mark.frame is not None and streamable and not is_coded(headers):
        return _framed(start, headers, content_type.decode("latin-1"), mark.frame)
    if rules and streamable:
        framed = _negotiate_frame(scope, start, headers, content_type.decode("latin-1"), rules)
        if framed is not None:
            return framed
    return Plan(Mode.PASS, start if headers is given else _with_headers(start, headers))


def refusal(scope: Scope, retry: int) -> Message:
    """What answers for a stream that is not to be opened; `retry` is milliseconds.

    An `EventSource` comes back after a 200, and gives up for good on any other status (WHATWG HTML, 9.2.3).
    """
    if accepts_event_stream(scope["headers"]):
        return {"type": "http.response.start", "status": 200, "headers": _stream_headers([CONTENT_TYPE])}
    seconds = max(1, round(retry / 1000))
    headers = [(b"content-length", b"0"), (b"retry-after", b"%d" % seconds)]
    return {"type": "http.response.start", "status": 503, "headers": headers}


def _negotiate_frame(
    scope: Scope, start: Message, headers: Headers, content_type: str, rules: tuple[FrameRule, ...]
) -> Plan | None:
    """By the first rule that matches the response, and the request where the rule is for clients that ask."""
    media_type = content_type.partition(";")[0].strip().lower()
    matching = [rule for rule in rules if _matches(rule, scope["path"], media_type)]
    if not matching or is_coded(headers):
        return None
    # A cache must not give one client the answer of another that asked for something else.
    varied = _vary(headers) if any(rule.asks for rule in matching) else headers
    asked = accepts_event_stream(scope["headers"])
    rule = next((rule for rule in matching if asked or not rule.asks), None)
    if rule is None:
        return Plan(Mode.PASS, _with_headers(start, varied))
    return _framed(start, varied, content_type, rule.mode)


def _framed(start: Message, headers: Headers, content_type: str, mode: FrameMode) -> Plan:
    framed = [CONTENT_TYPE, *_without(headers, b"content-type")]
    return Plan(Mode.FRAME, _with_headers(start, _stream_headers(framed)), framer=make_framer(mode, content_type))


def _is_own(mark: Mark, status: int, content_type: bytes, *, streamable: bool) -> bool:
    """Whether a response is the source's own, and nothing that a framework or a middleware has put in its place."""
    if mark.status is None:
        return streamable
    return content_type == mark.content_type and (streamable or (status == mark.status and status not in BODILESS))


def _source_headers(headers: Headers, mark: Mark) -> Headers:
    """What the framework says of its placeholder's type and coding is not true of the events."""
    if mark.status is not None:
        return _stream_headers(_without(headers, b"content-encoding"))
    return _stream_headers([CONTENT_TYPE, *_without(headers, b"content-type", b"content-encoding")])


def _without(headers: Headers, *names: bytes) -> Headers:
    return [pair for pair in headers if bytes(pair[0]).lower() not in names]


def _matches(rule: FrameRule, path: str, media_type: str) -> bool:
    return (rule.path is None or rule.path.match(path) is not None) and (
        rule.media_type is None or rule.media_type.match(media_type) is not None
    )


def accepts_event_stream(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request names `text/event-stream` in `Accept` itself: `*/*` asks for nothing (RFC 9110, 12.5.1)."""
    for name, value in headers:
        if name.lower() != b"accept" or EVENT_STREAM not in value.lower():
            continue
        for media_range in value.lower().split(b","):
            media_type, *parameters = (part.strip() for part in media_range.split(b";"))
            if media_type == EVENT_STREAM and not any(_is_zero_weight(part) for part in parameters):
                return True
    return False


def _is_zero_weight(parameter: bytes) -> bool:
    name, _, value = parameter.partition(b"=")
    return name.strip() == b"q" and value.strip(b" 0") in (b"", b".")


def _find(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    size = len(wanted)
    for name, value in headers:
        if len(name) == size and bytes(name).lower() == wanted:
            return bytes(value)
    return b""


def is_coded(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a response's body is compressed."""
    codings = [bytes(value).strip().lower() for name, value in headers if bytes(name).lower() == b"content-encoding"]
    return any(coding not in (b"", b"identity") for coding in codings)


def _stream_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The app's headers in their order, less what a stream must not have; defaults last, where it said nothing."""
    by_name = [(bytes(pair[0]).lower(), pair) for pair in headers]
    names = {name for name, _ in by_name}
    dropped = DROPPED
    if b"connection" in names:
        connection = _find(headers, b"connection").lower().split(b",")
        dropped = DROPPED.union(name.strip() for name in connection)
    kept = [pair for name, pair in by_name if name not in dropped]
    names -= dropped
    return kept + [default for default in (CACHE_CONTROL, NO_PROXY_BUFFER) if default[0] not in names]


def _vary(headers: Headers) -> Headers:
    varied = b",".join(value.lower() for name, value in headers if name.lower() == b"vary")
    if {b"accept", b"*"} & {name.strip() for name in varied.split(b",")}:
        return headers
    return [*headers, VARY_ACCEPT]


def _with_headers(start: Message, headers: Headers) -> dict[str, Any]:
    return {**start, "headers": headers}
