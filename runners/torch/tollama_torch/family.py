"""The runner of the family torch: many requests in, batches through the model, answers as ready.

Nothing heavy is imported before `load`, so that the handshake is immediate.

Not covered: fine-tuning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tollama.core.errors import RunnerError, TollamaError
from tollama.core.runner_sdk import (
    Forecast,
    ForecastRequest,
    ForecastResponse,
    Runner,
    as_error,
)

if TYPE_CHECKING:
    import numpy as np

    from tollama_torch.architecture import Item, Prepared
    from tollama_torch.session import Outcome, Session


class _Job:
    """A request on its way: what was prepared of it and what has come back."""

    def __init__(self, index: int, request: ForecastRequest, prepared: Prepared) -> None:
        self.index = index
        self.request = request
        self.prepared = prepared
        self.outcomes: list[Outcome | None] = [None] * len(prepared.items)
        self.left = len(prepared.items)
        self.seconds = 0.0
        self.rows = 0

    def put(self, item: Item, outcome: Outcome) -> None:
        self.outcomes[item.series] = outcome
        self.left -= 1


class TorchRunner(Runner):
    """Chronos-2, Chronos-Bolt, Chronos-T5 and Fracast."""

    name = "torch"
    version = "0.1.0"
    capabilities = {  # noqa: RUF012
        "multivariate": True,
        "missing_values": True,
        "past_covariates": True,
        "future_covariates": True,
        "categorical_covariates": True,
        "static_covariates": False,
        "quantiles": "any",
        "embeddings": True,
    }

    session: Session | None = None
    path: str | None = None

    def load(
        self, *, model: str, path: str | None, options: dict[str, Any]
    ) -> dict[str, Any] | None:
        from tollama_torch import devices
        from tollama_torch.session import open_session

        begin = time.perf_counter()
        devices.use_threads(self.threads)
        self.session = None
        self.session = open_session(model, path, options.get("device"), options.get("dtype"))
        self.path = path
        # What the request has to say so from now on; the rest of its options are the model's own.
        self.asked = (options.get("device"), options.get("dtype"))
        self.capabilities = self.session.architecture.capabilities
        self.options = self.session.architecture.options
        return {**self.session.facts(), "load_seconds": round(time.perf_counter() - begin, 3)}

    def unload(self) -> None:
        if self.session is not None:
            self.session.close()
            self.session = None

    def forecast(self, request: ForecastRequest) -> ForecastResponse:
        [(_, answer)] = self.forecast_batch([request])
        if isinstance(answer, TollamaError):
            raise answer
        return answer

    def forecast_batch(
        self, requests: list[ForecastRequest]
    ) -> Iterator[tuple[int, ForecastResponse | TollamaError]]:
        """Answers as soon as their last batch is done; any mixture of requests will do."""
        from tollama_torch import devices

        devices.use_threads(self.threads)
        by_placement: dict[tuple[Any, Any], list[tuple[int, ForecastRequest]]] = {}
        for index, request in enumerate(requests):
            by_placement.setdefault(self._placement(request), []).append((index, request))
        for placement, members in by_placement.items():
            try:
                session = self._session(placement)
            except Exception as error:
                failure = as_error(error, self.name)
                yield from ((index, failure) for index, _ in members)
                continue
            yield from self._forecast(session, members)

    def embed(self, request: ForecastRequest) -> dict[str, Any]:
        from tollama_torch import arrays, devices

        devices.use_threads(self.threads)
        session = self._session(self._placement(request))
        vectors = session.architecture.embed(request)
        return {
            "model": request.model,
            "embeddings": [arrays.to_lists(vector) for vector in vectors],
            "usage": self._usage(session),
        }

    def _placement(self, request: ForecastRequest) -> tuple[Any, Any]:
        options = request.options
        return (options.get("device") or self.asked[0], options.get("dtype") or self.asked[1])

    def _session(self, placement: tuple[Any, Any]) -> Session:
        """The loaded model, loaded again when a request wants another device or number format."""
        from tollama_torch import devices
        from tollama_torch.session import open_session

        session = self.session
        if session is None:
            raise RunnerError("no model is loaded")
        if placement == self.asked:
            return session
        wanted = devices.place(*placement)
        now = session.placement
        if (wanted.device, wanted.dtype) != (now.device, now.dtype):
            self.session = open_session(session.model, self.path, *placement)
            session.close()
        self.asked = placement
        return self.session  # type: ignore[return-value]

    def _forecast(
        self, session: Session, members: list[tuple[int, ForecastRequest]]
    ) -> Iterator[tuple[int, ForecastResponse | TollamaError]]:
        jobs: list[_Job] = []
        for index, request in members:
            try:
                jobs.append(_Job(index, request, session.architecture.prepare(request)))
            except Exception as error:
                yield index, as_error(error, session.model)
        for batch, whole in _batches(session, jobs):
            items = [item for _, item in batch]
            begin = time.perf_counter()
            run = session.run_whole if whole else session.run
            outcomes = run(items, batch[0][0].prepared.key)
            seconds = time.perf_counter() - begin
            rows = sum(item.size.rows for item in items)
            for (job, item), outcome in zip(batch, outcomes, strict=True):
                job.put(item, outcome)
            for job in dict.fromkeys(job for job, _ in batch):
                job.seconds += seconds
                job.rows = max(job.rows, rows)
                if not job.left:
                    try:
                        yield job.index, self._answer(session, job)
                    except Exception as error:
                        yield job.index, as_error(error, session.model)

    def _answer(self, session: Session, job: _Job) -> ForecastResponse:
        import numpy as np

        from tollama_torch import arrays

        for outcome in job.outcomes:
            if isinstance(outcome, TollamaError):
                raise outcome
        request = job.request
        found: list[np.ndarray] = job.outcomes  # type: ignore[assignment]
        raw = np.concatenate([one[..., : request.horizon] for one in found])
        mean, quantiles = session.architecture.read(raw, request.quantiles)
        # A model's quantiles can cross; those that are answered never do.
        quantiles = np.sort(quantiles, axis=0)
        if request.options.get("non_negative"):
            mean, quantiles = np.maximum(mean, 0), np.maximum(quantiles, 0)
        means, levels = arrays.to_lists(mean), arrays.to_lists(quantiles)
        forecasts = []
        row = 0
        for series, one in zip(request.series, found, strict=True):
            rows = slice(row, row + len(one))
            row = rows.stop
            take = rows if series.multivariate else rows.start
            forecasts.append(
                Forecast(
                    series.id,
                    means[take],
                    {
                        level: values[take]
                        for level, values in zip(request.quantiles, levels, strict=True)
                    }
                    or None,
                )
            )
        usage = {
            **self._usage(session),
            "batch_rows": job.rows,
            "compute_ms": round(job.seconds * 1000, 2),
        }
        return ForecastResponse(forecasts, usage=usage, warnings=list(job.prepared.warnings))

    def _usage(self, session: Session) -> dict[str, Any]:
        placement = session.placement
        return {
            "family": self.name,
            "device": placement.device_name,
            "dtype": placement.dtype_name,
        }


def _batches(session: Session, jobs: list[_Job]) -> Iterator[tuple[list[tuple[_Job, Item]], bool]]:
    """Batches of (job, item) in the order of their first job, and whether one must stay whole."""
    from tollama_torch.batching import plan

    groups: dict[tuple[Any, ...], list[tuple[_Job, Item]]] = {}
    for job in jobs:
        prepared = job.prepared
        alone = job.index if prepared.alone else None
        for item in prepared.items:
            group = (prepared.key, prepared.rows, alone)
            groups.setdefault(group, []).append((job, item))
    planned: list[tuple[int, list[tuple[_Job, Item]], bool]] = []
    for (_, rows, alone), members in groups.items():
        if alone is not None:
            planned.append((alone, members, True))
            continue
        budget = session.budget
        if rows is not None:
            budget = budget._replace(rows=rows)
        for batch in plan([item.size for _, item in members], budget):
            chosen = [members[position] for position in batch]
            planned.append((chosen[0][0].index, chosen, False))
    planned.sort(key=lambda entry: entry[0])
    yield from ((batch, whole) for _, batch, whole in planned)
