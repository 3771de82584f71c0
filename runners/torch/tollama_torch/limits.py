"""Context and horizon limits: respected, and said in a warning.

Not covered: memory (batching.py).
"""

from __future__ import annotations

from tollama.core.schemas import ForecastRequest


def context(request: ForecastRequest, limit: int) -> tuple[int, list[str]]:
    """The number of past points to use, and warnings for what that leaves out."""
    warnings = []
    asked = request.options.get("context_length")
    used = limit if asked is None else min(asked, limit)
    if asked is not None and asked > limit:
        warnings.append(f"context_length {asked} is over the model's {limit}: {limit} is used")
    cut = [series for series in request.series if series.length > used]
    if cut and asked is None:
        first = f"{cut[0].id!r} has {cut[0].length} points"
        others = f" and {len(cut) - 1} more series are longer too" if len(cut) > 1 else ""
        warnings.append(f"only the last {used} points are used: {first}{others}")
    return used, warnings


def horizon(request: ForecastRequest, limit: int) -> list[str]:
    """A warning when the horizon is longer than the model forecasts in one pass."""
    if request.horizon <= limit:
        return []
    return [
        f"horizon {request.horizon} is over the {limit} steps that the model forecasts in one "
        "pass: the rest is forecast from its own forecasts and may be worse"
    ]
