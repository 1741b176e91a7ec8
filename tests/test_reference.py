"""Every public name is in the reference, docs/reference/, and has a docstring to be shown there."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import sse_mw

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
DIRECTIVE = re.compile(r"^\.\. auto\w+:: (\S+)$", re.MULTILINE)

pytestmark = pytest.mark.checkout


def _modules() -> Iterator[str]:
    """The public modules: those that list what is public in them, and have no underscore in their path."""
    yield "sse_mw"
    for module in walk_packages(sse_mw.__path__, "sse_mw."):
        private = any(part.startswith("_") for part in module.name.split("."))
        if not private and hasattr(import_module(module.name), "__all__"):
            yield module.name


def _is_the_packages(module: str, name: str) -> bool:
    """Whether the package that the module is in offers the same."""
    package = import_module(module.rpartition(".")[0] or module)
    return package.__name__ != module and getattr(package, name, None) is getattr(import_module(module), name)


MODULES = list(_modules())
NAMES = [f"{module}.{name}" for module in MODULES for name in import_module(module).__all__
         if not _is_the_packages(module, name)]  # fmt: skip


def _find(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def _members(found: object, name: str) -> Iterator[tuple[str, object]]:
    """The methods and properties that a class defines under a public name."""
    for attribute in vars(found) if isinstance(found, type) else ():
        member = getattr(found, attribute)
        is_slot = inspect.ismemberdescriptor(member)  # a dataclass's field, whose docstring is but in the source
        if not attribute.startswith("_") and (callable(member) or inspect.isdatadescriptor(member)) and not is_slot:
            yield f"{name}.{attribute}", member


def test_further_modules_are_found() -> None:
    assert {"sse_mw", "sse_mw.openapi"} <= set(MODULES)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_in_the_reference(name: str) -> None:
    shown = {target for page in REFERENCE.glob("*.md") for target in DIRECTIVE.findall(page.read_text())}
    module = name.rpartition(".")[0]
    assert shown & {name, module}, (  # a module shows all that its __all__ lists
        f"docs/reference/ lacks {name}: write `.. auto…:: {name}` there, or a page with `.. automodule:: {module}`"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_a_docstring_and_so_have_its_members(name: str) -> None:
    found = _find(name)
    documented = dict([(name, found), *_members(found, name)]) if callable(found) else {}
    assert [member for member, value in documented.items() if not _docstring(value)] == []


def _docstring(value: object) -> str | None:
    # A class's own, not its base's.
    return vars(value).get("__doc__") if isinstance(value, type) else inspect.getdoc(value)
