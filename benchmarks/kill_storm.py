"""Forecasts over 256 connections while every runner is killed each second.

    python benchmarks/kill_storm.py [--seconds 60] [--calm 20] [--connections 256] [--json FILE]

A calm phase and a storm of the same closed loop, on the models mock (one runner) and naive
(replicas). Each request has values of its own, and each answer must be theirs: a correct 200 or a
503 in the contract's shape. Exits 1 on any other answer, on a lost one, when the p99 of the storm's
200s is ten times that of the calm, or when the daemon does not end well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from load import PYZ, Client, Daemon, Lost, clear_refusal, percentile, request

HORIZON = 48
LIMIT = 10.0


class Phase:
    """What the clients of one phase saw."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.refused: dict[str, int] = {}
        self.wrong: list[str] = []
        self.kills = 0

    def report(self, seconds: float) -> dict[str, Any]:
        return {
            "ok": len(self.times),
            "ok_per_s": round(len(self.times) / seconds, 1),
            "p50_ms": round(percentile(self.times, 0.50) * 1e3, 1),
            "p99_ms": round(percentile(self.times, 0.99) * 1e3, 1),
            "max_ms": round(max(self.times, default=0.0) * 1e3, 1),
            "refused": self.refused,
            "wrong_or_lost": len(self.wrong),
            "kills": self.kills,
        }


async def caller(number: int, port: int, model: str, until: float, phase: Phase) -> None:
    """One connection of the closed loop."""
    dice = random.Random(number)
    client = Client(port)
    base = [round(dice.random() * 100, 4) for _ in range(499)]
    count = 0
    while time.monotonic() < until:
        count += 1
        last = number + count / 65536  # binary fractions: they come back as they are
        series = [{"id": f"{number}-{count}", "target": [*base, last]}]
        body = {"model": model, "horizon": HORIZON, "series": series}
        data = request("POST", "/v1/forecast", body)
        began = time.monotonic()
        try:
            answer = await client.ask(data)
        except Lost as error:
            phase.wrong.append(f"lost: {error}")
            continue
        took = time.monotonic() - began
        if answer.status == 200:
            (one,) = answer.json()["forecasts"]
            if one["id"] == f"{number}-{count}" and one["mean"] == [last] * HORIZON:
                phase.times.append(took)
            else:
                phase.wrong.append(f"swapped: {answer.body[:200]!r}")
        elif clear_refusal(answer):
            code = answer.json()["code"]
            phase.refused[code] = phase.refused.get(code, 0) + 1
            await asyncio.sleep(0.05)
        else:
            phase.wrong.append(f"{answer.status}: {answer.body[:200]!r}")
    client.close()


async def killer(daemon: Daemon, until: float, phase: Phase) -> None:
    """SIGKILL for every runner, each second."""
    while time.monotonic() < until:
        await asyncio.sleep(1)
        for pid in daemon.runners():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                phase.kills += 1


async def run(daemon: Daemon, model: str, args: argparse.Namespace) -> tuple[Phase, Phase]:
    """The calm and the storm."""
    phases = []
    for seconds, stormy in ((args.calm, False), (args.seconds, True)):
        phase, until = Phase(), time.monotonic() + seconds
        tasks = [
            caller(number, daemon.port, model, until, phase) for number in range(args.connections)
        ]
        if stormy:
            tasks.append(killer(daemon, until, phase))
        await asyncio.gather(*tasks)
        phases.append(phase)
    return phases[0], phases[1]


def main() -> int:
    """Both models one after the other, each with a daemon of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--calm", type=float, default=20)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--models", default="mock,naive")
    parser.add_argument("--pyz", type=Path, default=PYZ)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    reports, failures = {}, []
    for model in args.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            daemon = Daemon(args.pyz, Path(folder))
            try:
                if model == "mock":
                    daemon.run("pull", "mock")
                calm, storm = asyncio.run(run(daemon, model, args))
            finally:
                code = daemon.stop()
            found = {"calm": calm.report(args.calm), "storm": storm.report(args.seconds)}
            ratio = found["storm"]["p99_ms"] / max(0.1, found["calm"]["p99_ms"])
            reports[model] = {**found, "p99_ratio": round(ratio, 2), "exit_code": code}
            for name, phase in found.items():
                print(f"{model:6} {name:6} {json.dumps(phase)}")
            print(f"{model:6} p99 of the storm's 200s: {ratio:.2f}x the calm's (limit {LIMIT:g}x)")
            for text in [*calm.wrong, *storm.wrong][:5]:
                print(f"  {text}")
            if calm.wrong or storm.wrong or calm.refused:
                failures.append(f"{model}: wrong, lost or, in the calm, refused answers")
            if ratio >= LIMIT or not storm.times:
                failures.append(f"{model}: p99 {ratio:.1f}x")
            if code != 0:
                failures.append(f"{model}: the daemon ended with {code}")
    if args.json:
        args.json.write_text(json.dumps(reports, indent=2))
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
