"""Whether the daemon's memory stays flat: over a million requests, and over loads and unloads.

    python benchmarks/memory.py [--requests N] [--forecasts N] [--cycles N] [--json FILE]

Needs wrk. The memory is the resident set of the daemon itself, after a tenth of the requests (or
cycles) and at the end; the growth between the two is the figure (limit 5%). `requests` are GET
/api/version over 64 connections, `forecasts` are of 50 points by the model mock over 64
connections, `cycles` load and unload mock; after each kind the open files, threads and children are
counted too. Exits with 1 over the limit.

Not covered: streams of many series (benchmarks/throughput.py), hours of mixed load
(benchmarks/soak.py).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from load import PYZ, Daemon

LIMIT = 1.05


def post(daemon: Daemon, path: str, body: dict[str, object]) -> None:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    raw = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(raw.decode())


def wrk(daemon: Daemon, path: str, count: int, script: str | None) -> None:
    """At least so many requests, in runs of two seconds."""
    command = ["wrk", "-t1", "-c64", "-d2s", *(["-s", script] if script else [])]
    while count > 0:
        url = daemon.url + path
        text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in text or "Socket errors" in text:
            raise SystemExit(text)
        count -= int(re.search(r"(\d+) requests in", text)[1])


def cycle(daemon: Daemon, count: int) -> None:
    """So many loads and unloads."""
    for _ in range(count):
        post(daemon, "/api/generate", {"model": "mock"})
        post(daemon, "/api/generate", {"model": "mock", "keep_alive": 0})


def main() -> int:
    """Print the table; 1 when memory grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--forecasts", type=int, default=200_000)
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    target = [float(number % 12) for number in range(50)]
    body = {"model": "mock", "horizon": 12, "series": [{"target": target}]}
    report, failed = [], False
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        daemon = Daemon(PYZ, Path(home))
        stack.callback(daemon.stop)
        daemon.run("pull", "mock")
        script = Path(home) / "post.lua"
        script.write_text(
            f"wrk.method='POST'; wrk.body=[[{json.dumps(body)}]]\n"
            'wrk.headers["Content-Type"]="application/json"\n'
        )
        jobs = {
            "requests": (args.requests, lambda n: wrk(daemon, "/api/version", n, None)),
            "forecasts": (args.forecasts, lambda n: wrk(daemon, "/v1/forecast", n, str(script))),
            "cycles": (args.cycles, lambda n: cycle(daemon, n)),
        }
        for name, (count, job) in jobs.items():
            job(count // 10)
            before = daemon.sample()
            job(count - count // 10)
            after = daemon.sample()
            growth = after["rss_mib"] / before["rss_mib"]
            failed |= growth > LIMIT
            report.append({"job": name, "count": count, "before": before, "after": after})
            print(
                f"{name:9} {count:8}  {before['rss_mib']:.1f} -> {after['rss_mib']:.1f} MiB "
                f"({growth - 1:+.1%})  files {before['fds']} -> {after['fds']}  "
                f"threads {before['threads']} -> {after['threads']}  "
                f"children {before['children']} -> {after['children']}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(report, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
