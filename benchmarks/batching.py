"""What the scheduler's batches are worth, beside no batching and beside a fixed window of 10 ms.

    python benchmarks/batching.py [--seconds 3] [--rounds 3] [--json FILE]

The real scheduler, queues and pipe, with a runner that sleeps 20 ms a call and 1 ms a series, as a
model on a busy accelerator does. `closed`: that many clients, each of which asks again as soon as
it is answered. `open`: requests arrive at random (Poisson) at so many a second, whatever the state
of the queue; one that is not answered within 2 s counts as late. The three ways take turns within a
round; figures are medians of the rounds, latencies in ms.

Not covered: HTTP (benchmarks/http_rate.py) and real models (benchmarks/torch_daemon.py).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tollama.core.errors import TollamaError  # noqa: E402
from tollama.daemon import backlog, lane, launches  # noqa: E402
from tollama.daemon.scheduler import Job, Launch, Scheduler  # noqa: E402

RUNNER = """
import time
from tollama.core.runner_sdk import Forecast, ForecastResponse, Runner, serve

class Sleeper(Runner):
    name = "sleeper"
    def forecast_batch(self, requests):
        time.sleep(0.020 + 0.001 * len(requests))
        for index, request in enumerate(requests):
            yield index, ForecastResponse([Forecast(s.id, [0.0]) for s in request.series])

serve(Sleeper())
"""
BODY = b'{"model":"sleeper","horizon":1,"series":[{"target":[1.0]}]}'
LATE_S = 2.0
CLOSED = (1, 8, 32, 64, 256)
OPEN = (20, 100, 300, 600)


class FixedWindow(backlog.Backlog):
    """Waits 10 ms after the first request of every batch, as many servers do."""

    def lingers(self, now: float) -> bool:
        if self.linger_until is None:
            self.linger_until = now + 0.010
        return now < self.linger_until


WAYS = {"none": backlog.Backlog, "fixed 10 ms": FixedWindow, "tollama": backlog.Backlog}


class Way:
    """One way of batching: a scheduler with a loaded runner."""

    def __init__(self, name: str, folder: str) -> None:
        argv = (sys.executable, "-I", "-S", "-c", launches.BOOT, "sleeper", str(ROOT), folder)
        self.launch = Launch(
            model="sleeper", family="sleeper", module="sleeper", argv=argv, env=dict(os.environ),
            path=None, options={}, replicas=False, max_series=1 if name == "none" else 512,
            max_tokens=1 << 30, batching=True, digest="1",
        )  # fmt: skip
        self.scheduler = Scheduler(cpus=1, max_queue=100_000)
        lane.Backlog = WAYS[name]  # the lane that is opened by this load keeps it
        self.scheduler.load(self.launch, -1)
        lane.Backlog = backlog.Backlog

    def ask(self, deadline: float) -> float:
        """Seconds that one request took, or infinity when it came too late."""
        begin = time.monotonic()
        job = Job(BODY, key="forecast", deadline=begin + deadline)
        for _, result in self.scheduler.submit(self.launch, [job]):
            if isinstance(result, TollamaError):
                return float("inf")
        return time.monotonic() - begin

    def closed(self, clients: int, seconds: float) -> list[float]:
        """The times of all requests of so many clients."""
        until = time.monotonic() + seconds
        took: list[float] = []

        def client() -> None:
            while time.monotonic() < until:
                took.append(self.ask(60.0))

        crew = [threading.Thread(target=client) for _ in range(clients)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        return took

    def open(self, rate: float, seconds: float) -> list[float]:
        """The times of requests that arrive at random."""
        took: list[float] = []
        crew = []
        rng = random.Random(1)
        at = begin = time.monotonic()
        while at < begin + seconds:
            at += rng.expovariate(rate)
            time.sleep(max(0.0, at - time.monotonic()))
            thread = threading.Thread(target=lambda: took.append(self.ask(LATE_S)))
            thread.start()
            crew.append(thread)
        for thread in crew:
            thread.join()
        return took


def summary(took: list[float], seconds: float) -> dict[str, float]:
    """Answers a second, latencies in ms, and the share that came too late."""
    good = sorted(value for value in took if value < float("inf"))
    if not good:
        return {"rps": 0.0, "p50_ms": float("nan"), "p99_ms": float("nan"), "late": 1.0}
    return {
        "rps": len(good) / seconds,
        "p50_ms": statistics.median(good) * 1e3,
        "p99_ms": good[min(len(good) - 1, int(0.99 * len(good)))] * 1e3,
        "late": 1 - len(good) / len(took),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    threading.stack_size(256 * 1024)
    report = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sleeper.py").write_text(RUNNER)
        ways = {name: Way(name, folder) for name in WAYS}
        jobs = [("closed", clients) for clients in CLOSED] + [("open", rate) for rate in OPEN]
        for kind, size in jobs:
            found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
            for _ in range(args.rounds):
                for name, way in ways.items():
                    took = getattr(way, kind)(size, args.seconds)
                    found[name].append(summary(took, args.seconds))
            row: dict[str, object] = {"kind": kind, "size": size}
            text = f"{kind:6} {size:4}"
            for name, rounds in found.items():
                middle = {k: statistics.median(one[k] for one in rounds) for k in rounds[0]}
                row[name] = middle
                text += f" | {name}: {middle['rps']:6.0f}/s p50 {middle['p50_ms']:6.0f}"
                text += f" p99 {middle['p99_ms']:6.0f}"
                text += f" late {middle['late']:.0%}" if middle["late"] else ""
            report.append(row)
            print(text, flush=True)
        for way in ways.values():
            way.scheduler.close(1.0)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
