"""Tables of medians, quartiles and paired ratios: on the terminal, and as docs/benchmarks/index.md."""

import statistics
from collections.abc import Callable
from textwrap import fill
from typing import Any

from .measures import MEASURES
from .paired import differences, quartiles, ratios
from .plots import PLOTS
from .tables import METRICS, Metric

HEAD = """\
# Benchmarks

Written by `python -m nox -s bench` from [results.json](results.json), which holds every round's numbers. Names of
measures as arguments run those alone; `--quick` runs all of them in three minutes, and less surely.

## How it is measured

One round runs every variant once, in an order that each round shuffles anew, so that what disturbs the machine disturbs
all variants alike. The first round warms up and is thrown away, unless a measure says otherwise. Tables show medians
over the rounds, with the quartiles in brackets. "×" is the ratio to a base and "over" the difference from it, in the
unit of the column before: taken within each round, and of these the median, which need not be the ratio of the medians.

Packages are at their defaults: those that have pings have them switched on. "Wrapped" means `SSEMiddleware(app)`. Bare
ASGI is an app without any package, that sends events already encoded and looks after nothing; whoever wants pings,
disconnects or limits has to write them in addition. Servers log no requests.

Each variant is a server process of its own, and all servers are pinned to one core, the client to another. The client
(`benchmarks/reader.py`) reads non-blocking sockets under epoll, throws away what it has read and counts `data:`.
"Client busy" is its own CPU by the wall: it would be the bottleneck near 100 %. {busy}

Quartiles are of the rounds of one run on one machine, and know nothing of other machines or other days. Machines that
are shared are noisy, and a difference within the quartiles is none. Events per second depend on both cores and the
kernel; the CPU of the server, which is what a package can cost, is the steadier number.
"""


def rows(table: dict[str, Any]) -> list[list[str]]:
    """The cells of a table: its head, then a row for each variant."""
    series = table["series"]
    columns = _columns(table)
    return [["", *(label for label, _ in columns)], *([name, *(cell(name) for _, cell in columns)] for name in series)]


def _columns(table: dict[str, Any]) -> list[tuple[str, Callable[[str], str]]]:
    columns: list[tuple[str, Callable[[str], str]]] = []
    for key in next(iter(table["series"].values())):
        metric = METRICS[key]
        columns.append((metric.label, _Median(table, key, metric)))
        for base, compared in table["bases"].items():
            if metric.difference:
                columns.append((f"over {base}", _Paired(table, key, metric, base, compared, differences)))
            if metric.ratio:
                columns.append((f"× {base}", _Paired(table, key, metric, base, compared, ratios)))
    return columns


class _Median:
    def __init__(self, table: dict[str, Any], key: str, metric: Metric) -> None:
        self._series, self._key, self._digits = table["series"], key, metric.digits

    def __call__(self, name: str) -> str:
        values = self._series[name][self._key]
        low, middle, high = (f"{value:,.{self._digits}f}" for value in quartiles(values))
        return middle if len(values) == 1 or low == high else f"{middle} ({low}–{high})"


class _Paired:
    def __init__(
        self, table: dict[str, Any], key: str, metric: Metric, base: str, compared: list[str], pair: Callable[..., Any]
    ) -> None:
        self._series, self._key, self._base = table["series"], key, base
        self._compared, self._pair = compared, pair
        self._form = "{:+,." + str(metric.digits) + "f}" if pair is differences else "{:.3g}"

    def __call__(self, name: str) -> str:
        if name not in self._compared:
            return ""
        return self._form.format(statistics.median(self._pair(self._series, name, self._base, self._key)))


def text(table: dict[str, Any]) -> str:
    cells = rows(table)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    return "\n".join([f"{table['title']}", *lines, ""])


def markdown(table: dict[str, Any]) -> str:
    head, *body = rows(table)
    lines = [head, ["---", *("---:" for _ in head[1:])], *body]
    return "\n".join([f"### {table['title'][:1].upper()}{table['title'][1:]}", "", *map(_line, lines), ""])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def page(results: dict[str, Any]) -> str:
    """All of docs/benchmarks/index.md."""
    measured = results["measures"]
    sections = [_section(name, measured[name]) for name in MEASURES if name in measured]
    return "\n".join([_wrapped(HEAD.format(busy=_busy(measured))), *sections, _environment(measured)])


def _wrapped(text: str) -> str:
    """Each paragraph filled anew, as what was put into it may have any length."""
    return "\n\n".join(fill(paragraph, 120) for paragraph in text.strip().split("\n\n")) + "\n"


def _busy(measured: dict[str, Any]) -> str:
    """How near the client came to being the bottleneck."""
    found = [
        (statistics.median(values["client_busy"]), name, table["title"])
        for entry in measured.values()
        for table in entry["tables"]
        for name, values in table["series"].items()
        if "client_busy" in values
    ]
    if not found:
        return ""
    most, name, where = max(found)
    return f"The busiest that it was: {most:.0f} %, with {name} ({where})."


def _section(name: str, entry: dict[str, Any]) -> str:
    measure = MEASURES[name]
    settings = ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in entry["settings"].items())
    text = f"## {measure.title}\n\n{measure.about.strip()}\n\nMeasured on {entry['date']}, with: {settings}."
    plots = "".join(f"![{plot.alt}]({plot.file})\n\n" for plot in PLOTS if plot.measure == name)
    return f"{_wrapped(text)}\n{plots}" + "\n".join(map(markdown, entry["tables"]))


def _value(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(_value, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _environment(measured: dict[str, Any]) -> str:
    """The machine and the versions; of the measure that ran last, where they differ, and of the others in the JSON."""
    latest = max(measured.values(), key=lambda entry: entry["date"])["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in latest["packages"].items())
    machine = f"{latest['python']} on {latest['os']}, {latest['cores']} cores of {latest['cpu']}"
    same = all(entry["environment"] == latest for entry in measured.values())
    note = "" if same else " Some measures ran with other versions, which results.json has."
    return _wrapped(f"## Where\n\n{machine}; {packages}.{note}")
