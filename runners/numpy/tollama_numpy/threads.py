"""How many threads compute: batches side by side where there are several, else parts of a product.

OpenBLAS could split a product itself, but its threads spin while they wait for each other: with one
other busy process on two cores a forecast of one series took 1136 ms that way, 262 ms on one thread
and 159 ms with threads that sleep while they wait, as these do. So OpenBLAS is told to use one.
The library reads its number of threads from the environment when NumPy is imported; later it can
only be told by a call into it.

Not covered: BLAS libraries that cannot be told; they are left to themselves, and get all batches
one after the other.
"""

from __future__ import annotations

import ctypes
import glob
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

Piece = TypeVar("Piece")
Result = TypeVar("Result")

# Operations of a part of a product that are worth waking a thread, which takes some 20 us.
WORTH_A_PART = 1e7
FEW_ROWS = 96

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
    if not calm_blas():
        yield from map(function, pieces)
        return
    _helpers.grow(threads - 1)
    if threads == 1 or len(pieces) < 2:
        for piece in pieces:
            yield _with_team(threads, function, piece)
        return
    from concurrent.futures import ThreadPoolExecutor, as_completed

    team = max(1, threads // len(pieces))
    pool = ThreadPoolExecutor(min(threads, len(pieces)))
    try:
        waiting = [pool.submit(_with_team, team, function, piece) for piece in pieces]
        for future in as_completed(waiting):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x W^T for (rows, k) and (n, k), its columns divided among this thread's team."""
    parts = min(getattr(_current, "team", 1), int(2 * len(x) * weight.size / WORTH_A_PART))
    if len(x) <= FEW_ROWS:  # (W x^T)^T is a sixth faster then
        return _product(weight, x.T, parts).T
    if parts < 2:
        return x @ weight.T
    y = np.empty((len(x), len(weight)), np.float32)
    _helpers.share([(x, weight[a:b].T, y[:, a:b]) for a, b in _cuts(len(weight), parts)])
    return y


def _product(left: np.ndarray, right: np.ndarray, parts: int) -> np.ndarray:
    if parts < 2:
        return left @ right
    y = np.empty((len(left), right.shape[1]), np.float32)
    _helpers.share([(left[a:b], right, y[a:b]) for a, b in _cuts(len(left), parts)])
    return y


def _cuts(length: int, parts: int) -> Iterable[tuple[int, int]]:
    return pairwise(np.linspace(0, length, parts + 1, dtype=int).tolist())


def _with_team(team: int, function: Callable[[Piece], Result], piece: Piece) -> Result:
    _current.team = team
    try:
        return function(piece)
    finally:
        _current.team = 1


_current = threading.local()

Part = tuple[np.ndarray, np.ndarray, np.ndarray]


class _Helpers:
    """Threads that sleep until there is a part of a product to compute."""

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[tuple[Part, queue.SimpleQueue[Any]]] = queue.SimpleQueue()
        self.count = 0
        self.lock = threading.Lock()

    def grow(self, count: int) -> None:
        """Sees that there are at least so many."""
        with self.lock:
            while self.count < count:
                threading.Thread(target=self._work, name="product", daemon=True).start()
                self.count += 1

    def share(self, parts: list[Part]) -> None:
        """Computes all parts; the caller does the first and whatever nobody has begun."""
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for part in parts[1:]:
            self.waiting.put((part, done))
        _compute(parts[0])
        try:
            while True:
                self._do(self.waiting.get_nowait())
        except queue.Empty:
            pass
        for _ in parts[1:]:
            error = done.get()
            if error is not None:
                raise error

    def _work(self) -> None:
        while True:
            self._do(self.waiting.get())

    @staticmethod
    def _do(task: tuple[Part, queue.SimpleQueue[Any]]) -> None:
        part, done = task
        try:
            _compute(part)
        except BaseException as error:
            done.put(error)
        else:
            done.put(None)


def _compute(part: Part) -> None:
    left, right, out = part
    np.matmul(left, right, out=out)


_helpers = _Helpers()


@lru_cache(maxsize=1)
def calm_blas() -> bool:
    """Makes OpenBLAS compute on the thread that calls it; whether it could be told."""
    setter = _setter()
    if setter is not None:
        setter(1)
    return setter is not None


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
    """Files that are NumPy's OpenBLAS: what is mapped already, or what its wheels carry."""
    if sys.platform == "linux":
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            mapped = {line.split(maxsplit=5)[-1].strip() for line in maps if "openblas" in line}
        yield from sorted(mapped)
        return
    package = os.path.dirname(os.path.abspath(np.__file__))
    for folder in (os.path.join(package, ".dylibs"), package + ".libs"):
        yield from sorted(glob.glob(os.path.join(glob.escape(folder), "*openblas*")))
