"""A pytest plugin that makes docs/frameworks/conformance.md of the conformance tests' outcomes.

Whenever a run has come through every cell, the page is written. With CI=true it is compared instead: a run that shows
something else than the page says has failed.
"""

import ast
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.conformance import cells

ROOT = Path(__file__).parent.parent.parent.parent
TESTS = ROOT / "tests" / "conformance" / "test_conformance.py"
PAGE = ROOT / "docs" / "frameworks" / "conformance.md"

INTRODUCTION = """# What holds where

Each cell of these tables is a test over real servers: uvicorn and hypercorn on asyncio for each framework, and
hypercorn on trio for raw ASGI, Starlette and FastAPI. The test run writes this page from its outcomes
(`python -m nox -s tests -- tests/conformance`), and the project's checks fail when it says anything else.

✓ holds. ✗ cannot hold there, and – makes no sense there; the notes below say why.
"""


def pytest_configure(config: pytest.Config) -> None:
    # Under xdist the workers' reports all pass through the controller.
    if not hasattr(config, "workerinput") and TESTS.exists():
        config.pluginmanager.register(Table(), "sse_mw_conformance")


class Table:
    def __init__(self) -> None:
        self._outcomes: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._complaint = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        cell = dict(report.user_properties).get("cell")
        if isinstance(cell, list | tuple) and (report.when == "call" or report.failed):
            test, framework = cell
            outcome = "cannot" if hasattr(report, "wasxfail") and report.skipped else report.outcome
            self._outcomes[test, framework].add(outcome)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        rows = list(_rows())
        wanted = {(test, name) for _, test in rows for name in cells.FRAMEWORKS if test not in cells.absent(name)}
        if wanted - set(self._outcomes) or any("failed" in outcome for outcome in self._outcomes.values()):
            return
        page = self._page(rows)
        written = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        if page == written:
            return
        if os.environ.get("CI") == "true":
            self._complaint = (
                f"{PAGE.relative_to(ROOT)} does not say what this run has shown: run it again without CI=true"
            )
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        else:
            PAGE.write_text(page, encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._complaint:
            terminalreporter.write_line(self._complaint, red=True)

    def _page(self, rows: list[tuple[str, str]]) -> str:
        notes: list[str] = []
        lines = [INTRODUCTION]
        section = ""
        for heading, test in rows:
            if heading != section:
                section = heading
                titles = [*cells.FRAMEWORKS.values()]
                lines += [f"\n## {heading}\n", _line(["", *titles]), _line(["---", *[":-:"] * len(titles)])]
            lines.append(_line([_sentence(test), *(self._cell(test, name, notes) for name in cells.FRAMEWORKS)]))
        lines += ["\n## Notes\n", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]
        return "\n".join(lines) + "\n"

    def _cell(self, test: str, framework: str, notes: list[str]) -> str:
        if test in cells.absent(framework):
            sign, reason = "–", cells.absent(framework)[test]
        elif self._outcomes[test, framework] == {"cannot"}:
            sign, reason = "✗", cells.cannot(framework)[test]
        else:
            return "✓"
        note = f"{cells.FRAMEWORKS[framework]}: {reason}."
        if note not in notes:
            notes.append(note)
        return f"{sign} [{notes.index(note) + 1}](#notes)"


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


def _line(cells_of_row: list[str]) -> str:
    return f"| {' | '.join(cells_of_row)} |"
