"""What of the conformance tests applies to which framework."""

import ast
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

PAGE = "conformance"

FRAMEWORKS = {
    "raw": "raw ASGI",
    "starlette": "Starlette",
    "fastapi": "FastAPI",
    "litestar": "Litestar",
    "quart": "Quart",
    "sanic": "Sanic",
    "django": "Django",
    "falcon": "Falcon",
    "blacksheep": "BlackSheep",
    "flask": "Flask (a2wsgi)",
}
"""By the names of their modules here, `raw_app` and so on: how the table calls them."""


@cache
def _constant(framework: str, name: str) -> dict[str, str]:
    """What a framework's module says under a name, read without importing it: the test run needs no framework."""
    module = ast.parse(Path(__file__).with_name(f"{framework}_app.py").read_text(encoding="utf-8"))
    for node in module.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == name:
                reasons: dict[str, str] = ast.literal_eval(node.value)
                return reasons
    raise LookupError(f"{framework}_app has no {name}")


def cannot(framework: str) -> dict[str, str]:
    """What cannot hold, by the name of its test."""
    return _constant(framework, "CANNOT")


def absent(framework: str) -> dict[str, str]:
    """What makes no sense."""
    return _constant(framework, "ABSENT")


def cell(item: pytest.Item) -> tuple[str, str]:
    """Test and framework."""
    assert isinstance(item, pytest.Function)
    framework, _ = cast(tuple[str, Any], item.callspec.params["server_of_framework"])
    return item.originalname, framework


def is_cell(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and "server_of_framework" in item.fixturenames


def is_absent(item: pytest.Item) -> bool:
    if not is_cell(item):
        return False
    test, framework = cell(item)
    return test in absent(framework)
