"""Nixtla's forecast, and what its client asks before: models, their sizes, the key.

A task is a Plan: the native requests that it needs, made as they are taken, and the function from
their answers to nixtla's JSON. Both are pure.

Not covered: windows over the past (nixtla_windows.py), sample paths (nixtla_paths.py), measures
(nixtla_explain.py), jobs (nixtla_jobs.py). Fine-tuning is refused: no model here is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tollama.core import fields, schemas
from tollama.core.errors import InvalidRequest, NotFound, NotImplementedYet
from tollama.core.fields import Fields
from tollama.daemon.compat import shapley
from tollama.daemon.compat.nixtla_levels import (
    intervals,
    means,
    quantiles_of,
    read_level,
)
from tollama.daemon.compat.nixtla_series import Forecasts, Panel, Window, read_panel, requests
from tollama.daemon.launches import Model

# What /model_params says of a model without a bound. The client sends no more than this.
ANY_CONTEXT = 1_000_000
ANY_HORIZON = schemas.MAX_HORIZON


class Plan(NamedTuple):
    """A task: its panel and windows, the native requests, and what becomes of the forecasts."""

    panel: Panel
    windows: list[Window]
    requests: Iterator[tuple[list[int], dict[str, Any]]]
    answer: Callable[[Forecasts, list[str]], dict[str, Any]]


def model_params(model: Model) -> dict[str, Any]:
    """The answer of /model_params: how much history the model sees, how far it can forecast."""
    preset = (model.defaults or {}).get("options") or {}
    known = model.offer.context_length if model.offer else None
    asked = preset.get("context_length")
    context = min(filter(None, (known, asked if isinstance(asked, int) else None)), default=None)
    horizon = model.offer.max_horizon if model.offer else None
    return {"detail": {"input_size": context or ANY_CONTEXT, "horizon": horizon or ANY_HORIZON}}


def models(tags: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer of /v2/models: what is installed or built in."""
    return {"models": [{"name": item["name"]} for item in tags]}


def options_of(f: Fields) -> tuple[dict[str, Any], list[str]]:
    """Options for the model from model_parameters, and warnings for what has no effect here."""
    options = f.take("model_parameters", fields.json_object, {})
    steps = f.take("finetune_steps", fields.integer(0), 0)
    tuned = f.take("finetuned_model_id", fields.string, None)
    if tuned:
        raise NotFound(f"fine-tuned model {tuned[:60]!r} does not exist: tollama trains no models")
    warnings = []
    if steps:
        warnings.append(f"finetune_steps={steps} has no effect: tollama trains no models")
    return dict(options), warnings


def forecast_plan(body: object, *, uses_features: bool = True) -> Plan:
    """The plan of POST /v2/forecast; `uses_features` is whether the model can use any."""
    with Fields(body, lenient=True) as f:
        horizon = f.take("h", fields.integer(1, schemas.MAX_HORIZON))
        levels = f.take("level", fields.list_of(read_level), [])
        contributions = f.take("feature_contributions", fields.boolean, False)
        kind = f.take("feature_contributions_type", fields.string, "shapley")
        options, warnings = options_of(f)
        panel = read_panel(f, horizon=horizon if type(horizon) is int else 1)
    if contributions and kind != "shapley":
        raise NotImplementedYet(f"feature_contributions_type {kind!r}: tollama computes 'shapley'")
    windows = [Window(i, len(target), horizon) for i, target in enumerate(panel.targets)]
    games = shapley.games(panel.features if uses_features else []) if contributions else []
    asked = windows + [
        window._replace(features=coalition) for coalition in games for window in windows
    ]
    quantiles = quantiles_of(levels)

    def answer(found: Forecasts, noted: list[str]) -> dict[str, Any]:
        rows = None
        if contributions:
            rows = contribution_rows(panel, games, found, len(windows))
        own = found[: len(windows)]
        return {
            "mean": means(own),
            "intervals": intervals(levels, own),
            "weights_x": None,
            "feature_contributions": rows,
            "input_tokens": sum(map(len, panel.targets)),
            "output_tokens": len(windows) * horizon,
            "finetune_tokens": 0,
            "model": panel.model,
            "warnings": [*warnings, *noted],
        }

    return Plan(panel, asked, requests(panel, asked, quantiles, options), answer)


def contribution_rows(
    panel: Panel, games: list[frozenset[str]], found: Forecasts, count: int
) -> list[list[float]]:
    """One row a feature and one of the base value, each over all windows.

    Shapley values of the mean: the base is the forecast without any feature, and the rows of every
    step add up to its mean. A model that uses no features has contributions of zero.
    """
    whole = means(found[:count])
    if not games:
        return [*([0.0] * len(whole) for _ in panel.features), whole]
    values = {
        coalition: means(found[count * at : count * (at + 1)])
        for at, coalition in enumerate(games, 1)
    }
    return shapley.rows(panel.features, values)


def without_false_freq(body: Any, version: str) -> Any:
    """A body without the "MS" that stands for an integer time column.

    Clients from 0.9 on send the first timestamp of each series with these tasks; where there is
    none and the frequency is "MS", time is not months but integers, and the season is to be found
    in the data. Older clients never send it: their "MS" may be true.
    """
    number = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if number < (0, 9) or not isinstance(body, dict) or body.get("freq") != "MS":
        return body
    series = body.get("series")
    if isinstance(series, dict) and series.get("start_datetime") is None:
        return {**body, "freq": None}
    return body


def check_task(task: str) -> None:
    """Raise for tasks that no model here can do."""
    if task == "finetune":
        raise NotImplementedYet(
            "fine-tuning: tollama trains no models; its own are fitted to each series anyway"
        )
    if task not in TASKS:
        raise NotFound(f"no such task: {task[:60]!r}; known are {', '.join(TASKS)}")


TASKS = (
    "forecast",
    "historic_forecast",
    "cross_validation",
    "anomaly_detection",
    "online_anomaly_detection",
    "simulate",
    "explain",
)


def bad(message: str, *loc: str | int) -> InvalidRequest:
    """One bad field of a body."""
    return InvalidRequest.of([(loc, message)])
