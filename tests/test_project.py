"""What holds for the project as a whole: who may import whom, what comes along, what the README promises."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import sse_mw

PACKAGE = Path(sse_mw.__file__).parent
ROOT = Path(__file__).parent.parent

# A module imports only from the lines above its own. A new module gets its place here.
LAYERS = """
    _types exceptions openapi
    _sockets
    _values
    _wire
    _event
    _framing _lint _stats
    _options
    _asgiref _misplaced _negotiate _ours _signature _stream
    _frameworks _runtime
    _thread _ticker
    _source
    _backlog _listening _receive
    _connection
    _drain
    _body _hooks _manner _parking
    _writer
    _leaving _producer
    _feed
    _session
    _exchange
    _current
    _route _middleware
    __init__
    cli compat testing
    __main__
""".strip().splitlines()
LEVEL = {module: level for level, line in enumerate(LAYERS) for module in line.split()}
# Bytes and timing decisions: plain functions and classes that no event loop is needed to test.
SANS_IO = [module for module, level in LEVEL.items() if level < LEVEL["_runtime"]]
ASYNC_LIBRARIES = {"anyio", "asyncio", "trio", "sniffio", "uvloop"}
KNOW_THE_BACKEND = {
    Path("testing") / name for name in ("_clock.py", "_run.py", "_tasks.py", "_time.py", "_trio_clock.py")
}
"""Test tools: a clock for each of the two libraries, and a look at their tasks."""
CORE_DEPENDENCIES = {"anyio", "sse_mw"}
# Imported where they are needed alone.
OPTIONAL = {
    "_runtime.py": {"trio"},
    "testing/_trio_clock.py": {"trio"},
    "testing/httpx.py": {"httpx"},
    "testing/httpx2.py": {"httpx2"},
    "testing/pytest_plugin.py": {"pytest"},
}
STRANGERS = ["starlette", "fastapi", "quart", "litestar", "django", "falcon", "blacksheep", "sanic", "flask", "a2wsgi",
             "uvicorn", "hypercorn", "click", "httpx", "httpx2", "pytest", "trio", "uvloop", "h11",
             "opentelemetry"]  # fmt: skip
EXTRAS = {"cli", "compat"}
"""What may import more, as it belongs to an extra of the package."""
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def _name(module: Path) -> str:
    """The name in LAYERS: a subpackage is one entry there."""
    return module.parts[0].removesuffix(".py")


def _imports(module: Path) -> Iterator[str]:
    """Every dotted name that the module imports, wherever in its code, with relative ones made absolute."""
    package = ["sse_mw", *module.parts[:-1]]
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            source = [*base, *(node.module or "").split(".")]
            # `from . import _wire` names modules, `from ._wire import encode` names contents: yield both
            # readings.
            yield from (".".join(filter(None, [*source, alias.name])) for alias in node.names)


def _siblings(module: Path) -> set[str]:
    own = (name.split(".") for name in _imports(module))
    return {parts[1] if len(parts) > 1 else "__init__" for parts in own if parts[0] == "sse_mw"} - {_name(module)}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_down(module: Path) -> None:
    name = _name(module)
    assert name in LEVEL, f"give {name} a place in LAYERS"
    # A name that is no module is a public one, of the package itself.
    wanted = {sibling if sibling in LEVEL else "__init__" for sibling in _siblings(module)}
    upward = {sibling for sibling in wanted if LEVEL[sibling] >= LEVEL[name]}
    assert not upward, f"{name} may not import {upward}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_one_module_knows_the_async_backend(module: Path) -> None:
    imported = {name.partition(".")[0] for name in _imports(module)}
    if _name(module) in SANS_IO:
        assert not imported & ASYNC_LIBRARIES
    elif _name(module) not in {"_runtime", "cli"} and module not in KNOW_THE_BACKEND:
        assert not imported & (ASYNC_LIBRARIES - {"anyio"})


@pytest.mark.parametrize("module", [module for module in MODULES if _name(module) not in EXTRAS], ids=str)
def test_the_core_depends_on_anyio_and_the_standard_library(module: Path) -> None:
    imported = {name.partition(".")[0] for name in _imports(module)}
    optional = OPTIONAL.get(module.as_posix(), set())
    assert imported - CORE_DEPENDENCIES - optional <= set(sys.stdlib_module_names)


def test_importing_the_package_brings_no_framework_and_no_server() -> None:
    code = f"import sys, sse_mw; print(*(m for m in {STRANGERS!r} if m in sys.modules))"
    # Coverage of subprocesses would import things of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == []
    assert run.stderr == ""


def test_what_is_public_is_listed_once_and_exists() -> None:
    names: list[str] = list(sse_mw.__all__)
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(sse_mw, name)] == []


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.checkout
def test_the_version_is_the_same_everywhere() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version("sse_mw") == declared
    assert getattr(sse_mw, "__version__", declared) == declared


@pytest.mark.checkout
def test_every_python_in_the_classifiers_is_allowed_by_requires_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    minors = [int(c.rpartition(".")[2]) for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert project["requires-python"] == f">=3.{min(minors)}"
    assert sys.version_info.minor in minors
