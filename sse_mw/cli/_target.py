"""From `module:app` to the ASGI application that it names, or to one line that says why not."""

import difflib
import importlib
import inspect
import re
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import cast

from .._types import ASGIApp
from ._errors import CannotRun, first_line

DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
TARGET = re.compile(f"({DOTTED}):({DOTTED})")


def load(target: str, *, factory: bool) -> ASGIApp:
    """Import the application; call it first where the target is a factory."""
    module_name, path = split(target)
    found = _attribute(_import(module_name), path, target)
    if factory:
        found = _call(found, target)
    return _application(found, target, factory=factory)


def split(target: str) -> tuple[str, str]:
    """`package.module:name.attribute` in its two halves."""
    match = TARGET.fullmatch(target)
    if match is None or match[1].endswith(".py"):
        raise CannotRun(f"{target!r} is not of the form MODULE:APP; write for example {_example(target)}")
    return match[1], match[2]


def _example(target: str) -> str:
    """What the user may have meant: a file's path becomes a module's name, a bare module gets an app."""
    module, _, path = target.partition(":")
    module = re.sub(r"[/\\]+", ".", re.sub(r"\.py$", "", module)).strip(".")
    guess = f"{module}:{path or 'app'}"
    return guess if TARGET.fullmatch(guess) else "mymodule:app"


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise CannotRun(
                f"no module named {error.name!r} here or on the Python path; --app-dir DIR names its folder"
            ) from error
        raise _broken(name, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> CannotRun:
    return CannotRun(
        f"module {name!r} raises {first_line(error)}{_place(error)}; `python -c 'import {name}'` shows it all"
    )


def _place(error: BaseException) -> str:
    """The line of the user's code where it was raised: the last frame outside the import machinery."""
    if isinstance(error, SyntaxError):  # its message names file and line, or str() adds them
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not frame.filename.startswith("<frozen ")]
    return f" ({outside[-1].filename}:{outside[-1].lineno})" if outside else ""


def _attribute(module: ModuleType, path: str, target: str) -> object:
    found: object = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise CannotRun(f"{target!r}: no attribute {name!r} there; {_suggestion(found, name)}") from error
    return found


def _suggestion(owner: object, name: str) -> str:
    public = [key for key in dir(owner) if not key.startswith("_") and callable(getattr(owner, key, None))]
    close = difflib.get_close_matches(name, public, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "name the variable that holds the ASGI application"


def _call(factory: object, target: str) -> object:
    if not callable(factory):
        raise CannotRun(f"{target!r} is {_kind(factory)}, not a factory; leave --factory out, or name one")
    if not _accepts(factory, 0):
        raise CannotRun(
            f"{target!r} needs arguments {_signature(factory)}; --factory calls it without any: give them defaults"
        )
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise CannotRun(f"the factory {target!r} raises {first_line(error)}{_place(error)}") from error


def _application(found: object, target: str, *, factory: bool) -> ASGIApp:
    what = f"the factory {target!r} returned {_kind(found)}" if factory else f"{target!r} is {_kind(found)}"
    if inspect.iscoroutine(found):
        found.close()  # or Python warns that it was never awaited, on a second line
        raise CannotRun(f"{what}; a factory cannot be `async def`: do such work in the app's lifespan")
    if not callable(found):
        raise CannotRun(f"{what}, not an ASGI application: a callable of (scope, receive, send)")
    if not _accepts(found, 3):
        raise CannotRun(f"{target!r} takes {_signature(found)}, not (scope, receive, send); {_remedy(found)}")
    return cast(ASGIApp, found)


def _remedy(found: Callable[..., object]) -> str:
    if _accepts(found, 0):
        return "if it makes the application, add --factory"
    if _accepts(found, 2):
        return "if it is a WSGI application, wrap it, for example with a2wsgi"
    return "name an ASGI application"


def _accepts(function: Callable[..., object], count: int) -> bool:
    """Whether it can be called with so many positional arguments; what cannot be inspected, can."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # no signature: written in C
        return True
    return True


def _signature(function: Callable[..., object]) -> str:
    names = inspect.signature(function).parameters.values()
    return f"({', '.join(str(name).partition(':')[0].partition('=')[0] for name in names)})"


def _kind(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
