"""Every setting of the middleware, checked once, where it enters.

Durations are seconds. `None` switches a limit off; 0 does not, since nobody can tell whether it was meant as
"at once" or as "never".
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any, Literal, TypeAlias, cast, get_args

from ._event import ServerSentEvent, encode_item
from ._stats import StreamInfo
from ._wire import Decoder
from .exceptions import InvalidEvent, InvalidOption

FrameMode: TypeAlias = Literal["lines", "chunks"]
FrameRules: TypeAlias = Mapping[str, FrameMode | Mapping[str, FrameMode]]
StaticPing: TypeAlias = str | bytes | ServerSentEvent[Any] | Mapping[str, Any]
PingEvent: TypeAlias = StaticPing | Callable[[], StaticPing]
Hook: TypeAlias = Callable[[StreamInfo], object]
ErrorHook: TypeAlias = Callable[[Exception], object]

LONGEST = 1e9
"""Seconds; an age, and still exact when it is added to a clock."""
COMMENT_PING = b": ping\n\n"


class Verbatim(bytes):
    """A ping that is not looked into, with LF line ends: whoever makes it answers for it."""


@dataclass(frozen=True, slots=True)
class FrameRule:
    """Which responses become event streams, and how. `None` matches everything."""

    mode: FrameMode
    path: re.Pattern[str] | None
    media_type: re.Pattern[str] | None

    @property
    def asks(self) -> bool:
        """A rule by type negotiates: the client must accept an event stream. A rule by path alone decides."""
        return self.media_type is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The checked settings; see `SSEMiddleware` for what each one means."""

    ping_interval: float | None = 15.0
    ping_event: PingEvent | None = None
    padding: int = 0
    send_timeout: float | None = 30.0
    idle_timeout: float | None = None
    max_duration: float | None = None
    open_timeout: float | None = 0.1
    cleanup_timeout: float = 30.0
    drain_grace: float = 5.0
    max_threads: int = 256
    retry: int | None = None
    coalesce: bool = True
    frame: FrameRules | None = None
    on_open: Hook | None = None
    on_close: Hook | None = None
    on_error: ErrorHook | None = None
    debug: bool = False
    ping: bytes | None = field(init=False)
    """One ping, encoded; `None` if `ping_event` is a function, which is asked each time."""
    rules: tuple[FrameRule, ...] = field(init=False)
    """The `frame` option, compiled."""

    def __post_init__(self) -> None:
        for name in ("ping_interval", "send_timeout", "idle_timeout", "max_duration", "open_timeout"):
            _check_seconds(name, getattr(self, name), remedy="or None to switch it off")
        _check_seconds("cleanup_timeout", self.cleanup_timeout, optional=False, remedy="30.0 by default")
        if self.drain_grace != 0 or isinstance(self.drain_grace, bool):
            _check_seconds("drain_grace", self.drain_grace, optional=False, remedy="or 0 for none")
        _check_count("max_threads", self.max_threads, "threads", minimum=1)
        _check_count("padding", self.padding, "bytes", maximum=65536)
        if self.retry is not None:
            _check_count("retry", self.retry, "milliseconds, or None to leave it to the client")
        for name in ("on_open", "on_close", "on_error"):
            _check_callable(name, getattr(self, name))
        _check_bool("coalesce", self.coalesce)
        _check_bool("debug", self.debug)
        if inspect.iscoroutinefunction(self.ping_event):
            raise _refused("ping_event", self.ping_event, "a plain function: a ping is not waited for")
        ping = None if callable(self.ping_event) else ping_bytes(self.ping_event, self.padding)
        object.__setattr__(self, "ping", ping)
        object.__setattr__(self, "rules", compile_rules(self.frame))


def check_frame_mode(mode: object) -> None:
    """Whether `@sse_route(frame=...)` can be meant."""
    if mode is not None and mode not in get_args(FrameMode):
        raise _refused("frame", mode, '"lines" or "chunks" for a route; media types and paths are for the middleware')


def _refused(name: str, value: object, wanted: str) -> InvalidOption:
    return InvalidOption(f"{name}={value!r:.80} cannot be meant: give {wanted}")


def _check_seconds(name: str, value: object, *, optional: bool = True, remedy: str) -> None:
    if value is None and optional:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= LONGEST:
        raise _refused(name, value, f"a number of seconds above 0 and up to {LONGEST:.0e}, {remedy}")


def _check_count(name: str, value: object, unit: str, minimum: int = 0, maximum: int = 2**63 - 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise _refused(name, value, f"a whole number from {minimum} to {maximum} of {unit}")


def _check_bool(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise _refused(name, value, "True or False")


def _check_callable(name: str, value: object) -> None:
    if value is not None and not callable(value):
        raise _refused(name, value, "a function, or None")


def ping_bytes(ping: StaticPing | None, padding: int) -> bytes:
    """The bytes of one ping, with LF line ends.

    Raises:
        InvalidOption: the ping has an id (it would move the client's cursor), leaves an event unfinished
            (it would melt into the app's next one), or cannot be encoded.
    """
    if ping is None:
        encoded = COMMENT_PING
    elif type(ping) is Verbatim:
        encoded = ping
    elif isinstance(ping, str) and ping:
        encoded = _encode_ping({"event": ping, "data": ""})
    elif isinstance(ping, bytes | ServerSentEvent | Mapping):
        encoded = _encode_ping(ping)
    else:
        raise _refused("ping_event", ping, _PING_FORMS)
    return pad(padding) + encoded


_PING_FORMS = "an event's name, a ServerSentEvent, a mapping, complete bytes, or a function that returns one"


def _encode_ping(ping: object) -> bytes:
    try:
        encoded = encode_item(ping)
    except InvalidEvent as error:
        raise InvalidOption(f"ping_event={ping!r:.80} cannot be sent: {error}") from error
    reader = Decoder()
    reader.feed(b"id: unmoved\n\n")
    reader.feed(encoded)
    if not encoded.endswith((b"\n", b"\r")) or reader.pending:
        raise _refused("ping_event", ping, "bytes that end with a line end, and events with a blank line")
    if reader.last_event_id != "unmoved":
        raise _refused("ping_event", ping, "a ping without an id, which would move the client's cursor")
    return encoded.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # the stream's own are put in when it is sent


def pad(size: int) -> bytes:
    """A comment line of `size` bytes: proxies and virus scanners that hold small writes let it go."""
    return b":" + b" " * (size - 2) + b"\n" if size > 1 else b""


def compile_rules(frame: FrameRules | None) -> tuple[FrameRule, ...]:
    """The `frame` option as rules, in the order given: the first that matches a response decides."""
    if frame is None:
        return ()
    if not isinstance(frame, Mapping):
        raise _refused("frame", frame, 'a mapping such as {"application/x-ndjson": "lines"}')
    return tuple(rule for key, value in frame.items() for rule in _compile_entry(key, value))


def _compile_entry(key: object, value: Any) -> list[FrameRule]:
    if not isinstance(key, str) or "/" not in key:
        raise _refused("frame", key, "keys that are media types (text/plain) or path patterns (/legacy/*)")
    if not key.startswith("/"):
        return [FrameRule(_mode(key, value), None, _media_type(key))]
    path = re.compile(translate(key))
    if isinstance(value, Mapping):
        by_type = cast(Mapping[object, object], value)
        if not by_type:
            raise _refused(f"frame[{key!r}]", by_type, "at least one media type, or a mode")
        return [FrameRule(_mode(key, mode), path, _media_type(name)) for name, mode in by_type.items()]
    return [FrameRule(_mode(key, value), path, None)]


def _mode(key: str, value: object) -> FrameMode:
    if value not in get_args(FrameMode):
        raise _refused(f"frame[{key!r}]", value, '"lines" or "chunks"')
    return value  # type: ignore[return-value]


def _media_type(name: object) -> re.Pattern[str]:
    if not isinstance(name, str) or not re.fullmatch(r"[^/;\s]+/[^/;\s]+", name):
        raise _refused("frame", name, "media types without parameters, such as application/x-ndjson")
    if name.lower() == "text/event-stream":
        raise _refused("frame", name, "types that are not event streams yet: these are supervised as they are")
    return re.compile(translate(name.lower()))
