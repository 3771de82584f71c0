"""Quantiles that were asked for, out of those that a model gives.

Not covered: sorting them at each step, which the family does for every architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def pick(
    raw: np.ndarray,
    native: Sequence[float],
    levels: tuple[float, ...],
    interpolate: Callable[[np.ndarray, tuple[float, ...]], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Medians (rows, horizon) and quantiles (levels, rows, horizon) from (rows, native, horizon).

    Levels that the model has are taken as they are; otherwise `interpolate` gives all of them, as
    the libraries do.
    """
    position = {level: index for index, level in enumerate(native)}
    median = raw[:, position[0.5]]
    if all(level in position for level in levels):
        chosen = raw[:, [position[level] for level in levels]]
        return median, np.moveaxis(chosen, 1, 0)
    return median, interpolate(raw, levels)


def linear(raw: np.ndarray, native: Sequence[float], levels: tuple[float, ...]) -> np.ndarray:
    """Linear interpolation between neighbouring native levels, held level beyond the outermost."""
    known = np.asarray(native)
    wanted = np.clip(np.asarray(levels), known[0], known[-1])
    upper = np.clip(np.searchsorted(known, wanted, side="right"), 1, len(known) - 1)
    lower = upper - 1
    share = ((wanted - known[lower]) / (known[upper] - known[lower])).astype(raw.dtype)
    low, high = raw[:, lower], raw[:, upper]
    return np.moveaxis(low + share[None, :, None] * (high - low), 1, 0)


def clamp_warnings(native: Sequence[float], levels: tuple[float, ...], title: str) -> list[str]:
    """A warning when levels lie outside those that the model was trained on."""
    outside = [level for level in levels if not native[0] <= level <= native[-1]]
    if not outside:
        return []
    return [
        f"quantiles {', '.join(map(repr, outside))} are outside what {title} was trained on: "
        f"answered with its quantiles {native[0]!r} and {native[-1]!r}"
    ]
