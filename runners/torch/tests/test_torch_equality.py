"""Every answer has the library's own numbers, alone and inside a mixed batch."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("chronos")

import numpy as np  # noqa: E402

from tollama.core import runner_sdk  # noqa: E402
from tollama.core.errors import TollamaError  # noqa: E402

HORIZONS = (1, 3, 12, 16, 17, 24, 31, 32, 48, 64, 65, 100, 130)
LEVEL_SETS = ([], [0.5], [0.1, 0.5, 0.9], [0.01, 0.99], [0.025, 0.33, 0.975], [0.001, 0.4])


def walk(rng, n, gaps=0.0):
    level, values = rng.uniform(-50, 50), []
    for step in range(n):
        level += rng.gauss(0, 1) + 3 * (step % 12 == 0)
        values.append(None if rng.random() < gaps else level)
    return values


def chronos2_request(rng):
    """A request of one schema, so that the library can be called on it directly."""
    horizon = rng.choice(HORIZONS)
    targets = rng.choice((0, 0, 0, 1, 2, 3))
    numeric = rng.randrange(3) if rng.random() < 0.5 else 0
    words = rng.randrange(1, 3) if rng.random() < 0.3 else 0
    names = [(f"n{k}", False) for k in range(numeric)] + [(f"c{k}", True) for k in range(words)]
    known = {name for name, _ in names if rng.random() < 0.6}
    together = rng.random() < 0.5
    series = []
    for _ in range(rng.choice((1, 1, 2, 5))):
        n = rng.choice((1, 2, 15, 16, 17, 40, 100, 257, 600))
        gaps = rng.choice((0.0, 0.0, 0.2))
        one = {"past_covariates": {}, "future_covariates": {}}
        rows = [walk(rng, n, gaps) for _ in range(max(1, targets))]
        one["target"] = rows if targets else rows[0]
        for name, categorical in names:
            values = (
                [rng.choice(("sun", "rain", "snow", None)) for _ in range(n + horizon)]
                if categorical
                else walk(rng, n + horizon, 0.05)
            )
            if name in known and together:
                one["future_covariates"][name] = values
            else:
                one["past_covariates"][name] = values[:n]
                if name in known:
                    one["future_covariates"][name] = values[n:]
        series.append(one)
    options = {}
    if rng.random() < 0.3:
        options["context_length"] = rng.choice((16, 50, 300))
    return {
        "model": "m",
        "horizon": horizon,
        "quantiles": rng.choice(LEVEL_SETS),
        "series": series,
        "options": options,
    }


def univariate_request(rng):
    series = [
        {"target": walk(rng, rng.choice((16, 17, 40, 100, 257, 2100)), rng.choice((0.0, 0.1)))}
        for _ in range(rng.choice((1, 1, 2, 5)))
    ]
    return {
        "model": "m",
        "horizon": rng.choice(HORIZONS),
        "quantiles": rng.choice(LEVEL_SETS),
        "series": series,
    }


def as_array(name, values):
    return np.array(values, dtype=object if name.startswith("c") else np.float64)


def library_input(series, horizon):
    target = np.array(series["target"], dtype=np.float64)
    if not series.get("past_covariates") and not series.get("future_covariates"):
        return torch.from_numpy(target)
    n = target.shape[-1]
    past = {name: as_array(name, values) for name, values in series["past_covariates"].items()}
    future = {}
    for name, values in series["future_covariates"].items():
        if len(values) == n + horizon:
            past[name] = as_array(name, values[:n])
        future[name] = as_array(name, values[-horizon:])
    return {"target": target, "past_covariates": past, "future_covariates": future}


def library_answer(pipeline, request):
    """(mean, quantiles) for each series, as (targets, horizon) and (targets, horizon, levels)."""
    horizon = request["horizon"]
    inputs = [library_input(one, horizon) for one in request["series"]]
    levels = request["quantiles"] or [0.5]
    keywords = {}
    if "context_length" in request.get("options", {}):
        keywords["context_length"] = request["options"]["context_length"]
    quantiles, mean = pipeline.predict_quantiles(
        inputs, prediction_length=horizon, quantile_levels=levels, **keywords
    )
    rows = [(m.numpy(), np.sort(q.numpy(), axis=-1)) for m, q in zip(mean, quantiles, strict=True)]
    if rows[0][0].ndim == 1:
        rows = [(mean[None], quantiles[None]) for mean, quantiles in rows]
    return rows


def assert_same(answer, expected, request):
    assert not isinstance(answer, TollamaError), answer
    for one, forecast, (mean, quantiles) in zip(
        request["series"], answer.forecasts, expected, strict=True
    ):
        nested = isinstance(one["target"][0], list)
        scale = max(1.0, float(np.abs(quantiles).max()))
        found = np.array(forecast.mean if nested else [forecast.mean])
        np.testing.assert_allclose(found, mean, rtol=1e-4, atol=1e-4 * scale)
        for index, level in enumerate(request["quantiles"]):
            values = forecast.quantiles[level]
            found = np.array(values if nested else [values])
            np.testing.assert_allclose(found, quantiles[..., index], rtol=1e-4, atol=1e-4 * scale)


def prepared(runner, request):
    return runner_sdk.prepare(runner, {"id": "1", "request": request})[0]


def answers(runner, requests):
    """The answers of one mixed batch, by position."""
    found = dict(runner.forecast_batch([prepared(runner, request) for request in requests]))
    return [found[index] for index in range(len(requests))]


@pytest.mark.parametrize(
    ("checkpoint", "make", "count"),
    [
        ("chronos2-hot", chronos2_request, 150),
        ("chronos2-tiny", chronos2_request, 40),
        ("bolt-hot", univariate_request, 60),
    ],
)
def test_mixed_batch_equals_the_library_alone(load, library, checkpoint, make, count):
    rng = random.Random(checkpoint)
    requests = [make(rng) for _ in range(count)]
    pipeline = library(checkpoint)
    runner = load(checkpoint)
    expected = [library_answer(pipeline, request) for request in requests]
    for request, wanted, found in zip(requests, expected, answers(runner, requests), strict=True):
        assert_same(found, wanted, request)
    for request, wanted in list(zip(requests, expected, strict=True))[:30]:
        assert_same(runner.forecast(prepared(runner, request)), wanted, request)


def test_horizon_beyond_one_pass_equals_the_library(load, library):
    rng = random.Random(3)
    runner, pipeline = load("chronos2-tiny"), library("chronos2-tiny")
    requests = [
        {
            "model": "m",
            "horizon": 1100,
            "quantiles": [0.1, 0.5],
            "series": [{"target": walk(rng, n)}],
        }
        for n in (40, 300)
    ]
    requests[1]["horizon"] = 1090
    requests[1]["series"][0]["future_covariates"] = {"promo": walk(rng, 300 + 1090)}
    requests[1]["series"][0]["past_covariates"] = {}
    requests[1]["options"] = {}
    for request, found in zip(requests, answers(runner, requests), strict=True):
        assert_same(found, library_answer(pipeline, request), request)
        assert "one pass" in found.warnings[0]


def test_cross_learning_equals_the_library_and_stays_apart(load, library):
    rng = random.Random(4)
    runner, pipeline = load("chronos2-hot"), library("chronos2-hot")
    request = {
        "model": "m",
        "horizon": 20,
        "quantiles": [0.5],
        "series": [{"target": walk(rng, n)} for n in (30, 64, 64, 200)],
    }
    crossed = {**request, "options": {"cross_learning": True}}
    few = {**request, "options": {"cross_learning": True, "batch_size": 2}}
    inputs = [library_input(one, 20) for one in request["series"]]
    found = answers(runner, [request, crossed, few, request])
    for answer, keywords in (
        (found[1], {"cross_learning": True}),
        (found[2], {"cross_learning": True, "batch_size": 2}),
    ):
        quantiles, mean = pipeline.predict_quantiles(
            inputs, prediction_length=20, quantile_levels=[0.5], **keywords
        )
        expected = [(m.numpy(), q.numpy()) for m, q in zip(mean, quantiles, strict=True)]
        assert_same(answer, expected, request)
    expected = library_answer(pipeline, request)
    assert_same(found[0], expected, request)
    assert_same(found[3], expected, request)
    assert not np.allclose(found[1].forecasts[0].mean, found[0].forecasts[0].mean, rtol=1e-3)


def test_sampled_paths_depend_on_the_seed_and_not_on_neighbours(load, library):
    rng = random.Random(5)
    runner, pipeline = load("t5-tiny"), library("t5-tiny")
    request = {
        "model": "m",
        "horizon": 70,
        "quantiles": [0.1, 0.9],
        "series": [{"target": walk(rng, n, 0.1)} for n in (20, 90, 600)],
    }
    other = {**request, "options": {"seed": 7}}
    found = answers(runner, [other, request, other])
    for answer, seed in zip(found, (7, 0, 7), strict=True):
        torch.manual_seed(seed)
        assert_same(answer, library_answer(pipeline, request), request)
    assert found[0].forecasts[0].mean != found[1].forecasts[0].mean


def test_fracast_equals_its_package(load):
    fracast = pytest.importorskip("fracast")
    rng = random.Random(6)
    model = fracast.FracastModel.from_pretrained()
    runner = load(None)
    requests = [univariate_request(rng) for _ in range(12)]
    for request, answer in zip(requests, answers(runner, requests), strict=True):
        expected = []
        for one in request["series"]:
            target = np.array(one["target"], dtype=np.float64)
            rows = model.forecast(target, horizon=request["horizon"])
            levels = np.clip(request["quantiles"] or [0.5], 0.1, 0.9)
            picked = np.stack([np.interp(levels, model.quantiles, row) for row in rows])
            expected.append((rows[None, :, 4], np.sort(picked, axis=-1)[None]))
        assert_same(answer, expected, request)
