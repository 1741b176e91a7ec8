"""The page that the conformance tests' outcomes make: a row for each test, a column for each framework."""

import ast
import re
from collections.abc import Iterator, Mapping

from support.conformance import cells
from support.outcomes import ROOT, Cell, line, sign

TESTS = ROOT / "tests" / "conformance" / "test_conformance.py"
PAGE = ROOT / "docs" / "frameworks" / "conformance.md"

INTRODUCTION = """# What holds where

Each cell of these tables is a test over real servers: uvicorn and hypercorn on asyncio for each framework, and
hypercorn on trio for raw ASGI, Starlette and FastAPI. The test run writes this page from its outcomes
(`python -m nox -s tests -- tests/conformance`), and the project's checks fail when it says anything else.

✓ holds. ✗ cannot hold there, and – makes no sense there; the notes below say why.
"""


class ConformancePage:
    name = cells.PAGE
    path = PAGE

    def cells(self) -> set[Cell]:
        return {(test, name) for _, test in _rows() for name in cells.FRAMEWORKS if test not in cells.absent(name)}

    def render(self, outcomes: Mapping[Cell, set[str]]) -> str:
        notes: list[str] = []
        lines = [INTRODUCTION]
        section = ""
        for heading, test in _rows():
            if heading != section:
                section = heading
                titles = [*cells.FRAMEWORKS.values()]
                lines += [f"\n## {heading}\n", line(["", *titles]), line(["---", *[":-:"] * len(titles)])]
            lines.append(line([_sentence(test), *(_cell(test, name, outcomes, notes) for name in cells.FRAMEWORKS)]))
        lines += ["\n## Notes\n", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]
        return "\n".join(lines) + "\n"


def _cell(test: str, framework: str, outcomes: Mapping[Cell, set[str]], notes: list[str]) -> str:
    if test in cells.absent(framework):
        mark, reason = "–", cells.absent(framework)[test]
    elif outcomes[test, framework] == {"cannot"}:
        mark, reason = "✗", cells.cannot(framework)[test]
    else:
        return "✓"
    return sign(mark, f"{cells.FRAMEWORKS[framework]}: {reason}", notes)


def _rows() -> Iterator[tuple[str, str]]:
    """Section and name of each test, in their order."""
    source = TESTS.read_text(encoding="utf-8")
    headings = [(number, line[2:]) for number, line in enumerate(source.splitlines(), 1) if re.match("# [A-Z]", line)]
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield max(heading for heading in headings if heading[0] < node.lineno)[1], node.name


def _sentence(test: str) -> str:
    words = test.removeprefix("test_").replace("_", " ")
    words = words.replace("frameworks own", "framework's own").replace("the frameworks", "the framework's")
    words = words.replace("the routes", "the route's").replace("openapi", "OpenAPI")
    words = words.replace("head is", "HEAD is").replace("open timeout", "`open_timeout`")
    return words[0].upper() + words[1:]
