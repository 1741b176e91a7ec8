"""What an `EventSourceResponse` can be told, and what it refuses."""

import inspect
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
from starlette.responses import Response

from sse_mw.compat import sse_starlette as ours
from support.compat import OURS, PEER, Package

REFUSED = [
    ({"sep": "\n\n"}, ValueError),
    ({"sep": ""}, ValueError),
    ({"sep": "x"}, ValueError),
    ({"ping": -1}, ValueError),
    ({"ping": -0.5}, ValueError),
    ({"ping": "15"}, TypeError),
    ({"ping": [1]}, TypeError),
    ({"shutdown_grace_period": -1}, ValueError),
    ({"cleanup_timeout": -0.1}, ValueError),
]
TAKEN: list[dict[str, Any]] = [
    {"sep": "\r\n"},
    {"sep": "\r"},
    {"sep": "\n"},
    {"sep": None},
    {"ping": 0},
    {"ping": 0.5},
    {"ping": None},
    {"ping": True},
    {"shutdown_grace_period": 0},
    {"cleanup_timeout": 0},
    {"cleanup_timeout": None},
    {"send_timeout": 1},
]


def test_the_parameters_are_the_same_and_in_the_same_order() -> None:
    mine, theirs = (
        {name: each.default for name, each in inspect.signature(package.EventSourceResponse).parameters.items()}
        for package in (OURS, PEER)
    )
    assert mine == theirs
    assert list(mine) == list(theirs)


@pytest.mark.parametrize("name", ["ServerSentEvent", "JSONServerSentEvent", "ensure_bytes"])
def test_so_are_those_of_events(name: str) -> None:
    mine, theirs = (
        [(each.name, each.default, each.kind) for each in inspect.signature(getattr(package, name)).parameters.values()]
        for package in (OURS, PEER)
    )
    assert mine == theirs


def test_the_constants(library: Package) -> None:
    response = library.EventSourceResponse
    assert response.DEFAULT_PING_INTERVAL == 15
    assert response.DEFAULT_SEPARATOR == "\r\n"
    assert response.DEFAULT_CLEANUP_TIMEOUT == 30.0
    assert library.ServerSentEvent.DEFAULT_SEPARATOR == "\r\n"


@pytest.mark.parametrize(("arguments", "error"), REFUSED, ids=str)
def test_what_cannot_be_meant_is_refused(library: Package, arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        library.EventSourceResponse([], **arguments)


@pytest.mark.parametrize("arguments", TAKEN, ids=str)
def test_what_can_be_meant_is_taken(library: Package, arguments: dict[str, Any]) -> None:
    library.EventSourceResponse([], **arguments)


def test_the_ping_interval_can_be_read_and_set_and_is_checked_then_too(library: Package) -> None:
    response = library.EventSourceResponse([])
    assert response.ping_interval == 15
    response.ping_interval = 2.5
    assert response.ping_interval == 2.5
    with pytest.raises(ValueError, match="ping interval"):
        response.ping_interval = -1
    with pytest.raises(TypeError, match="ping interval"):
        response.ping_interval = "2"
    assert response.ping_interval == 2.5


def test_a_subclass_may_have_other_defaults(library: Package) -> None:
    class Response(library.EventSourceResponse):  # type: ignore[misc, name-defined]
        DEFAULT_PING_INTERVAL = 5
        DEFAULT_SEPARATOR = "\n"
        media_type = "text/x-events"

    assert Response([]).ping_interval == 5
    assert Response([]).sep == "\n"
    assert Response([], media_type=None).headers["content-type"] == "text/x-events; charset=utf-8"


def test_it_is_a_response_of_starlettes_with_headers_and_cookies(library: Package) -> None:
    response = library.EventSourceResponse([], status_code=201, headers={"X-One": "1"}, background=None)
    response.set_cookie("seen", "yes")
    response.headers["x-two"] = "2"
    assert isinstance(response, Response)
    assert response.status_code == 201
    assert response.media_type == "text/event-stream"
    assert {"x-one": "1", "x-two": "2"}.items() <= dict(response.headers).items()
    assert response.headers["set-cookie"].startswith("seen=yes")


def test_it_is_never_compressed(library: Package) -> None:
    with pytest.raises(NotImplementedError):
        library.EventSourceResponse([]).enable_compression()
    with pytest.raises(NotImplementedError):
        library.EventSourceResponse([]).enable_compression(force=True)


def test_a_send_timeout_is_a_timeout_error(library: Package) -> None:
    assert issubclass(library.SendTimeoutError, TimeoutError)


@pytest.mark.differs("content that is no iterable")
@pytest.mark.parametrize("content", [None, 5, object()])
def test_content_that_is_no_iterable_is_refused_at_once(library: Package, content: Any) -> None:
    with pytest.raises(TypeError, match="iterable"):
        library.EventSourceResponse(content)


@pytest.mark.parametrize(
    ("submodule", "names"),
    [
        ("", ["EventSourceResponse", "ServerSentEvent", "JSONServerSentEvent"]),
        (".sse", ["EventSourceResponse", "AppStatus", "SendTimeoutError", "ServerSentEvent", "ensure_bytes"]),
        (".sse", ["Content", "ContentStream", "SyncContentStream", "AsyncContentStream"]),
        (".event", ["ServerSentEvent", "JSONServerSentEvent", "ensure_bytes"]),
    ],
)
def test_each_name_is_where_it_is_imported_from(library: Package, submodule: str, names: list[str]) -> None:
    module = import_module(library.module + submodule)
    assert [name for name in names if not hasattr(module, name)] == []


def test_our_package_offers_all_of_them_at_once() -> None:
    offered = set(ours.__all__)
    assert offered == {"AppStatus", "EventSourceResponse", "JSONServerSentEvent", "SendTimeoutError",
                       "ServerSentEvent", "ensure_bytes"}  # fmt: skip
    assert all(hasattr(ours, name) for name in offered)


def test_without_starlette_the_error_names_the_extra() -> None:
    script = "import sys; sys.modules['starlette.responses'] = None; import sse_mw.compat.sse_starlette"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "pip install 'sse_mw[starlette]'" in ran.stderr.splitlines()[-1]


def test_importing_it_patches_nothing_and_starts_nothing() -> None:
    script = (
        "import threading, uvicorn; before = uvicorn.Server.handle_exit; import sse_mw.compat.sse_starlette;"
        "assert uvicorn.Server.handle_exit is before; assert threading.active_count() == 1"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
