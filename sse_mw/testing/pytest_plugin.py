"""The pytest plugin, which pytest finds by itself: the fixture `sse_client`, and differences between events."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from . import SyncClient


@pytest.fixture
def sse_client() -> "Iterator[Callable[..., SyncClient]]":
    """Makes clients, `sse_client(app)`, as `sse_mw.testing.SyncClient` does; they are open until the test's end."""
    from . import SyncClient

    with ExitStack() as clients:

        def make(app: Any, **options: Any) -> SyncClient:
            return clients.enter_context(SyncClient(app, **options))

        yield make


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Show how two lists of events differ."""
    if op != "==":
        return None
    from ._compare import explain

    return explain(left, right)
