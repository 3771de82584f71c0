"""A request cut into slices: small enough that others get their turn between, each one job.

Not covered: in which order slices run and what is batched (backlog.py).
"""

from __future__ import annotations

from typing import Any

from tollama.core.schemas import ForecastRequest, Series
from tollama.daemon.call import Job, Launch

BATCHABLE = "forecast"

Span = tuple[int, int]


def cut(request: ForecastRequest, launch: Launch, replicas: int) -> list[Span]:
    """Slices [first, last) of the request's series."""
    count = len(request.series)
    if count == 1 or request.options.get("cross_learning"):
        return [(0, count)]
    most = launch.max_series
    if launch.replicas:
        most = min(most, -(-count // replicas))
    spans: list[Span] = []
    first, tokens = 0, 0
    for index, series in enumerate(request.series):
        cost = tokens_of(series, request.horizon)
        if index > first and (index - first >= most or tokens + cost > launch.max_tokens):
            spans.append((first, index))
            first, tokens = index, 0
        tokens += cost
    spans.append((first, count))
    return spans


def job(
    body: bytes,
    request: ForecastRequest,
    series: tuple[Series, ...],
    *,
    first: int,
    defaults: dict[str, Any] | None,
    deadline: float,
    request_id: str,
    method: str = "forecast",
) -> Job:
    """A slice as the scheduler takes it; `body` is its JSON, `first` the number of its first
    series.
    """
    return Job(
        body=body,
        series=len(series),
        offset=first,
        tokens=sum(tokens_of(one, request.horizon) for one in series),
        # cross_learning mixes all series of a call: never with another request's.
        key=None if request.options.get("cross_learning") else BATCHABLE,
        horizon=request.horizon,
        defaults=defaults,
        method=method,
        deadline=deadline,
        request_id=request_id,
    )


def tokens_of(series: Series, horizon: int) -> int:
    """What a series costs a batch: every value of every row, past and future."""
    rows = len(series.target) if series.multivariate else 1
    rows += len(series.past_covariates) + len(series.future_covariates)
    return rows * (series.length + horizon)
