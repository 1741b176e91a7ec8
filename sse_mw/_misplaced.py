"""`@sse_route` above the framework's own decorator: the framework then calls the bare generator function.

Where the router says which function it has called (Starlette, FastAPI), that can be told.
"""

import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from ._types import Message, Scope
from .exceptions import InvalidSource

logger = logging.getLogger("sse_mw")

_bare: WeakSet[Callable[..., Any]] = WeakSet()
"""Generator functions that stand under `@sse_route`. What is registered has to be what the decorator returned."""


_wrappers: WeakSet[Callable[..., Any]] = WeakSet()
"""What the decorator has returned, for the framework to call."""


def note_wrapper(function: Callable[..., Any]) -> None:
    """Remember what stands in the place of a decorated function."""
    _wrappers.add(function)


def note_bare(function: Callable[..., Any]) -> None:
    """Remember a generator function that has been decorated."""
    _bare.add(function)


def check(scope: Scope, start: Message) -> None:
    """Look whether a response that no decorated endpoint was called for is of a function that is decorated.

    Raises:
        InvalidSource: It is, and the framework has made a response of it that is no error.
    """
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return
    if start["status"] < 400 and _is_event_stream(start) and _is_in(_wrappers, endpoint):
        # FastAPI iterates what an endpoint of that class gives, whatever it is.
        raise InvalidSource(
            f"{endpoint.__qualname__} stands under @sse_route, but the framework has made an event stream of it by "
            "itself: leave response_class=EventSourceResponse out, or leave @sse_route out"
        )
    if not _is_in(_bare, endpoint):
        return
    fault = (
        f"{endpoint.__qualname__} stands under @sse_route, but the framework calls the function itself: put @sse_route "
        "below the framework's decorator, next to the function (if both are meant, register two functions)"
    )
    if start["status"] < 400:
        raise InvalidSource(fault)
    logger.error("%s.", fault)


def _is_event_stream(start: Message) -> bool:
    types = (value for name, value in start.get("headers", ()) if name.lower() == b"content-type")
    return any(value.lower().startswith(b"text/event-stream") for value in types)


def _is_in(functions: "WeakSet[Callable[..., Any]]", endpoint: Any) -> bool:
    try:
        return endpoint in functions
    except TypeError:  # no weak reference, no hash
        return False
