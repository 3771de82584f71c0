"""What a request asks beyond what the model was made for: answered all the same, and said.

Not covered: what cannot be answered at all, which is an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from tollama.core.schemas import ForecastRequest


def warnings(
    request: ForecastRequest,
    *,
    title: str,
    context_length: int,
    longest_step: int,
    levels: Sequence[float],
) -> list[str]:
    """Warnings for a history, a horizon or quantiles over the model's limits."""
    return [
        *_context(request, context_length),
        *_horizon(request, longest_step),
        *_quantiles(request, levels, title),
    ]


def _context(request: ForecastRequest, limit: int) -> list[str]:
    asked = request.options.get("context_length")
    if asked is not None:
        if asked <= limit:
            return []
        return [f"context_length {asked} is over the model's {limit}: {limit} is used"]
    cut = [series for series in request.series if series.length > limit]
    if not cut:
        return []
    first = f"{cut[0].id!r} has {cut[0].length} points"
    others = f" and {len(cut) - 1} more series are longer too" if len(cut) > 1 else ""
    return [f"only the last {limit} points are used: {first}{others}"]


def _horizon(request: ForecastRequest, limit: int) -> list[str]:
    if request.horizon <= limit:
        return []
    return [
        f"horizon {request.horizon} is over the {limit} steps that the model forecasts in one "
        "pass: the rest is forecast from its own forecasts and may be worse"
    ]


def _quantiles(request: ForecastRequest, levels: Sequence[float], title: str) -> list[str]:
    outside = [level for level in request.quantiles if not levels[0] <= level <= levels[-1]]
    if not outside:
        return []
    return [
        f"quantiles {', '.join(map(repr, outside))} are outside what {title} was trained on: "
        f"answered with its quantiles {levels[0]!r} and {levels[-1]!r}"
    ]
