"""Requests on their way through the model: their tasks, and batches of tasks across requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tollama.core.errors import InvalidRequest, Loc, TollamaError
from tollama.core.schemas import ForecastRequest, Series
from tollama_numpy import covariates, forecaster, limits
from tollama_numpy.covariates import BadInput, Task
from tollama_numpy.forecaster import Forecaster

Outcome = np.ndarray | TollamaError


class Job:
    """A request on its way: its tasks and what has come back of them."""

    def __init__(self, index: int, request: ForecastRequest, model: Forecaster) -> None:
        self.index, self.request = index, request
        options = request.options
        self.jointly = bool(options.get("cross_learning"))
        self.batch_size: int = options.get("batch_size") or forecaster.BATCH_ROWS
        self.warnings = limits.warnings(
            request,
            title=model.title,
            context_length=model.context_length,
            longest_step=model.longest_step,
            levels=model.quantile_levels,
        )
        _check_known_future(request.series)
        try:
            self.tasks = model.tasks(
                [
                    {
                        "target": series.target,
                        "past_covariates": series.past_covariates,
                        "future_covariates": series.future_covariates,
                    }
                    for series in request.series
                ],
                request.horizon,
                context_length=options.get("context_length"),
                batch_size=self.batch_size,
            )
        except BadInput as error:
            raise refused(error) from None
        self.outcomes: list[Any] = [None] * len(self.tasks)
        self.left = len(self.tasks)
        self.seconds, self.rows = 0.0, 0

    def put(self, position: int, outcome: Outcome) -> None:
        """Notes what came back of the task at a position."""
        if isinstance(outcome, InvalidRequest):
            outcome = InvalidRequest.of(
                [(("series", position, *loc), text) for loc, text in outcome.problems()]
            )
        self.outcomes[position] = outcome
        self.left -= 1


class Batch:
    """Tasks that are computed together: (job, position in its request, task)."""

    def __init__(self, members: list[tuple[Job, int, Task]], jointly: bool) -> None:
        self.members, self.jointly = members, jointly


def batches(jobs: Sequence[Job], model: Forecaster, workers: int) -> Iterator[Batch]:
    """Batches across requests; one with cross learning, or a batch size, keeps to itself."""
    groups: dict[object, list[tuple[Job, int, Task]]] = {}
    for job in jobs:
        key = (job.batch_size, job.index if job.jointly else None)
        groups.setdefault(key, []).extend((job, i, task) for i, task in enumerate(job.tasks))
    for (rows, alone), members in groups.items():
        plan = model.plan(
            [task for _, _, task in members],
            rows=rows,
            jointly=alone is not None,
            workers=workers,
        )
        for indices in plan:
            yield Batch([members[index] for index in indices], alone is not None)


def _check_known_future(series: Sequence[Series]) -> None:
    """Refuses covariates known into the future whose past is absent or of another kind."""
    problems: list[tuple[Loc, str]] = []
    for index, one in enumerate(series):
        for name, values in one.future_covariates.items():
            loc: Loc = ("series", index, "future_covariates", name)
            past = one.past_covariates.get(name)
            if past is None:
                total = one.length + len(values)
                problems.append(
                    (
                        loc,
                        f"expected its history too: {total} values here, or {one.length} in "
                        "past_covariates",
                    )
                )
                continue
            kinds = [covariates.is_categorical(part) for part in (past, values) if _any_known(part)]
            if len(set(kinds)) == 2:
                kind = "strings" if kinds[0] else "numbers"
                problems.append((loc, f"expected {kind}, as in past_covariates"))
    if problems:
        raise InvalidRequest.of(problems)


def _any_known(values: Sequence[object]) -> bool:
    """Whether a covariate has a value that is not null."""
    return set(map(type, values)) != {type(None)}


def refused(error: BadInput) -> InvalidRequest:
    return InvalidRequest.of([(("series", *error.loc), str(error))])
