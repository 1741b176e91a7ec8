"""The values that the command's options take."""

import math
import re
from typing import Any

import click

OFF = "off"
DURATIONS = ("ping_interval", "send_timeout", "idle_timeout", "max_duration")
MODES = ("lines", "chunks")
MEDIA_TYPE = re.compile(r"[^\s/=]+/[^\s/]+")


def seconds(context: click.Context, option: click.Parameter, value: str | None) -> float | str | None:
    """A number of seconds above zero, or `off`."""
    if value is None or value == OFF:
        return value
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise click.BadParameter(f"{value!r} is not a number of seconds above 0; {OFF!r} switches it off")
    return number


def grace(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """A number of seconds, 0 for none."""
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise click.BadParameter(f"{value!r} is not a number of seconds, 0 or more")
    return number


def frames(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Each `KEY=MODE`, where the key is a media type or a path pattern."""
    rules: dict[str, str] = {}
    for value in values:
        key, _, mode = value.rpartition("=")
        if mode not in MODES or not (key.startswith("/") or MEDIA_TYPE.fullmatch(key)):
            raise click.BadParameter(
                f"{value!r} is not KEY=MODE, a media type or /path pattern and {' or '.join(MODES)}; "
                "write for example application/x-ndjson=lines"
            )
        rules[key] = mode
    return rules


def middleware_options(given: dict[str, Any]) -> dict[str, Any]:
    """`SSEMiddleware`'s arguments: only those that were given."""
    options: dict[str, Any] = {name: _or_none(given[name]) for name in DURATIONS if given[name] is not None}
    if given["drain_grace"] is not None:
        options["drain_grace"] = given["drain_grace"]
    if given["frame"]:
        options["frame"] = given["frame"]
    if given["debug"]:
        options["debug"] = True
    return options


def _or_none(value: float | str) -> float | str | None:
    return None if value == OFF else value
