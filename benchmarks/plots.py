"""The plots, as SVG files that are the same for the same numbers."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GROWTH_TICKS = [10, 20, 50, 100, 200, 500]
GREY, OURS, PEERS = "#8b8b8b", "#1f6fb2", "#d98a3d"
STYLE = {
    "svg.hashsalt": "sse_mw",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}
Tables = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plot:
    file: str
    measure: str
    alt: str
    draw: Callable[[Any, Tables], None]
    height: float = 3.6


def render(results: dict[str, Any], folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        for plot in PLOTS:
            if entry := results["measures"].get(plot.measure):
                figure, axes = plt.subplots(figsize=(6.4, plot.height))
                plot.draw(axes, {table["title"]: table["series"] for table in entry["tables"]})
                figure.savefig(folder / plot.file, metadata={"Date": None, "Creator": None})
                plt.close(figure)


def colour(name: str) -> str:
    if name.startswith("bare") and "wrapped" not in name:
        return GREY
    return OURS if any(ours in name for ours in ("wrapped", "@sse_route", "sse_mw", "compat.")) else PEERS


def medians(series: Tables, key: str) -> dict[str, float]:
    return {name: statistics.median(values[key]) for name, values in series.items() if key in values}


def bars(axes: Any, values: dict[str, float], label: str, form: str = "{:,.2f}") -> None:
    """A bar for each variant, the first at the top, with its number."""
    drawn = axes.barh(list(values), list(values.values()), color=[colour(name) for name in values], height=0.7)
    axes.bar_label(drawn, [form.format(value) for value in values.values()], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(label)


def paired_bars(
    axes: Any, first: dict[str, float], second: dict[str, float], labels: tuple[str, str], digits: int
) -> None:
    """Two bars for each variant; the second is the paler one."""
    names = list(first)
    for values, shift, label, alpha in ((first, -0.2, labels[0], 1.0), (second, 0.2, labels[1], 0.5)):
        heights = [index + shift for index in range(len(names))]
        numbers = [values.get(name, 0.0) for name in names]
        drawn = axes.barh(heights, numbers, 0.38, color=[colour(name) for name in names], alpha=alpha, label=label)
        axes.bar_label(drawn, [f"{number:,.{digits}f}" for number in numbers], padding=3, fontsize=7)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.legend(frameon=False, loc="lower right")


def per_event(axes: Any, tables: Tables) -> None:
    values = medians(tables["asyncio"], "us_per_event")
    bars(axes, {name: value for name, value in values.items() if "coalescing" not in name}, "µs per event, in-process")


def sockets(axes: Any, tables: Tables) -> None:
    paced, burst = (medians(tables[f"uvicorn, {mode}"], "cpu_us_per_event") for mode in ("paced", "burst"))
    paired_bars(axes, paced, burst, ("paced", "burst of 100"), digits=1)
    axes.set_xlabel("server CPU, µs per event, on uvicorn")


def memory(axes: Any, tables: Tables) -> None:
    title = [title for title in tables if title.startswith("memory")][-1]
    bars(axes, medians(tables[title], "kib_per_stream"), f"KiB per stream ({title})", "{:,.1f}")


def latency(axes: Any, tables: Tables) -> None:
    (series,) = tables.values()
    paired_bars(axes, medians(series, "p50_ms"), medians(series, "p99_ms"), ("median", "99th percentile"), digits=2)
    axes.set_xlabel("ms from the source to the client")


def growth(axes: Any, tables: Tables) -> None:
    counts = [int(title.split()[0].replace(",", "")) for title in tables]
    names = list(next(iter(tables.values())))
    for name, style in zip(names, ["-", "-", "--", "-", "--"], strict=False):
        values = [medians(series, "cpu_us_per_event")[name] for series in tables.values() if name in series]
        axes.plot(counts[: len(values)], values, style, marker="o", markersize=4, color=colour(name), label=name)
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.set_yscale("log")
    axes.set_yticks(GROWTH_TICKS, map(str, GROWTH_TICKS))
    axes.minorticks_off()
    axes.set_xlabel("open streams")
    axes.set_ylabel("server CPU, µs per event")
    axes.legend(frameon=False)


PLOTS = [
    Plot("per-event.svg", "per_event", "Cost of an event in-process, by package", per_event),
    Plot("sockets.svg", "sockets", "Server CPU per event over sockets, paced and in bursts", sockets, 4.8),
    Plot("memory.svg", "idle", "Memory per idle stream", memory),
    Plot("latency.svg", "latency", "Latency from source to client", latency, 4.4),
    Plot("growth.svg", "growth", "CPU per event from 10 open streams to 10,000", growth),
]
