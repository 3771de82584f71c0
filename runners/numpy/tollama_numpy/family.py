"""The runner of the family numpy: many requests in, batches through the model, answers as ready.

Not covered: GPUs, number types other than float32, fine-tuning; the family torch has those.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from tollama.core import fields
from tollama.core.errors import (
    InvalidRequest,
    Loc,
    OutOfMemory,
    RunnerError,
    TollamaError,
    Unsupported,
)
from tollama.core.runner_sdk import Forecast, ForecastRequest, ForecastResponse, Runner, as_error
from tollama_numpy import checkpoint, forecaster, jobs, threads
from tollama_numpy.chronos2 import Chronos2
from tollama_numpy.chronos_bolt import ChronosBolt
from tollama_numpy.covariates import BadInput, Task
from tollama_numpy.forecaster import Forecaster
from tollama_numpy.jobs import Batch, Job, Outcome

try:
    import orjson
except ImportError:
    orjson = None

# `architectures` of config.json -> what computes it.
ARCHITECTURES: dict[str, type[Forecaster]] = {
    "Chronos2Model": Chronos2,
    "ChronosBoltModelForForecasting": ChronosBolt,
}


def on_cpu(value: object, loc: Loc) -> str:
    """A reader of the option `device`."""
    if value not in ("auto", "cpu"):
        raise fields.fail(
            loc, f"expected auto or cpu, got {fields.shown(value)}: the family torch runs on GPUs"
        )
    return str(value)


OPTIONS = {
    "device": on_cpu,
    "dtype": fields.choice("auto", "float32"),
    "batch_size": fields.integer(1, 100_000),
    "context_length": fields.integer(1, 1_000_000),
    "pooling": fields.choice("mean", "last"),
}


class NumpyRunner(Runner):
    """Chronos-2 and Chronos-Bolt."""

    name = "numpy"
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
    options = OPTIONS

    model: Forecaster | None = None

    def load(
        self, *, model: str, path: str | None, options: dict[str, Any]
    ) -> dict[str, Any] | None:
        begin = time.perf_counter()
        for name in ("device", "dtype"):
            if options.get(name) is not None:
                OPTIONS[name](options[name], ("options", name))
        self.model = loaded = open_model(model, path)
        # A model that is loaded has computed something.
        loaded.predict([{"target": [0.0, 1.0]}], 1, workers=self.threads)
        several = loaded.multivariate
        self.capabilities = {
            **type(self).capabilities,
            **{
                name: several
                for name in (
                    "multivariate",
                    "past_covariates",
                    "future_covariates",
                    "categorical_covariates",
                )
            },
        }
        self.options = {**OPTIONS, "cross_learning": fields.boolean} if several else OPTIONS
        return {
            "architecture": loaded.title,
            "device": "cpu",
            "dtype": "float32",
            "context_length": loaded.context_length,
            "max_horizon": loaded.longest_step,
            "parameters": loaded.parameters,
            "load_seconds": round(time.perf_counter() - begin, 3),
        }

    def unload(self) -> None:
        self.model = None

    def forecast(self, request: ForecastRequest) -> ForecastResponse:
        [(_, answer)] = self.forecast_batch([request])
        if isinstance(answer, TollamaError):
            raise answer
        return answer

    def forecast_batch(
        self, requests: list[ForecastRequest]
    ) -> Iterator[tuple[int, ForecastResponse | TollamaError]]:
        """Answers as soon as their last batch is done; any mixture of requests will do."""
        model = self._loaded()
        accepted: list[Job] = []
        for index, request in enumerate(requests):
            try:
                accepted.append(Job(index, request, model))
            except Exception as error:
                yield index, as_error(error, self.name)
        batches = list(jobs.batches(accepted, model, self.threads))

        def compute(batch: Batch) -> tuple[Batch, list[Outcome], float]:
            begin = time.perf_counter()
            outcomes = _predicted(model, [task for _, _, task in batch.members], batch.jointly)
            return batch, outcomes, time.perf_counter() - begin

        for batch, outcomes, seconds in threads.run(compute, batches, self.threads):
            rows = sum(len(task.context) for _, _, task in batch.members)
            for (job, position, _), outcome in zip(batch.members, outcomes, strict=True):
                job.put(position, outcome)
            for job in dict.fromkeys(job for job, _, _ in batch.members):
                job.seconds += seconds
                job.rows = max(job.rows, rows)
                if not job.left:
                    try:
                        yield job.index, self._answer(job, model)
                    except Exception as error:
                        yield job.index, as_error(error, self.name)

    def embed(self, request: ForecastRequest) -> dict[str, Any]:
        """The mean of a series' patch embeddings over its targets, or its last patch's."""
        model = self._loaded()
        last = request.options.get("pooling") == "last"
        try:
            found = model.embed(
                [series.target for series in request.series],
                context_length=request.options.get("context_length"),
                batch_size=request.options.get("batch_size") or forecaster.BATCH_ROWS,
                workers=self.threads,
            )
        except BadInput as error:
            raise jobs.refused(error) from None
        vectors = []
        for one in found:
            width = one.tokens.shape[1]
            end = width - model.tokens_after
            patches = one.tokens[:, end - one.patches : end]
            pooled = patches[:, -1] if last else patches.mean(1)
            vectors.append(to_lists(pooled.mean(0)))
        return {"model": request.model, "embeddings": vectors, "usage": self._usage()}

    def _loaded(self) -> Forecaster:
        if self.model is None:
            raise RunnerError("no model is loaded")
        return self.model

    def _usage(self) -> dict[str, Any]:
        return {"family": self.name, "device": "cpu", "dtype": "float32"}

    def _answer(self, job: Job, model: Forecaster) -> ForecastResponse:
        for outcome in job.outcomes:
            if isinstance(outcome, TollamaError):
                raise outcome
        request = job.request
        rows = np.concatenate(job.outcomes)
        mean, levels = model.read(rows, request.quantiles)
        # A model's quantiles can cross; those that are answered never do.
        levels = np.sort(levels, axis=0)
        if request.options.get("non_negative"):
            mean, levels = np.maximum(mean, 0), np.maximum(levels, 0)
        means, values = to_lists(mean), to_lists(levels)
        forecasts = []
        row = 0
        for series in request.series:
            count = len(series.target) if series.multivariate else 1
            take: Any = slice(row, row + count) if series.multivariate else row
            row += count
            quantiles = {
                level: found[take] for level, found in zip(request.quantiles, values, strict=True)
            }
            forecasts.append(Forecast(series.id, means[take], quantiles or None))
        usage = {
            **self._usage(),
            "batch_rows": job.rows,
            "compute_ms": round(job.seconds * 1000, 2),
        }
        return ForecastResponse(forecasts, usage=usage, warnings=job.warnings)


def _predicted(model: Forecaster, tasks: list[Task], jointly: bool) -> list[Outcome]:
    """The answer to each task, or why there is none; halves a batch that memory cannot hold."""
    try:
        found = model.compute(tasks, jointly=jointly)
    except MemoryError as error:
        if len(tasks) == 1 or jointly:
            reason = OutOfMemory(
                f"the numpy family ran out of memory{f' ({error})' if str(error) else ''}: use a "
                "shorter context_length or horizon, or fewer covariates"
            )
            return [reason] * len(tasks)
        half = len(tasks) // 2
        return _predicted(model, tasks[:half], False) + _predicted(model, tasks[half:], False)
    except Exception as error:
        return [as_error(error, NumpyRunner.name)] * len(tasks)
    return [answer if np.isfinite(answer).all() else _NOT_FINITE for answer in found]


_NOT_FINITE = InvalidRequest.of(
    [
        (
            ("target",),
            "the model answers it with numbers that are not finite: its values are beyond float32 "
            "arithmetic; rescale the series",
        )
    ]
)


def open_model(name: str, path: str | None) -> Forecaster:
    """The model of a folder of weights; raises RunnerError for a damaged one."""
    if path is None:
        raise RunnerError(f"model {name!r} has no folder of weights")
    try:
        kind = checkpoint.architecture(path)
        if kind not in ARCHITECTURES:
            raise checkpoint.UnsupportedCheckpoint(
                f"config.json: architectures: expected {' or '.join(ARCHITECTURES)}, got {kind}"
            )
        return ARCHITECTURES[kind].from_directory(path)
    except checkpoint.UnsupportedCheckpoint as error:
        raise Unsupported(f"model {name!r} cannot run on the family numpy: {error}") from None
    except checkpoint.BadCheckpoint as error:
        raise RunnerError(
            f"model {name!r}: {error}; check it with `tollama verify {name}` and pull it again"
        ) from None


def to_lists(array: np.ndarray) -> list[Any]:
    """Nested lists of the shortest decimals that read back to the same float32, with orjson."""
    if orjson is None:
        return array.tolist()
    return orjson.loads(
        orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    )
