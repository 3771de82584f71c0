"""Chronos-Bolt: univariate targets with missing values, nine quantiles, embeddings.

Not covered: covariates, which these models do not take.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tollama.core import fields
from tollama.core.schemas import ForecastRequest
from tollama_torch import arrays, limits, quantiles
from tollama_torch.architecture import Architecture, Item, Prepared, work_budget
from tollama_torch.batching import Size, plan
from tollama_torch.chronos import count_parameters, open_pipeline, quiet, torch
from tollama_torch.devices import Placement


class ChronosBolt(Architecture):
    """A loaded Chronos-Bolt."""

    title = "Chronos-Bolt"
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
    options = {**Architecture.options, "pooling": fields.choice("mean", "last")}  # noqa: RUF012

    def __init__(self, name: str, path: str, placement: Placement) -> None:
        self.pipeline = open_pipeline(name, path, placement)
        model = self.pipeline.model
        self.levels: list[float] = list(self.pipeline.quantiles)
        self.patch: int = model.chronos_config.input_patch_size
        self.context_length = self.pipeline.model_context_length
        self.max_horizon = self.pipeline.model_prediction_length
        self.parameters = count_parameters(model)
        self.budget = work_budget(
            parameters=self.parameters,
            hidden=model.config.d_ff,
            device=placement.device,
        )

    def prepare(self, request: ForecastRequest) -> Prepared:
        context, warnings = limits.context(request, self.context_length)
        warnings += limits.horizon(request, self.max_horizon)
        warnings += quantiles.clamp_warnings(self.levels, request.quantiles, self.title)
        blocks = -(-request.horizon // self.max_horizon)
        paths = 1 if blocks == 1 else len(self.levels)
        items = [
            Item(index, Size(paths * one.size.rows, one.size.tokens), one.data)
            for index, one in enumerate(self._items(request, context))
        ]
        return Prepared(
            items,
            key=(blocks,),
            rows=request.options.get("batch_size"),
            warnings=tuple(warnings),
        )

    def _items(self, request: ForecastRequest, context: int) -> list[Item]:
        found = []
        for index, series in enumerate(request.series):
            target = arrays.target(series, ("series", index))[0, -context:]
            tokens = -(-len(target) // self.patch) + 1
            found.append(Item(index, Size(1, tokens), torch.from_numpy(target)))
        return found

    def predict(self, items: list[Item], key: tuple[Any, ...]) -> list[np.ndarray]:
        (blocks,) = key
        with quiet():
            found = self.pipeline.predict(
                [item.data for item in items], prediction_length=blocks * self.max_horizon
            )
        return [one[None] for one in found.numpy()]

    def read(self, raw: np.ndarray, levels: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        return quantiles.pick(raw, self.levels, levels, self._interpolate)

    def _interpolate(self, raw: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
        # The library takes its levels as an even grid over [0, 1] with both ends repeated.
        values = torch.from_numpy(np.concatenate([raw[:, :1], raw, raw[:, -1:]], axis=1))
        return torch.quantile(values, torch.tensor(levels, dtype=values.dtype), dim=1).numpy()

    def embed(self, request: ForecastRequest) -> list[np.ndarray]:
        """The mean of a series' patch embeddings, or its last patch's."""
        context, _ = limits.context(request, self.context_length)
        last = request.options.get("pooling") == "last"
        items = self._items(request, context)
        vectors: list[Any] = [None] * len(items)
        for batch in plan([item.size for item in items], self.budget):
            with quiet():
                found, _ = self.pipeline.embed([items[index].data for index in batch])
            for index, one in zip(batch, found, strict=True):
                # Patches, right-aligned after the padding, then the REG token.
                patches = one[-items[index].size.tokens : -1].float()
                vectors[index] = (patches[-1] if last else patches.mean(dim=0)).numpy()
        return vectors

    def probe(self) -> None:
        self.predict([Item(0, Size(1, 3), torch.zeros(32))], (1,))
