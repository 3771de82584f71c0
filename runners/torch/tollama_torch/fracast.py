"""Fracast-0: a small pretrained univariate model whose weights come inside its package.

Not covered: its weights in float32 (the package's default is 8 bits) and weights from a folder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tollama.core.errors import Loc, Unsupported
from tollama.core.schemas import ForecastRequest
from tollama_torch import arrays, limits, quantiles
from tollama_torch.architecture import Architecture, Item, Prepared
from tollama_torch.batching import Budget, Size
from tollama_torch.devices import Placement

FEWEST = 8  # finite values that the model wants in its context


class Fracast(Architecture):
    """A loaded Fracast-0."""

    title = "Fracast-0"
    capabilities = {  # noqa: RUF012
        "multivariate": False,
        "missing_values": True,
        "past_covariates": False,
        "future_covariates": False,
        "categorical_covariates": False,
        "static_covariates": False,
        "quantiles": "any",
        "embeddings": False,
    }

    def __init__(self, name: str, path: str | None, placement: Placement) -> None:
        if placement.dtype is not torch.float32:
            raise Unsupported.of([(("options", "dtype"), "fracast computes in float32 only")])
        try:
            from fracast import FracastModel
        except ImportError:
            raise Unsupported(
                "the runtime has no package fracast; `tollama runtime install torch` brings it"
            ) from None
        self.model = FracastModel.from_pretrained(device=placement.device)
        self.levels: list[float] = self.model.quantiles
        self.context_length = self.model.context_length
        self.max_horizon = self.model.horizon
        self.parameters = sum(
            weight.numel()
            for part in (self.model.core, self.model.head)
            for weight in part.parameters()
        )
        # Every series is padded to the whole context; over eight at once do not pay on a CPU.
        rows = 8 if placement.device.type == "cpu" else 256
        self.budget = Budget(tokens=1 << 40, rows=rows, overhead=0)

    def prepare(self, request: ForecastRequest) -> Prepared:
        context, warnings = limits.context(request, self.context_length)
        warnings += limits.horizon(request, self.max_horizon)
        warnings += quantiles.clamp_warnings(self.levels, request.quantiles, self.title)
        items = []
        problems: list[tuple[Loc, str]] = []
        for index, series in enumerate(request.series):
            target = arrays.target(series, ("series", index))[0, -context:]
            seen = int(np.isfinite(target).sum())
            if seen < FEWEST:
                problems.append(
                    (
                        ("series", index, "target"),
                        f"expected at least {FEWEST} values that are not null among the last "
                        f"{context}, got {seen}",
                    )
                )
            items.append(Item(index, Size(1, 1), target))
        arrays.refuse(problems)
        return Prepared(
            items,
            key=(-(-request.horizon // self.max_horizon),),
            rows=request.options.get("batch_size"),
            warnings=tuple(warnings),
        )

    def predict(self, items: list[Item], key: tuple[Any, ...]) -> list[np.ndarray]:
        (blocks,) = key
        longest = max(len(item.data) for item in items)
        rows = np.full((len(items), longest), np.nan, np.float32)
        for row, item in zip(rows, items, strict=True):
            row[longest - len(item.data) :] = item.data
        found = self.model.forecast_batch(rows, horizon=blocks * self.max_horizon)
        return [one.T[None] for one in found.astype(np.float32)]

    def read(self, raw: np.ndarray, levels: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        return quantiles.pick(
            raw,
            self.levels,
            levels,
            lambda values, wanted: quantiles.linear(values, self.levels, wanted),
        )

    def probe(self) -> None:
        self.predict([Item(0, Size(1, 1), np.arange(16, dtype=np.float32))], (1,))
