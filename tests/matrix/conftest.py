"""Each launch as a parameter: a server for all its tests, and servers of a test's own."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from support.matrix import page
from support.matrix.launches import LAUNCHES, Fresh, Launch, Launched


@pytest.fixture(scope="session", params=LAUNCHES, ids=lambda launch: launch.name)
def launch(request: pytest.FixtureRequest) -> Launch:
    chosen: Launch = request.param
    chosen.require()
    return chosen


@pytest.fixture(autouse=True)
def cell(launch: Launch, request: pytest.FixtureRequest) -> None:
    """A cell that cannot hold has to fail."""
    reason = launch.cannot.get(request.node.originalname)
    if reason is not None:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(scope="session")
def launched(
    launch: Launch, certificate: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launched]:
    """One server for all the tests that leave it as it was."""
    running = launch.start(tmp_path_factory.mktemp(launch.name), certificate)
    yield running
    running.server.stop()


@pytest.fixture
def fresh(launch: Launch, certificate: tuple[str, str], tmp_path: Path) -> Iterator[Fresh]:
    with ExitStack() as cleanup:

        def start(*, requests: int = 100_000, grace: float = 1) -> Launched:
            folder = Path(mkdtemp(dir=tmp_path))
            (folder / "touched.py").touch()  # uvicorn's reloader sees changes alone, and no new file
            running = launch.start(folder, certificate, requests=requests, environment={"GRACE": str(grace)})
            cleanup.callback(running.server.stop)
            return running

        yield start


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What makes no sense for a launch, or shows nothing, is not run."""
    left_out = [item for item in items if page.is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The cell goes along with the reports, to the process that sees them all."""
    cell: Any = page.cell(item)
    if cell is not None:
        item.user_properties.append(("cell", cell))
