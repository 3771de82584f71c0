"""The family behind the pipe: a request's series, one after the other, through `forecast`."""

from __future__ import annotations

from typing import Any

from tollama.core import calendar, fields
from tollama.core.frequency import CLOCK, DAY, MONTHLY
from tollama.core.runner_sdk import Forecast, ForecastRequest, ForecastResponse, Runner

from .forecast import MODELS, forecast

DAYS = {"D": 1, "B": 1, "W": 7}
BY_DAYS = {1: "D", 7: "W"}
BY_MONTHS = {1: "M", 3: "Q", 12: "Y"}


def frequency_class(freq: calendar.Freq | None) -> str | None:
    """Y, Q, M, W, D or H, whatever the spelling (12 months are a year); None for all else."""
    if freq is None:
        return None
    if freq.unit in MONTHLY:
        return BY_MONTHS.get(freq.n * MONTHLY[freq.unit])
    if freq.unit in DAYS:
        return BY_DAYS.get(freq.n * DAYS[freq.unit])
    step = freq.n * CLOCK[freq.unit]
    if step % DAY:
        return "H" if CLOCK["S"] <= step < DAY else None
    return BY_DAYS.get(step // DAY)


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
                freq_class=frequency_class(freq),
                options=request.options,
            )
            levels = found.quantiles if request.quantiles else None
            forecasts.append(Forecast(series.id, found.mean, levels))
            usages.append({"id": series.id, **found.usage})
            warnings += [f"{series.id}: {text}" for text in found.warnings]
        return ForecastResponse(forecasts, {"model": self.method, "series": usages}, warnings)
