"""What frameworks read from an endpoint, kept on the function that stands in its place.

They inject what the parameters ask for, and take the return annotation for the response's model.
"""

import inspect
import types
import typing
from collections.abc import AsyncIterable, Callable, Iterable
from functools import update_wrapper
from typing import Any

SOURCES: tuple[type, ...] = (AsyncIterable, Iterable)


def imitate(wrapper: Callable[..., Any], endpoint: Callable[..., Any], *, streams: bool, frames: bool) -> None:
    """Give `wrapper` the name, the signature and the annotations of `endpoint`.

    Annotations that are strings, as `from __future__ import annotations` makes them, are evaluated, since a framework
    would look their names up in the wrapper's module. What returns events (`streams`) is said to return a `str`, the
    placeholder; what returns a response that is to be framed (`frames`) returns what it says.
    """
    update_wrapper(wrapper, getattr(endpoint, "func", endpoint))  # a partial has no name of its own
    # FastAPI unwraps an endpoint to find a generator function, which it would iterate by itself.
    del wrapper.__wrapped__  # type: ignore[attr-defined]
    signature = inspect.signature(endpoint)
    hints = _hints(endpoint, signature)
    returned = hints.get("return", inspect.Signature.empty)
    if streams or not (frames or _is_of_response(returned)):
        returned = str
    parameters = [
        parameter.replace(annotation=hints.get(name, parameter.annotation))
        for name, parameter in signature.parameters.items()
    ]
    wrapper.__signature__ = signature.replace(parameters=parameters, return_annotation=returned)  # type: ignore[attr-defined]
    annotations = {parameter.name: parameter.annotation for parameter in parameters}
    annotations["return"] = returned
    wrapper.__annotations__ = {
        name: annotation for name, annotation in annotations.items() if annotation is not inspect.Parameter.empty
    }


def _hints(endpoint: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    """The annotations, each evaluated where it stands; one whose names exist for type checkers only stays a string."""
    target = inspect.unwrap(endpoint)
    target = getattr(target, "func", target)  # a partial's
    names = getattr(target, "__globals__", {})
    given = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    given["return"] = signature.return_annotation
    return {
        name: _evaluated(annotation, names)
        for name, annotation in given.items()
        if annotation is not inspect.Parameter.empty
    }


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, names)  # what typing.get_type_hints does, which gives up on all if one fails
    except Exception:
        return annotation


def _is_of_response(annotation: Any) -> bool:
    """Whether a framework makes a response of what it says: not if it, or a part of it, is something iterable."""
    if annotation is inspect.Signature.empty or isinstance(annotation, str):  # nothing, or a name that nobody knows
        return False
    origin: Any = typing.get_origin(annotation) or annotation
    if origin in (typing.Union, types.UnionType):
        return all(map(_is_of_response, typing.get_args(annotation)))
    if origin is typing.Annotated:
        return _is_of_response(typing.get_args(annotation)[0])
    is_response = hasattr(origin, "headers")  # some can be iterated too, Django's for one
    return is_response or not (inspect.isclass(origin) and issubclass(origin, SOURCES))
