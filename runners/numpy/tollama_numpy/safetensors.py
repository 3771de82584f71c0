"""The safetensors file format: tensors as views of the mapped file.

float32 tensors are never copied, so that a loaded model is page cache and not memory of this
process; float16 and bfloat16 are widened to float32 once, at load. A header that points outside of
the file or twice at the same bytes is refused.

Not covered: other element types, several files with an index, writing anything but float16.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from typing import BinaryIO

import numpy as np

MAX_HEADER = 100_000_000  # the format's own limit
ITEM_TYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


class BadCheckpoint(ValueError):
    """A file or a setting of a checkpoint that cannot be read; the message names it."""


def read(path: str) -> dict[str, np.ndarray]:
    """The tensors of the file as float32 arrays by name; raises BadCheckpoint."""
    name = os.path.basename(path)
    try:
        with open(path, "rb") as file:
            return _read(file, name)
    except OSError as error:
        raise BadCheckpoint(f"{name}: cannot be read: {error.strerror or error}") from error


def write_float16(path: str, tensors: dict[str, np.ndarray]) -> None:
    """Writes float32 tensors as float16, half the size; raises BadCheckpoint for larger ones."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        largest = float(np.abs(tensor).max(initial=0))
        if largest > float(np.finfo(np.float16).max):
            raise BadCheckpoint(f"{name}: expected weights up to 65504, got {largest:g}")
        end = offset + 2 * tensor.size
        header[name] = {
            "dtype": "F16",
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data start at a multiple of 8
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.astype("<f2").tobytes())


def _read(file: BinaryIO, name: str) -> dict[str, np.ndarray]:
    size = os.fstat(file.fileno()).st_size
    if size < 8:
        raise BadCheckpoint(f"{name}: expected a safetensors file, got {size} bytes")
    length = int.from_bytes(file.read(8), "little")
    start = 8 + length
    if length > MAX_HEADER or start > size:
        raise BadCheckpoint(f"{name}: expected a safetensors header, found one of {length} bytes")
    entries = _entries(file.read(length), name)
    _check_layout(entries, size - start, name)
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found = {}
    for tensor, (dtype, shape, begin, end) in entries.items():
        if dtype == "F32":
            flat = _view(mapped, start + begin, math.prod(shape))
        else:  # read and not mapped, so that the narrow copy does not stay in memory
            file.seek(start + begin)
            flat = _widened(file.read(end - begin), dtype)
        found[tensor] = flat.reshape(shape)
    return found


Entry = tuple[str, tuple[int, ...], int, int]


def _entries(text: bytes, name: str) -> dict[str, Entry]:
    """The header's tensors: type, shape, first and last byte."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise BadCheckpoint(f"{name}: expected every name once in the header")
        return found

    try:
        header = json.loads(text, object_pairs_hook=unique)
    except ValueError as error:
        if isinstance(error, BadCheckpoint):
            raise
        raise BadCheckpoint(f"{name}: the safetensors header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise BadCheckpoint(f"{name}: expected a safetensors header that is an object")
    header.pop("__metadata__", None)
    return {tensor: _entry(value, f"{name}: {tensor}") for tensor, value in header.items()}


def _entry(value: object, where: str) -> Entry:
    if not isinstance(value, dict):
        raise BadCheckpoint(f"{where}: expected an object in the header")
    dtype, shape, offsets = (value.get(key) for key in ("dtype", "shape", "data_offsets"))
    if dtype not in ITEM_TYPES:
        known = ", ".join(ITEM_TYPES)
        raise BadCheckpoint(f"{where}: expected an element type of {known}, got {dtype!r}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise BadCheckpoint(f"{where}: expected a shape and two offsets, got {shape} and {offsets}")
    begin, end = offsets
    if end - begin != math.prod(shape) * ITEM_TYPES[dtype].itemsize:
        raise BadCheckpoint(f"{where}: {end - begin} bytes do not hold {dtype} of shape {shape}")
    return dtype, tuple(shape), begin, end


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_layout(entries: dict[str, Entry], available: int, name: str) -> None:
    covered = 0
    for begin, end, tensor in sorted((e[2], e[3], key) for key, e in entries.items()):
        if end > available:
            raise BadCheckpoint(
                f"{name}: the file is cut short: {tensor} ends at byte {end} of {available}"
            )
        if begin < covered:
            raise BadCheckpoint(f"{name}: {tensor} overlaps the tensor before it")
        covered = end


def _view(mapped: mmap.mmap, start: int, count: int) -> np.ndarray:
    flat = np.frombuffer(mapped, ITEM_TYPES["F32"], count, start)
    if flat.flags.aligned and flat.dtype == np.float32:
        return flat
    return flat.astype(np.float32)


def _widened(data: bytes, dtype: str) -> np.ndarray:
    flat = np.frombuffer(data, ITEM_TYPES[dtype])
    if dtype == "BF16":  # the upper half of a float32
        return (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.astype(np.float32)
