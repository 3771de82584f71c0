"""Minimisers of small, cheap functions: golden section, a bracketed line search, Nelder-Mead.

Not covered: gradients, constraints (an infeasible point returns `math.inf`), convergence proofs.
All are deterministic and bounded in the number of evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

INVERSE_GOLDEN_RATIO = 0.6180339887498949


def golden_section(
    function: Callable[[float], float], low: float, high: float, *, iterations: int
) -> tuple[float, float]:
    """The smallest (value, x) found in [low, high] (Kiefer 1953)."""
    left = high - INVERSE_GOLDEN_RATIO * (high - low)
    right = low + INVERSE_GOLDEN_RATIO * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(iterations):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - INVERSE_GOLDEN_RATIO * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + INVERSE_GOLDEN_RATIO * (high - low)
            at_right = function(right)
    return min((at_left, left), (at_right, right))


def line_search(
    function: Callable[[float], float], grid: Sequence[float], *, iterations: int = 4
) -> float:
    """The x that minimises `function`: the best grid point, refined between its neighbours."""
    value, best = min((function(x), index) for index, x in enumerate(grid))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    refined = golden_section(function, low, high, iterations=iterations)
    return min((value, grid[best]), refined)[1]


def nelder_mead(
    function: Callable[[Sequence[float]], float],
    start: Sequence[float],
    steps: Sequence[float],
    *,
    iterations: int,
    tolerance: float = 1e-4,
) -> list[float]:
    """The point that minimises `function` (Nelder and Mead 1965).

    The first simplex is `start` and `start` moved by each of `steps` along its axis. It ends when
    the values at the vertices agree to the relative `tolerance`.
    """
    size = len(start)
    simplex = [(function(start), list(start))]
    for axis, step in enumerate(steps):
        vertex = list(start)
        vertex[axis] += step
        simplex.append((function(vertex), vertex))
    for _ in range(iterations):
        simplex.sort(key=lambda pair: pair[0])
        best, second_worst, worst = simplex[0][0], simplex[-2][0], simplex[-1][0]
        if worst - best <= tolerance * abs(best):
            break
        columns = zip(*(point for _, point in simplex[:-1]), strict=True)
        centroid = [math.fsum(column) / size for column in columns]
        away = [c - w for c, w in zip(centroid, simplex[-1][1], strict=True)]

        reflected = [c + d for c, d in zip(centroid, away, strict=True)]
        at_reflected = function(reflected)
        if at_reflected < best:
            expanded = [c + 2 * d for c, d in zip(centroid, away, strict=True)]
            at_expanded = function(expanded)
            better = at_expanded < at_reflected
            simplex[-1] = (at_expanded, expanded) if better else (at_reflected, reflected)
            continue
        if at_reflected < second_worst:
            simplex[-1] = (at_reflected, reflected)
            continue
        towards = 0.5 if at_reflected < worst else -0.5
        contracted = [c + towards * d for c, d in zip(centroid, away, strict=True)]
        at_contracted = function(contracted)
        if at_contracted < min(at_reflected, worst):
            simplex[-1] = (at_contracted, contracted)
            continue
        anchor = simplex[0][1]
        for index in range(1, size + 1):
            vertex = [0.5 * (a + v) for a, v in zip(anchor, simplex[index][1], strict=True)]
            simplex[index] = (function(vertex), vertex)
    return min(simplex, key=lambda pair: pair[0])[1]
