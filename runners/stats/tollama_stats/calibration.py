"""Interval constants per model and frequency class, from benchmarks/calibrate_intervals.py."""

from __future__ import annotations

Pair = tuple[float, float]

DEFAULT: tuple[Pair, Pair] = ((1.96, 0.0), (1.28, 0.0))
CONSTANTS: dict[tuple[str, str], tuple[Pair, Pair]] = {
    ("auto", "Y"): ((1.97, 0.3), (1.31, 0.1)),
    ("auto", "Q"): ((2.11, 0.1), (1.17, 0.1)),
    ("auto", "M"): ((2.11, 0.0), (1.23, 0.0)),
    ("auto", "W"): ((1.58, 0.0), (0.88, 0.0)),
    ("auto", "D"): ((1.85, 0.0), (1.11, 0.0)),
    ("auto", "H"): ((1.64, 0.0), (0.83, 0.0)),
    ("auto", "O"): ((1.85, 0.1), (1.11, 0.1)),
}
