"""Both packages as parameters; what differs has to fail on the peer."""

from collections.abc import Iterator

import pytest

from support.compat import INSIDE, OURS, PEER, Package


def _package(request: pytest.FixtureRequest) -> Iterator[Package]:
    package: Package = request.param
    difference = request.node.get_closest_marker("differs")
    if package.is_peer and difference is not None and _applies(request, **difference.kwargs):
        request.applymarker(pytest.mark.xfail(reason=difference.args[0], strict=True))
    yield package
    for each in (PEER, OURS):
        each.AppStatus.should_exit = False
        each.AppStatus.enable_automatic_graceful_drain_mode()


def _applies(request: pytest.FixtureRequest, on: str | None = None) -> bool:
    return on is None or request.node.callspec.params.get("anyio_backend") == on


package = pytest.fixture(_package, params=[PEER, OURS, INSIDE], ids=lambda package: package.name, name="package")
library = pytest.fixture(_package, params=[PEER, OURS], ids=lambda package: package.name, name="library")
