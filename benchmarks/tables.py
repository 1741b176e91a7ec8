"""What the measures hand over, and which numbers there are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .paired import Series


@dataclass(frozen=True, slots=True)
class Metric:
    """A number, and whether its ratio to the base's, or its difference from it, says something."""

    label: str
    digits: int = 0
    ratio: bool = False
    difference: bool = False


METRICS = {
    "ns_per_event": Metric("ns per event", ratio=True),
    "us_per_event": Metric("µs per event", 2, difference=True),
    "us_per_request": Metric("µs per request", 2, difference=True),
    "cpu_us_per_event": Metric("server CPU, µs per event", 2, ratio=True, difference=True),
    "cpu_us_per_stream": Metric("server CPU, µs per stream", 1, ratio=True),
    "cpu_us_per_request": Metric("server CPU, µs per request", 2, ratio=True),
    "events_per_s": Metric("events/s"),
    "streams_per_s": Metric("streams/s"),
    "requests_per_s": Metric("requests/s"),
    "client_busy": Metric("client busy, %"),
    "kib_per_stream": Metric("KiB per stream", 1, ratio=True),
    "tasks_per_stream": Metric("tasks per stream", 2),
    "cpu_percent": Metric("server CPU, %", 2, ratio=True),
    "p50_ms": Metric("p50, ms", 2),
    "p99_ms": Metric("p99, ms", 2),
}


@dataclass(frozen=True)
class Table:
    """The rounds of some variants, each compared with the bases in which it is listed."""

    title: str
    series: Series
    bases: dict[str, list[str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"title": self.title, "bases": self.bases, "series": self.series}


def against(base: str, series: Series) -> dict[str, list[str]]:
    """All others compared with this one; with nothing, if it was left out."""
    return {base: [name for name in series if name != base]} if base in series else {}


@dataclass(frozen=True)
class Measure:
    """One of the modules below `measures`; its docstring is printed with the tables."""

    title: str
    about: str
    run: Callable[..., Iterator[Table]]
    full: dict[str, Any]
    quick: dict[str, Any]
    on_linux_only: bool = True
