"""Series as float32 arrays; values that float32 arithmetic cannot hold are refused by their path.

One infinity makes a whole batch of Chronos-2 NaN, so nothing that overflows may come near a model.

Not covered: what values mean; the request was checked before it came here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tollama.core import fields
from tollama.core.errors import InvalidRequest, Loc, shown
from tollama.core.schemas import Series

try:
    import orjson
except ImportError:
    orjson = None

# The sum of n squares must stay below the largest float32, 3.4e38, for n up to 8192.
SAFE = 1e17
LARGEST_SQUARES = 3e38


def target(series: Series, loc: Loc) -> np.ndarray:
    """The target as (targets, n) in float32, missing values as NaN."""
    if not series.multivariate:
        return numeric(series.target, (*loc, "target"))[None]
    rows = [numeric(row, (*loc, "target", index)) for index, row in enumerate(series.target)]
    return np.stack(rows)


def numeric(values: list[Any], loc: Loc) -> np.ndarray:
    """Numbers and nulls as float32, refused where the model's arithmetic would overflow."""
    wide = np.array(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    peak = np.fmax.reduce(np.abs(wide), initial=0.0)
    if peak > SAFE:
        _check_large(wide, values, loc)
    return narrow


def _check_large(wide: np.ndarray, values: list[Any], loc: Loc) -> None:
    seen = wide[~np.isnan(wide)]
    spread = seen - seen.mean()
    if abs(seen.sum()) < LARGEST_SQUARES and (spread * spread).sum() < LARGEST_SQUARES:
        return
    at = int(np.nanargmax(np.abs(wide)))
    raise fields.fail(
        (*loc, at),
        "expected values that float32 arithmetic can hold (about 1e18), "
        f"got {shown(values[at])}; rescale the series",
    )


def is_categorical(values: list[Any]) -> bool:
    """Whether a covariate is made of strings."""
    return str in set(map(type, values))


def check_known_future(series: Series, loc: Loc) -> list[tuple[Loc, str]]:
    """Problems of covariates known into the future that their past does not match."""
    problems: list[tuple[Loc, str]] = []
    for name, values in series.future_covariates.items():
        where = (*loc, "future_covariates", name)
        past = series.past_covariates.get(name)
        if past is None:
            total = series.length + len(values)
            problems.append(
                (
                    where,
                    f"expected its history too: {total} values here, or {series.length} in "
                    "past_covariates",
                )
            )
            continue
        kinds = {str in found for found in (_kinds(past), _kinds(values)) if found}
        if len(kinds) == 2:
            kind = "strings" if is_categorical(past) else "numbers"
            problems.append((where, f"expected {kind}, as in past_covariates"))
    return problems


def _kinds(values: list[Any]) -> set[type]:
    return set(map(type, values)) - {type(None)}


def refuse(problems: list[tuple[Loc, str]]) -> None:
    """Raise InvalidRequest for the problems, if there are any."""
    if problems:
        raise InvalidRequest.of(problems)


def to_lists(array: np.ndarray) -> list[Any]:
    """Nested lists of the shortest decimals that read back to the same float32.

    They are half as long as the same numbers widened to float64, and as many times faster to write.
    """
    if orjson is None or array.dtype != np.float32:
        return array.tolist()
    return orjson.loads(
        orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    )
