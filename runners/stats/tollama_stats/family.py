"""The family behind the pipe: a request's series, one after the other, through `forecast`."""

from __future__ import annotations

from typing import Any

from tollama.core import calendar, fields
from tollama.core.runner_sdk import Forecast, ForecastRequest, ForecastResponse, Runner

from .forecast import MODELS, forecast

# The calibration classes of intervals.py by calendar unit.
CLASSES = {
    "S": "H", "min": "H", "h": "H", "D": "D", "B": "D", "W": "W", "MS": "M", "ME": "M",
    "QS": "Q", "QE": "Q", "YS": "Y", "YE": "Y",
}  # fmt: skip


class Stats(Runner):
    """Classical methods; the model's name is the method."""

    name = "stats"
    version = "1"
    capabilities = {"missing_values": True, "quantiles": "any"}  # noqa: RUF012
    options = {"context_length": fields.integer(1)}  # noqa: RUF012

    def load(
        self, *, model: str, path: str | None, options: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Choose the method."""
        if model not in MODELS:
            raise ValueError(f"no method named {model!r}")
        self.method = model
        return {"device": "cpu"}

    def forecast(self, request: ForecastRequest) -> ForecastResponse:
        """Forecast every series."""
        forecasts: list[Forecast] = []
        usages: list[dict[str, object]] = []
        warnings: list[str] = []
        context = request.options.get("context_length") or 0
        for series in request.series:
            freq = calendar.parse_freq(series.freq) if series.freq else None
            found = forecast(
                self.method,
                series.target[-context:],
                request.horizon,
                quantiles=request.quantiles,
                season_length=series.season_length,
                freq_class=CLASSES.get(freq.unit) if freq else None,
                options=request.options,
            )
            levels = found.quantiles if request.quantiles else None
            forecasts.append(Forecast(series.id, found.mean, levels))
            usages.append({"id": series.id, **found.usage})
            warnings += [f"{series.id}: {text}" for text in found.warnings]
        return ForecastResponse(forecasts, {"model": self.method, "series": usages}, warnings)
