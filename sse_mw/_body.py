"""What becomes of the app's body on its way: framed, checked, or left as it is but for a BOM that comes too late."""

import logging

from ._framing import Framer
from ._lint import Linter

logger = logging.getLogger("sse_mw")

BOM = b"\xef\xbb\xbf"


class BodyFilter:
    """Sees the chunks of one response's body in their order, until it is `transparent`."""

    __slots__ = ("_begun", "_framer", "_held", "_linter", "opened")

    def __init__(self, framer: Framer | None, linter: Linter | None, *, coded: bool) -> None:
        self._framer = framer
        self._linter = linter
        # Nothing is taken from the start of what something inside has compressed.
        self._begun = coded
        self._held = b""
        self.opened = False
        """Something of ours has been sent before the app's first byte."""

    @property
    def transparent(self) -> bool:
        """Nothing that is still to come will be looked at."""
        return self._begun and self._framer is None and self._linter is None

    @property
    def frames(self) -> bool:
        """The body is no event stream by itself."""
        return self._framer is not None

    @property
    def holds(self) -> bool:
        """The start of what may be a BOM has not been sent yet."""
        return bool(self._held)

    def feed(self, body: bytes, *, more: bool) -> bytes:
        """What is to be sent for a chunk: the same object if nothing is to be changed; maybe nothing yet.

        Raises:
            TypeError: it would have to be looked into, but is no bytes.
        """
        reads = self._framer is not None or self._linter is not None or (self.opened and not self._begun)
        if not reads:
            self._begun = self._begun or bool(body)
            return body
        if not isinstance(body, bytes | bytearray | memoryview):
            raise TypeError(f"http.response.body: body is {type(body).__name__}, and has to be bytes; encode it")
        if self._linter is not None:
            for fault in self._linter.feed(bytes(body)) + ([] if more else self._linter.finish()):
                logger.warning("Event stream fault: %s", fault)
        if self._framer is not None:
            return self._framer.feed(bytes(body)) + (b"" if more else self._framer.finish())
        return body if self._begun or not self.opened else self._without_bom(bytes(body), more)

    def _without_bom(self, body: bytes, more: bool) -> bytes:
        """After an opening comment a BOM is no longer first, and would spoil the first field's name."""
        start = self._held + body
        self._held = b""
        if more and len(start) < len(BOM) and BOM.startswith(start):
            self._held = start
            return b""
        self._begun = True
        return start.removeprefix(BOM)
