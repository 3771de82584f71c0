"""From rows of numbers to the numbers that a model sees: instance normalisation and patches.

Rows are float32, NaN meaning missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FLOAT = np.float32
SMALLEST_SCALE = FLOAT(1e-5)  # of a constant row


class Scale(NamedTuple):
    """Location and scale of each row, (rows, 1)."""

    loc: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> Scale:
        """Mean and standard deviation of what is there; 0 and 1 for a row without a value."""
        seen = ~np.isnan(rows)
        count = np.maximum(seen.sum(1, keepdims=True), 1).astype(FLOAT)
        loc = total(np.where(seen, rows, FLOAT(0))) / count
        deviation = np.where(seen, rows - loc, FLOAT(0))
        scale = np.sqrt(total(deviation * deviation) / count)
        scale[scale == 0] = SMALLEST_SCALE
        scale[~seen.any(1)] = 1
        return cls(loc, scale)

    @classmethod
    def joined(cls, scales: Sequence[Scale]) -> Scale:
        """Scales of several arrays as those of all their rows."""
        return cls(*(np.concatenate(parts) for parts in zip(*scales, strict=True)))

    def of_rows(self, rows: slice) -> Scale:
        """The scales of some rows."""
        return Scale(self.loc[rows], self.scale[rows])

    def normalised(self, rows: np.ndarray) -> np.ndarray:
        """(rows - loc) / scale."""
        return (rows - self.loc) / self.scale

    def restored(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `normalised`, for (rows, quantiles, steps)."""
        return values * self.scale[:, :, None] + self.loc[:, :, None]


_LANES = 32  # 4 accumulators of 8 float32
_LEVEL_STEP = 16


def total(rows: np.ndarray) -> np.ndarray:
    """The sum of each row, (rows, 1), added in the order in which torch adds on a CPU.

    The scale of a row that is constant but for rounding *is* the rounding of this sum, and the
    model sees the row divided by it; so the order decides what a constant covariate looks like.
    """
    count, length = rows.shape
    rounds = length // _LANES
    body = rows[:, : rounds * _LANES].reshape(count, rounds, _LANES)
    levels = [body]
    while levels[-1].shape[1] >= _LEVEL_STEP and len(levels) < 4:
        below = levels[-1]
        full = below.shape[1] // _LEVEL_STEP * _LEVEL_STEP
        levels[-1] = below[:, full:]
        levels.append(below[:, :full].reshape(count, -1, _LEVEL_STEP, _LANES).sum(2, dtype=FLOAT))
    lanes = np.zeros((count, _LANES), FLOAT)
    for level in levels:
        lanes += level.sum(1, dtype=FLOAT)
    accumulators = lanes.reshape(count, 4, 8)
    vector = rounds * _LANES
    while length - vector >= 8:
        accumulators[:, 0] += rows[:, vector : vector + 8]
        vector += 8
    eight = accumulators.sum(1, dtype=FLOAT)
    result = np.zeros((count, 1), FLOAT)
    for column in range(vector, length):
        result[:, 0] += rows[:, column]
    for column in range(8):
        result[:, 0] += eight[:, column]
    return result


def patches(rows: np.ndarray, size: int) -> np.ndarray:
    """(rows, steps) -> (rows, patches, size), the first one filled up with NaN on its left."""
    missing = -rows.shape[1] % size
    if missing:
        rows = np.concatenate([np.full((len(rows), missing), np.nan, FLOAT), rows], 1)
    return rows.reshape(len(rows), -1, size)


def left_padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks (variates, steps) arrays to (all variates, most steps), NaN before shorter ones."""
    width = max(block.shape[1] for block in rows)
    out = np.full((sum(len(block) for block in rows), width), np.nan, FLOAT)
    first = 0
    for block in rows:
        out[first : first + len(block), width - block.shape[1] :] = block
        first += len(block)
    return out
