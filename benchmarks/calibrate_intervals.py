"""Calibrates the intervals of the embedded models on competition series.

    python benchmarks/calibrate_intervals.py --data DIR [--models auto,theta] [--write]

For each model and frequency class the half-width at step k is K * k^G * (the method's own standard
error). At 80% and at 95%, K is the quantile of the errors so scaled that holds the level, each
collection counting the same, and G is the growth with the best interval score. Prints coverage
and MSIS before and after; with --write, runners/stats/tollama_stats/calibration.py.

Days have no collection here: they learn from the weekly series, `auto` from those in which it finds
no year. Days and series of unknown frequency learn as much from random walks, for which the right
width is known. Not covered: the methods for intermittent demand, whose intervals are quantiles of
the history.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from competitions import Record, from_folder, scale

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "runners" / "stats"))
from tollama_stats.calibration import CONSTANTS, DEFAULT  # noqa: E402
from tollama_stats.forecast import MODELS, forecast, interval_class  # noqa: E402
from tollama_stats.intermittent import METHODS  # noqa: E402

GROWTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
SEASONS = {"Y": 1, "Q": 4, "M": 12, "W": 52, "D": 7, "H": 24, "O": 1}
WALKS = {"D": (100, 800, 14), "O": (30, 150, 8)}  # shortest, longest, horizon
CLASSES = ("Y", "Q", "M", "W", "D", "H", "O")


class Outcome(NamedTuple):
    """A forecast that has come true: by step, the absolute error and the method's standard error.

    `kind` is the class of its interval, `unit` the series' scale, `weight` makes every collection
    of the class count the same.
    """

    kind: str
    errors: list[float]
    spread: list[float]
    unit: float
    weight: float


def outcome(model: str, record: Record, weight: float) -> Outcome | None:
    """The outcome for one series; None where its scale is zero."""
    unit = scale(record)
    if not unit:
        return None
    kind = record.freq
    found = forecast(
        model,
        record.train,
        len(record.test),
        quantiles=(0.975,),
        season_length=SEASONS[kind],
        freq_class=None if kind == "O" else kind,
    )
    used = found.usage["season_length"]
    kind = interval_class(model, None if kind == "O" else kind, [] if used == 1 else [used])
    factor, growth = CONSTANTS.get((model, kind), DEFAULT)[0]
    upper = enumerate(zip(found.quantiles[0.975], found.mean, strict=True), 1)
    return Outcome(
        kind,
        [abs(a - f) for a, f in zip(record.test, found.mean, strict=True)],
        [(high - mean) / (factor * k**growth) for k, (high, mean) in upper],
        unit,
        weight,
    )


def random_walks(kind: str, count: int = 200) -> list[Record]:
    """Gaussian random walks, always the same."""
    dice = random.Random(kind)
    shortest, longest, horizon = WALKS[kind]
    found = []
    for index in range(count):
        y = [100.0]
        for _ in range(dice.randint(shortest, longest) + horizon - 1):
            y.append(y[-1] + dice.gauss(0, 1))
        found.append(Record(f"walk-{index}", kind, 1, y[:-horizon], y[-horizon:]))
    return found


def evaluate(
    outcomes: list[Outcome], level: float, constants: tuple[float, float]
) -> tuple[float, float]:
    """The coverage at `level` and the mean scaled interval score."""
    factor, growth = constants
    inside = total = score = 0.0
    for one in outcomes:
        share = one.weight / len(one.errors)
        for k, (error, spread) in enumerate(zip(one.errors, one.spread, strict=True), 1):
            width = factor * k**growth * spread
            inside += share * (error <= width)
            penalty = 2 / (1 - level) * max(error - width, 0.0)
            score += share * (2 * width + penalty) / one.unit
            total += share
    return inside / total, score / total


def calibrate(outcomes: list[Outcome], level: float) -> tuple[float, float]:
    """(K, G) with exactly `level` of the errors inside and, among growths, the best score."""
    best: tuple[float, tuple[float, float]] | None = None
    for growth in GROWTHS:
        ratios = []
        for one in outcomes:
            share = one.weight / len(one.errors)
            for k, (error, spread) in enumerate(zip(one.errors, one.spread, strict=True), 1):
                if spread > 0:
                    ratios.append((error / (k**growth * spread), share))
        ratios.sort()
        target, seen = level * sum(share for _, share in ratios), 0.0
        factor = next(ratio for ratio, share in ratios if (seen := seen + share) >= target)
        constants = (round(factor, 2), growth)
        score = evaluate(outcomes, level, constants)[1]
        if best is None or score < best[0]:
            best = (score, constants)
    return best[1]


def write(table: dict[tuple[str, str], tuple], path: Path) -> None:
    """The constants as a module."""
    lines = [
        '"""Interval constants per model and frequency class.',
        "",
        "Written by benchmarks/calibrate_intervals.py, which says what they are. Each entry has",
        "(K, G) of the 95% and of the 80% interval: the half-width of step k is K * k^G standard",
        "errors of the method.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "Pair = tuple[float, float]",
        "",
        "DEFAULT: tuple[Pair, Pair] = ((1.96, 0.0), (1.28, 0.0))",
        "CONSTANTS: dict[tuple[str, str], tuple[Pair, Pair]] = {",
    ]
    order = {model: place for place, model in enumerate(MODELS)}
    keys = sorted(table, key=lambda key: (order[key[0]], CLASSES.index(key[1])))
    for key in keys:
        lines.append(f'    ("{key[0]}", "{key[1]}"): {table[key]},')
    path.write_text("\n".join([*lines, "}"]) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--models", default=",".join(name for name in MODELS if name not in METHODS)
    )
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    groups, _ = from_folder(args.data)
    table = dict(CONSTANTS)
    print("model          class  95%: K     G  coverage (was)  MSIS (was)    80%: K     G")
    for model in args.models.split(","):
        outcomes: dict[str, list[Outcome]] = defaultdict(list)
        for records in groups.values():
            made = [outcome(model, record, 1 / len(records)) for record in records]
            for one in made:
                if one is not None:
                    outcomes[one.kind].append(one)
        if "D" not in outcomes:
            outcomes["D"] = list(outcomes["W"])
        for kind in WALKS:
            learnt = sum(one.weight for one in outcomes[kind])
            walks = random_walks(kind)
            made = [outcome(model, record, learnt / len(walks)) for record in walks]
            outcomes[kind] += [one for one in made if one is not None]
        for kind, found in outcomes.items():
            before = CONSTANTS.get((model, kind), DEFAULT)
            after = calibrate(found, 0.95), calibrate(found, 0.80)
            was, now = evaluate(found, 0.95, before[0]), evaluate(found, 0.95, after[0])
            table[model, kind] = after
            new95, new80 = (f"{factor:9.2f} {growth:5.1f}" for factor, growth in after)
            change = f"{now[0]:9.3f} ({was[0]:.3f}) {now[1]:7.2f} ({was[1]:.2f})"
            print(f"{model:14} {kind:5} {new95} {change} {new80}", flush=True)
    if args.write:
        write(table, ROOT / "runners" / "stats" / "tollama_stats" / "calibration.py")


if __name__ == "__main__":
    main()
