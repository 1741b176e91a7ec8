"""The page of differences has those that the tests show, and no other."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "guide" / "sse-starlette-differences.md"
MARKED = re.compile(r'\bmark\.differs\("([^"]+)"')
ROW = re.compile(r"^\| ([^|]+) \|", re.MULTILINE)


@pytest.mark.checkout
def test_the_page_lists_the_differences_that_the_tests_show() -> None:
    sources = [*TESTS.glob("compat/test_*.py"), TESTS / "servers" / "test_compat.py"]
    shown = {name for source in sources for name in MARKED.findall(source.read_text())}
    rows = [name for name in ROW.findall(PAGE.read_text()) if name.strip() and not name.startswith("-")]
    assert len(rows) == len(set(rows))
    assert set(rows) == shown
