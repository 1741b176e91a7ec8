"""CI's gate, a pytest plugin: a run counts only if it ran something and skipped nothing for want of a tool.

A test may be skipped for what the platform cannot do, with a reason that starts with "platform:". Every other
skip means that the machine lacks something which `.ci/run` should have installed, so the run fails. Active
with CI=true.
"""

import os

import pytest

PLATFORM = "platform:"


def pytest_configure(config: pytest.Config) -> None:
    # Under xdist the workers' reports all pass through the controller, and it alone decides the exit status.
    if os.environ.get("CI") == "true" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Gate(), "sse_mw_gate")


class Gate:
    def __init__(self) -> None:
        self._ran = 0
        self._skipped: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and not report.skipped:
            self._ran += 1
        if not hasattr(report, "wasxfail"):
            self._note_skip(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note_skip(report)

    def _note_skip(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.outcome != "skipped":
            return
        reason = _reason(report)
        if not reason.startswith(PLATFORM):
            self._skipped.add(f"{report.nodeid}: {reason}")

    @property
    def complaints(self) -> list[str]:
        nothing = [] if self._ran else ["no test ran"]
        return nothing + [f"skipped for a missing tool? {skip}" for skip in sorted(self._skipped)]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        # Collecting alone runs nothing, on purpose.
        if self.complaints and not session.config.getoption("collectonly"):
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for complaint in self.complaints:
            terminalreporter.write_line(f"CI gate: {complaint}", red=True)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    # A skip's representation is (path, line, "Skipped: reason"); after a trip through xdist too.
    where = report.longrepr
    return str(where[2] if isinstance(where, tuple) else where).removeprefix("Skipped: ")
