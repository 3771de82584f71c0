"""The small interface that every architecture implements, one file each.

An architecture turns a request into items (one a series), predicts a batch of items, and reads
means and quantiles off what came out. Batching, devices, memory and errors are the family's.

To add one: a subclass in its own file, and a line in `ARCHITECTURES`.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
import torch

from tollama.core import fields
from tollama.core.errors import RunnerError, Unsupported
from tollama.core.schemas import ForecastRequest
from tollama_torch.batching import Budget, Size
from tollama_torch.devices import Placement, device_option, dtype_option, free_memory

# `architectures[0]` of config.json -> module and class.
ARCHITECTURES = {
    "Chronos2Model": ("tollama_torch.chronos2", "Chronos2"),
    "ChronosBoltModelForForecasting": ("tollama_torch.chronos_bolt", "ChronosBolt"),
    "T5ForConditionalGeneration": ("tollama_torch.chronos_t5", "ChronosT5"),
}
WITHOUT_WEIGHTS = ("tollama_torch.fracast", "Fracast")


class Item(NamedTuple):
    """One series, ready for the model: its place in the request, its size, what predict needs."""

    series: int
    size: Size
    data: Any


class Prepared(NamedTuple):
    """A request ready for the model.

    Items of requests with an equal `key` may share a batch of at most `rows` rows (None: as many as
    the budget allows); `alone` keeps a request to itself, for answers that depend on their batch.
    """

    items: list[Item]
    key: tuple[Any, ...]
    rows: int | None = None
    alone: bool = False
    warnings: tuple[str, ...] = ()


class Architecture:
    """One kind of model, loaded; subclasses set the attributes and override the methods."""

    title = "model"
    capabilities: dict[str, Any] = {}  # noqa: RUF012
    options: dict[str, Any] = {  # noqa: RUF012
        "device": device_option,
        "dtype": dtype_option,
        "batch_size": fields.integer(1, 100_000),
        "context_length": fields.integer(1, 1_000_000),
    }
    context_length: int
    max_horizon: int
    parameters: int
    budget: Budget

    def __init__(self, name: str, path: str | None, placement: Placement) -> None:
        raise NotImplementedError

    def prepare(self, request: ForecastRequest) -> Prepared:
        """The request as items; raises InvalidRequest with paths for values it cannot take."""
        raise NotImplementedError

    def predict(self, items: list[Item], key: tuple[Any, ...]) -> list[np.ndarray]:
        """For each item, (targets, outputs, steps) in float32; steps may exceed the horizon.

        The outputs are quantiles, samples, or what else `read` understands.
        """
        raise NotImplementedError

    def read(self, raw: np.ndarray, levels: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        """From (rows, outputs, horizon): means (rows, horizon), quantiles (levels, rows, horizon).

        The quantiles need not be sorted.
        """
        raise NotImplementedError

    def embed(self, request: ForecastRequest) -> list[np.ndarray]:
        """One vector for each series."""
        raise Unsupported(f"{self.title} does not make embeddings")

    def probe(self) -> None:
        """Run a real kernel, as small as it can be."""
        raise NotImplementedError


def recognise(config: dict[str, Any] | None) -> type[Architecture]:
    """The architecture that a config.json names (None: no weights of its own)."""
    if config is None:
        return _load(WITHOUT_WEIGHTS)
    names = config.get("architectures") or []
    for name in names:
        if name in ARCHITECTURES and "chronos_config" in config:
            return _load(ARCHITECTURES[name])
    found = ", ".join(map(str, names)) or "none"
    raise RunnerError(
        f"config.json names the architecture {found}; the family torch runs Chronos models with "
        f"{', '.join(ARCHITECTURES)}"
    )


def _load(where: tuple[str, str]) -> type[Architecture]:
    return getattr(importlib.import_module(where[0]), where[1])


def work_budget(
    *, parameters: int, hidden: int, device: torch.device, pair_bytes: int = 0
) -> Budget:
    """How large a batch pays, for a transformer of that many parameters and that hidden width.

    On a CPU the fixed cost is reading the weights once, and activations beyond the cache cost more
    than they gain; on a GPU it is launching kernels, and memory is what bounds a batch.
    """
    if device.type == "cpu":
        # Milliseconds measured on two cores: 2 + 0.4 for each million parameters read, then
        # 0.009 for each million a token passes through.
        per_token = max(9e-9 * parameters, 0.0025)
        return Budget(
            tokens=max(512, (10 << 20) // (4 * hidden)),
            rows=256,
            overhead=int((2 + 4e-7 * parameters) / per_token),
            pair_bytes=pair_bytes,
            bytes=1 << 28,
        )
    # A token's activations come to some eight hidden vectors of four bytes at the widest place.
    free = free_memory(device)
    return Budget(
        tokens=max(512, min(1 << 16, free // 2 // (32 * hidden))),
        rows=1024,
        overhead=1024,
        pair_bytes=pair_bytes,
        bytes=min(1 << 30, free // 8),
    )
