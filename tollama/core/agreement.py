"""Built-in requests whose answers by two families show that both run the same weights alike.

What they hold is what could differ: gaps, lengths around a patch, large offsets, constant series,
several targets, covariates of numbers and of strings, quantiles between the model's own, and a
horizon past one pass. Real weights cannot be shipped, so this is how a user proves it on theirs.

Not covered: asking the families (cli/against.py) and sampled forecasts, which never agree.
"""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

TOLERANCE = 1e-4  # of the largest absolute value of a series and its forecast
LEVELS = [0.05, 0.1, 0.25, 0.5, 0.9, 0.975]


def requests(
    model: str, capabilities: Mapping[str, Any], max_horizon: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, request) of each case that a model with these capabilities can answer."""

    def request(horizon: int, *series: dict[str, Any]) -> dict[str, Any]:
        return {"model": model, "horizon": horizon, "quantiles": LEVELS, "series": list(series)}

    yield "seasonal", request(24, {"target": _seasonal(200)})
    yield "lengths", request(12, *({"target": _seasonal(n)} for n in (1, 2, 15, 16, 17, 500)))
    yield "gaps", request(16, {"target": _gaps(_seasonal(120))})
    yield "offset", request(16, {"target": [1e6 + y for y in _seasonal(90)]})
    yield "constant", request(8, {"target": [0.7] * 64})
    yield "zeros", request(8, {"target": [0.0] * 30})
    yield "nothing known", request(4, {"target": [None] * 20})
    yield "long history", request(32, {"target": _seasonal(3000)})
    if capabilities.get("multivariate"):
        rows = [_seasonal(150, shift) for shift in (0, 3, 8)]
        yield "several targets", request(24, {"target": [rows[0], _gaps(rows[1]), rows[2]]})
    if capabilities.get("past_covariates") and capabilities.get("future_covariates"):
        covariates = {
            "past_covariates": {"price": _seasonal(140, 5)},
            "future_covariates": {"promotion": [float(t % 7 == 0) for t in range(164)]},
        }
        yield "covariates", request(24, {"target": _seasonal(140), **covariates})
    if capabilities.get("future_covariates") and capabilities.get("categorical_covariates"):
        words = [("sun", "rain", "snow", None)[t * t % 11 % 4] for t in range(120)]
        for name, target in (
            ("categories", _seasonal(100)),
            ("categories of several targets", [_seasonal(100), _seasonal(100, 4)]),
        ):
            if name == "categories" or capabilities.get("multivariate"):
                weather = {"future_covariates": {"weather": words}}
                yield name, request(20, {"target": target, **weather})
    if max_horizon is not None:
        yield "past one pass", request(max_horizon + 6, {"target": _seasonal(60)})


def difference(request: Mapping[str, Any], first: Any, second: Any) -> float:
    """The largest difference of two answers to a request, as a share of each series' peak.

    Answers are forecast responses as the wire has them; infinite when their shapes differ.
    """
    worst = 0.0
    for series, one, other in zip(
        request["series"], first["forecasts"], second["forecasts"], strict=True
    ):
        values = [_flat(one["mean"]), *map(_flat, one["quantiles"].values())]
        others = [_flat(other["mean"]), *map(_flat, other["quantiles"].values())]
        if [len(row) for row in values] != [len(row) for row in others]:
            return math.inf
        known = [y for y in _flat(series["target"]) if y is not None]
        peak = max(map(abs, [*known, *(y for row in values for y in row), 1e-9]))
        for row, row_of_other in zip(values, others, strict=True):
            gaps = (abs(a - b) for a, b in zip(row, row_of_other, strict=True))
            worst = max(worst, max(gaps) / peak)
    return worst


def _seasonal(n: int, shift: int = 0) -> list[float]:
    """A wave of 12 steps on a slow one, with a trend and digits that look like noise."""
    return [
        round(
            50
            + 0.03 * t
            + 8 * math.sin((t + shift) * math.pi / 6)
            + 5 * math.sin((t + shift) / 37)
            + ((t + shift) * 7919 % 101) / 50,
            3,
        )
        for t in range(n)
    ]


def _gaps(values: Sequence[float]) -> list[float | None]:
    return [None if t % 9 == 4 or 30 <= t < 40 else y for t, y in enumerate(values)]


def _flat(values: Sequence[Any]) -> list[Any]:
    if values and isinstance(values[0], list):
        return [y for row in values for y in row]
    return list(values)
