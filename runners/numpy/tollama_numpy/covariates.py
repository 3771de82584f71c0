"""A series with its covariates as the rows of one task: targets first, then one row a covariate.

Strings become numbers: the smoothed mean of the target over the steps where the covariate had that value
(one target), or the value's rank (several targets).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

FLOAT = np.float32
LARGEST = float(np.finfo(FLOAT).max)
SMOOTHING = 1.0  # how many observations the mean of all targets counts for


class BadInput(ValueError):
    """A value that the model cannot take; `loc` is its path within the input."""

    def __init__(self, loc: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.loc = loc


class Task(NamedTuple):
    """One group of rows that a model forecasts together; NaN is missing or unknown."""

    context: np.ndarray  # (rows, past steps)
    future: np.ndarray  # (rows, horizon), NaN but for covariates known ahead
    targets: int  # the first rows are the targets


def tasks(inputs: Sequence[Mapping[str, object]], horizon: int) -> list[Task]:
    """The task of each input {"target", "past_covariates", "future_covariates"}; raises BadInput.

    A covariate of strings is one for all inputs of a call: ranks count the values of all of them.
    """
    ranks = _ranks(inputs)
    found = []
    for index, one in enumerate(inputs):
        try:
            found.append(task(one, horizon, ranks))
        except BadInput as error:
            raise BadInput((index, *error.loc), str(error)) from None
    return found


def task(
    one: Mapping[str, object], horizon: int, ranks: Mapping[str, Mapping[object, int]]
) -> Task:
    """The task of one input; `ranks` numbers the values of each covariate of strings."""
    target = one["target"]
    if getattr(target, "ndim", 0) == 2 or _is_nested(target):
        rows = [numbers(row, ("target", index)) for index, row in enumerate(target)]
    else:
        rows = [numbers(target, ("target",))]
    targets, length = len(rows), len(rows[0])
    past, ahead = _covariates(one, "past_covariates"), _covariates(one, "future_covariates")
    unknown = np.full(horizon, np.nan, FLOAT)
    future = [unknown] * targets
    for name in ahead:
        if name not in past:
            raise BadInput(("future_covariates", name), "expected past values of it too")
    for name in sorted(past, key=lambda name: (name in ahead, name)):
        known = ahead.get(name)
        known = known if known is not None and len(known) else None
        if is_categorical(past[name]) or (known is not None and is_categorical(known)):
            if targets == 1:
                row, row_ahead = _target_means(past[name], known, rows[0])
            else:
                row, row_ahead = _rank_numbers(past[name], known, ranks[name])
        else:
            row = numbers(past[name], ("past_covariates", name))
            row_ahead = None if known is None else numbers(known, ("future_covariates", name))
        _check_length(row, length, ("past_covariates", name))
        if row_ahead is not None:
            _check_length(row_ahead, horizon, ("future_covariates", name))
        rows.append(row)
        future.append(unknown if row_ahead is None else row_ahead)
    for index, row in enumerate(rows[:targets]):
        _check_length(row, length, ("target", index))
    return Task(np.stack(rows), np.stack(future), targets)


def numbers(values: Sequence[float | None] | np.ndarray, loc: tuple[str | int, ...]) -> np.ndarray:
    """float32 row with NaN for None; raises BadInput for what float32 cannot hold.

    An infinity in one series would make NaN of the forecasts beside it.
    """
    try:
        row = np.asarray(values, np.float64)
    except (OverflowError, TypeError, ValueError):
        row = np.asarray([_float64(value) for value in values])
    too_large = np.abs(row) > LARGEST
    if too_large.any():
        index = int(too_large.argmax())
        raise BadInput((*loc, index), f"expected a number below 3.4e38, got {values[index]!r:.40}")
    return row.astype(FLOAT)


def is_categorical(values: Sequence[object]) -> bool:
    """Whether a covariate has names and not numbers."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return not np.issubdtype(values.dtype, np.number)
    return any(isinstance(value, (str, bool)) for value in values)


def _float64(value: object) -> float:
    try:
        return np.nan if value is None else float(value)
    except OverflowError:
        return np.inf


def _is_nested(target: object) -> bool:
    return len(target) > 0 and isinstance(target[0], (list, tuple, np.ndarray))


def _covariates(one: Mapping[str, object], key: str) -> Mapping[str, Sequence[object]]:
    return one.get(key) or {}


def _check_length(row: np.ndarray, length: int, loc: tuple[str | int, ...]) -> None:
    if row.shape != (length,):
        raise BadInput(loc, f"expected {length} values, got {len(row)}")


def _is_missing(value: object) -> bool:
    return value is None or value != value


def _ranks(inputs: Sequence[Mapping[str, object]]) -> dict[str, dict[object, int]]:
    """For each covariate of strings: its values in the past of all inputs, in sorted order."""
    found: dict[str, set[object]] = {}
    for one in inputs:
        ahead = _covariates(one, "future_covariates")
        for name, values in _covariates(one, "past_covariates").items():
            if is_categorical(values) or (
                ahead.get(name) is not None and is_categorical(ahead[name])
            ):
                found.setdefault(name, set()).update(v for v in values if not _is_missing(v))
    return {
        name: {value: rank for rank, value in enumerate(sorted(values, key=_order))}
        for name, values in found.items()
    }


def _order(value: object) -> tuple[bool, object]:
    return isinstance(value, str), value


def _rank_numbers(
    past: Sequence[object], ahead: Sequence[object] | None, ranks: Mapping[object, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Ranks; a missing value is one more, a future value that the past never had is unknown."""

    def row(values: Sequence[object]) -> np.ndarray:
        missing = len(ranks)
        return np.array(
            [missing if _is_missing(v) else ranks.get(v, np.nan) for v in values], FLOAT
        )

    return row(past), None if ahead is None else row(ahead)


def _target_means(
    past: Sequence[object], ahead: Sequence[object] | None, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """(mean of all + sum at the value) / (1 + count at the value); missing is a value of its own."""
    sums: dict[object, float] = {}
    counts: dict[object, int] = {}
    whole = 0.0
    for value, y in zip(past, target.tolist(), strict=False):
        key = None if _is_missing(value) else value
        sums.setdefault(key, 0.0)
        if y == y:
            sums[key] += y
            whole += y
            counts[key] = counts.get(key, 0) + 1
    observed = sum(counts.values())
    mean = whole / observed if observed else 0.0

    def row(values: Sequence[object]) -> np.ndarray:
        keys = [None if _is_missing(value) else value for value in values]
        means = {
            key: (SMOOTHING * mean + sums.get(key, 0.0)) / (SMOOTHING + counts.get(key, 0))
            for key in set(keys)
        }
        return np.array([means[key] for key in keys], FLOAT)

    return row(past), None if ahead is None else row(ahead)
