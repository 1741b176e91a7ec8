"""A pytest plugin that makes pages of docs/ of tests' outcomes: what a page says, a run has shown.

Whenever a run has come through every cell of a page, the page is written. With CI=true it is compared instead: a run
that shows something else than the page says has failed.
"""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

import pytest

ROOT = Path(__file__).parent.parent.parent

Cell: TypeAlias = tuple[str, str]
"""A test and what it was run on. A test's report has it as the property "cell", after the page's name."""


class Page(Protocol):
    """A page, and the cells that it is made of."""

    name: str
    path: Path

    def cells(self) -> set[Cell]:
        """Those without which it cannot be made."""
        ...

    def render(self, outcomes: Mapping[Cell, set[str]]) -> str:
        """The page. An outcome is "passed", or "cannot" for an expected failure; a cell's tests may have several."""
        ...


def line(cells: list[str]) -> str:
    """A table's."""
    return f"| {' | '.join(cells)} |"


def sign(mark: str, reason: str | None, notes: list[str]) -> str:
    """A cell's text, with the number of its note, if it has one."""
    if reason is None:
        return mark
    note = f"{reason[0].upper()}{reason[1:]}."
    if note not in notes:
        notes.append(note)
    return f"{mark} [{notes.index(note) + 1}](#notes)"


class Outcomes:
    """The plugin."""

    def __init__(self, pages: list[Page]) -> None:
        self._pages = pages
        self._outcomes: dict[str, dict[Cell, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._complaints: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        cell = dict(report.user_properties).get("cell")
        if isinstance(cell, list | tuple) and (report.when == "call" or report.failed):
            page, test, subject = cell
            outcome = "cannot" if hasattr(report, "wasxfail") and report.skipped else report.outcome
            self._outcomes[page][test, subject].add(outcome)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        for page in self._pages:
            outcomes = self._outcomes[page.name]
            if page.cells() - set(outcomes) or any("failed" in outcome for outcome in outcomes.values()):
                continue
            self._settle(page, page.render(outcomes), session)

    def _settle(self, page: Page, text: str, session: pytest.Session) -> None:
        if text == (page.path.read_text(encoding="utf-8") if page.path.exists() else ""):
            return
        if os.environ.get("CI") == "true":
            name = page.path.relative_to(ROOT)
            self._complaints.append(f"{name} does not say what this run has shown: run it again without CI=true")
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        else:
            page.path.write_text(text, encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for complaint in self._complaints:
            terminalreporter.write_line(complaint, red=True)


def pytest_configure(config: pytest.Config) -> None:
    # Under xdist the workers' reports all pass through the controller. The wheel's tests have no docs/ beside them.
    if not hasattr(config, "workerinput") and (ROOT / "docs").exists():
        from support.conformance.page import ConformancePage
        from support.matrix.page import MatrixPage

        config.pluginmanager.register(Outcomes([ConformancePage(), MatrixPage()]), "sse_mw_outcomes")
