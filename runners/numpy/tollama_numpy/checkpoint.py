"""A checkpoint folder as a hub serves it: config.json and model.safetensors, read with suspicion.

Every setting that changes the arithmetic is either used or required to have its one supported
value, and every tensor is either used with the expected shape or known to be without effect. So a
checkpoint of a later architecture is refused by the name of what is new in it, and never answers
with wrong numbers.
"""

from __future__ import annotations

import json
import os

import numpy as np

from tollama_numpy import safetensors
from tollama_numpy.safetensors import BadCheckpoint

_REQUIRED = object()


class UnsupportedCheckpoint(BadCheckpoint):
    """A sound checkpoint of something that the numpy family does not compute."""


class Checkpoint:
    """The settings and weights of one folder; raises BadCheckpoint for what is not as expected."""

    def __init__(self, folder: str) -> None:
        self.config = read_config(folder)
        present = set(os.listdir(folder))
        for name, what in _UNSUPPORTED_FILES.items():
            if name in present and (name == _ADAPTER or "model.safetensors" not in present):
                raise UnsupportedCheckpoint(f"{name}: {what} are not supported by the numpy family")
        self.weights = safetensors.read(os.path.join(folder, "model.safetensors"))
        self._unused = set(self.weights)
        self._used = 0

    def setting(self, path: str, kind: type, default: object = _REQUIRED) -> object:
        """The value at a dotted path such as "chronos_config.context_length"."""
        value: object = self.config
        for key in path.split("."):
            value = value.get(key, _REQUIRED) if isinstance(value, dict) else _REQUIRED
        if value is _REQUIRED or (value is None and default is not _REQUIRED):
            value = default
        if value is _REQUIRED:
            raise BadCheckpoint(f"config.json: {path}: this setting is required")
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise BadCheckpoint(f"config.json: {path}: expected a {kind.__name__}, got {value!r}")
        return value

    def count(self, path: str, default: object = _REQUIRED) -> int:
        """A setting that is a whole number of at least 1."""
        value = self.setting(path, int, default)
        if value < 1:
            raise BadCheckpoint(f"config.json: {path}: expected at least 1, got {value}")
        return value

    def require(self, path: str, expected: object, default: object = _REQUIRED) -> None:
        """Refuses any other value of a setting than the one that this code computes with."""
        value = self.setting(path, type(expected), expected if default is _REQUIRED else default)
        if value != expected:
            raise UnsupportedCheckpoint(
                f"config.json: {path}: the numpy family computes {expected!r} alone, got {value!r}"
            )

    def absent(self, name: str) -> None:
        """Refuses a setting that is there and not null."""
        if self.config.get(name) is not None:
            raise UnsupportedCheckpoint(f"config.json: {name}: not known to the numpy family")

    def only(self, path: str, known: set[str]) -> None:
        """Refuses settings that this code does not know of under an object."""
        unknown = set(self.setting(path, dict)) - known
        if unknown:
            names = ", ".join(f"{path}.{name}" for name in sorted(unknown))
            raise UnsupportedCheckpoint(f"config.json: {names}: not known to the numpy family")

    def quantile_levels(self) -> list[float]:
        """chronos_config.quantiles: ascending levels inside (0, 1) that include the median."""
        path = "chronos_config.quantiles"
        levels = self.setting(path, list)
        numbers = all(type(level) is float and 0 < level < 1 for level in levels)
        if not numbers or levels != sorted(set(levels)) or 0.5 not in levels:
            raise BadCheckpoint(
                f"config.json: {path}: expected ascending levels with 0.5, got {levels}"
            )
        return levels

    def tensor(self, name: str, *shape: int) -> np.ndarray:
        """The weights of that name, which must have that shape."""
        if name not in self.weights:
            raise BadCheckpoint(f"model.safetensors: {name}: this tensor is missing")
        tensor = self.weights[name]
        if tensor.shape != shape:
            raise BadCheckpoint(
                f"model.safetensors: {name}: expected shape {shape}, got {tensor.shape}"
            )
        self._unused.discard(name)
        self._used += tensor.size
        return tensor

    def finish(self, *, copies: tuple[str, ...] = (), idle: tuple[str, ...] = ()) -> int:
        """The number of weights; refuses tensors that were not used.

        Excepted are names that end in one of `copies` (of a tensor that is used) or `idle` (without
        effect on the answer, yet counted).
        """
        unused = sorted(name for name in self._unused if not name.endswith(copies))
        unknown = [name for name in unused if not name.endswith(idle)]
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise UnsupportedCheckpoint(
                f"model.safetensors: {unknown[0]}{more}: not known to the numpy family"
            )
        total = self._used + sum(self.weights[name].size for name in unused)
        self.weights = {}
        return total


def read_config(folder: str) -> dict[str, object]:
    """config.json of a folder; raises BadCheckpoint."""
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
    except OSError as error:
        raise BadCheckpoint(f"config.json: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BadCheckpoint(f"config.json: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise BadCheckpoint("config.json: expected an object")
    return config


def architecture(folder: str) -> str:
    """The one name under `architectures` of the folder's config.json; raises BadCheckpoint."""
    names = read_config(folder).get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise BadCheckpoint(f"config.json: architectures: expected one name, got {names!r}")
    return names[0]


_ADAPTER = "adapter_config.json"
_UNSUPPORTED_FILES = {
    _ADAPTER: "adapters",
    "model.safetensors.index.json": "weights in several files",
    "pytorch_model.bin": "pickled weights",
}
