"""Shapley values of covariates: what each adds to a forecast, averaged over who came before it.

The game's value of a set of covariates is the model's forecast when only these are sent (Shapley
1953). Up to EXACT of them every set is asked for; for more, the average is over random orders, in
pairs with their reverses (Castro, Gomez and Tejada 2009; Mitchell et al. 2022), and still adds up
to the forecast exactly.

Not covered: asking the model.
"""

from __future__ import annotations

import random
from itertools import combinations
from math import factorial

EXACT = 5
FORECASTS = 96  # about so many sets are asked for when there are too many covariates for all


def games(features: list[str]) -> list[frozenset[str]]:
    """The sets of features whose forecasts are needed, each once; none without features."""
    if not features:
        return []
    if len(features) <= EXACT:
        return [
            frozenset(chosen)
            for size in range(len(features) + 1)
            for chosen in combinations(features, size)
        ]
    sets = {frozenset[str](): None}
    for order in _orders(features):
        for at in range(1, len(order) + 1):
            sets[frozenset(order[:at])] = None
    return list(sets)


def _orders(features: list[str]) -> list[list[str]]:
    draw = random.Random(len(features))
    orders = []
    for _ in range(max(1, FORECASTS // (2 * len(features)))):
        order = list(features)
        draw.shuffle(order)
        orders += [order, order[::-1]]
    return orders


def rows(features: list[str], values: dict[frozenset[str], list[float]]) -> list[list[float]]:
    """A row of contributions a feature, and the base value last; `values` are those of `games`."""
    base = values[frozenset()]
    found = [[0.0] * len(base) for _ in features]
    for at, feature in enumerate(features):
        row = found[at]
        for before, weight in _marginals(features, feature):
            without, with_it = values[before], values[before | {feature}]
            for step, (low, high) in enumerate(zip(without, with_it, strict=True)):
                row[step] += weight * (high - low)
    return [*found, base]


def _marginals(features: list[str], feature: str) -> list[tuple[frozenset[str], float]]:
    """The sets that a feature joins, with their weights."""
    n = len(features)
    if n <= EXACT:
        others = [name for name in features if name != feature]
        return [
            (frozenset(chosen), factorial(size) * factorial(n - size - 1) / factorial(n))
            for size in range(n)
            for chosen in combinations(others, size)
        ]
    orders = _orders(features)
    return [(frozenset(order[: order.index(feature)]), 1 / len(orders)) for order in orders]
