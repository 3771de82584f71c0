"""The mock runner: the mean is the last target value repeated, and so is every quantile."""

from __future__ import annotations

from tollama.core.runner_sdk import Forecast, ForecastRequest, ForecastResponse, Runner, serve


def last(values: list[float | None]) -> float:
    """The last value that is not missing, 0 when there is none."""
    return next((value for value in reversed(values) if value is not None), 0.0)


class Mock(Runner):
    """One line of forecasting, so that everything around it can be tried."""

    name = "mock"
    version = "1"
    capabilities = {"multivariate": True, "quantiles": "any"}  # noqa: RUF012

    def forecast(self, request: ForecastRequest) -> ForecastResponse:
        """Repeat the last value of every target `horizon` times."""
        forecasts = []
        for series in request.series:
            mean: list[float] | list[list[float]]
            if series.multivariate:
                mean = [[last(row)] * request.horizon for row in series.target]
            else:
                mean = [last(series.target)] * request.horizon
            forecasts.append(Forecast(series.id, mean, {q: mean for q in request.quantiles}))
        return ForecastResponse(forecasts)


if __name__ == "__main__":
    serve(Mock())
