"""What every architecture shares: inputs to tasks, tasks to batches, batches to threads.

An architecture computes one batch at a time; here is decided which tasks those are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tollama_numpy import batches, covariates, memory, threads
from tollama_numpy.checkpoint import Checkpoint
from tollama_numpy.covariates import Input, Task
from tollama_numpy.preprocess import Scale, left_padded

BATCH_ROWS = 256
# Activations of that many numbers a layer stay in the cache; larger batches gain nothing.
CACHED_ACTIVATIONS = 3 << 18
# Operations that are worth a thread of their own.
WORTH_A_THREAD = 3e9
# Activations of all tokens that a layer holds at its peak.
ARRAYS_AT_A_TIME = 20
# Bytes below which nobody asks whether they are there.
WORTH_ASKING = 1 << 28


class Embedding(NamedTuple):
    """A series as its encoder sees it: (variates, tokens, width), and how many are of history."""

    tokens: np.ndarray
    patches: int
    scale: Scale


class Forecaster:
    """A loaded model; its methods may be called from several threads."""

    title = "model"
    multivariate = False  # takes several targets, covariates and cross learning
    context_length: int  # past steps that the model sees
    longest_step: int  # steps ahead that one pass forecasts
    quantile_levels: list[float]
    tokens_after: int  # of an embedding, after those of history
    width: int  # of a token
    parameters: int

    def __init__(self, checkpoint: Checkpoint) -> None:
        raise NotImplementedError

    def size(self, task: Task) -> batches.Size:
        """The tokens that a task takes."""
        raise NotImplementedError

    def predict_batch(self, tasks: Sequence[Task], *, jointly: bool = False) -> list[np.ndarray]:
        """(targets, quantile levels, horizon) of each; their `size` has the same `ahead`.

        `jointly` makes one group of all rows.
        """
        raise NotImplementedError

    def embed_batch(self, tasks: Sequence[Task]) -> list[Embedding]:
        """The encoder's view of each task's targets."""
        raise NotImplementedError

    def interpolate(self, levels: Sequence[float], raw: np.ndarray) -> np.ndarray:
        """Quantiles at any levels, (levels, rows, horizon), as the model's library makes them."""
        raise NotImplementedError

    def read(self, raw: np.ndarray, levels: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Medians (rows, horizon) and quantiles (levels, rows, horizon) of what was predicted.

        Levels that the model has are taken as they are; if one is not, all are interpolated.
        """
        known = {level: index for index, level in enumerate(self.quantile_levels)}
        median = raw[:, known[0.5]]
        if all(level in known for level in levels):
            return median, np.moveaxis(raw[:, [known[level] for level in levels]], 1, 0)
        return median, self.interpolate(levels, raw)

    @classmethod
    def from_directory(cls, path: str) -> Forecaster:
        """The model of a checkpoint folder; raises BadCheckpoint."""
        return cls(Checkpoint(path))

    def predict(
        self,
        inputs: Sequence[Input],
        prediction_length: int,
        *,
        context_length: int | None = None,
        cross_learning: bool = False,
        batch_size: int = BATCH_ROWS,
        workers: int = 1,
    ) -> list[np.ndarray]:
        """(targets, quantile levels, prediction_length) of each input; raises BadInput.

        An input is {"target": n numbers, or D lists of n, "past_covariates": {name: n values},
        "future_covariates": {name: prediction_length values}}. `batch_size` counts rows, which are
        targets and covariates. With `cross_learning` the inputs of a batch form one group.
        """
        tasks = self.tasks(
            inputs, prediction_length, context_length=context_length, batch_size=batch_size
        )
        plan = self.plan(tasks, rows=batch_size, jointly=cross_learning, workers=workers)
        answers: list[np.ndarray] = [np.empty(0)] * len(tasks)

        def compute(indices: list[int]) -> tuple[list[int], list[np.ndarray]]:
            batch = [tasks[index] for index in indices]
            return indices, self.compute(batch, jointly=cross_learning)

        for indices, found in threads.run(compute, plan, workers):
            for index, answer in zip(indices, found, strict=True):
                answers[index] = answer
        return answers

    def embed(
        self,
        targets: Sequence[object],
        *,
        context_length: int | None = None,
        batch_size: int = BATCH_ROWS,
        workers: int = 1,
    ) -> list[Embedding]:
        """The encoder's view of each series; raises BadInput."""
        inputs = [{"target": target} for target in targets]
        tasks = self.tasks(inputs, 1, context_length=context_length, batch_size=batch_size)
        plan = self.plan(tasks, rows=batch_size, workers=workers)
        found: list[Embedding | None] = [None] * len(tasks)

        def compute(indices: list[int]) -> tuple[list[int], list[Embedding]]:
            with np.errstate(all="ignore"):
                return indices, self.embed_batch([tasks[index] for index in indices])

        for indices, answers in threads.run(compute, plan, workers):
            for index, answer in zip(indices, answers, strict=True):
                found[index] = answer
        return found

    def compute(self, tasks: Sequence[Task], *, jointly: bool = False) -> list[np.ndarray]:
        """`predict_batch`; what overflows becomes an infinity and not a warning.

        Raises MemoryError before it takes more than there is.
        """
        needed = self.memory_needed(tasks, jointly=jointly)
        if needed > WORTH_ASKING:
            free = memory.available()
            if free is not None and needed > free:
                raise MemoryError(f"{needed >> 20:,} MiB are needed, {free >> 20:,} MiB are free")
        with np.errstate(all="ignore"):
            return self.predict_batch(tasks, jointly=jointly)

    def memory_needed(self, tasks: Sequence[Task], *, jointly: bool = False) -> int:
        """About how many bytes a batch takes while it is computed."""
        sizes = [self.size(task) for task in tasks]
        rows = sum(size.rows for size in sizes)
        together = rows if jointly else max(size.rows for size in sizes)
        tokens = together * max(size.width for size in sizes)
        activations = max(CACHED_ACTIVATIONS, tokens * self.width) * ARRAYS_AT_A_TIME
        horizon = max(task.future.shape[1] for task in tasks)
        answers = 3 * rows * len(self.quantile_levels) * horizon
        if horizon > self.longest_step:
            answers *= len(self.quantile_levels)  # each path has its own quantiles
        return 4 * (activations + answers)

    def tasks(
        self,
        inputs: Sequence[Input],
        horizon: int,
        *,
        context_length: int | None = None,
        batch_size: int = BATCH_ROWS,
    ) -> list[Task]:
        """The inputs of one request as tasks, their history cut to what the model sees.

        Each has the scale that the library finds for it among the inputs of this request, so that
        not even its rounding depends on the requests it is computed with.
        """
        limit = min(context_length or self.context_length, self.context_length)
        found = [
            task._replace(context=task.context[:, -limit:])
            for task in covariates.tasks(inputs, horizon)
        ]
        for indices in batches.in_order([len(task.context) for task in found], batch_size):
            scale = Scale.of(stacked([found[index] for index in indices]))
            end = 0
            for index in indices:
                rows = slice(end, end + len(found[index].context))
                found[index] = found[index]._replace(scale=scale.of_rows(rows))
                end = rows.stop
        return found

    def plan(
        self,
        tasks: Sequence[Task],
        *,
        rows: int = BATCH_ROWS,
        jointly: bool = False,
        workers: int = 1,
    ) -> list[list[int]]:
        """Batches of indices into `tasks`."""
        sizes = [self.size(task) for task in tasks]
        if jointly:
            return batches.in_order([size.rows for size in sizes], rows)
        limits = batches.Limits(
            rows=rows,
            tokens=max(1, CACHED_ACTIVATIONS // self.width),
            worth_splitting=int(WORTH_A_THREAD / (2 * self.parameters)),
            threads=workers,
        )
        return batches.by_size(sizes, limits)


def stacked(tasks: Sequence[Task]) -> np.ndarray:
    """The histories of all rows of the tasks, padded to one length."""
    return left_padded([task.context for task in tasks])


def common_scale(tasks: Sequence[Task], context: np.ndarray) -> Scale:
    """The scales of all rows of the tasks, which are stacked in `context`."""
    scales = [task.scale for task in tasks if task.scale is not None]
    return Scale.joined(scales) if len(scales) == len(tasks) else Scale.of(context)
