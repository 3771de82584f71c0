"""Cold starts of the .pyz beside an interpreter that imports what they import.

    python benchmarks/start.py [--rounds 11] [--json FILE]

Interleaved rounds; each figure is the median of the rounds' ratios. `version` and `list` are beside
`python -I -S -c pass`, `ready` (until the daemon's line) and `first` (a daemon-less forecast of
auto) are beside an interpreter that imports http.server, json, argparse, threading, subprocess,
selectors, dataclasses and logging.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYZ = [sys.executable, "-I", "-S", str(ROOT / "dist" / "tollama.pyz")]
IMPORTS = "import http.server,json,argparse,threading,subprocess,selectors,dataclasses,logging"
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def timed(command: list[str], env: dict[str, str]) -> float:
    """Wall seconds of a command."""
    started = time.perf_counter()
    subprocess.run(command, env=env, check=True, **QUIET)
    return time.perf_counter() - started


def ready(env: dict[str, str]) -> float:
    """Wall seconds until the daemon says that it listens."""
    started = time.perf_counter()
    with subprocess.Popen(
        [*PYZ, "serve", "--port", "0"], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as daemon:
        daemon.stdout.readline()
        took = time.perf_counter() - started
        daemon.terminate()
        daemon.wait()
    return took


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    bare = [sys.executable, "-I", "-S", "-c", "pass"]
    imports = [sys.executable, "-I", "-S", "-c", IMPORTS]
    data = str(ROOT / "examples" / "air_passengers.csv")
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "TOLLAMA_HOME": home}
        with subprocess.Popen(
            [*PYZ, "serve", "--port", "0"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as daemon:
            url = daemon.stdout.readline().decode().split()[-1]
            jobs = {
                "version": (lambda: timed([*PYZ, "--version"], env), bare),
                "list": (lambda: timed([*PYZ, "list", "--base-url", url], env), bare),
                "ready": (lambda: ready(env), imports),
                "first": (
                    lambda: timed([*PYZ, "run", "auto", data, "--horizon", "12"], env),
                    imports,
                ),
            }
            timed([*PYZ, "run", "auto", data, "--horizon", "12"], env)  # keeps the compiled code
            report = []
            for name, (job, beside) in jobs.items():
                pairs = [(job(), timed(beside, env)) for _ in range(args.rounds)]
                row = {
                    "job": name,
                    "ms": statistics.median(a for a, _ in pairs) * 1e3,
                    "beside_ms": statistics.median(b for _, b in pairs) * 1e3,
                    "ratio": statistics.median(a / b for a, b in pairs),
                    "min_ratio": min(a / b for a, b in pairs),
                    "max_ratio": max(a / b for a, b in pairs),
                }
                report.append(row)
                print(
                    f"{name:8} {row['ms']:7.1f} ms beside {row['beside_ms']:6.1f} ms  "
                    f"ratio {row['ratio']:.2f} ({row['min_ratio']:.2f} to {row['max_ratio']:.2f})"
                )
            status = Path(f"/proc/{daemon.pid}/status").read_text()
            rss = int(status.partition("VmRSS:")[2].split()[0]) / 1024
            print(f"idle daemon RSS {rss:.1f} MiB")
            daemon.terminate()
            daemon.wait()
    if args.json:
        args.json.write_text(json.dumps({"rows": report, "idle_rss_mib": rss}, indent=2))


if __name__ == "__main__":
    main()
