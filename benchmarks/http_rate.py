"""HTTP throughput of the daemon beside a minimal FastAPI + uvicorn that does the same work in its
own process.

    python benchmarks/http_rate.py [--seconds 3] [--rounds 3] [--json FILE]

Needs wrk, and fastapi, uvicorn, uvloop and httptools in the interpreter that runs it. Rounds are
interleaved, figures are medians with min and max, ratios are medians of the rounds' ratios.
`version` is GET /api/version, `forecast` a 500-point forecast by the model mock, which repeats the
last value.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

TWIN = """
import json
from math import isfinite
from fastapi import FastAPI, Request, Response
app = FastAPI()

@app.get("/api/version")
async def version():
    return {"version": "1"}

@app.post("/v1/forecast")
async def forecast(request: Request):
    body = json.loads(await request.body())
    horizon, levels, out = body["horizon"], body["quantiles"], []
    for series in body["series"]:
        target = series["target"]
        if not all(type(v) in (int, float) and isfinite(v) for v in target):
            return Response(status_code=400)
        mean = [target[-1]] * horizon
        out.append({"id": series["id"], "mean": mean, "quantiles": {str(q): mean for q in levels}})
    return Response(json.dumps({"model": body["model"], "forecasts": out}))
"""


def request_body() -> str:
    """A forecast of one series of 500 points."""
    random.seed(1)
    target = [round(random.random() * 100, 4) for _ in range(500)]
    series = [{"id": "a", "target": target}]
    return json.dumps({"model": "mock", "horizon": 48, "quantiles": [0.1, 0.9], "series": series})


def wait(url: str) -> None:
    """Until something answers at the address."""
    for _ in range(400):
        try:
            urllib.request.urlopen(url + "/api/version", timeout=1).read()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing answers at {url}")


def rss(pid: int) -> float:
    """Memory of a process in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def wrk(url: str, connections: int, seconds: int, script: str | None) -> dict[str, float]:
    """One run of wrk: requests a second and latencies in ms."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-s", script] if script else []
    text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    found = {"rps": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])}
    for name in ("50", "99"):
        value, unit = re.search(rf"{name}%\s+([\d.]+)(us|ms|s)", text).groups()
        found[f"p{name}_ms"] = float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if bad:
        raise SystemExit(f"{bad[1]} answers of {url} were not 200")
    return found


def main() -> None:
    """Run both servers side by side and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "twin.py").write_text(TWIN)
        (home / "body.json").write_text(request_body())
        script = home / "post.lua"
        script.write_text(
            f'wrk.method="POST"; wrk.body=io.open("{home}/body.json"):read("*a")\n'
            'wrk.headers["Content-Type"]="application/json"\n'
        )
        env = {**os.environ, "TOLLAMA_HOME": str(home / "home"), "TOLLAMA_LOG_LEVEL": "error"}
        pyz = [sys.executable, "-I", "-S", str(ROOT / "dist" / "tollama.pyz")]
        subprocess.run([*pyz, "pull", "mock"], env=env, check=True, capture_output=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        ours = subprocess.Popen([*pyz, "serve", "--port", "18191"], env=env, **quiet)
        uvicorn = [sys.executable, "-m", "uvicorn", "twin:app", "--port", "18192"]
        theirs = subprocess.Popen(
            [*uvicorn, "--log-level", "error", "--no-access-log"], cwd=home, **quiet
        )
        try:
            report = measure(args, str(script), ours.pid, theirs.pid)
        finally:
            ours.terminate()
            theirs.terminate()
            ours.wait()
            theirs.wait()
    if args.json:
        args.json.write_text(json.dumps(report, indent=2))


def measure(args: argparse.Namespace, script: str, ours: int, theirs: int) -> list[dict]:
    """Interleaved rounds over both servers."""
    servers = {"tollama": "http://127.0.0.1:18191", "fastapi": "http://127.0.0.1:18192"}
    for url in servers.values():
        wait(url)
    print(f"idle RSS MiB: tollama {rss(ours):.1f}, fastapi {rss(theirs):.1f}")
    report = []
    for job, path, lua in (("version", "/api/version", None), ("forecast", "/v1/forecast", script)):
        for connections in (1, 8, 32, 256):
            rounds: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
            for _ in range(args.rounds):
                for name, url in servers.items():
                    rounds[name].append(wrk(url + path, connections, args.seconds, lua))
            row = {"job": job, "connections": connections}
            for name, found in rounds.items():
                for key in found[0]:
                    values = [one[key] for one in found]
                    row[f"{name}_{key}"] = [min(values), statistics.median(values), max(values)]
            pairs = zip(rounds["tollama"], rounds["fastapi"], strict=True)
            row["ratio"] = statistics.median(a["rps"] / b["rps"] for a, b in pairs)
            report.append(row)
            print(
                f"{job:9} c={connections:<4} tollama {row['tollama_rps'][1]:8.0f}/s "
                f"p99 {row['tollama_p99_ms'][1]:7.1f} ms   fastapi {row['fastapi_rps'][1]:8.0f}/s "
                f"p99 {row['fastapi_p99_ms'][1]:7.1f} ms   ratio {row['ratio']:.2f}"
            )
    print(f"RSS MiB after: tollama {rss(ours):.1f}, fastapi {rss(theirs):.1f}")
    return report


if __name__ == "__main__":
    main()
