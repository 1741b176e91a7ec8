"""The page of differences has those that the tests show, and no other; the table of names has them all."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.compat import OURS, PEER

TESTS = Path(__file__).parent.parent
GUIDE = TESTS.parent / "docs" / "guide"
PAGE = GUIDE / "sse-starlette-differences.md"
MARKED = re.compile(r'\bmark\.differs\("([^"]+)"')
ROW = re.compile(r"^\| ([^|]+) \|", re.MULTILINE)


@pytest.mark.checkout
def test_the_page_lists_the_differences_that_the_tests_show() -> None:
    sources = [*TESTS.glob("compat/test_*.py"), TESTS / "servers" / "test_compat.py"]
    shown = {name for source in sources for name in MARKED.findall(source.read_text())}
    rows = [name for name in ROW.findall(PAGE.read_text()) if name.strip() and not name.startswith("-")]
    assert len(rows) == len(set(rows))
    assert set(rows) == shown


def _names_of_the_peer() -> Iterator[str]:
    for each in (PEER.EventSourceResponse, PEER.ServerSentEvent, PEER.AppStatus):
        if each is not PEER.AppStatus:
            yield from inspect.signature(each).parameters
        yield from (name for name in vars(each) if not name.startswith("_"))
    yield from (name for name in vars(PEER.EventSourceResponse([])) if not name.startswith("_"))


@pytest.mark.checkout
def test_the_table_of_names_has_every_one_of_the_peers() -> None:
    table = (GUIDE / "from-sse-starlette.md").read_text().partition("## Every name")[2]
    listed = set(re.findall(r"`(\w+)", table))
    assert set(_names_of_the_peer()) - listed == set()


def test_whatever_a_response_of_the_peers_shows_ours_does_too() -> None:
    theirs, ours = (package.EventSourceResponse([]) for package in (PEER, OURS))
    assert [name for name in dir(theirs) if not name.startswith("_") and not hasattr(ours, name)] == []
