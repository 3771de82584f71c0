"""A series with its covariates as the rows of one task: targets first, then one row a covariate.

Strings become numbers as the models' own library makes them: the smoothed mean of the target over
the steps where the covariate had that value (one target), or the value's rank (several targets).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tollama_numpy.preprocess import Scale

FLOAT = np.float32
SAFE = 1e17  # the squares of 8192 such values still have a float32 sum
LARGEST_SUM = 3e38
SMOOTHING = 1.0  # the mean of all targets counts as so many observations of each value


class BadInput(ValueError):
    """A value that the model cannot take; `loc` is its path within the inputs."""

    def __init__(self, loc: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.loc = loc


class Task(NamedTuple):
    """One group of rows that a model forecasts together; NaN is missing or unknown."""

    context: np.ndarray  # (rows, past steps)
    future: np.ndarray  # (rows, horizon), NaN but for covariates known ahead
    targets: int  # the first rows are the targets
    scale: Scale | None = None  # of the context; None: that of the batch it is in


Input = Mapping[str, object]
Values = Sequence[object]
Ranks = Mapping[str, Mapping[object, int]]


def tasks(inputs: Sequence[Input], horizon: int) -> list[Task]:
    """The task of each {"target", "past_covariates", "future_covariates"}; raises BadInput.

    What kind a covariate is of, and the ranks of its strings, are common to the inputs that have
    the same number of targets and the same covariates.
    """
    schemas: dict[object, list[int]] = {}
    for index, one in enumerate(inputs):
        schemas.setdefault(_schema(one), []).append(index)
    found: list[Task | None] = [None] * len(inputs)
    for members in schemas.values():
        ranks = _ranks([inputs[index] for index in members])
        for index in members:
            try:
                found[index] = _task(inputs[index], horizon, ranks)
            except BadInput as error:
                raise BadInput((index, *error.loc), str(error)) from None
    return found


def numbers(values: Values | np.ndarray, loc: tuple[str | int, ...]) -> np.ndarray:
    """A float32 row with NaN for None; raises BadInput for what float32 arithmetic cannot hold.

    An infinity in one series would make NaN of the forecasts beside it.
    """
    try:
        wide = np.asarray(values, np.float64)
    except OverflowError:  # a whole number of hundreds of digits
        wide = np.array([_wide(value) for value in values])
    peak = np.fmax.reduce(np.abs(wide), initial=0.0)
    if peak > SAFE:
        _check_large(wide, values, loc)
    return wide.astype(FLOAT)


def _wide(value: object) -> float:
    try:
        return np.nan if value is None else float(value)
    except OverflowError:
        return np.inf


def is_categorical(values: Values | np.ndarray) -> bool:
    """Whether a covariate has names and not numbers."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return not np.issubdtype(values.dtype, np.number)
    return bool({str, bool} & set(map(type, values)))


def _check_large(wide: np.ndarray, values: Values, loc: tuple[str | int, ...]) -> None:
    seen = wide[~np.isnan(wide)]
    with np.errstate(all="ignore"):
        spread = seen - seen.mean()
        sums = abs(seen.sum()), (spread * spread).sum()
    if not all(total < LARGEST_SUM for total in sums):
        at = int(np.nanargmax(np.abs(wide)))
        raise BadInput(
            (*loc, at),
            "expected values that float32 arithmetic can hold (about 1e18), "
            f"got {values[at]!r:.40}; rescale the series",
        )


def _targets(one: Input) -> list[Values]:
    target = one["target"]
    nested = len(target) > 0 and isinstance(target[0], (list, tuple, np.ndarray))
    return list(target) if nested else [target]


def _covariates(one: Input, kind: str) -> Mapping[str, Values]:
    return one.get(kind) or {}


def _known(one: Input, name: str) -> Values | None:
    """The future values of a covariate, None where they are not known."""
    values = _covariates(one, "future_covariates").get(name)
    return None if values is None or len(values) == 0 else values


def _is_categorical(one: Input, name: str) -> bool:
    known = _known(one, name)
    past = _covariates(one, "past_covariates")[name]
    return is_categorical(past) or (known is not None and is_categorical(known))


def _schema(one: Input) -> object:
    past, ahead = (_covariates(one, f"{part}_covariates") for part in ("past", "future"))
    return len(_targets(one)), tuple(sorted(past)), tuple(sorted(ahead))


def _task(one: Input, horizon: int, ranks: Ranks) -> Task:
    targets = _targets(one)
    past = _covariates(one, "past_covariates")
    for name in _covariates(one, "future_covariates"):
        if name not in past:
            raise BadInput(("future_covariates", name), "expected its history too")
    length = len(targets[0])
    rows = []
    for index, target in enumerate(targets):
        loc: tuple[str | int, ...] = ("target", index) if len(targets) > 1 else ("target",)
        _check_length(target, length, loc)
        rows.append(numbers(target, loc))
    unknown = np.full(horizon, np.nan, FLOAT)
    future = [unknown] * len(rows)
    for name in sorted(past):
        known = _known(one, name)
        _check_length(past[name], length, ("past_covariates", name))
        if known is not None:
            _check_length(known, horizon, ("future_covariates", name))
        if name not in ranks or not (_is_categorical(one, name) or _is_empty(past[name], known)):
            row = numbers(past[name], ("past_covariates", name))
            ahead = None if known is None else numbers(known, ("future_covariates", name))
        elif len(targets) == 1:
            row, ahead = _target_means(past[name], known, rows[0])
        else:
            row, ahead = _rank_numbers(past[name], known, ranks[name])
        rows.append(row)
        future.append(unknown if ahead is None else ahead)
    return Task(np.stack(rows), np.stack(future), len(targets))


def _is_empty(past: Values, known: Values | None) -> bool:
    """Whether a covariate has no value at all, which leaves its kind to the other inputs."""
    return all(map(_is_missing, past)) and (known is None or all(map(_is_missing, known)))


def _check_length(values: Values, length: int, loc: tuple[str | int, ...]) -> None:
    if len(values) != length:
        raise BadInput(loc, f"expected {length} values, got {len(values)}")


def _is_missing(value: object) -> bool:
    return value is None or value != value


def _ranks(inputs: Sequence[Input]) -> dict[str, dict[object, int]]:
    """For each covariate of strings: the values of its past in all inputs, sorted."""
    found: dict[str, set[object]] = {}
    for one in inputs:
        for name, values in _covariates(one, "past_covariates").items():
            if _is_categorical(one, name):
                found.setdefault(name, set()).update(v for v in values if not _is_missing(v))
    return {
        name: {value: rank for rank, value in enumerate(sorted(values))}
        for name, values in found.items()
    }


def _rank_numbers(
    past: Values, known: Values | None, ranks: Mapping[object, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Ranks; missing is one more, a future value that the past never had is unknown."""

    def row(values: Values) -> np.ndarray:
        missing = len(ranks)
        return np.array(
            [missing if _is_missing(v) else ranks.get(v, np.nan) for v in values], FLOAT
        )

    return row(past), None if known is None else row(known)


def _target_means(
    past: Values, known: Values | None, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """(mean of all + sum at the value) / (1 + count at the value); missing is a value too."""
    sums: dict[object, float] = {}
    counts: dict[object, int] = {}
    whole = 0.0
    for value, y in zip(past, target.tolist(), strict=True):
        key = None if _is_missing(value) else value
        if y == y:
            sums[key] = sums.get(key, 0.0) + y
            counts[key] = counts.get(key, 0) + 1
            whole += y
    mean = whole / sum(counts.values()) if counts else 0.0

    def row(values: Values) -> np.ndarray:
        keys = [None if _is_missing(value) else value for value in values]
        means = {
            key: (SMOOTHING * mean + sums.get(key, 0.0)) / (SMOOTHING + counts.get(key, 0))
            for key in set(keys)
        }
        return np.array([means[key] for key in keys], FLOAT)

    return row(past), None if known is None else row(known)
