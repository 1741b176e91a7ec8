"""The ASGI vocabulary: https://asgi.readthedocs.io/en/latest/specs/main.html."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# Frameworks have types of their own for these, which no checker takes for ours.
ASGIApp = Callable[[Any, Any, Any], Awaitable[Any]]
Headers = list[tuple[bytes, bytes]]
