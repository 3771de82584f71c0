"""Many series through one request: all cores beside one process, and memory while a stream passes.

    python benchmarks/throughput.py [--series 10000] [--rounds 3] [--json FILE]

Monthly series of 60 to 200 points by the model auto. `one` is the daemon with one runner process,
`all` with one per core; the ratio over the number of cores is the efficiency. `stream` is the same
series as NDJSON, with the daemon's peak memory beside that of a tenth as many.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYZ = [sys.executable, "-I", "-S", str(ROOT / "dist" / "tollama.pyz")]
HEAD = {"model": "auto", "horizon": 18, "quantiles": [0.025, 0.975]}


def series(count: int) -> list[dict]:
    """Monthly series with trend, season and noise, always the same."""
    random.seed(7)
    found = []
    for index in range(count):
        level, slope, swing = (
            random.uniform(50, 500),
            random.uniform(-0.2, 1),
            random.uniform(0, 0.3),
        )
        target = [
            round(
                (level + slope * t) * (1 + swing * math.sin(t * math.pi / 6)) + random.gauss(0, 5),
                2,
            )
            for t in range(random.randint(60, 200))
        ]
        found.append({"id": f"s{index}", "freq": "MS", "target": target})
    return found


class Daemon:
    """A daemon of the built file."""

    def __init__(self, home: str, replicas: int) -> None:
        env = {**os.environ, "TOLLAMA_HOME": home, "TOLLAMA_REPLICAS": str(replicas)}
        self.process = subprocess.Popen(
            [*PYZ, "serve", "--port", "0"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.port = int(self.process.stdout.readline().rpartition(b":")[2])

    def post(self, path: str, body: bytes, kind: str) -> bytes:
        """One request's answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)
        connection.request("POST", path, body, {"Content-Type": kind})
        response = connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise SystemExit(data[:300])
        connection.close()
        return data

    def peak_mib(self) -> float:
        """Peak memory of the daemon's own process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def stop(self) -> None:
        """SIGTERM."""
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    found = series(args.series)
    body = json.dumps({**HEAD, "timeout": 3600, "series": found}).encode()
    warm = json.dumps({**HEAD, "series": found[:32]}).encode()
    rates: dict[int, list[float]] = {1: [], cores: []}
    with tempfile.TemporaryDirectory() as home:
        for _ in range(args.rounds):
            for replicas in rates:
                daemon = Daemon(home, replicas)
                daemon.post("/v1/forecast", warm, "application/json")
                started = time.perf_counter()
                daemon.post("/v1/forecast", body, "application/json")
                rates[replicas].append(args.series / (time.perf_counter() - started))
                daemon.stop()
        ratio = statistics.median(b / a for a, b in zip(rates[1], rates[cores], strict=True))
        print(
            f"{statistics.median(rates[1]):.0f} series/s with one process, "
            f"{statistics.median(rates[cores]):.0f} with {cores}: "
            f"ratio {ratio:.2f}, {ratio / cores:.0%} of {cores} cores"
        )
        peaks = {}
        for count in (args.series // 10, args.series):
            daemon = Daemon(home, cores)
            lines = [HEAD, *found[:count]]
            text = "\n".join(map(json.dumps, lines)).encode()
            daemon.post("/api/forecast", text, "application/x-ndjson")
            peaks[count] = daemon.peak_mib()
            daemon.stop()
        print(", ".join(f"{count} streamed: peak {mib:.1f} MiB" for count, mib in peaks.items()))
    if args.json:
        report = {"rates": rates, "ratio": ratio, "cores": cores, "stream_peak_mib": peaks}
        args.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
