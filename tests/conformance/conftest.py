"""Each framework on real servers, and the table in docs/ that the run makes of its outcomes."""

from collections.abc import Iterator

import pytest

from support.conformance import cells
from support.conformance.client import Served
from support.servers import KINDS, ServerKind

TRIO = ["raw", "starlette", "fastapi"]
"""The frameworks that run on trio too."""
SERVED = [
    (framework, kind)
    for kind in KINDS
    if kind.name in ("uvicorn-h11-asyncio", "hypercorn-asyncio", "hypercorn-trio")
    for framework in cells.FRAMEWORKS
    if kind.loop != "trio" or framework in TRIO
]


@pytest.fixture(scope="session", params=SERVED, ids=lambda served: f"{served[0]}-{served[1].name}")
def server_of_framework(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for all tests of a framework; each has a key of its own in the journal."""
    framework, kind = request.param
    folder = tmp_path_factory.mktemp(framework)
    environment = {**kind.environment, "FRAMEWORK": framework}
    configured = ServerKind(kind.name, kind.module, kind.options, kind.loop, environment)
    server = configured.start("support.conformance.endpoints:app", log=folder / "server.log")
    yield Served(framework, server)
    server.stop()


@pytest.fixture
def served(server_of_framework: Served, request: pytest.FixtureRequest) -> Served:
    """The framework under test. A cell that cannot hold there has to fail."""
    name = request.function.__name__
    reason = cells.cannot(server_of_framework.framework).get(name)
    if reason is not None:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    return server_of_framework.with_key()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What makes no sense for a framework is not run."""
    senseless = [item for item in items if cells.is_absent(item)]
    if senseless:
        config.hook.pytest_deselected(items=senseless)
        items[:] = [item for item in items if item not in senseless]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The cell goes along with the reports, to the process that sees them all."""
    if cells.is_cell(item):
        item.user_properties.append(("cell", (cells.PAGE, *cells.cell(item))))
