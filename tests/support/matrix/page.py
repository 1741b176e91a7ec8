"""The page that the matrix's outcomes make: a row for each launch, a column for each test."""

import ast
from collections.abc import Iterator, Mapping
from typing import cast

import pytest

from support.matrix.launches import LAUNCHES, Launch
from support.outcomes import ROOT, Cell, line, sign

NAME = "matrix"
TESTS = ROOT / "tests" / "matrix" / "test_matrix.py"
PAGE = ROOT / "docs" / "guide" / "servers.md"

INTRODUCTION = """# Servers

Each cell of this table is a test: a real server, launched as the row says, with real clients. The test run writes this
page from its outcomes (`python -m nox -s tests -- tests/matrix`), and the project's checks fail when it says anything
else.

✓ holds. ✗ cannot hold there, or holds by chance alone, and then no test is run. – makes no sense there. The notes below
say why.
"""


def _tests() -> Iterator[tuple[str, str]]:
    """Name and docstring of each test, in their order."""
    for node in ast.parse(TESTS.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.name, ast.get_docstring(node) or node.name


class MatrixPage:
    name = NAME
    path = PAGE

    def cells(self) -> set[Cell]:
        return {
            (test, launch.name)
            for test, _ in _tests()
            for launch in LAUNCHES
            if test not in {**launch.absent, **launch.unreliable}
        }

    def render(self, outcomes: Mapping[Cell, set[str]]) -> str:
        notes: list[str] = []
        tests = dict(_tests())
        titles = [docstring.split(":")[0] for docstring in tests.values()]
        lines = [INTRODUCTION, line(["", *titles]), line(["---", *[":-:"] * len(titles)])]
        lines += [
            line([launch.title, *(_cell(test, launch, outcomes, notes) for test in tests)]) for launch in LAUNCHES
        ]
        lines += ["\n## What the columns mean\n", *(f"- **{text.replace(':', '**:', 1)}" for text in tests.values())]
        lines += ["\n## Notes\n", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]
        return "\n".join(lines) + "\n"


def _cell(test: str, launch: Launch, outcomes: Mapping[Cell, set[str]], notes: list[str]) -> str:
    if test in launch.absent:
        return sign("–", launch.absent[test], notes)
    if test in launch.unreliable or outcomes[test, launch.name] == {"cannot"}:
        return sign("✗", {**launch.cannot, **launch.unreliable}[test], notes)
    return sign("✓", launch.remarks.get(test), notes)


def left_out(launch: Launch) -> Mapping[str, str]:
    """What makes no sense there, or would show nothing."""
    return {**launch.absent, **launch.unreliable}


def cell(item: pytest.Item) -> tuple[str, str, str] | None:
    """Page, test and launch."""
    if not isinstance(item, pytest.Function) or item.path != TESTS:
        return None
    launch = cast(Launch, item.callspec.params["launch"])
    return NAME, item.originalname, launch.name


def is_left_out(item: pytest.Item) -> bool:
    found = cell(item)
    return found is not None and any(found[1] in left_out(each) for each in LAUNCHES if each.name == found[2])
