"""Quantiles at any level from the levels that a model predicts, and of weighted samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FLOAT = np.float32
ROWS_AT_A_TIME = 4096


def interpolate(
    levels: Sequence[float], known: Sequence[float] | np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Values at `levels`, linear between the known levels and flat outside of them.

    `values` has the known levels on its last axis; `known` is one list for all of them or an array
    of the same shape. float32 arithmetic, as the models' own library does it.
    """
    wanted = np.asarray(levels, FLOAT)
    known = np.broadcast_to(np.asarray(known, FLOAT), values.shape)
    known = known.reshape(-1, values.shape[-1])
    flat = values.reshape(-1, values.shape[-1])
    if known.min() > 0:
        known = np.pad(known, ((0, 0), (1, 0)))
        flat = np.concatenate([flat[:, :1], flat], 1)
    if known.max() < 1:
        known = np.pad(known, ((0, 0), (0, 1)), constant_values=1)
        flat = np.concatenate([flat, flat[:, -1:]], 1)
    out = np.empty((len(flat), len(wanted)), FLOAT)
    rows = np.arange(len(flat))
    for column, level in enumerate(wanted):
        upper = np.minimum((known <= level).sum(1), known.shape[1] - 1)
        lower = upper - 1
        left, gap = known[rows, lower], known[rows, upper] - known[rows, lower]
        weight = np.divide(level - left, gap, out=np.zeros_like(gap), where=gap != 0)
        low = flat[rows, lower]
        out[:, column] = low + weight * (flat[rows, upper] - low)
    return out.reshape(*values.shape[:-1], len(wanted))


def equally_spaced(levels: Sequence[float], values: np.ndarray) -> np.ndarray:
    """Empirical quantiles of the last axis, taken as equally likely samples (numpy's "linear")."""
    ordered = np.sort(values, axis=-1)
    out = np.empty((*values.shape[:-1], len(levels)), FLOAT)
    for column, level in enumerate(levels):
        rank = FLOAT(level) * FLOAT(values.shape[-1] - 1)
        lower = int(rank)
        upper = min(lower + 1, values.shape[-1] - 1)
        low, high = ordered[..., lower], ordered[..., upper]
        out[..., column] = low + (rank - FLOAT(lower)) * (high - low)
    return out


def masses(levels: Sequence[float]) -> np.ndarray:
    """The share of probability nearest to each level: half the distance of its neighbours."""
    edges = np.concatenate([[0], levels, [1]]).astype(FLOAT)
    mass = (edges[2:] - edges[:-2]) / 2
    return mass / mass.sum()


def of_weighted_samples(
    levels: Sequence[float], weights: np.ndarray, samples: np.ndarray
) -> np.ndarray:
    """Quantiles at `levels` of samples (last axis) that carry the given weights."""
    weights = (weights / weights.sum()).astype(FLOAT)
    flat = samples.reshape(-1, samples.shape[-1])
    out = np.empty((len(flat), len(levels)), FLOAT)
    for start in range(0, len(flat), ROWS_AT_A_TIME):
        part = flat[start : start + ROWS_AT_A_TIME]
        order = part.argsort(1, kind="stable")
        reached = np.cumsum(weights[order], 1, dtype=np.float64).astype(FLOAT)
        ordered = np.take_along_axis(part, order, 1)
        out[start : start + ROWS_AT_A_TIME] = interpolate(
            levels, np.minimum(reached, FLOAT(1)), ordered
        )
    return out.reshape(*samples.shape[:-1], len(levels))
