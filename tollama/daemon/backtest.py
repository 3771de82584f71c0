"""Backtests: rolling origins -> forecast requests -> scores, for any models side by side.

A window with cutoff c sees the first c values of a series and of its covariates, and of the
covariates that are known ahead the `horizon` values after c: nothing else leaves this module, so
nothing can leak. Every window of every model is an ordinary request of the scheduler, which batches
them. Scores are computed beside the model, by core/metrics.py.

Not covered: anomalies (anomalies.py), printing (cli/evaluate.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tollama.core import answer, fields, metrics, names, protocol, schemas, splice
from tollama.core.errors import InvalidRequest
from tollama.core.schemas import Series
from tollama.daemon.forecasting import Client, Forecasting
from tollama.daemon.grid import on_grid
from tollama.daemon.wire import part, read

BASELINE = "seasonal-naive"
DEFAULT_METRICS = ("mase", "smape", "mape", "rmse", "wql", "msis", "coverage")
DEFAULT_QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
MAX_WINDOWS = 10_000
# Lower is better for all of these; coverage is judged by its distance from its level.
SKILL = ("mase", "smape", "mape", "rmse", "mae", "rmsse", "wql")


def _series_list(value: object, loc: Any) -> list[Any]:
    items = fields.json_list(value, loc)
    if not items:
        raise fields.fail(loc, "expected at least one series, got an empty list")
    return items


@dataclass(eq=False, repr=False, match_args=False)
class BacktestBody:
    """What POST /api/backtest takes."""

    models: list[str] = part(fields.list_of(names.reader), "names of the models to compare")
    horizon: int = part(fields.integer(1, schemas.MAX_HORIZON), "steps forecast at each cutoff")
    series: list[Any] = part(_series_list, "the histories, as for a forecast")
    windows: int = part(fields.integer(1, MAX_WINDOWS), "cutoffs per series", 3)
    stride: int | None = part(
        fields.integer(1, schemas.MAX_HORIZON), "steps between cutoffs (default: the horizon)", None
    )
    quantiles: list[float] | None = part(fields.json_list, "levels to score", None)
    metrics: list[str] | None = part(
        fields.list_of(fields.choice(*metrics.METRICS)), "scores to compute", None
    )
    options: dict[str, Any] | None = part(fields.json_object, "options for every model", None)
    forecasts: bool = part(fields.boolean, "give every forecast too", False)
    stream: bool = part(fields.boolean, "answer as NDJSON progress lines", False)
    timeout: float | None = part(fields.positive, "seconds per window", None)


def parse(raw: bytes) -> BacktestBody:
    """A body, checked as far as no model is needed; raises InvalidRequest with every bad field."""
    value = splice.parse(raw)
    body = read(BacktestBody, value)
    problems: list[tuple[Any, str]] = []
    if not body.models:
        problems.append((("models",), "expected at least one model, got an empty list"))
    seen: list[Series] = []
    for index, one in enumerate(body.series):
        try:
            seen.append(Series.parse(one, ("series", index), number=index, horizon=None))
        except InvalidRequest as error:
            problems += error.problems()
    if problems:
        raise InvalidRequest.of(problems)
    schemas.duplicate_ids(seen)
    return body


def cutoffs(length: int, horizon: int, windows: int, stride: int) -> list[int]:
    """How many values each window sees, first window first; fewer for a short series.

    The last window's horizon ends at the series' end. A window needs at least one value to learn
    from.
    """
    last = length - horizon
    return [c for c in (last - stride * k for k in range(windows - 1, -1, -1)) if c >= 1]


def cut(series: Series, cutoff: int, horizon: int) -> dict[str, Any]:
    """What a model may see of a series at a cutoff, as a request's series with its actuals.

    Covariates given over the history and some future are known ahead: their next `horizon` values
    go along. Past covariates end at the cutoff.
    """
    end = cutoff + horizon
    rows = series.target if series.multivariate else [series.target]
    past = [row[:cutoff] for row in rows]
    actual = [row[cutoff:end] for row in rows]
    found: dict[str, Any] = {
        "id": series.id,
        "target": past if series.multivariate else past[0],
        "actuals": actual if series.multivariate else actual[0],
    }
    if series.freq:
        found["freq"] = series.freq
    if series.timestamps:
        found["timestamps"] = series.timestamps[:cutoff]
    if series.start:
        found["start"] = series.start
    if series.past_covariates:
        found["past_covariates"] = {k: v[:cutoff] for k, v in series.past_covariates.items()}
    known = {k: v for k, v in series.future_covariates.items() if len(v) >= series.length}
    if known:
        found["future_covariates"] = {k: v[:end] for k, v in known.items()}
    if series.static_covariates:
        found["static_covariates"] = series.static_covariates
    return found


class Window:
    """One origin: the series that are long enough for it, and where each is cut."""

    def __init__(self, number: int, parts: list[tuple[Series, int]]) -> None:
        self.number = number
        self.parts = parts


def windows_of(series: list[Series], horizon: int, count: int, stride: int) -> list[Window]:
    """The windows, oldest first; a short series takes part in the last ones only."""
    by_number: dict[int, list[tuple[Series, int]]] = {}
    for one in series:
        found = cutoffs(one.length, horizon, count, stride)
        for number, cutoff in zip(range(count - len(found), count), found, strict=True):
            by_number.setdefault(number, []).append((one, cutoff))
    return [Window(number, by_number[number]) for number in sorted(by_number)]


class Backtest:
    """One backtest; `run` yields progress events and ends with the answer."""

    def __init__(
        self,
        forecasting: Forecasting,
        body: BacktestBody,
        *,
        request_id: str,
        client: Client,
    ) -> None:
        self.forecasting = forecasting
        self.body = body
        self.request_id = request_id
        self.client = client
        self.stride = body.stride or body.horizon
        self.metrics = list(body.metrics or DEFAULT_METRICS)
        self.quantiles = sorted(body.quantiles) if body.quantiles else list(DEFAULT_QUANTILES)
        self.series = [
            on_grid(
                Series.parse(one, ("series", index), number=index, horizon=None),
                ("series", index),
                body.options,
            )
            for index, one in enumerate(body.series)
        ]
        self.windows = windows_of(self.series, body.horizon, body.windows, self.stride)
        if not self.windows:
            raise InvalidRequest.of(
                [
                    (
                        ("horizon",),
                        f"expected series longer than the horizon ({body.horizon}), "
                        f"the longest has {max(s.length for s in self.series)} values",
                    )
                ]
            )
        self.models = list(dict.fromkeys(body.models))

    def run(self) -> Iterator[dict[str, Any]]:
        """Events `{"status":"running backtest", ...}`, then `{"response": {...}}`."""
        everyone = self.models if BASELINE in self.models else [*self.models, BASELINE]
        total = len(everyone) * len(self.windows)
        done = 0
        results: dict[str, list[dict[str, Any]]] = {}
        warnings: dict[str, None] = {}
        for model in everyone:
            running = [self._start(model, window) for window in self.windows]
            try:
                for one in running:
                    value = answer.loads(one.answer().body)
                    results.setdefault(model, []).append(value)
                    warnings.update(dict.fromkeys(f"{model}: {w}" for w in value["warnings"]))
                    done += 1
                    yield {
                        "status": "running backtest",
                        "model": model,
                        "completed": done,
                        "total": total,
                    }
            finally:
                for one in running:
                    one.cancel()
        yield {"response": self._answer(results, list(warnings))}

    def _start(self, model: str, window: Window) -> Any:
        request: dict[str, Any] = {
            "model": model,
            "horizon": self.body.horizon,
            "quantiles": self.quantiles,
            "metrics": self.metrics,
            "series": [cut(series, cutoff, self.body.horizon) for series, cutoff in window.parts],
        }
        options = self.body.options or {}
        if model == BASELINE:
            options = {k: v for k, v in options.items() if k in ("season_length", "tz")}
        if options:
            request["options"] = options
        if self.body.timeout:
            request["timeout"] = self.body.timeout
        return self.forecasting.start(
            protocol.dumps(request), request_id=self.request_id, client=self.client
        )

    def _answer(
        self, results: dict[str, list[dict[str, Any]]], warnings: list[str]
    ) -> dict[str, Any]:
        scored = {model: self._scores(values) for model, values in results.items()}
        baseline = scored[BASELINE]["overall"]
        key = ranking_score(self.metrics, baseline)
        board = []
        for model in self.models:
            scores = scored[model]
            board.append(
                {
                    "model": model,
                    "metrics": scores["overall"],
                    "skill": {
                        name: 1 - value / baseline[name]
                        for name, value in scores["overall"].items()
                        if name in SKILL and value is not None and baseline.get(name)
                    },
                    "wins": sum(
                        1 for one in self.series if _best(scored, self.models, one.id, key) == model
                    ),
                    "series": scores["series"],
                    "windows": [
                        {"window": window.number, "metrics": value["metrics"]["overall"]}
                        for window, value in zip(self.windows, results[model], strict=True)
                    ],
                }
            )
        board.sort(key=lambda row: _rank(key, row["metrics"].get(key)))
        found: dict[str, Any] = {
            "horizon": self.body.horizon,
            "windows": len(self.windows),
            "stride": self.stride,
            "ranked_by": key,
            "baseline": {"model": BASELINE, "metrics": baseline},
            "winner": board[0]["model"],
            "leaderboard": board,
            "cutoffs": [self._cutoffs(window) for window in self.windows],
            "warnings": warnings,
        }
        if self.body.forecasts:
            found["forecasts"] = {
                model: [value["forecasts"] for value in results[model]] for model in self.models
            }
        return found

    def _cutoffs(self, window: Window) -> dict[str, Any]:
        return {
            "window": window.number,
            "series": [
                {
                    "id": series.id,
                    "seen": cutoff,
                    "timestamp": series.timestamps[cutoff - 1] if series.timestamps else None,
                }
                for series, cutoff in window.parts
            ],
        }

    def _scores(self, values: list[dict[str, Any]]) -> dict[str, Any]:
        """Scores by series, each the mean over its windows, and the mean over series."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for value in values:
            for row in value["metrics"]["series"]:
                rows.setdefault(row["id"], []).append(row)
        series = []
        for name, found in rows.items():
            means = answer.join_scores(found)["overall"]
            series.append({"id": name, **means})
        return answer.join_scores(series)


def _best(scored: dict[str, Any], models: list[str], name: str, key: str) -> str | None:
    """The model with the best score of a series; the first of equals."""
    found: list[tuple[float, int, str]] = []
    for index, model in enumerate(models):
        row = next((r for r in scored[model]["series"] if r["id"] == name), None)
        if row is not None and row.get(key) is not None:
            found.append((_rank(key, row[key]), index, model))
    return min(found)[2] if found else None


def ranking_score(asked: list[str], scores: dict[str, float | None]) -> str:
    """The score that ranks the models: the first asked for; of an interval's scores the widest."""
    return next((name for name in scores if name.partition("_")[0] == asked[0]), asked[0])


def _rank(name: str, value: float | None) -> float:
    """What to sort by: the score, for coverage its distance from the level."""
    if value is None:
        return float("inf")
    kind, _, level = name.partition("_")
    return abs(value - float(level)) if kind == "coverage" and level else value
