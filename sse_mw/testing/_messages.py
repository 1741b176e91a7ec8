"""What an app may send as a response, checked as servers do."""

from typing import Any

from .._types import Message
from ._errors import UnexpectedMessage

START = "http.response.start"
BODY = "http.response.body"
PATHSEND = "http.response.pathsend"
IGNORED = {f"http.response.{kind}" for kind in ("trailers", "debug", "push", "early_hint", "early_hints")}
"""Messages that a client of event streams sees nothing of."""


def checked_body(name: str, message: Message) -> Message:
    """A part of the body, as bytes.

    Raises:
        UnexpectedMessage: It is none.
    """
    body: Any = message.get("body", b"")
    if not issubclass(type(body), (bytes, bytearray, memoryview)):
        raise UnexpectedMessage(f"{name}: the body {body!r:.80} is not bytes, as ASGI has it")
    return {**message, "body": bytes(body)}


def checked_head(name: str, message: Message) -> Message:
    """The head, whose headers may be looked at again.

    Raises:
        UnexpectedMessage: It is none.
    """
    given: Any = message.get("headers") or ()
    status, headers = message.get("status"), [*given]
    if not isinstance(status, int):
        raise UnexpectedMessage(f"{name}: the status {status!r:.80} is no whole number")
    for pair in headers:
        if not all(isinstance(part, bytes) for part in pair):
            raise UnexpectedMessage(f"{name}: the header {pair!r:.80} is not a pair of bytes, as ASGI has it")
    return {**message, "headers": headers}
