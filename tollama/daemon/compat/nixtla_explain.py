"""Nixtla's explain: how much each feature's past says about the target beyond the target's own.

    granger            Geweke's measure of linear feedback (1982, JASA 77:304-313): the logarithm of
                       how much smaller the residuals of a regression on past values become when
                       the feature's past is added
    transfer_entropy   its half, which is the transfer entropy of Gaussian variables in nats
                       (Barnett, Barrett and Seth 2009, PRL 103:238701)

Both regressions see the same rows, LAGS lags and a constant; residuals of all series are pooled,
each series centred on its own mean. A categorical feature counts as its categories' indicators.
Zero means that the past of the feature says nothing more; a feature that foretells the target to a
billionth has the largest value there is, about 20.

Not covered: nonlinear dependence, and what a particular model makes of a feature (shapley.py).
"""

from __future__ import annotations

from math import log
from typing import Any

from tollama.core import fields
from tollama.core.fields import Fields
from tollama.daemon.compat.nixtla import bad
from tollama.daemon.compat.nixtla_series import read_columns

LAGS = 4
MAX_CATEGORIES = 12
MAX_VALUES = 2_000_000
EXACT = 1e-9

Row = tuple[list[float], float]


def explain(body: object) -> dict[str, Any]:
    """The answer of POST /v2/explain; no model is asked."""
    with Fields(body, lenient=True) as f:
        method = f.take("method", fields.choice("granger", "transfer_entropy"))
        columns = f.take("series", lambda value, loc: read_columns(value, loc))
    if not columns.features:
        raise bad("expected at least one feature", "series", "X")
    values = sum(map(len, columns.targets)) * len(columns.features)
    if values > MAX_VALUES:
        raise bad(f"expected at most {MAX_VALUES:,} values of features, got {values:,}", "series")
    factor = 1.0 if method == "granger" else 0.5
    weights = []
    for index, column in enumerate(columns.features):
        texts = index in columns.categorical
        parts = indicators(column) if texts else [column]
        weights.append(factor * feedback(columns.targets, parts))
    return {"weights": weights, "method": method}


def indicators(column: list[list[Any]]) -> list[list[list[Any]]]:
    """A categorical feature as one 0/1 column for each of its categories but the commonest."""
    counts: dict[str, int] = {}
    for part in column:
        for value in part:
            if value is not None:
                counts[str(value)] = counts.get(str(value), 0) + 1
    kept = sorted(counts, key=lambda name: -counts[name])[1 : MAX_CATEGORIES + 1]
    return [
        [[None if v is None else float(str(v) == name) for v in part] for part in column]
        for name in kept
    ]


def feedback(targets: list[list[Any]], columns: list[list[list[Any]]]) -> float:
    """ln(residuals without the feature / residuals with it), not below zero."""
    rows: list[Row] = []
    own = LAGS
    for number, target in enumerate(targets):
        rows += _rows(target, [column[number] for column in columns])
    width = own + LAGS * len(columns)
    if len(rows) <= width + 1:
        return 0.0
    scales = [max((abs(row[0][at]) for row in rows), default=1.0) or 1.0 for at in range(width)]
    scaled = [([v / s for v, s in zip(x, scales, strict=True)], y) for x, y in rows]
    alone = residuals([(x[:own], y) for x, y in scaled])
    both = residuals(scaled)
    if alone <= 0:
        return 0.0
    return max(0.0, log(alone / max(both, EXACT * alone)))


def _rows(target: list[Any], columns: list[list[Any]]) -> list[Row]:
    """One row a step whose past is whole: lags of the target, lags of the features; the step."""
    known = [v for v in target if v is not None]
    if not known:
        return []
    centre = sum(known) / len(known)
    series = [[None if v is None else v - centre for v in target]]
    for column in columns:
        values = [v for v in column if v is not None]
        middle = sum(values) / len(values) if values else 0.0
        series.append([None if v is None else v - middle for v in column])
    rows: list[Row] = []
    for at in range(LAGS, len(target)):
        past = [v for one in series for v in one[at - LAGS : at]]
        now = series[0][at]
        if now is not None and None not in past:
            rows.append((past, now))  # type: ignore[arg-type]
    return rows


def residuals(rows: list[Row]) -> float:
    """The sum of squared residuals of a least-squares fit, by orthogonalising the columns.

    Modified Gram-Schmidt; a column that the ones before it explain is left out.
    """
    y = [value for _, value in rows]
    basis: list[list[float]] = []
    for at in range(len(rows[0][0])):
        column = [x[at] for x, _ in rows]
        size = _dot(column, column)
        for one in basis:
            column = _without(column, one)
        left = _dot(column, column)
        if size <= 0 or left <= 1e-10 * size:
            continue
        length = left**0.5
        basis.append([v / length for v in column])
    for one in basis:
        y = _without(y, one)
    return _dot(y, y)


def _dot(a: list[float], b: list[float]) -> float:
    return sum(x * z for x, z in zip(a, b, strict=True))


def _without(vector: list[float], unit: list[float]) -> list[float]:
    share = _dot(vector, unit)
    return [v - share * u for v, u in zip(vector, unit, strict=True)]
