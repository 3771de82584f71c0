"""A folder of weights, checked before the library opens it.

The library fills weights that a file lacks with random numbers and a log line; here it is an error.
Only safetensors are read: no pickle, no code from the folder.

Not covered: checksums against the hub, which `tollama verify` compares.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any

from tollama.core.errors import RunnerError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def damaged(model: str, file: str, finding: str) -> RunnerError:
    """A file of a model that is missing, cut short or unreadable."""
    return RunnerError(
        f"model {model!r}: {file} {finding}; check it with `tollama verify {model}` and pull again"
    )


def read_config(model: str, path: str) -> dict[str, Any]:
    """config.json of a folder of weights; raises RunnerError when it is missing or not JSON."""
    name = "config.json"
    try:
        with open(os.path.join(path, name), encoding="utf-8") as file:
            config = json.load(file)
    except FileNotFoundError:
        raise damaged(model, name, "is missing") from None
    except (OSError, ValueError) as error:
        raise damaged(model, name, f"cannot be read ({error})") from None
    if not isinstance(config, dict):
        raise damaged(model, name, "is not an object")
    return config


def tensor_names(model: str, path: str) -> set[str]:
    """Names of all tensors in a folder of weights; raises RunnerError for damaged files."""
    names: set[str] = set()
    for file in weight_files(model, path):
        names |= _header(model, path, file)
    return names


def weight_files(model: str, path: str) -> list[str]:
    """Names of the weight files of a folder, from its index when there is one."""
    if os.path.exists(os.path.join(path, SINGLE)):
        return [SINGLE]
    try:
        with open(os.path.join(path, INDEX), encoding="utf-8") as file:
            shards = sorted(set(json.load(file)["weight_map"].values()))
    except FileNotFoundError:
        raise damaged(model, SINGLE, "is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(model, INDEX, f"cannot be read ({error})") from None
    if any(os.path.basename(shard) != shard for shard in shards):
        raise damaged(model, INDEX, "names files outside its folder")
    return shards


def _header(model: str, path: str, name: str) -> set[str]:
    try:
        with open(os.path.join(path, name), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise ValueError("its header is cut short")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            ends = [tensor["data_offsets"][1] for tensor in header.values()]
    except FileNotFoundError:
        raise damaged(model, name, "is missing") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise damaged(model, name, f"is not a safetensors file ({error})") from None
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise damaged(model, name, f"has {size:,} bytes, expected {expected:,}")
    return set(header)
