"""Learns the weights of `auto` for short seasons, and shows what they are worth.

    python benchmarks/train_weights.py --data DIR [--write] [--cache FILE]

Needs numpy and a folder as `accuracy.py` takes it. A linear softmax gives each of the nine methods
of `components` a share from the numbers of `features`; it is fitted to the OWA of the combined
forecast at each series' end and, with half the weight, at up to three earlier ends. Without --write
it prints two tables of OWA against equal weights of the four base methods: five-fold over series,
and each collection forecast by weights that never saw it. With --write it fits all series and
writes runners/stats/tollama_stats/weight_table.py.

Not covered: weekly, daily and hourly series, where equal weights were as good.
"""

from __future__ import annotations

import argparse
import math
import pickle
import sys
from pathlib import Path

import numpy as np
from competitions import Record, from_folder, scale

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "runners" / "stats"))
from tollama_stats.components import BASE, SLOTS, components  # noqa: E402
from tollama_stats.features import NAMES, STEPS, features  # noqa: E402
from tollama_stats.history import clean  # noqa: E402

SEASONS = {"Y": 1, "Q": 4, "M": 12, "O": 1}
LONGEST = 24  # steps of the longest horizon
PRIOR = np.array([0.0 if name in BASE else -1.5 for name in SLOTS])
EQUAL = np.array([1 / len(BASE) if name in BASE else 0.0 for name in SLOTS])
L2, STEPS_OF_ADAM, RATE = 0.003, 300, 0.02
EARLIER_ENDS, EARLIER_WEIGHT = 3, 0.5


def rows(group: str, record: Record) -> list[dict]:
    """The training rows of a series: its end and up to three earlier ones."""
    kind = group[-1]
    season, size = SEASONS[kind], len(record.test)
    found = []
    for back in range(EARLIER_ENDS + 1):
        end = len(record.train) - back * size
        if back and end < max(3 * season, 10):
            break
        train = record.train[:end]
        actual = record.test if back == 0 else record.train[end : end + size]
        unit = scale(record._replace(train=train))
        history = clean(train, season)
        y = history.values[-1500:]
        if len(y) < 6 or max(y) == min(y) or not unit:
            continue
        made = components(y, max(size, STEPS[kind]), season)
        paths = [history.restore(made.parts[name].mean[:size]) for name in SLOTS]
        found.append(
            {
                "group": group,
                "id": record.id,
                "back": back,
                "features": features(y, made, kind),
                "paths": np.maximum(paths, 0.0) if min(y) >= 0 else np.array(paths),
                "actual": np.array(actual, float),
                "unit": unit,
            }
        )
    return found


class Sample:
    """All rows as arrays, padded to LONGEST steps with weight zero."""

    def __init__(self, found: list[dict], references: dict[str, dict]) -> None:
        n = len(found)
        self.paths = np.zeros((n, len(SLOTS), LONGEST))
        self.actual, self.share = np.zeros((n, LONGEST)), np.zeros((n, LONGEST))
        for i, row in enumerate(found):
            size = len(row["actual"])
            self.paths[i, :, :size] = row["paths"]
            self.actual[i, :size] = row["actual"]
            self.share[i, :size] = 1 / size
        self.unit = np.array([row["unit"] for row in found])
        self.group = np.array([row["group"] for row in found])
        self.collection = np.array([row["group"].partition("_")[0] for row in found])
        self.id = np.array([row["id"] for row in found])
        self.true = np.array([row["back"] == 0 for row in found])
        naive2 = [references[row["group"]]["naive2"] for row in found]
        self.smape = np.array([r["sMAPE"] for r in naive2])
        self.mase = np.array([r["MASE"] for r in naive2])
        raw = np.array([row["features"] for row in found])
        self.x = np.sign(raw) * np.log1p(np.abs(raw))

    def combined(self, shares: np.ndarray) -> np.ndarray:
        return (shares[:, :, None] * self.paths).sum(1)

    def owa(self, forecast: np.ndarray) -> np.ndarray:
        """Each row's contribution to its group's OWA."""
        error = np.abs(self.actual - forecast)
        size = np.abs(self.actual) + np.abs(forecast) + 1e-12
        smape = (self.share * 200 * error / size).sum(1)
        mase = (self.share * error).sum(1) / self.unit
        return 0.5 * (smape / self.smape + mase / self.mase)


class Weights:
    """The fitted softmax: shares = softmax(standardised features @ table + PRIOR)."""

    def __init__(self, sample: Sample, chosen: np.ndarray) -> None:
        self.centre = sample.x[chosen].mean(0)
        self.width = sample.x[chosen].std(0) + 1e-9
        z, paths = self.inputs(sample.x[chosen]), sample.paths[chosen]
        actual, share, unit = sample.actual[chosen], sample.share[chosen], sample.unit[chosen]
        counts = {name: (sample.group[chosen] == name).sum() for name in set(sample.group)}
        weight = np.array([1 / math.sqrt(counts[name]) for name in sample.group[chosen]])
        weight *= np.where(sample.true[chosen], 1.0, EARLIER_WEIGHT)
        weight /= weight.sum()
        by_smape = 0.5 * weight / sample.smape[chosen]
        by_mase = 0.5 * weight / (sample.mase[chosen] * unit)

        self.table = np.zeros((z.shape[1], len(SLOTS)))
        penalised = np.r_[np.ones(z.shape[1] - 1), 0.0][:, None]
        first, second = np.zeros_like(self.table), np.zeros_like(self.table)
        for step in range(1, STEPS_OF_ADAM + 1):
            shares = self.softmax(z)
            forecast = (shares[:, :, None] * paths).sum(1)
            error = forecast - actual
            size = np.abs(actual) + np.abs(forecast) + 1e-12
            d_smape = 200 * (np.sign(error) * size - np.abs(error) * np.sign(forecast)) / size**2
            d_forecast = share * (by_smape[:, None] * d_smape + by_mase[:, None] * np.sign(error))
            d_shares = (d_forecast[:, None, :] * paths).sum(2)
            d_logits = shares * (d_shares - (shares * d_shares).sum(1, keepdims=True))
            gradient = z.T @ d_logits + L2 * penalised * self.table
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient * gradient
            rate = RATE * 0.5 * (1 + math.cos(math.pi * (step - 1) / STEPS_OF_ADAM))
            move = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            self.table -= rate * move

    def inputs(self, x: np.ndarray) -> np.ndarray:
        z = np.clip((x - self.centre) / self.width, -4, 4)
        return np.c_[z, np.ones(len(z))]

    def softmax(self, z: np.ndarray) -> np.ndarray:
        logits = z @ self.table + PRIOR
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def shares(self, sample: Sample) -> np.ndarray:
        return self.softmax(self.inputs(sample.x))


def validate(sample: Sample, parts: np.ndarray, title: str) -> None:
    """Forecast each part by weights learned on the others; print OWA by group."""
    equal = sample.owa(sample.combined(np.tile(EQUAL, (len(sample.unit), 1))))
    shares = np.tile(EQUAL, (len(sample.unit), 1))
    for part in sorted(set(parts)):
        chosen = parts == part
        classes = {name[-1] for name in sample.group[~chosen]}
        known = chosen & np.array([name[-1] in classes for name in sample.group])
        shares[known] = Weights(sample, ~chosen).shares(sample)[known]
    learned = sample.owa(sample.combined(shares))
    print(f"{title}\n  {'':12} equal learned  change")
    for name in sorted(set(sample.group)):
        rows_of = sample.true & (sample.group == name)
        before, after = equal[rows_of].mean(), learned[rows_of].mean()
        print(f"  {name:12} {before:.4f}  {after:.4f} {after - before:+.4f}")
    before, after = equal[sample.true].mean(), learned[sample.true].mean()
    print(f"  {'all series':12} {before:.4f}  {after:.4f} {after - before:+.4f}")


def write(weights: Weights, path: Path) -> None:
    """The table as a module of constants."""
    lines = [
        '"""The learned weights of auto, from benchmarks/train_weights.py; see weights.py."""',
        "",
        "from __future__ import annotations",
        "",
        "# feature, centre, width, a logit for each slot of components.SLOTS",
        "# fmt: off",
        "TABLE: tuple[tuple[str, float, float, tuple[float, ...]], ...] = (",
    ]
    for name, centre, width, row in zip(
        [*NAMES, "constant"],
        [*weights.centre, 0.0],
        [*weights.width, 1.0],
        weights.table,
        strict=True,
    ):
        logits = ", ".join(f"{v:.3f}" for v in row)
        lines += [f'    ("{name}", {centre:.4g}, {width:.4g},', f"     ({logits})),"]
    lines.append(")")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="write the table, skip the validation")
    parser.add_argument("--cache", type=Path, help="keep the component forecasts here")
    args = parser.parse_args()
    groups, references = from_folder(args.data)
    if args.cache and args.cache.exists():
        found = pickle.loads(args.cache.read_bytes())
    else:
        found = []
        for group, records in groups.items():
            if group[-1] in SEASONS:
                found += [row for record in records for row in rows(group, record)]
                print(f"{group}: {len(found)} rows so far", flush=True)
        if args.cache:
            args.cache.write_bytes(pickle.dumps(found))
    sample = Sample(found, references)
    if args.write:
        path = ROOT / "runners" / "stats" / "tollama_stats" / "weight_table.py"
        write(Weights(sample, np.ones(len(found), bool)), path)
        return
    series = {name: index for index, name in enumerate(sorted(set(sample.id)))}
    folds = np.array([series[name] * 2654435761 % 2**32 % 5 for name in sample.id])
    validate(sample, folds, "five-fold over series")
    validate(sample, sample.collection, "each collection by weights that never saw it")


if __name__ == "__main__":
    main()
