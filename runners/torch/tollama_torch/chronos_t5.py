"""Chronos-T5: univariate targets with missing values; quantiles and means of sampled paths.

The samples depend on everything that is drawn in one call, so a request is never mixed with others:
the same request with the same `seed` (0 unless given) gets the same answer.

Not covered: covariates, which these models do not take.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tollama.core import fields
from tollama.core.schemas import ForecastRequest
from tollama_torch import arrays, limits
from tollama_torch.architecture import Architecture, Item, Prepared, work_budget
from tollama_torch.batching import Size
from tollama_torch.chronos import count_parameters, open_pipeline, quiet, torch
from tollama_torch.devices import Placement

# Series drawn together when the request does not say; each has num_samples paths.
ROWS = 32
SAMPLING = ("num_samples", "temperature", "top_k", "top_p")


class ChronosT5(Architecture):
    """A loaded Chronos-T5."""

    title = "Chronos-T5"
    capabilities = {  # noqa: RUF012
        "multivariate": False,
        "missing_values": True,
        "past_covariates": False,
        "future_covariates": False,
        "categorical_covariates": False,
        "static_covariates": False,
        "quantiles": "any",
        "embeddings": True,
    }
    options = {  # noqa: RUF012
        **Architecture.options,
        "seed": fields.integer(0, 2**63 - 1),
        "num_samples": fields.integer(1, 1000),
        "temperature": fields.positive,
        "top_k": fields.integer(1),
        "top_p": fields.positive,
        "pooling": fields.choice("mean", "last"),
    }

    def __init__(self, name: str, path: str, placement: Placement) -> None:
        self.pipeline = open_pipeline(name, path, placement)
        self.context_length = self.pipeline.model_context_length
        self.max_horizon = self.pipeline.model_prediction_length
        model = self.pipeline.inner_model
        self.parameters = count_parameters(model)
        self.budget = work_budget(
            parameters=self.parameters,
            hidden=model.config.d_ff,
            device=placement.device,
        )

    def prepare(self, request: ForecastRequest) -> Prepared:
        context, warnings = limits.context(request, self.context_length)
        warnings += limits.horizon(request, self.max_horizon)
        options = request.options
        sampling = {name: options[name] for name in SAMPLING if options.get(name) is not None}
        key = (
            request.horizon,
            options.get("seed") or 0,
            options.get("batch_size") or ROWS,
            tuple(sampling.items()),
        )
        return Prepared(
            self._items(request, context), key=key, alone=True, warnings=tuple(warnings)
        )

    def _items(self, request: ForecastRequest, context: int) -> list[Item]:
        found = []
        for index, series in enumerate(request.series):
            target = arrays.target(series, ("series", index))[0, -context:]
            found.append(Item(index, Size(1, len(target) + 1), torch.from_numpy(target)))
        return found

    def predict(self, items: list[Item], key: tuple[Any, ...]) -> list[np.ndarray]:
        horizon, seed, rows, sampling = key
        torch.manual_seed(seed)
        found: list[np.ndarray] = []
        with quiet():
            for first in range(0, len(items), rows):
                samples = self.pipeline.predict(
                    [item.data for item in items[first : first + rows]],
                    prediction_length=horizon,
                    **dict(sampling),
                )
                found += [one[None] for one in samples.numpy()]
        return found

    def read(self, raw: np.ndarray, levels: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        samples = torch.from_numpy(np.ascontiguousarray(raw))
        mean = samples.mean(dim=1).numpy()
        if not levels:
            return mean, np.empty((0, *mean.shape), mean.dtype)
        wanted = torch.tensor(levels, dtype=samples.dtype)
        return mean, torch.quantile(samples, wanted, dim=1).numpy()

    def embed(self, request: ForecastRequest) -> list[np.ndarray]:
        """The mean of a series' token embeddings, or its last value's."""
        context, _ = limits.context(request, self.context_length)
        last = request.options.get("pooling") == "last"
        vectors = []
        for item in self._items(request, context):
            with quiet():
                found, _ = self.pipeline.embed(item.data)
            values = found[0, : len(item.data)].float()
            vectors.append((values[-1] if last else values.mean(dim=0)).numpy())
        return vectors

    def probe(self) -> None:
        self.predict([Item(0, Size(1, 9), torch.arange(8.0))], (1, 0, 1, (("num_samples", 1),)))
