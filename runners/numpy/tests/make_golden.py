"""Makes golden/: two small checkpoints and what the library answers with them.

    python make_golden.py          # needs torch and chronos-forecasting; writes golden/ beside it

Each checkpoint folder has config.json and model.safetensors (Chronos-2 in float32, Chronos-Bolt in
float16), requests.json with the cases, and answers.npz with the library's float32 answers. Cases
whose answer depends on rounding (the library in float64 says something else) are drawn again, so
that the tests hold on every processor.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import random
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
STABLE = 2e-5  # of the series' peak, between float32 and float64
WORDS = ("sun", "rain", "snow", None)


def walk(rng: random.Random, n: int, gaps: float = 0.0) -> list[float | None]:
    level, values = rng.uniform(-50, 50), []
    for step in range(n):
        level += rng.gauss(0, 1) + 3 * (step % 12 == 0)
        values.append(None if rng.random() < gaps else round(level, 2))
    return values


def words(rng: random.Random, n: int) -> list[str | None]:
    return ["sun", *(rng.choice(WORDS) for _ in range(n - 1))]  # never without a string


def series(rng, n, horizon, *, targets=0, past=(), known=(), gaps=0.0):
    """One input; covariates whose name begins with c are categorical, with k constant."""

    def values(name, count):
        if name.startswith("c"):
            return words(rng, count)
        if name.startswith("k"):
            return [0.1] * count
        return walk(rng, count, gaps / 2)

    rows = [walk(rng, n, gaps) for _ in range(max(1, targets))]
    one = {
        "target": rows if targets else rows[0],
        "past_covariates": {},
        "future_covariates": {},
    }
    for name in (*past, *known):
        one["past_covariates"][name] = values(name, n)
        if name in known:
            one["future_covariates"][name] = values(name, horizon)
    return one


def chronos2_cases(rng: random.Random):
    def case(name, horizon, lengths, options=(), **keywords):
        inputs = [series(rng, n, horizon, **keywords) for n in lengths]
        return {"name": name, "horizon": horizon, "inputs": inputs, "options": dict(options)}

    yield case("univariate", 17, (40, 1, 16, 130))
    yield case("gaps", 24, (100, 33), gaps=0.3)
    missing = case("nothing known", 5, (20,))
    missing["inputs"][0]["target"] = [None] * 20
    yield missing
    late = case("late start", 12, (90,))
    late["inputs"][0]["target"][:50] = [None] * 50
    yield late
    constant = case("constant", 8, (64,))
    constant["inputs"][0]["target"] = [0.7] * 64
    yield constant
    yield case("multivariate", 30, (70,), targets=3, gaps=0.1)
    yield case("past covariates", 16, (60, 45), past=("n0", "n1"))
    yield case("known covariates", 20, (48,), past=("n0",), known=("n1", "k2"))
    yield case("categories", 14, (80, 50), known=("c0",), past=("c1",))
    yield case("ranks", 14, (80, 30), targets=2, known=("c0", "n1"))
    yield case("short context", 12, (300,), {"context_length": 50})
    yield case("cross learning", 20, (30, 64, 64, 100), {"cross_learning": True})
    yield case("long horizon", 150, (70,), known=("n0",))
    yield case("long and several", 70, (40,), targets=2)


def bolt_cases(rng: random.Random):
    def case(name, horizon, lengths, **keywords):
        inputs = [series(rng, n, horizon, **keywords) for n in lengths]
        return {"name": name, "horizon": horizon, "inputs": inputs, "options": {}}

    yield case("univariate", 17, (40, 1, 16, 130, 700))
    yield case("gaps", 24, (100, 33), gaps=0.3)
    missing = case("nothing known", 5, (20,))
    missing["inputs"][0]["target"] = [None] * 20
    yield missing
    yield case("one block", 64, (64,))
    yield case("long horizon", 150, (70,))


def library_answers(pipeline, case):
    """(targets, levels, horizon) arrays of one call of the library."""
    horizon, options = case["horizon"], case["options"]
    if type(pipeline).__name__ == "ChronosBoltPipeline":
        found = [
            pipeline.predict([torch.tensor(np.array(one["target"], float)).float()], horizon)[0]
            for one in case["inputs"]
        ]
        return [one.numpy()[None] for one in found]

    def array(name, values):
        return np.array(values, dtype=object if name.startswith("c") else float)

    inputs = [
        {
            "target": np.array(one["target"], dtype=float),
            **{
                kind: {name: array(name, values) for name, values in one[kind].items()}
                for kind in ("past_covariates", "future_covariates")
            },
        }
        for one in case["inputs"]
    ]
    return [one.numpy() for one in pipeline.predict(inputs, prediction_length=horizon, **options)]


def in_double(pipeline):
    """The same pipeline computing in float64, its normalisation too."""
    model = copy.deepcopy(pipeline.model).double()

    def forward(self, x, loc_scale=None):
        x = x.double()
        if loc_scale is None:
            loc = torch.nan_to_num(torch.nanmean(x, -1, keepdim=True), nan=0.0)
            variance = (x - loc).square().nanmean(-1, keepdim=True)
            scale = torch.nan_to_num(variance.sqrt(), nan=1.0)
            loc_scale = loc, torch.where(scale == 0, self.eps, scale)
        scaled = (x - loc_scale[0]) / loc_scale[1]
        return (torch.arcsinh(scaled) if self.use_arcsinh else scaled), loc_scale

    def inverse(self, x, loc_scale, output_dtype=None):
        x = torch.sinh(x) if self.use_arcsinh else x
        return x * loc_scale[1] + loc_scale[0]

    model.instance_norm.forward = types.MethodType(forward, model.instance_norm)
    model.instance_norm.inverse = types.MethodType(inverse, model.instance_norm)
    return type(pipeline)(model)


def peak(target) -> float:
    """The largest absolute value, 1 for a series without one."""
    values = np.abs(np.array(target, float))
    return float(np.nanmax(values)) if not np.isnan(values).all() else 1.0


def stable(case, found, exact) -> bool:
    # The scale of a constant row is rounding alone, and differs in float64 by nature.
    return case["name"] in ("constant", "known covariates") or all(
        np.abs(one - other).max() <= STABLE * max(peak(given["target"]), np.abs(one).max())
        for given, one, other in zip(case["inputs"], found, exact, strict=True)
    )


def write(folder: Path, pipeline, make_cases) -> None:
    """The cases of one checkpoint, each drawn until it is stable."""
    double = in_double(pipeline)
    cases, answers = [], {}
    for position in range(sum(1 for _ in make_cases(random.Random(0)))):
        for seed in range(100):
            case = list(make_cases(random.Random(f"{position} {seed}")))[position]
            found = library_answers(pipeline, case)
            if stable(case, found, library_answers(double, case)):
                break
        else:
            raise SystemExit(f"{case['name']}: no stable case")
        cases.append(case)
        for index, one in enumerate(found):
            answers[f"{case['name']}/{index}"] = one.astype(np.float32)
    for one in embedded(pipeline, cases[0]):
        answers[f"embedding/{one.shape[0]}x{one.shape[1]}"] = one
    (folder / "requests.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    np.savez_compressed(folder / "answers.npz", **answers)


def embedded(pipeline, case):
    """The encoder's tokens of one series, (variates, tokens, width)."""
    target = torch.tensor(np.array(case["inputs"][0]["target"], float)).float()
    tokens, _ = pipeline.embed([target])
    return [np.asarray(tokens[0]).reshape(-1, *tokens[0].shape[-2:])]


def maker():
    path = HERE.parents[1] / "torch" / "tests" / "make_checkpoints.py"
    spec = importlib.util.spec_from_file_location("make_checkpoints", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    from chronos import BaseChronosPipeline

    from tollama_numpy import safetensors

    warnings.simplefilter("ignore")
    checkpoints = maker()
    for name, make_cases in (("chronos2", chronos2_cases), ("bolt", bolt_cases)):
        folder = GOLDEN / name
        new = not folder.exists()
        if new:
            checkpoints.make(f"{name}-hot", GOLDEN).replace(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        config = json.loads((folder / "config.json").read_text())
        if name == "chronos2":
            config["chronos_config"]["max_output_patches"] = 4  # a short unrolling
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        if name == "bolt" and new:
            weights = str(folder / "model.safetensors")
            # Positions matter more than the maker lets them.
            tensors = {
                key: value * np.float32(30 if "relative_attention" in key else 1)
                for key, value in safetensors.read(weights).items()
            }
            safetensors.write_float16(weights, tensors)
        pipeline = BaseChronosPipeline.from_pretrained(
            str(folder), device_map="cpu", dtype=torch.float32
        )
        write(folder, pipeline, make_cases)
        print(folder, sum(file.stat().st_size for file in folder.iterdir()), "bytes")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    main()
