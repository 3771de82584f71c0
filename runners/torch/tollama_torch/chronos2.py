"""Chronos-2: univariate and multivariate targets, missing values, covariates, embeddings.

Items are the library's own prepared inputs, made for each request by the library's code, so that a
forecast has the numbers that the library gives for that request alone, whatever shares its batch.

Not covered: fine-tuning and adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tollama.core import fields
from tollama.core.errors import Loc
from tollama.core.schemas import ForecastRequest, Series
from tollama_torch import arrays, limits, quantiles
from tollama_torch.architecture import Architecture, Item, Prepared, work_budget
from tollama_torch.batching import Size, plan
from tollama_torch.chronos import count_parameters, open_pipeline, quiet, torch
from tollama_torch.devices import Placement

# isort: split
from chronos.chronos2 import preprocess
from chronos.utils import interpolate_quantiles

# Rows of one call with cross_learning, the library's default; other calls are cut by the planner.
CROSS_LEARNING_ROWS = 256
# Past its one-pass horizon the library follows nine quantile paths for each row.
PATHS = 9
# A row is flat when its mean is this many times its deviation.
FLAT = 100


class Chronos2(Architecture):
    """A loaded Chronos-2."""

    title = "Chronos-2"
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
    options = {  # noqa: RUF012
        **Architecture.options,
        "cross_learning": fields.boolean,
        "pooling": fields.choice("mean", "last"),
    }

    def __init__(self, name: str, path: str, placement: Placement) -> None:
        self.pipeline = open_pipeline(name, path, placement)
        model = self.pipeline.model
        self.levels: list[float] = list(self.pipeline.quantiles)
        self.patch: int = self.pipeline.model_output_patch_size
        self.context_length = self.pipeline.model_context_length
        self.max_horizon = self.pipeline.model_prediction_length
        self.parameters = count_parameters(model)
        self.budget = work_budget(
            parameters=self.parameters,
            hidden=model.config.d_ff,
            device=placement.device,
            pair_bytes=4,
        )

    def prepare(self, request: ForecastRequest) -> Prepared:
        context, warnings = limits.context(request, self.context_length)
        warnings += limits.horizon(request, self.max_horizon)
        warnings += quantiles.clamp_warnings(self.levels, request.quantiles, self.title)
        patches = -(-request.horizon // self.patch)
        inputs: list[Any] = [None] * len(request.series)
        problems: list[tuple[Loc, str]] = []
        for index, series in enumerate(request.series):
            problems += arrays.check_known_future(series, ("series", index))
        arrays.refuse(problems)
        for members in _schemas(request.series).values():
            prepared = self._prepare_schema(request, members)
            for index, one in zip(members, prepared, strict=True):
                inputs[index] = self._fit(one, context, patches * self.patch)
        paths = 1 if request.horizon <= self.max_horizon else PATHS
        ahead = min(patches, self.max_horizon // self.patch)
        items = []
        for index, one in enumerate(inputs):
            rows, length = one["context"].shape
            tokens = -(-length // self.patch) + 1 + ahead
            apart = length if rows > 1 and _is_touchy(one["context"].numpy()) else None
            items.append(Item(index, Size(rows * paths, tokens), one, apart))
        rows = request.options.get("batch_size")
        jointly = bool(request.options.get("cross_learning"))
        return Prepared(
            items,
            key=(patches, (rows or CROSS_LEARNING_ROWS) if jointly else None),
            rows=rows,
            alone=jointly,
            warnings=tuple(warnings),
        )

    def _prepare_schema(self, request: ForecastRequest, members: list[int]) -> Sequence[Any]:
        series = [request.series[index] for index in members]
        locs: list[Loc] = [("series", index) for index in members]
        targets = [arrays.target(one, loc) for one, loc in zip(series, locs, strict=True)]
        if not series[0].past_covariates:
            return preprocess.from_list_of_tensors(targets, prediction_length=request.horizon)
        inputs = [
            {
                "target": target,
                "past_covariates": _covariates(one, "past_covariates", loc),
                "future_covariates": _covariates(one, "future_covariates", loc),
            }
            for target, one, loc in zip(targets, series, locs, strict=True)
        ]
        return preprocess.from_list_of_dicts(
            inputs, prediction_length=request.horizon, validate_inputs=False
        )

    def _fit(self, one: Any, context: int, steps: int) -> Any:
        # Jobs of different horizons share a batch when they need as many output patches: their
        # futures are padded to the same width with unknown values, as the library does itself.
        future = one["future_covariates"]
        missing = steps - future.shape[1]
        if missing:
            future = torch.nn.functional.pad(future, (0, missing), value=float("nan"))
        return {**one, "context": one["context"][:, -context:], "future_covariates": future}

    def predict(self, items: list[Item], key: tuple[Any, ...]) -> list[np.ndarray]:
        patches, jointly = key
        with quiet():
            found = self.pipeline.predict(
                [item.data for item in items],
                prediction_length=patches * self.patch,
                batch_size=jointly or sum(item.size.rows for item in items),
                cross_learning=jointly is not None,
            )
        return [one.numpy() for one in found]

    def read(self, raw: np.ndarray, levels: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        return quantiles.pick(raw, self.levels, levels, self._interpolate)

    def _interpolate(self, raw: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
        values = torch.from_numpy(np.ascontiguousarray(np.moveaxis(raw, 1, 2)))
        found = interpolate_quantiles(list(levels), self.levels, values).numpy()
        return np.moveaxis(found, 2, 0)

    def embed(self, request: ForecastRequest) -> list[np.ndarray]:
        """The mean of a series' patch embeddings over its targets, or its last patch's."""
        context, _ = limits.context(request, self.context_length)
        last = request.options.get("pooling") == "last"
        targets = [
            torch.from_numpy(arrays.target(series, ("series", index)))[:, -context:]
            for index, series in enumerate(request.series)
        ]
        sizes = [Size(len(one), -(-one.shape[1] // self.patch) + 2) for one in targets]
        vectors: list[Any] = [None] * len(targets)
        for batch in plan(sizes, self.budget):
            with quiet():
                found, _ = self.pipeline.embed(
                    [targets[index] for index in batch], batch_size=1 << 30
                )
            for index, one in zip(batch, found, strict=True):
                # Patches, right-aligned after the padding, then the REG token and an output patch.
                patches = one[:, -sizes[index].tokens : -2].float()
                pooled = patches[:, -1] if last else patches.mean(dim=1)
                vectors[index] = pooled.mean(dim=0).numpy()
        return vectors

    def probe(self) -> None:
        blank = {"context": torch.zeros(1, 32), "future_covariates": torch.full((1, 16), torch.nan)}
        counts = {"n_targets": 1, "n_covariates": 0, "n_future_covariates": 0}
        self.predict([Item(0, Size(1, 4), {**blank, **counts})], (1, None))


def _is_touchy(rows: np.ndarray) -> bool:
    """Whether a row is so flat that the order in which its mean is summed shows in the forecast.

    The model subtracts a row's mean and divides by its deviation, at least 1e-5. Padding changes
    the rounding of the mean, and of a nearly constant covariate that rounding is all that is left.
    """
    seen = ~np.isnan(rows)
    count = np.maximum(seen.sum(axis=1), 1)
    wide = np.where(seen, rows, 0).astype(np.float64)
    mean = wide.sum(axis=1) / count
    spread = np.where(seen, wide - mean[:, None], 0)
    deviation = np.sqrt((spread * spread).sum(axis=1) / count)
    return bool((np.abs(mean) > FLAT * np.maximum(deviation, 1e-5)).any())


def _schemas(series: Sequence[Series]) -> dict[Any, list[int]]:
    # The library encodes the categories of one call together, and wants one schema in a call.
    found: dict[Any, list[int]] = {}
    for index, one in enumerate(series):
        key = (
            len(one.target) if one.multivariate else 1,
            tuple(sorted((name, _categorical(one, name)) for name in one.past_covariates)),
            tuple(sorted(one.future_covariates)),
        )
        found.setdefault(key, []).append(index)
    return found


def _categorical(series: Series, name: str) -> bool:
    return arrays.is_categorical(series.past_covariates[name]) or arrays.is_categorical(
        series.future_covariates.get(name, [])
    )


def _covariates(series: Series, kind: str, loc: Loc) -> dict[str, np.ndarray]:
    return {
        name: np.array(values, dtype=object)
        if _categorical(series, name)
        else arrays.numeric(values, (*loc, kind, name))
        for name, values in getattr(series, kind).items()
    }
