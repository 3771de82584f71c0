"""Chronos on NumPy alone against the library on torch: one run, interleaved, medians and fastest.

    python benchmarks/numpy_vs_torch.py [CHECKPOINT] [--threads 2] [--rounds 9] [--batches 1,8,64]

Needs an interpreter with numpy, torch and chronos-forecasting. Without CHECKPOINT a Chronos-2 of
the published shape with random weights is made in a temporary folder. Each side is a process of its
own that answers the same series (context 512, horizon 48) turn by turn. A ratio above 1 means that
NumPy is faster or smaller; where others use the machine too, the fastest times say more.
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are unset, for they slow NumPy.

Not covered: the daemon around it, and GPUs.
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
CONTEXT, HORIZON, MOST = 512, 48, 64
SIDES = ("numpy", "torch")


def series():
    """The same random walks on both sides."""
    import numpy as np

    steps = np.random.default_rng(0).normal(size=(MOST, CONTEXT))
    return np.cumsum(steps, axis=1).astype(np.float32)


def numpy_side(path: str, threads: int):
    """A function from a batch size to nothing, computing on NumPy."""
    sys.path[:0] = [str(ROOT), str(ROOT / "runners" / "numpy")]
    from tollama_numpy.family import open_model

    model, rows = open_model("benchmark", path), series()
    return lambda batch: model.predict(
        [{"target": row} for row in rows[:batch]], HORIZON, workers=threads
    )


def torch_side(path: str, threads: int):
    """The same with the library."""
    import warnings

    warnings.simplefilter("ignore")
    import torch
    from chronos import BaseChronosPipeline

    torch.set_num_threads(threads)
    pipeline = BaseChronosPipeline.from_pretrained(path, device_map="cpu", dtype=torch.float32)
    rows = [torch.from_numpy(row) for row in series()]

    def predict(batch: int):
        with torch.inference_mode():
            return pipeline.predict(rows[:batch], HORIZON)

    return predict


def memory() -> dict[str, int]:
    """Peak and anonymous resident memory of this process in MB (Linux)."""
    found = {"VmHWM": 0, "RssAnon": 0}
    with open("/proc/self/status", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) // 1000
    return {"peak": found["VmHWM"], "anonymous": found["RssAnon"]}


def worker(side: str, path: str, threads: int) -> None:
    """Answers each batch size on standard input with its seconds and the memory used so far."""
    predict = {"numpy": numpy_side, "torch": torch_side}[side](path, threads)
    predict(1)
    print(json.dumps({"memory": memory()}), flush=True)
    for line in sys.stdin:
        begin = time.perf_counter()
        predict(int(line))
        seconds = time.perf_counter() - begin
        print(json.dumps({"seconds": seconds, "memory": memory()}), flush=True)


class Side:
    """A worker process; `start` is the time from its start to its first forecast."""

    def __init__(self, side: str, path: str, threads: int) -> None:
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
        }
        environment.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(threads)))
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, __file__, path, "--worker", side, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.memory = self._read()["memory"]
        self.start = time.perf_counter() - begin

    def predict(self, batch: int) -> float:
        """Seconds of one call."""
        self.process.stdin.write(f"{batch}\n")
        self.process.stdin.flush()
        answer = self._read()
        self.memory = answer["memory"]
        return answer["seconds"]

    def _read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended early: does this interpreter have its packages?")
        return json.loads(line)

    def close(self) -> None:
        """Ends the worker."""
        self.process.stdin.close()
        self.process.wait()


def compare(path: str, threads: int, rounds: int, batches: list[int]) -> dict:
    """All measurements, NumPy and torch in turns."""
    starts: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(3):
        for side in SIDES:
            process = Side(side, path, threads)
            starts[side].append(process.start)
            process.close()
    sides = {side: Side(side, path, threads) for side in SIDES}
    found: dict = {"start_s": {side: statistics.median(starts[side]) for side in SIDES}}
    for batch in batches:
        times: dict[str, list[float]] = {side: [] for side in SIDES}
        for _ in range(rounds):
            for side, process in sides.items():
                times[side].append(process.predict(batch))
        found[f"batch_{batch}_ms"] = {side: 1000 * statistics.median(times[side]) for side in SIDES}
        found[f"batch_{batch}_fastest_ms"] = {side: 1000 * min(times[side]) for side in SIDES}
        found[f"peak_mb_after_batch_{batch}"] = {
            side: process.memory["peak"] for side, process in sides.items()
        }
    found["anonymous_mb"] = {side: process.memory["anonymous"] for side, process in sides.items()}
    for process in sides.values():
        process.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", default="1,8,64")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, arguments.checkpoint, arguments.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.checkpoint
        if path is None:
            maker = ROOT / "runners" / "torch" / "tests" / "make_checkpoints.py"
            subprocess.run(
                [sys.executable, str(maker), folder, "chronos2-full"],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            path = str(Path(folder) / "chronos2-full")
        batches = [int(batch) for batch in arguments.batches.split(",")]
        found = compare(path, arguments.threads, arguments.rounds, batches)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'':28}{'numpy':>10}{'torch':>10}{'torch / numpy':>16}")
    for name, pair in found.items():
        ratio = pair["torch"] / max(pair["numpy"], 1e-9)
        print(f"{name:28}{pair['numpy']:10.2f}{pair['torch']:10.2f}{ratio:16.2f}")


if __name__ == "__main__":
    main()
