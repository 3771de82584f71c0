"""Random requests: the family's answers in mixed batches equal the library's for each alone.

On the hot checkpoints, whose attention is sharp, both are also held to the library's answer in
float64, from which the family may not be farther than the library is in float32.
"""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("chronos")

import numpy as np  # noqa: E402

from tollama.core import runner_sdk  # noqa: E402
from tollama_numpy.family import NumpyRunner  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


judge = module(Path(__file__).parent / "judge.py")
golden, case, request, expected = judge.golden, judge.case, judge.request, judge.expected
TOLERANCE = judge.TOLERANCE


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A function from a name to (the loaded runner, the library's pipeline)."""
    from chronos import BaseChronosPipeline

    folder = tmp_path_factory.mktemp("models")
    made = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # its threads would spin for models this small

    def get(name):
        if name not in made:
            path = str(golden.maker().make(name, folder))
            runner = NumpyRunner()
            runner.threads = 2
            runner.load(model=name, path=path, options={})
            pipeline = BaseChronosPipeline.from_pretrained(
                path, device_map="cpu", dtype=torch.float32
            )
            made[name] = runner, pipeline
        return made[name]

    yield get
    torch.set_num_threads(threads)


def answers(runner, requests):
    """(mean, quantiles) of every series of every request, computed as one batch."""
    prepared = [runner_sdk.prepare(runner, {"id": "1", "request": r})[0] for r in requests]
    found = dict(runner.forecast_batch(prepared))
    return [
        [
            (np.array(one.mean), np.array(list((one.quantiles or {}).values())))
            for one in found[index].forecasts
        ]
        for index in range(len(prepared))
    ]


@pytest.mark.parametrize(
    ("name", "count"),
    [("chronos2-hot", 150), ("chronos2-tiny", 50), ("bolt-hot", 60), ("bolt-tiny", 30)],
)
def test_random_requests_equal_the_library(checkpoints, name, count):
    rng = random.Random(name)
    runner, pipeline = checkpoints(name)
    cases = [case(rng, several=name.startswith("chronos2")) for _ in range(count)]
    double = golden.in_double(pipeline)
    ours_off, library_off = [], []
    for one, found in zip(cases, answers(runner, map(request, cases)), strict=True):
        library = golden.library_answers(pipeline, one)
        assert max(judge.differences(pipeline, one, library, found)) <= TOLERANCE, one
        # The scale of a constant covariate is rounding alone: float64 has nothing to say of it.
        if name.endswith("tiny") or "k0" in one["inputs"][0]["past_covariates"]:
            continue
        exact = golden.library_answers(double, one)
        theirs = [expected(pipeline, raw, one["levels"]) for raw in library]
        ours_off += judge.differences(pipeline, one, exact, found)
        library_off += judge.differences(pipeline, one, exact, theirs)
    if ours_off:
        assert np.mean(ours_off) <= 1.5 * np.mean(library_off) + TOLERANCE / 100


def test_one_at_a_time_equals_one_batch(checkpoints):
    rng = random.Random(5)
    runner, _ = checkpoints("chronos2-tiny")
    requests = [request({**case(rng, several=True), "levels": [0.5]}) for _ in range(40)]
    for one, together in zip(requests, answers(runner, requests), strict=True):
        for (mean, _), (other, _) in zip(answers(runner, [one])[0], together, strict=True):
            np.testing.assert_allclose(mean, other, rtol=1e-4, atol=1e-4 * np.abs(mean).max())


def test_horizons_past_one_pass_equal_the_library(checkpoints):
    rng = random.Random(6)
    runner, pipeline = checkpoints("chronos2-tiny")
    for horizon, keywords in ((1040, {}), (1100, {"known": ["n0"], "targets": 2})):
        one = {
            "horizon": horizon,
            "inputs": [golden.series(rng, n, horizon, **keywords) for n in (40, 300)],
            "options": {},
            "levels": [],
        }
        library = golden.library_answers(pipeline, one)
        for (mean, _), raw in zip(answers(runner, [request(one)])[0], library, strict=True):
            wanted, _ = expected(pipeline, raw, [])
            np.testing.assert_allclose(
                mean.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-4 * np.abs(raw).max()
            )


@pytest.mark.parametrize("name", ["chronos2-hot", "bolt-hot"])
def test_embeddings_equal_the_library(checkpoints, name):
    rng = random.Random(7)
    runner, pipeline = checkpoints(name)
    targets = [golden.walk(rng, n, 0.1) for n in (5, 16, 100, 400)]
    found = runner.model.embed(targets)
    for target, one in zip(targets, found, strict=True):
        tensor = torch.tensor(np.array(target, float)).float()
        tokens, scale = pipeline.embed([tensor])
        np.testing.assert_allclose(
            one.tokens, np.asarray(tokens[0]).reshape(one.tokens.shape), atol=2e-3
        )
        loc = scale[0][0] if isinstance(scale, list) else scale[0]
        np.testing.assert_allclose(one.scale.loc.ravel(), np.asarray(loc).ravel(), rtol=1e-5)


def test_normalisation_is_the_library_s_to_the_last_bit():
    from chronos.chronos_bolt import InstanceNorm

    from tollama_numpy.preprocess import Scale

    rng = np.random.default_rng(8)
    for n in [*range(8, 100), 511, 512, 513, 1000, 8192]:
        rows = (rng.normal(size=(2, n)) * 10 + 0.1).astype(np.float32)
        rows[0] = rng.random()
        if n % 3 == 0:
            rows[1, rng.random(n) < 0.3] = np.nan
        _, (loc, scale) = InstanceNorm()(torch.tensor(rows))
        found = Scale.of(rows)
        np.testing.assert_array_equal(found.loc, loc.numpy())
        np.testing.assert_allclose(found.scale, scale.numpy(), rtol=2e-7)
