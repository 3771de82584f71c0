"""What of a request a model can use: the rest is dropped with a warning, or refused.

`refusals` says what a 400 needs, so that the daemon answers it without a runner; `fit` is the
request that a model author sees. Both ask `can(capability)`.

Not covered: the options of a model (runner_sdk.py) and shapes (schemas.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tollama.core.errors import Loc, Unsupported
from tollama.core.schemas import ForecastRequest, Series

Can = Callable[[str], bool]
KINDS = ("past_covariates", "future_covariates", "static_covariates")


def refusals(request: ForecastRequest, can: Can, offset: int = 0) -> list[tuple[Loc, str]]:
    """What the model cannot serve: a multivariate target, and covariates in the strict mode."""
    strict = request.options.get("covariates_mode") == "strict"
    found: list[tuple[Loc, str]] = []
    for index, series in enumerate(request.series, offset):
        loc: Loc = ("series", index)
        if series.multivariate and not can("multivariate"):
            found.append(
                ((*loc, "target"), f"{request.model} takes one target per series, got several")
            )
        elif strict:
            found += [
                ((*loc, kind, name), f"{request.model} cannot use {_what(kind, name)}")
                for kind, name in _unusable(series, can)
                if not _came_along(series, kind, name)
            ]
    return found


def fit(
    request: ForecastRequest, can: Can, *, offset: int = 0, warnings: list[str]
) -> ForecastRequest:
    """The request with only what the model can use; raises Unsupported with every refusal."""
    refused = refusals(request, can, offset)
    if refused:
        raise Unsupported.of(refused)
    if not any(getattr(series, kind) for series in request.series for kind in KINDS):
        return request
    dropped: dict[str, None] = {}
    fitted: list[Series] = []
    for series in request.series:
        changed: dict[str, Any] = {}
        for kind, name in _unusable(series, can):
            kept = changed.setdefault(kind, dict(getattr(series, kind)))
            del kept[name]
            if not _came_along(series, kind, name):
                dropped[f"{request.model} cannot use the {_what(kind, name)}: ignored"] = None
        fitted.append(replace(series, **changed) if changed else series)
    warnings += dropped
    return replace(request, series=tuple(fitted))


def _unusable(series: Series, can: Can) -> Iterator[tuple[str, str]]:
    """(kind, name) of the covariates that the model cannot use."""
    for kind in KINDS:
        for name, values in getattr(series, kind).items():
            as_kind = "future_covariates" if _came_along(series, kind, name) else kind
            categorical = kind != "static_covariates" and any(type(v) is str for v in values)
            if not can(as_kind) or (categorical and not can("categorical_covariates")):
                yield kind, name


def _came_along(series: Series, kind: str, name: str) -> bool:
    """Whether it is the past of a future covariate, which goes where that one goes."""
    return kind == "past_covariates" and name in series.future_covariates


def _what(kind: str, name: str) -> str:
    return f"{kind[:-1].replace('_', ' ')} {name!r}"
