"""A loaded model that survives what its batches do: memory that runs out, a library that raises.

Not covered: which requests share a batch (family.py) and how batches are cut (batching.py).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from tollama.core.errors import InvalidRequest, OutOfMemory, TollamaError
from tollama.core.runner_sdk import as_error
from tollama_torch import devices, snapshot
from tollama_torch.architecture import Architecture, Item, recognise
from tollama_torch.batching import Budget
from tollama_torch.devices import Placement

Outcome = np.ndarray | TollamaError


class Session:
    """A model on its device; `open_session` makes one."""

    def __init__(self, model: str, architecture: Architecture, placement: Placement) -> None:
        self.model = model
        self.architecture = architecture
        self.placement = placement
        self.budget: Budget = architecture.budget

    def facts(self) -> dict[str, Any]:
        """What ps and show tell of it."""
        found: dict[str, Any] = {
            "architecture": self.architecture.title,
            "device": self.placement.device_name,
            "dtype": self.placement.dtype_name,
            "context_length": self.architecture.context_length,
            "max_horizon": self.architecture.max_horizon,
            "parameters": self.architecture.parameters,
            "vram_bytes": devices.video_memory(self.placement.device),
        }
        if self.placement.warnings:
            found["warnings"] = list(self.placement.warnings)
        return found

    def run(self, items: list[Item], key: tuple[Any, ...]) -> list[Outcome]:
        """What the model gives for each item, or why not; a bad item does not fail its neighbours.

        After an out-of-memory the batch is halved, and later batches are planned smaller.
        """
        try:
            found = self.architecture.predict(items, key)
        except Exception as error:
            if len(items) == 1:
                return [self._reason(error)]
            if devices.is_out_of_memory(error):
                self._shrink(items)
            error.__traceback__ = None  # it holds the tensors of the failed batch
            devices.release(self.placement.device)
            half = len(items) // 2
            return self.run(items[:half], key) + self.run(items[half:], key)
        outcomes: list[Outcome] = []
        for item, raw in zip(items, found, strict=True):
            if np.isfinite(raw).all():
                outcomes.append(raw)
            elif len(items) > 1:
                outcomes += self.run([item], key)
            else:
                outcomes.append(self._not_finite(item))
        return outcomes

    def run_whole(self, items: list[Item], key: tuple[Any, ...]) -> list[Outcome]:
        """Like `run` for items whose answers depend on each other: all or none."""
        try:
            found = self.architecture.predict(items, key)
        except Exception as error:
            return [self._reason(error)] * len(items)
        return [
            raw if np.isfinite(raw).all() else self._not_finite(item)
            for item, raw in zip(items, found, strict=True)
        ]

    def _shrink(self, items: list[Item]) -> None:
        rows = sum(item.size.rows for item in items)
        tokens = rows * max(item.size.tokens for item in items)
        smaller = self.budget.halved(rows, tokens)
        self.budget = self.budget._replace(
            rows=min(self.budget.rows, smaller.rows), tokens=min(self.budget.tokens, smaller.tokens)
        )

    def _reason(self, error: Exception) -> TollamaError:
        if devices.is_out_of_memory(error):
            devices.release(self.placement.device)
            free = devices.free_memory(self.placement.device)
            return OutOfMemory(
                f"{self.model} ran out of memory on {self.placement.device_name} "
                f"({free >> 20:,} MiB free): use a shorter context_length or horizon, "
                "fewer covariates, or a smaller batch_size"
            )
        return devices.wrong_build(error, self.placement.device) or as_error(error, self.model)

    def _not_finite(self, item: Item) -> TollamaError:
        return InvalidRequest.of(
            [
                (
                    ("series", item.series, "target"),
                    f"{self.model} answers it with numbers that are not finite: its values are "
                    "beyond float32 arithmetic; rescale the series",
                )
            ]
        )

    def close(self) -> None:
        """Drop the model and give its device memory back."""
        del self.architecture
        devices.release(self.placement.device)


def open_session(model: str, path: str | None, device: str | None, dtype: str | None) -> Session:
    """Load a model and run a real kernel on its device, so that what cannot work fails here."""
    config = snapshot.read_config(model, path) if path is not None else None
    kind = recognise(config)
    placement = devices.place(device, dtype)
    if dtype == "auto" and placement.dtype_name != "float32" and placement.device_name == "cpu":
        return _faster(model, path, kind, placement)
    try:
        return _open(model, path, kind, placement)
    except Exception as error:
        wrong = devices.wrong_build(error, placement.device)
        if wrong is None:
            raise
        if device not in (None, "auto"):
            raise wrong from error
        fallback = devices.place("cpu", dtype)
        warnings = (f"{wrong}; running on the CPU",)
        return _open(model, path, kind, fallback._replace(warnings=warnings))


def _open(model: str, path: str | None, kind: type[Architecture], placement: Placement) -> Session:
    session = Session(model, kind(model, path, placement), placement)
    session.architecture.probe()
    return session


def _faster(
    model: str, path: str | None, kind: type[Architecture], placement: Placement
) -> Session:
    # bfloat16 in hardware wins by 1.6 to 5 on large models and loses on tiny ones: measure.
    import torch

    narrow = _open(model, path, kind, placement)
    wide = _open(model, path, kind, placement._replace(dtype=torch.float32))
    faster = narrow if _probe_time(narrow) < _probe_time(wide) else wide
    (wide if faster is narrow else narrow).close()
    return faster


def _probe_time(session: Session) -> float:
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        session.architecture.probe()
        times.append(time.perf_counter() - begin)
    return min(times)
