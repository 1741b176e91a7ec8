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


def note_bare(function: Callable[..., Any]) -> None:
    """Remember a generator function that has been decorated."""
    _bare.add(function)


def check(scope: Scope, start: Message) -> None:
    """Look whether a response that no decorated endpoint was called for is of a function that is decorated.

    Raises:
        InvalidSource: It is, and the framework has made a response of the generator that is no error.
    """
    endpoint = scope.get("endpoint")
    if endpoint is None or not _bare or not _is_bare(endpoint):
        return
    fault = (
        f"{endpoint.__qualname__} stands under @sse_route, but the framework calls the function itself: put @sse_route "
        "below the framework's decorator, next to the function (if both are meant, register two functions)"
    )
    if start["status"] < 400:
        raise InvalidSource(fault)
    logger.error("%s.", fault)


def _is_bare(endpoint: Any) -> bool:
    try:
        return endpoint in _bare
    except TypeError:  # no weak reference, no hash
        return False
