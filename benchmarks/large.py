"""What the daemon adds to large requests, beside one json.loads and one json.dumps of their bodies.

    python benchmarks/large.py [--rounds 5] [--scaling] [--json FILE]

The model is mock, which repeats the last value in a process of its own. What is counted is the
processor time of the daemon alone, so the figure does not depend on what else the machine does; it
stands beside the same interpreter reading the request with json.loads and writing the answer with
json.dumps. Rounds are interleaved, figures are medians with min and max. `--scaling` adds the cost
of a series from 10 to 100,000 of them and of a point up to 1,000,000 points.

Not covered: the model's own time, and streams (benchmarks/throughput.py).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from load import PYZ, Daemon

TICK = os.sysconf("SC_CLK_TCK")


def request_body(series: int, points: int, horizon: int = 24) -> bytes:
    """A request for so many series of so many points, all with the same few random values."""
    random.seed(1)
    target = [round(random.random() * 100, 3) for _ in range(points)]
    items = [{"id": f"s{number}", "target": target} for number in range(series)]
    return json.dumps(
        {"model": "mock", "horizon": horizon, "quantiles": [0.1, 0.9], "series": items}
    ).encode()


def cpu(daemon: Daemon) -> float:
    """Seconds of processor time of the daemon, without its runners."""
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def forecast(daemon: Daemon, body: bytes) -> bytes:
    """One request on a connection of its own; the body of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=600)
    connection.request("POST", "/v1/forecast", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    raw = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(raw.decode()[:500])
    return raw


def twice(body: bytes, answer: object, times: int) -> float:
    """Processor seconds of reading the request and writing the answer, so many times."""
    begin = time.process_time()
    for _ in range(times):
        json.loads(body)
        json.dumps(answer)
    return time.process_time() - begin


def measure(daemon: Daemon, series: int, points: int, rounds: int) -> dict[str, object]:
    """One shape; small ones are sent often enough for the clock of the system to see them."""
    body = request_body(series, points)
    answer = json.loads(forecast(daemon, body))
    times = max(1, round(2_000_000 / len(body)) * 4)
    pairs = []
    for _ in range(rounds):
        before = cpu(daemon)
        for _ in range(times):
            forecast(daemon, body)
        ours = cpu(daemon) - before
        pairs.append((ours / times, twice(body, answer, times) / times))
    ratios = [ours / theirs for ours, theirs in pairs]
    row = {
        "series": series,
        "points": points,
        "mib": len(body) / 2**20,
        "daemon_ms": statistics.median(a for a, _ in pairs) * 1e3,
        "json_ms": statistics.median(b for _, b in pairs) * 1e3,
        "ratio": [min(ratios), statistics.median(ratios), max(ratios)],
    }
    print(
        f"{series:7} x {points:<8} {row['mib']:7.2f} MiB  daemon {row['daemon_ms']:9.2f} ms  "
        f"json {row['json_ms']:9.2f} ms  ratio {row['ratio'][1]:.2f} "
        f"({row['ratio'][0]:.2f} to {row['ratio'][2]:.2f})  "
        f"{row['daemon_ms'] * 1e3 / series:8.1f} us a series",
        flush=True,
    )
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    shapes = [(100, 1000), (1000, 5000)]
    if args.scaling:
        shapes += [(10, 24), (100, 24), (1000, 24), (10_000, 24), (100_000, 24)]
        shapes += [(1, 1000), (1, 10_000), (1, 100_000), (1, 1_000_000)]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        daemon = Daemon(PYZ, Path(folder))
        stack.callback(daemon.stop)
        daemon.run("pull", "mock")
        report = [measure(daemon, *shape, args.rounds) for shape in shapes]
    if args.json:
        args.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
