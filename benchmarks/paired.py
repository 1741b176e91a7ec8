"""Rounds and what is made of them.

One round runs every variant once, in an order that each round shuffles anew, and the first round is thrown away. A
machine that gets slower or faster meanwhile disturbs all variants alike, and what is compared are values of one round.
"""

import random
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

Sample: TypeAlias = dict[str, float]
Series: TypeAlias = dict[str, dict[str, list[float]]]
"""For each variant, for each metric, the values of the rounds."""


def interleave(names: Iterable[str], sample: Callable[[str], Sample], rounds: int, *, warm_up: bool = True) -> Series:
    order = list(names)
    series: Series = {name: {} for name in order}
    for number in range(rounds + warm_up):
        for name in random.sample(order, len(order)):
            for metric, value in sample(name).items():
                if number >= warm_up:
                    series[name].setdefault(metric, []).append(value)
    return series


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The median between the quartiles."""
    if len(values) == 1:
        return (values[0], values[0], values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratios(series: Mapping[str, Mapping[str, list[float]]], name: str, base: str, metric: str) -> list[float]:
    """For each round, the value of this variant in that of the base."""
    return [mine / theirs for mine, theirs in _pairs(series, name, base, metric)]


def differences(series: Mapping[str, Mapping[str, list[float]]], name: str, base: str, metric: str) -> list[float]:
    return [mine - theirs for mine, theirs in _pairs(series, name, base, metric)]


def _pairs(
    series: Mapping[str, Mapping[str, list[float]]], name: str, base: str, metric: str
) -> Iterable[tuple[float, float]]:
    return zip(series[name][metric], series[base][metric], strict=True)
