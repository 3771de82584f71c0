"""Intermittent demand: Croston, the Syntetos-Boylan approximation, Teunter-Syntetos-Babai.

All smooth the size of a demand and how often there is one; the forecast is a flat rate. Not
covered: seasons.
"""

from __future__ import annotations

from collections.abc import Sequence

from .prediction import Prediction, root_mean_square

METHODS = ("croston", "sba", "tsb")
ALPHA = 0.1  # Croston's and Syntetos and Boylan's usual smoothing parameter
INTERMITTENT = 1.32  # mean interval between demands, Syntetos, Boylan and Croston (2005)


def is_intermittent(y: Sequence[float]) -> bool:
    """Whether a demand comes less often than every 1.32 steps (some does, and none is negative)."""
    demands = sum(v != 0 for v in y)
    return demands > 0 and min(y) >= 0 and len(y) > INTERMITTENT * demands


def croston(y: Sequence[float], horizon: int) -> Prediction:
    """Croston (1972): smoothed size over smoothed interval, both updated when a demand occurs."""
    size, interval = _sizes_and_intervals(y)
    return _flat(y, size / interval, horizon)


def sba(y: Sequence[float], horizon: int) -> Prediction:
    """Syntetos and Boylan (2005): Croston times (1 - alpha / 2), which removes most of its bias."""
    size, interval = _sizes_and_intervals(y)
    return _flat(y, (1 - ALPHA / 2) * size / interval, horizon)


def tsb(y: Sequence[float], horizon: int) -> Prediction:
    """Teunter, Syntetos and Babai (2011): size times probability, the latter updated every step.

    Unlike Croston's, the forecast sinks while there is no demand, so it notices an item that dies.
    """
    demands = [v for v in y if v]
    if not demands:
        return _flat(y, 0.0, horizon)
    size, probability = demands[0], len(demands) / len(y)
    for v in y:
        probability += ALPHA * ((1.0 if v else 0.0) - probability)
        if v:
            size += ALPHA * (v - size)
    return _flat(y, size * probability, horizon)


def _sizes_and_intervals(y: Sequence[float]) -> tuple[float, float]:
    """Smoothed size and interval after the last demand; (0, 1) without any."""
    size, interval, since = 0.0, 1.0, 0
    seen = False
    for v in y:
        since += 1
        if not v:
            continue
        if seen:
            size += ALPHA * (v - size)
            interval += ALPHA * (since - interval)
        else:
            size, interval, seen = v, float(since), True
        since = 0
    return size, interval


def _flat(y: Sequence[float], rate: float, horizon: int) -> Prediction:
    spread = root_mean_square((v - rate for v in y), len(y) - 1)
    return Prediction([rate] * horizon, [spread] * horizon)
