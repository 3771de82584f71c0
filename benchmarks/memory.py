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
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYZ = [sys.executable, "-I", "-S", str(ROOT / "dist" / "tollama.pyz")]
LIMIT = 1.05


class Daemon:
    """The built .pyz as a daemon, and what the system says of it."""

    def __init__(self, home: str) -> None:
        env = {**os.environ, "TOLLAMA_HOME": home, "TOLLAMA_LOG_LEVEL": "error"}
        subprocess.run([*PYZ, "pull", "mock"], env=env, check=True, capture_output=True)
        self.process = subprocess.Popen(
            [*PYZ, "serve", "--port", "0"], env=env, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.process.stdout.readline().rpartition(":")[2])

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *unused: object) -> None:
        self.process.terminate()
        self.process.wait()

    def state(self) -> dict[str, float]:
        """Resident MiB, open files, threads and children."""
        proc = Path(f"/proc/{self.process.pid}")
        status = (proc / "status").read_text()
        children = (proc / "task" / str(self.process.pid) / "children").read_text().split()
        return {
            "mib": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024,
            "files": len(os.listdir(proc / "fd")),
            "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
            "children": len(children),
        }

    def post(self, path: str, body: dict[str, object]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        if answer.status != 200:
            raise SystemExit(raw.decode())

    def wrk(self, path: str, count: int, script: str | None) -> None:
        """At least so many requests, in runs of two seconds."""
        command = ["wrk", "-t1", "-c64", "-d2s", *(["-s", script] if script else [])]
        while count > 0:
            url = f"http://127.0.0.1:{self.port}{path}"
            text = subprocess.run(
                [*command, url], capture_output=True, text=True, check=True
            ).stdout
            if "Non-2xx" in text or "Socket errors" in text:
                raise SystemExit(text)
            count -= int(re.search(r"(\d+) requests in", text)[1])

    def cycle(self, count: int) -> None:
        for _ in range(count):
            self.post("/api/generate", {"model": "mock"})
            self.post("/api/generate", {"model": "mock", "keep_alive": 0})


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
    with tempfile.TemporaryDirectory() as home, Daemon(home) as daemon:
        script = Path(home) / "post.lua"
        script.write_text(
            f"wrk.method='POST'; wrk.body=[[{json.dumps(body)}]]\n"
            'wrk.headers["Content-Type"]="application/json"\n'
        )
        jobs = {
            "requests": (args.requests, lambda n: daemon.wrk("/api/version", n, None)),
            "forecasts": (args.forecasts, lambda n: daemon.wrk("/v1/forecast", n, str(script))),
            "cycles": (args.cycles, daemon.cycle),
        }
        for name, (count, job) in jobs.items():
            job(count // 10)
            before = daemon.state()
            job(count - count // 10)
            after = daemon.state()
            growth = after["mib"] / before["mib"]
            failed |= growth > LIMIT
            report.append({"job": name, "count": count, "before": before, "after": after})
            print(
                f"{name:9} {count:8}  {before['mib']:.1f} -> {after['mib']:.1f} MiB "
                f"({growth - 1:+.1%})  files {before['files']} -> {after['files']}  "
                f"threads {before['threads']} -> {after['threads']}  "
                f"children {before['children']} -> {after['children']}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(report, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
