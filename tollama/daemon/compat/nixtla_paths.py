"""Nixtla's simulate: sample paths whose values at each step follow the model's quantiles.

A model gives the distribution of each step, not how steps hang together. The paths take that from
how the model's intervals widen: errors of a first-order autoregression with coefficient phi have a
variance that grows by 1 + phi^2 from the first step to the second, so phi is read off the widths of
the central 80 %. It is 0 for an interval that stays as wide (independent steps) and 1 for that of a
random walk. A path is such an autoregression of normal variables, each turned into its step's
distribution by its rank (a Gaussian copula). Values stay between the 0.5 and the 99.5 % quantile;
series are independent of each other. The same seed gives the same paths.

Not covered: paths that series share (`coupled` is false always).
"""

from __future__ import annotations

import random
from bisect import bisect_right
from math import erfc, sqrt
from typing import Any

from tollama.core import fields, schemas
from tollama.core.errors import InvalidRequest, Loc, shown
from tollama.core.fields import Fields
from tollama.daemon.compat.nixtla import Plan, bad, options_of
from tollama.daemon.compat.nixtla_series import Forecasts, Window, read_panel, requests

GRID = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5,
    0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995,
)  # fmt: skip
MAX_VALUES = schemas.MAX_OUTPUT_VALUES // 4


def simulate_plan(body: object) -> Plan:
    """The plan of POST /v2/simulate."""
    with Fields(body, lenient=True) as f:
        horizon = f.take("h", fields.integer(1, schemas.MAX_HORIZON))
        count = f.take("n_paths", fields.integer(1), 100)
        seed = f.take("seed", _seed, None)
        options, warnings = options_of(f)
        panel = read_panel(f, horizon=horizon if type(horizon) is int else 1)
    values = count * len(panel.targets) * horizon
    if values > MAX_VALUES:
        raise bad(
            f"expected at most {MAX_VALUES:,} values (paths x series x h), got {values:,}",
            "n_paths",
        )
    windows = [Window(i, len(target), horizon) for i, target in enumerate(panel.targets)]

    def answer(found: Forecasts, noted: list[str]) -> dict[str, Any]:
        draw = random.Random(seed)
        series = [paths(item["quantiles"], count, draw) for item in found]
        return {
            "samples": [value for at in range(count) for one in series for value in one[at]],
            "sizes": [horizon] * len(series),
            "n_paths": count,
            "h": horizon,
            "coupled": False,
            "model": panel.model,
            "warnings": [*warnings, *noted],
        }

    return Plan(panel, windows, requests(panel, windows, list(GRID), options), answer)


def _seed(value: object, loc: Loc) -> int:
    if type(value) is not int:
        raise InvalidRequest.of([(loc, f"expected an integer, got {shown(value)}")])
    return value


def paths(quantiles: dict[str, list[float]], count: int, draw: random.Random) -> list[list[float]]:
    """`count` paths of a series from the quantiles of its steps."""
    steps = list(zip(*(quantiles[repr(q)] for q in GRID), strict=True))
    phi = persistence(steps)
    found = []
    for _ in range(count):
        path, error, variance = [], 0.0, 0.0
        for step in steps:
            error = phi * error + draw.gauss(0, 1)
            variance = phi * phi * variance + 1
            path.append(value_at(step, erfc(-error / sqrt(2 * variance)) / 2))
        found.append(path)
    return found


def persistence(steps: list[tuple[float, ...]]) -> float:
    """How far an error of one step carries over to the next, from 0 to 1."""
    if len(steps) < 2:
        return 0.0
    low, high = GRID.index(0.1), GRID.index(0.9)
    first, second = steps[0][high] - steps[0][low], steps[1][high] - steps[1][low]
    if first <= 0:
        return 0.0
    return sqrt(min(max((second / first) ** 2 - 1, 0.0), 1.0))


def value_at(values: tuple[float, ...], probability: float) -> float:
    """The value of a step at a probability, between the quantiles of the grid."""
    at = bisect_right(GRID, probability)
    if at == 0:
        return values[0]
    if at == len(GRID):
        return values[-1]
    part = (probability - GRID[at - 1]) / (GRID[at] - GRID[at - 1])
    return values[at - 1] + part * (values[at] - values[at - 1])
