"""Real programs are tested on one server of each make that can be had on every platform."""

import pytest

from support.servers import KINDS, ServerKind


@pytest.fixture(params=["uvicorn-h11-asyncio", "hypercorn-asyncio"])
def server_kind(request: pytest.FixtureRequest) -> ServerKind:
    return next(kind for kind in KINDS if kind.name == request.param)
