"""Chronos-2 through the daemon against the library in process: throughput, latency, memory.

    python benchmarks/torch_daemon.py [--only NAME,...] [--rounds 3] [--json FILE]

    clients    64 HTTP clients, one series each: series/s against one predict at its best batch size
    latency    one client alone: what HTTP, queue and pipe add to a predict of one series
    batching   the tiny model, 64 clients: requests/s against the same daemon with batches of one
    lengths    32 series of 64..2048 points in one request against the library's best bucketing
    together   two loaded models used at once against each alone
    cycles     load and unload 200 times: memory of the daemon, processes left behind

Needs an interpreter with torch and chronos-forecasting. The weights are random: the full shape
(119,477,664 parameters, context 512, horizon 48) for the first two and `lengths`, the tiny one for
the rest. Both sides take turns in one run, and a figure is the median of its rounds.

Not covered: GPUs, and whether forecasts are any good.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import http.client
import importlib.util
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
CONTEXT, HORIZON, CLIENTS = 512, 48, 64
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def walk(seed: int, length: int) -> list[float]:
    """A random walk of that many points."""
    rng = random.Random(seed)
    value, values = 10.0, []
    for _ in range(length):
        value += rng.gauss(0, 1)
        values.append(round(value, 3))
    return values


def body(model: str, *targets: list[float]) -> bytes:
    """A forecast request as JSON."""
    series = [{"target": target} for target in targets]
    request = {"model": model, "horizon": HORIZON, "quantiles": LEVELS, "series": series}
    return json.dumps(request).encode()


class Daemon:
    """`tollama serve` on a free port; `models` are names to checkpoints."""

    def __init__(self, home: Path, models: dict[str, Path], **environ: str) -> None:
        from tollama.models import store

        for name, path in models.items():
            staging = home / "models" / f".staging-{name}"
            staging.mkdir(parents=True)
            shutil.copytree(path, staging / "snapshot")
            manifest = {"name": name, "family": "torch", "source": {"type": "local"}}
            store.install(str(home), manifest, str(staging))
        env = {
            **os.environ,
            "TOLLAMA_HOME": str(home),
            "TOLLAMA_HOST": "127.0.0.1:0",
            "TOLLAMA_PYTHON_TORCH": sys.executable,
            "TOLLAMA_FAMILY_CHRONOS2": "torch",
            "TOLLAMA_FAMILY_CHRONOS_BOLT_TINY": "torch",
            "TOLLAMA_LOG_LEVEL": "warning",
            "PYTHONPATH": str(ROOT),
            **environ,
        }
        command = [sys.executable, "-m", "tollama", "serve"]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert " listening on " in line, line
        self.port = int(line.rpartition(":")[2])

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *unused: object) -> None:
        self.process.terminate()
        self.process.wait()

    def children(self) -> list[int]:
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        return [int(line) for line in found.stdout.split()]

    def rss(self) -> int:
        """Bytes of memory of the daemon itself."""
        text = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def post(port: int, path: str, data: bytes, connection: http.client.HTTPConnection) -> bytes:
    connection.request("POST", path, data, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    raw = answer.read()
    if answer.status != 200:
        raise SystemExit(raw.decode())
    return raw


def drive(port: int, bodies: list[bytes], clients: int, each: int) -> tuple[float, list[float]]:
    """Run closed-loop clients in this process: wall seconds and every request's seconds."""
    gate = threading.Barrier(clients + 1)
    took: list[float] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        connection.connect()
        gate.wait()
        for turn in range(each):
            begin = time.perf_counter()
            post(port, "/v1/forecast", bodies[(number + turn) % len(bodies)], connection)
            took.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    gate.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin, took


class Bench:
    """Checkpoints, a process for the clients, and the library in this one."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder = folder
        self.rounds = rounds
        self.made: dict[str, Path] = {}
        self.homes = 0
        # Clients in a process of their own: their GIL must not be the library's.
        self.clients = concurrent.futures.ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn")
        )

    def checkpoint(self, name: str) -> Path:
        if name not in self.made:
            file = ROOT / "runners" / "torch" / "tests" / "make_checkpoints.py"
            spec = importlib.util.spec_from_file_location("make_checkpoints", file)
            maker = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(maker)
            self.made[name] = maker.make(name, self.folder)
        return self.made[name]

    def daemon(self, models: dict[str, str], **environ: str) -> Daemon:
        self.homes += 1
        home = self.folder / f"home{self.homes}"
        home.mkdir()
        paths = {name: self.checkpoint(checkpoint) for name, checkpoint in models.items()}
        return Daemon(home, paths, **environ)

    def library(self, name: str):
        """A function that forecasts a list of series in batches of a size."""
        import torch
        from chronos import BaseChronosPipeline

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        pipeline = BaseChronosPipeline.from_pretrained(
            self.checkpoint(name), device_map="cpu", dtype=torch.float32
        )

        def predict(targets: list[list[float]], size: int) -> None:
            pipeline.predict_quantiles(
                [torch.tensor(target) for target in targets],
                prediction_length=HORIZON,
                quantile_levels=LEVELS,
                batch_size=size,
            )

        return predict

    def http(self, daemon: Daemon, bodies: list[bytes], clients: int, each: int):
        return self.clients.submit(drive, daemon.port, bodies, clients, each).result()


def timed(call) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def clients(bench: Bench) -> dict[str, float]:
    """64 clients on the full model against the best of the library's batch sizes."""
    targets = [walk(seed, CONTEXT) for seed in range(CLIENTS)]
    bodies = [body("chronos2", target) for target in targets]
    predict = bench.library("chronos2-full")
    ours, theirs = [], {8: [], 16: [], 32: [], 64: []}
    with bench.daemon({"chronos2": "chronos2-full"}) as daemon:
        bench.http(daemon, bodies, CLIENTS, 1)
        predict(targets[:16], 16)
        for _ in range(bench.rounds):
            for size, times in theirs.items():
                times.append(timed(lambda size=size: predict(targets, size)))
            wall, _ = bench.http(daemon, bodies, CLIENTS, 2)
            ours.append(2 * CLIENTS / wall)
    best = max(CLIENTS / statistics.median(times) for times in theirs.values())
    mine = statistics.median(ours)
    return {"http series/s": mine, "library series/s": best, "ratio (>= 0.85)": mine / best}


def latency(bench: Bench) -> dict[str, float]:
    """One client on the full model against a predict of one series."""
    target = walk(1, CONTEXT)
    predict = bench.library("chronos2-full")
    ours, theirs = [], []
    with bench.daemon({"chronos2": "chronos2-full"}) as daemon:
        bench.http(daemon, [body("chronos2", target)], 1, 2)
        predict([target], 1)
        for _ in range(8 * bench.rounds):
            theirs.append(timed(lambda: predict([target], 1)))
            ours += bench.http(daemon, [body("chronos2", target)], 1, 1)[1]
    added = statistics.median(ours) - statistics.median(theirs)
    return {
        "http ms": 1000 * statistics.median(ours),
        "library ms": 1000 * statistics.median(theirs),
        "added ms (<= 5)": 1000 * added,
    }


def batching(bench: Bench) -> dict[str, float]:
    """The tiny model with and without batches, 64 clients."""
    single = bench.folder / "runners" / "torch"
    shutil.copytree(ROOT / "runners" / "torch", single, ignore=shutil.ignore_patterns("tests"))
    spec = json.loads((single / "runner.json").read_text())
    spec["batch"]["max_series"] = 1
    (single / "runner.json").write_text(json.dumps(spec))
    bodies = [body("chronos2", walk(seed, CONTEXT)) for seed in range(CLIENTS)]
    tiny = {"chronos2": "chronos2-tiny"}
    rates: dict[str, list[float]] = {"batched": [], "single": []}
    with (
        bench.daemon(tiny) as batched,
        bench.daemon(tiny, TOLLAMA_RUNNERS=str(single.parent)) as alone,
    ):
        for daemon in (batched, alone):
            bench.http(daemon, bodies, CLIENTS, 2)
        for _ in range(bench.rounds):
            for name, daemon in (("batched", batched), ("single", alone)):
                wall, took = bench.http(daemon, bodies, CLIENTS, 10)
                rates[name].append(len(took) / wall)
    with_, without = (statistics.median(rates[name]) for name in ("batched", "single"))
    return {"batched req/s": with_, "single req/s": without, "ratio (>= 5)": with_ / without}


def lengths(bench: Bench) -> dict[str, float]:
    """32 series of mixed lengths in one request."""
    rng = random.Random(5)
    targets = [walk(seed, int(64 * 32 ** rng.random())) for seed in range(32)]
    predict = bench.library("chronos2-full")
    whole = [body("chronos2", *targets)]

    def by_power() -> None:
        buckets: dict[int, list[list[float]]] = {}
        for target in targets:
            buckets.setdefault((len(target) - 1).bit_length(), []).append(target)
        for bucket in buckets.values():
            predict(bucket, 64)

    def by_eight() -> None:
        ordered = sorted(targets, key=len)
        for first in range(0, 32, 8):
            predict(ordered[first : first + 8], 8)

    ours, theirs = [], {by_power: [], by_eight: []}
    with bench.daemon({"chronos2": "chronos2-full"}) as daemon:
        bench.http(daemon, whole, 1, 1)
        for _ in range(2 * bench.rounds):
            for method, times in theirs.items():
                times.append(timed(method))
            ours += bench.http(daemon, whole, 1, 1)[1]
    best = min(statistics.median(times) for times in theirs.values())
    mine = statistics.median(ours)
    return {"http s": mine, "library's best s": best, "ratio (<= 1.15)": mine / best}


def together(bench: Bench) -> dict[str, float]:
    """Two loaded models at once against each alone, four clients each."""
    names = {"chronos2": "chronos2-full", "chronos-bolt-tiny": "bolt-tiny"}
    target = walk(3, CONTEXT)
    slower = dict.fromkeys(names, 0.0)
    with bench.daemon(names) as daemon, concurrent.futures.ThreadPoolExecutor(2) as pool:

        def median(name: str, each: int) -> float:
            return statistics.median(drive(daemon.port, [body(name, target)], 1, each)[1])

        for name in names:
            median(name, 2)
        each = {"chronos2": 6 * bench.rounds, "chronos-bolt-tiny": 300 * bench.rounds}
        alone = {name: median(name, each[name]) for name in names}
        both = {name: pool.submit(median, name, each[name]) for name in names}
        for name, future in both.items():
            slower[name] = future.result() / alone[name]
    return {f"{name}: times alone (<= 2.5)": ratio for name, ratio in slower.items()}


def cycles(bench: Bench) -> dict[str, float]:
    """200 loads and unloads of the tiny model; every hundredth of them is looked at."""
    load = json.dumps({"model": "chronos2", "keep_alive": "5m"}).encode()
    unload = json.dumps({"model": "chronos2", "keep_alive": 0}).encode()
    sizes = []
    with bench.daemon({"chronos2": "chronos2-tiny"}) as daemon:
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=600)
        count = int(os.environ.get("CYCLES", "200"))
        for cycle in range(count):
            post(daemon.port, "/api/generate", load, connection)
            post(daemon.port, "/api/generate", unload, connection)
            if cycle in (count // 10, count - 1):
                sizes.append(daemon.rss())
        end = time.monotonic() + 30
        while daemon.children() and time.monotonic() < end:
            time.sleep(0.1)
        left = len(daemon.children())
    return {
        "cycles": count,
        "daemon MiB after a tenth": sizes[0] / 2**20,
        "daemon MiB at the end": sizes[-1] / 2**20,
        "processes left (0)": left,
    }


FIGURES = {
    "clients": clients,
    "latency": latency,
    "batching": batching,
    "lengths": lengths,
    "together": together,
    "cycles": cycles,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(FIGURES), help="figures, by comma")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    found = {}
    with tempfile.TemporaryDirectory(prefix="tollama-") as folder:
        bench = Bench(Path(folder), arguments.rounds)
        for name in arguments.only.split(","):
            found[name] = FIGURES[name](bench)
            for what, value in found[name].items():
                print(f"{name:10}{what:36}{value:12.3f}", flush=True)
        bench.clients.shutdown()
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
