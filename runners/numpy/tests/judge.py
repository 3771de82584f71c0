"""Random requests through the real daemon against the library: the largest difference found.

    python judge.py CHECKPOINT [CHECKPOINT ...] [--requests 500] [--clients 32] [--seed 0]

A CHECKPOINT is a folder, or a name of make_checkpoints.py. Every request is answered twice by the
family numpy: alone, one after the other, and together with many others at once, in batches. Both
answers are held to what the library says of that request alone, as a share of the series' peak.
Needs numpy, torch and chronos-forecasting.

Not covered: speed (benchmarks/), and requests that are refused (test_numpy_family.py).
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TOLERANCE = 1e-4  # of the series' peak
HORIZONS = (1, 3, 12, 16, 17, 24, 31, 32, 48, 64, 65, 100, 130)
LENGTHS = (1, 2, 15, 16, 17, 40, 100, 257, 600)
LEVELS = ([], [0.5], [0.1, 0.5, 0.9], [0.01, 0.99], [0.025, 0.33, 0.975], [0.001, 0.4])
ONE_TARGET = "chronos-bolt-tiny"
MODELS = {"Chronos2Model": "chronos2", "ChronosBoltModelForForecasting": ONE_TARGET}


def beside(name: str):
    """The module of that name in this folder."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


# Threads that wait must not spin; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
golden = beside("make_golden")


def case(rng: random.Random, *, several: bool) -> dict:
    """A case of make_golden.py with any of what a request can have."""
    horizon = rng.choice(HORIZONS)
    keywords, options = {}, {}
    if several:
        keywords["targets"] = rng.choice((0, 0, 0, 1, 2, 3))
        names = ["n0", "n1", "k0", "c0", "c1"]
        chosen = [name for name in names if rng.random() < 0.3] if rng.random() < 0.6 else []
        keywords["known"] = [name for name in chosen if rng.random() < 0.6]
        keywords["past"] = [name for name in chosen if name not in keywords["known"]]
        if rng.random() < 0.3:
            options["context_length"] = rng.choice((16, 50, 300))
        if rng.random() < 0.1:
            options["cross_learning"] = True
    gaps = rng.choice((0.0, 0.0, 0.2, 0.9))
    count = rng.choice((1, 1, 2, 5))
    inputs = [
        golden.series(rng, rng.choice(LENGTHS), horizon, gaps=gaps, **keywords)
        for _ in range(count)
    ]
    return {
        "name": "random",
        "horizon": horizon,
        "inputs": inputs,
        "options": options,
        "levels": rng.choice(LEVELS),
    }


def request(one: dict, model: str = "m") -> dict:
    """The case as a forecast request."""
    return {
        "model": model,
        "horizon": one["horizon"],
        "quantiles": one["levels"],
        "series": [
            {key: value for key, value in given.items() if value} for given in one["inputs"]
        ],
        "options": dict(one["options"]),
    }


def expected(pipeline, raw: np.ndarray, levels: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Means and quantiles that the library makes of its (targets, native levels, horizon)."""
    import torch

    native = list(pipeline.quantiles)
    mean = raw[:, native.index(0.5)]
    if not levels:
        return mean, np.empty(0)
    if set(levels) <= set(native):
        chosen = raw[:, [native.index(level) for level in levels]]
    elif type(pipeline).__name__ == "Chronos2Pipeline":
        from chronos.utils import interpolate_quantiles

        values = torch.tensor(raw).swapaxes(1, 2)
        chosen = interpolate_quantiles(levels, native, values).numpy().swapaxes(1, 2)
    else:
        padded = torch.tensor(np.concatenate([raw[:, :1], raw, raw[:, -1:]], 1))
        chosen = torch.quantile(padded, torch.tensor(levels), dim=1).numpy().swapaxes(0, 1)
    return mean, np.sort(chosen, axis=1).swapaxes(0, 1)


def differences(pipeline, one: dict, library: list[np.ndarray], forecasts: list) -> list[float]:
    """Of each series: how far (mean, quantiles) is from the library, as a share of the peak."""
    found = []
    for given, raw, (mean, quantiles) in zip(one["inputs"], library, forecasts, strict=True):
        peak = max(golden.peak(given["target"]), float(np.abs(raw).max()))
        worst = 0.0
        for theirs, ours in zip(
            expected(pipeline, raw, one["levels"]), (mean, quantiles), strict=True
        ):
            own = np.asarray(ours, float).reshape(theirs.shape)
            worst = max(worst, float(np.abs(own - theirs).max(initial=0)) / peak)
        found.append(worst)
    return found


def of_wire(answer: dict) -> list:
    """(mean, quantiles) of each forecast of a response."""
    return [(one["mean"], list((one["quantiles"] or {}).values())) for one in answer["forecasts"]]


class Daemon:
    """`tollama serve` with one checkpoint, on the family numpy of this interpreter."""

    def __init__(self, home: Path, checkpoint: Path, **environ: str) -> None:
        config = json.loads((checkpoint / "config.json").read_text())
        self.model = MODELS[config["architectures"][0]]
        variables = {k: v for k, v in os.environ.items() if not k.startswith("TOLLAMA_")}
        self.environ = {
            **variables,
            "TOLLAMA_HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "TOLLAMA_PYTHON_NUMPY": sys.executable,
            **environ,
        }
        self.command("pull", self.model, "--from-dir", str(checkpoint), "--no-stream")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tollama", "serve", "--port", "0"],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        line = self.process.stdout.readline()
        assert " listening on " in line, line
        self.port = int(line.rpartition(":")[2])

    def command(self, *arguments: str) -> None:
        """A command on the same home."""
        subprocess.run(
            [sys.executable, "-m", "tollama", *arguments],
            env=self.environ,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def connection(self) -> http.client.HTTPConnection:
        """A connection of one's own."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    def post(self, connection: http.client.HTTPConnection, body: dict) -> dict:
        """The answer to a forecast request, which must have one."""
        connection.request(
            "POST", "/v1/forecast", json.dumps(body), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        value = json.loads(answer.read())
        assert answer.status == 200, value
        return value

    def all(self, requests: list[dict], clients: int) -> list[dict]:
        """The answers to many requests from so many clients at once."""
        answers: list = [None] * len(requests)
        todo = iter(range(len(requests)))
        lock = threading.Lock()

        def client() -> None:
            connection = self.connection()
            while True:
                with lock:
                    index = next(todo, None)
                if index is None:
                    return
                try:
                    answers[index] = self.post(connection, requests[index])
                except Exception as error:
                    answers[index] = error
                    return

        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def judge(checkpoint: Path, home: Path, *, count: int, clients: int, seed: object) -> dict:
    """The differences of `count` random requests, alone and together."""
    import torch
    from chronos import BaseChronosPipeline

    rng = random.Random(f"{checkpoint.name} {seed}")
    daemon = Daemon(home, checkpoint)
    try:
        several = daemon.model != ONE_TARGET
        cases = [case(rng, several=several) for _ in range(count)]
        requests = [request(one, daemon.model) for one in cases]
        begin = time.perf_counter()
        alone = daemon.all(requests, 1)
        middle = time.perf_counter()
        together = daemon.all(requests, clients)
        end = time.perf_counter()
    finally:
        daemon.stop()
    pipeline = BaseChronosPipeline.from_pretrained(
        str(checkpoint), device_map="cpu", dtype=torch.float32
    )
    found: dict[str, list[float]] = {"alone": [], "together": []}
    for one, *answers in zip(cases, alone, together, strict=True):
        library = golden.library_answers(pipeline, one)
        for how, answer in zip(found, answers, strict=True):
            found[how] += differences(pipeline, one, library, of_wire(answer))
    return {
        "series": len(found["alone"]),
        **{
            how: {
                "largest": max(values),
                "over_tolerance": int(np.sum(np.array(values) > TOLERANCE)),
                "p99": float(np.quantile(values, 0.99)),
                "median": float(np.median(values)),
            }
            for how, values in found.items()
        },
        "shared_a_batch": sum(
            answer["usage"]["batch_rows"] > single["usage"]["batch_rows"]
            for answer, single in zip(together, alone, strict=True)
        ),
        "families": sorted({answer["usage"]["family"] for answer in (*alone, *together)}),
        "seconds": {"alone": round(middle - begin, 1), "together": round(end - middle, 1)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="+")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", default="0")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in arguments.checkpoint:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(name)
            if not path.exists():
                path = golden.maker().make(name, Path(folder) / "made")
            found = judge(
                path,
                Path(folder) / "home",
                count=arguments.requests,
                clients=arguments.clients,
                seed=arguments.seed,
            )
        print(json.dumps({"checkpoint": path.name, **found}), flush=True)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(HERE.parent)]
    main()
