"""How many threads compute: batches side by side where there are several, else within a product.

OpenBLAS splits one matrix product between threads that wait for each other at its end, hundreds of
times a forecast. Two batches on one thread each wait for nothing, so that is how several batches
run. The number of OpenBLAS threads is read from the environment when NumPy is imported and can only
be changed later by a call into the library.

Not covered: other BLAS libraries, whose thread counts are left as they are.
"""

from __future__ import annotations

import ctypes
import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np

Piece = TypeVar("Piece")
Result = TypeVar("Result")

SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


def run(
    function: Callable[[Piece], Result], pieces: Sequence[Piece], threads: int
) -> Iterator[Result]:
    """function(piece) for each piece, as they are done; on `threads` threads in all."""
    if threads == 1 or len(pieces) < 2 or _setter() is None:
        use_blas_threads(threads)
        yield from map(function, pieces)
        return
    from concurrent.futures import ThreadPoolExecutor, as_completed

    use_blas_threads(1)
    pool = ThreadPoolExecutor(min(threads, len(pieces)))
    try:
        for future in as_completed([pool.submit(function, piece) for piece in pieces]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def use_blas_threads(count: int) -> None:
    """Makes OpenBLAS use that many threads from now on, where it can be told."""
    setter = _setter()
    if setter is not None and _current[0] != count:
        setter(count)
        _current[0] = count


_current = [0]


@lru_cache(maxsize=1)
def _setter() -> Callable[[int], None] | None:
    for path in _libraries():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for name in SETTERS:
            setter = getattr(library, name, None)
            if setter is not None:
                setter.argtypes, setter.restype = [ctypes.c_int], None
                return setter
    return None


def _libraries() -> Iterable[str]:
    """Files that are NumPy's OpenBLAS: what is mapped already, then what its wheels carry."""
    if sys.platform == "linux":
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            mapped = {line.split(maxsplit=5)[-1].strip() for line in maps if "openblas" in line}
        yield from sorted(mapped)
        return
    package = os.path.dirname(os.path.abspath(np.__file__))
    for folder in (os.path.join(package, ".dylibs"), package + ".libs"):
        yield from sorted(glob.glob(os.path.join(glob.escape(folder), "*openblas*")))
