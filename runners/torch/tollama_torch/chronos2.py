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

# Rows of one call of the library by default. With cross_learning they are those of ours too; other
# calls are cut by the planner.
LIBRARY_ROWS = 256
# Past its one-pass horizon the library follows nine quantile paths for each row.
PATHS = 9


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
        self.norm = model.instance_norm = OwnScale(model.instance_norm)
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
        words = _words(request.series)
        for members in _schemas(request.series, words).values():
            prepared = self._prepare_schema(request, members, words)
            for index, one in zip(members, prepared, strict=True):
                inputs[index] = self._fit(one, context, patches * self.patch)
        paths = 1 if request.horizon <= self.max_horizon else PATHS
        ahead = min(patches, self.max_horizon // self.patch)
        rows = request.options.get("batch_size")
        items = []
        for index, (one, scale) in enumerate(zip(inputs, self._scales(inputs, rows), strict=True)):
            count, length = one["context"].shape
            tokens = -(-length // self.patch) + 1 + ahead
            items.append(Item(index, Size(count * paths, tokens), (one, scale)))
        jointly = bool(request.options.get("cross_learning"))
        return Prepared(
            items,
            key=(patches, (rows or LIBRARY_ROWS) if jointly else None),
            rows=rows,
            alone=jointly,
            warnings=tuple(warnings),
        )

    def _scales(self, inputs: Sequence[Any], rows: int | None) -> list[Any]:
        """Each input's scale, in the batches that the library would make of this request."""
        found: list[Any] = []
        batch: list[Any] = []
        for one in inputs:
            batch.append(one["context"])
            if sum(map(len, batch)) >= (rows or LIBRARY_ROWS):
                found += self.norm.measure(batch)
                batch = []
        return found + (self.norm.measure(batch) if batch else [])

    def _prepare_schema(
        self, request: ForecastRequest, members: list[int], words: set[str]
    ) -> Sequence[Any]:
        series = [request.series[index] for index in members]
        locs: list[Loc] = [("series", index) for index in members]
        targets = [arrays.target(one, loc) for one, loc in zip(series, locs, strict=True)]
        if not series[0].past_covariates:
            return preprocess.from_list_of_tensors(targets, prediction_length=request.horizon)
        inputs = [
            {
                "target": target,
                "past_covariates": _covariates(one, "past_covariates", loc, words),
                "future_covariates": _covariates(one, "future_covariates", loc, words),
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
        if jointly is None:
            scales = [item.data[1] for item in items]
            self.norm.given = (
                torch.cat([loc for loc, _ in scales]),
                torch.cat([scale for _, scale in scales]),
            )
        try:
            with quiet():
                found = self.pipeline.predict(
                    [item.data[0] for item in items],
                    prediction_length=patches * self.patch,
                    batch_size=jointly or sum(item.size.rows for item in items),
                    cross_learning=jointly is not None,
                )
        finally:
            self.norm.given = None  # a call that failed before it must not leave it to the next
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
        [scale] = self.norm.measure([blank["context"]])
        self.predict([Item(0, Size(1, 4), ({**blank, **counts}, scale))], (1, None))


class OwnScale(torch.nn.Module):
    """The model's instance normalisation, with the scales of its next call given.

    The library finds a row's mean and deviation in the padded rows of one call. Of a nearly
    constant row the deviation is little but rounding, and rounding changes with the padding: so
    each request's rows are measured among themselves, as the library does for that request alone,
    whatever else shares the batch.
    """

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.norm = norm
        self.given: Any = None

    def measure(self, contexts: Sequence[Any]) -> list[Any]:
        """(mean, deviation) of each item's rows, found among the rows of all of them."""
        width = max(one.shape[1] for one in contexts)
        padded = [
            torch.nn.functional.pad(one, (width - one.shape[1], 0), value=float("nan"))
            for one in contexts
        ]
        _, (loc, scale) = self.norm(torch.cat(padded).to(torch.float32))
        sizes = [len(one) for one in contexts]
        return list(zip(loc.split(sizes), scale.split(sizes), strict=True))

    def forward(self, x: Any, loc_scale: Any = None) -> Any:
        """Normalise as the library does, by the given scales at the first call after they came."""
        if loc_scale is None and self.given is not None:
            loc, scale = self.given
            self.given = None
            loc_scale = (loc.to(x.device), scale.to(x.device))
        return self.norm(x, loc_scale)

    def inverse(self, *args: Any, **keywords: Any) -> Any:
        """As the library's."""
        return self.norm.inverse(*args, **keywords)


def _schemas(series: Sequence[Series], words: set[str]) -> dict[Any, list[int]]:
    # The library encodes the categories of one call together, and wants one schema in a call.
    found: dict[Any, list[int]] = {}
    for index, one in enumerate(series):
        key = (
            len(one.target) if one.multivariate else 1,
            tuple(sorted((name, _categorical(one, name, words)) for name in one.past_covariates)),
            tuple(sorted(one.future_covariates)),
        )
        found.setdefault(key, []).append(index)
    return found


def _words(series: Sequence[Series]) -> set[str]:
    """Covariates that have strings in some series: where another has only nulls, they are words."""
    return {
        name
        for one in series
        for name in one.past_covariates
        if any(map(arrays.is_categorical, _values(one, name)))
    }


def _values(series: Series, name: str) -> tuple[list[Any], list[Any]]:
    return series.past_covariates[name], series.future_covariates.get(name, [])


def _categorical(series: Series, name: str, words: set[str]) -> bool:
    values = _values(series, name)
    if any(map(arrays.is_categorical, values)):
        return True
    return name in words and all(value is None for part in values for value in part)


def _covariates(series: Series, kind: str, loc: Loc, words: set[str]) -> dict[str, np.ndarray]:
    return {
        name: np.array(values, dtype=object)
        if _categorical(series, name, words)
        else arrays.numeric(values, (*loc, kind, name))
        for name, values in getattr(series, kind).items()
    }
