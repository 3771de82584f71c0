"""The family behind the SDK and behind the real pipe."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")

from tollama.core import agreement, answer, runner_sdk  # noqa: E402
from tollama.core.errors import (  # noqa: E402
    InvalidRequest,
    OutOfMemory,
    RunnerError,
    TollamaError,
    Unsupported,
)
from tollama_numpy import convert  # noqa: E402
from tollama_numpy.family import NumpyRunner  # noqa: E402

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
ROOT = HERE.parents[2]
WAVE = [math.sin(t / 5) * 10 + t / 10 for t in range(100)]


def load(name="chronos2", folder=None, **options):
    runner = NumpyRunner()
    runner.threads = 2
    runner.facts = runner.load(model=name, path=str(folder or GOLDEN / name), options=options)
    return runner


@pytest.fixture(scope="module")
def chronos2():
    return load()


@pytest.fixture(scope="module")
def bolt():
    return load("bolt")


def body(*series, horizon=12, **others):
    return {"model": "m", "horizon": horizon, "series": list(series), **others}


def answers(runner, *requests):
    """Answers or errors by position of one batch."""
    found = {}
    ready = []
    for index, request in enumerate(requests):
        try:
            ready.append((index, *runner_sdk.prepare(runner, {"id": "1", "request": request})))
        except InvalidRequest as error:
            found[index] = error
    for position, response in runner.forecast_batch([request for _, request, _ in ready]):
        index, request, warnings = ready[position]
        if isinstance(response, TollamaError):
            found[index] = response
            continue
        found[index] = json.loads(runner_sdk.finish(request, response, warnings))
        answer.check(found[index], request, 0, len(request.series), runner="numpy")
    assert sorted(found) == list(range(len(requests)))
    return [found[index] for index in range(len(requests))]


def assert_same(first, second):
    """Equal but for rounding, which may depend on the place in a batch."""
    for one, other in zip(first["forecasts"], second["forecasts"], strict=True):
        np.testing.assert_allclose(one["mean"], other["mean"], rtol=1e-4, atol=1e-5)


def test_load_tells_what_runs(chronos2, bolt):
    seconds = chronos2.facts.pop("load_seconds")
    assert seconds >= 0
    assert chronos2.facts == {
        "architecture": "Chronos-2",
        "device": "cpu",
        "dtype": "float32",
        "context_length": 8192,
        "max_horizon": 64,
        "parameters": 26512,
    }
    assert bolt.facts["architecture"] == "Chronos-Bolt"
    assert chronos2.can("multivariate") and not bolt.can("multivariate")
    assert not bolt.can("past_covariates") and bolt.can("embeddings")


def test_mixed_batch_equals_each_request_alone(chronos2):
    categories = ["a", "b", None, "a"] * 28
    requests = [
        body({"target": WAVE}, quantiles=[0.1, 0.5, 0.9]),
        body({"target": [WAVE, WAVE[::-1]]}, {"target": WAVE[:7]}, horizon=30),
        body(
            {"target": WAVE, "future_covariates": {"w": categories, "x": [*WAVE, *WAVE[:12]]}},
            quantiles=[0.33],
        ),
        body({"target": WAVE[:50]}, {"target": WAVE}, options={"cross_learning": True}),
        body({"target": WAVE}, options={"context_length": 20}),
        body({"target": WAVE}, horizon=150, options={"batch_size": 1}),
        body({"target": [None] * 5}, horizon=9),
    ]
    together = answers(chronos2, *requests)
    for request, found in zip(requests, together, strict=True):
        [alone] = answers(chronos2, request)
        assert_same(found, alone)
    assert len(together[1]["forecasts"][0]["mean"]) == 2
    assert list(together[2]["forecasts"][0]["quantiles"]) == ["0.33"]
    usage = together[0]["usage"]
    assert (usage["family"], usage["device"], usage["dtype"]) == ("numpy", "cpu", "float32")


def test_cross_learning_mixes_one_request_alone(chronos2):
    plain = body({"target": WAVE[:50]}, {"target": WAVE})
    crossed = {**plain, "options": {"cross_learning": True}}
    first, second, third = answers(chronos2, plain, crossed, plain)
    assert_same(first, third)
    assert not np.allclose(first["forecasts"][0]["mean"], second["forecasts"][0]["mean"], 1e-3)


@pytest.mark.parametrize("name", ["chronos2", "bolt"])
def test_quantiles_are_sorted_and_clamped(name, chronos2, bolt):
    runner = {"chronos2": chronos2, "bolt": bolt}[name]
    levels = [0.001, 0.01, 0.1, 0.123, 0.5, 0.77, 0.9, 0.999]
    [found] = answers(runner, body({"target": WAVE}, quantiles=levels))
    rows = np.array(list(found["forecasts"][0]["quantiles"].values()))
    assert (np.diff(rows, axis=0) >= 0).all()
    assert any(text.startswith("quantiles 0.001, ") for text in found["warnings"])


def test_the_mean_is_the_median(bolt):
    [found] = answers(bolt, body({"target": WAVE}, quantiles=[0.5]))
    np.testing.assert_allclose(
        found["forecasts"][0]["mean"], found["forecasts"][0]["quantiles"]["0.5"]
    )


def test_warnings_name_what_was_cut(chronos2):
    long, asked, far = answers(
        chronos2,
        body({"target": [0.0] * 8193, "id": "long"}, {"target": [1.0] * 9000}),
        body({"target": WAVE}, options={"context_length": 9000}),
        body({"target": WAVE}, horizon=65),
    )
    assert long["warnings"] == [
        "only the last 8192 points are used: 'long' has 8193 points and 1 more series are longer "
        "too"
    ]
    assert asked["warnings"] == ["context_length 9000 is over the model's 8192: 8192 is used"]
    assert far["warnings"][0].startswith("horizon 65 is over the 64 steps")


def test_non_negative_cuts_at_zero(chronos2):
    falling = {"target": [float(-t) for t in range(60)]}
    [found] = answers(chronos2, body(falling, quantiles=[0.1], options={"non_negative": True}))
    assert set(found["forecasts"][0]["mean"]) == {0.0}


BAD = {
    "an overflow": ({"target": [1.0, 1e39]}, ("series", 0, "target", 1), "about 1e18"),
    "no past": (
        {"target": [1.0], "future_covariates": {"x": [1.0] * 12}},
        ("series", 0, "future_covariates", "x"),
        "expected its history too: 13 values here, or 1 in past_covariates",
    ),
    "another kind ahead": (
        {
            "target": [1.0],
            "past_covariates": {"x": [1.0]},
            "future_covariates": {"x": ["a"] * 12},
        },
        ("series", 0, "future_covariates", "x"),
        "expected numbers, as in past_covariates",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_by_path_and_spares_its_neighbours(chronos2, what):
    series, loc, message = BAD[what]
    before, bad, after = answers(
        chronos2, body({"target": WAVE}), body(series), body({"target": WAVE})
    )
    assert isinstance(bad, InvalidRequest)
    assert bad.problems()[0][0] == loc
    assert message in bad.problems()[0][1]
    assert_same(before, after)


def test_an_answer_that_is_not_finite_fails_its_series_alone(chronos2, monkeypatch):
    right = chronos2.model.predict_batch

    def poisoned(tasks, *, jointly=False):
        found = right(tasks, jointly=jointly)
        for task, one in zip(tasks, found, strict=True):
            if task.context[0, 0] == 77:
                one[0, 0, 0] = np.nan
        return found

    monkeypatch.setattr(chronos2.model, "predict_batch", poisoned)
    good, bad = answers(
        chronos2, body({"target": WAVE}), body({"target": WAVE}, {"target": [77.0, *WAVE]})
    )
    assert good["forecasts"]
    assert bad.problems()[0][0] == ("series", 1, "target")
    assert "not finite" in bad.problems()[0][1]


def test_memory_that_runs_out_halves_the_batch(chronos2, monkeypatch):
    right = chronos2.model.predict_batch
    sizes = []

    def tight(tasks, *, jointly=False):
        sizes.append(len(tasks))
        if len(tasks) > 1 or len(tasks[0].context) > 2:
            raise MemoryError
        return right(tasks, jointly=jointly)

    monkeypatch.setattr(chronos2.model, "predict_batch", tight)
    many = [body({"target": WAVE}) for _ in range(5)]
    *fine, large = answers(chronos2, *many, body({"target": [WAVE] * 3}))
    assert all(one["forecasts"] for one in fine)
    assert max(sizes) > 1
    assert isinstance(large, OutOfMemory)


def test_memory_that_is_not_there_is_refused_before_it_is_taken(chronos2, monkeypatch):
    monkeypatch.setattr("tollama_numpy.memory.available", lambda: 1 << 29)
    rows = [[0.0] * 8192] * 2000
    small, large = answers(chronos2, body({"target": WAVE}), body({"target": rows}))
    assert small["forecasts"]
    assert isinstance(large, OutOfMemory)
    assert "MiB are needed, 512 MiB are free" in large.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "expected auto or cpu, got 'cuda': the family torch runs on GPUs"),
        ({"dtype": "bfloat16"}, "expected one of 'auto', 'float32'"),
        ({"pooling": "max"}, "expected one of 'mean', 'last'"),
        ({"batch_size": 0}, "expected an integer >= 1"),
        ({"crosslearning": True}, "did you mean 'cross_learning'"),
    ],
)
def test_options_are_refused_by_name(chronos2, options, message):
    [found] = answers(chronos2, body({"target": WAVE}, options=options))
    assert isinstance(found, InvalidRequest)
    assert message in found.message


def test_bolt_has_no_cross_learning_and_no_covariates(bolt):
    crossed, several, covariate = answers(
        bolt,
        body({"target": WAVE}, options={"cross_learning": True}),
        body({"target": [WAVE, WAVE]}),
        body({"target": WAVE, "past_covariates": {"x": WAVE}}),
    )
    assert "unknown field" in crossed.message
    assert isinstance(several, Unsupported)
    assert "cannot use the past covariate 'x'" in covariate["warnings"][0]


@pytest.mark.parametrize("name", ["chronos2", "bolt"])
def test_embed_pools_the_patches_of_history(name, chronos2, bolt):
    runner = {"chronos2": chronos2, "bolt": bolt}[name]
    found = {}
    for pooling in ("mean", "last"):
        request = body({"target": WAVE}, {"target": WAVE[:3]}, options={"pooling": pooling})
        request, _ = runner_sdk.prepare(runner, {"id": "1", "request": request})
        found[pooling] = runner.embed(request)["embeddings"]
    [one, _] = runner.model.embed([WAVE, WAVE[:3]])
    patches = one.tokens[0, : one.patches]
    np.testing.assert_allclose(found["mean"][0], patches.mean(0), atol=1e-6)
    np.testing.assert_allclose(found["last"][0], patches[-1], atol=1e-6)
    assert found["mean"][1] == found["last"][1]  # one patch


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"abc"),
            RunnerError,
            "check it with `tollama verify chronos2` and pull it again",
        ),
        (
            lambda folder: (folder / "config.json").write_text('{"architectures": ["Bert"]}'),
            Unsupported,
            "expected Chronos2Model or ChronosBoltModelForForecasting, got Bert",
        ),
    ],
)
def test_load_names_a_bad_folder(tmp_path, change, kind, message):
    folder = tmp_path / "snapshot"
    shutil.copytree(GOLDEN / "chronos2", folder)
    change(folder)
    with pytest.raises(kind, match=message):
        load(folder=folder)


def test_float16_copy_answers_nearly_the_same(tmp_path, chronos2):
    folder = tmp_path / "half"
    convert.to_float16(str(GOLDEN / "chronos2"), str(folder))
    sizes = [(path / "model.safetensors").stat().st_size for path in (folder, GOLDEN / "chronos2")]
    assert sizes[0] < 0.6 * sizes[1]
    [half] = answers(load(folder=folder), body({"target": WAVE}))
    [full] = answers(chronos2, body({"target": WAVE}))
    np.testing.assert_allclose(
        half["forecasts"][0]["mean"], full["forecasts"][0]["mean"], atol=0.01 * max(WAVE)
    )
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["chronos2", "bolt"])
def test_built_in_requests_are_answered_and_compared(name, chronos2, bolt):
    runner = {"chronos2": chronos2, "bolt": bolt}[name]
    names = set()
    for case, request in agreement.requests(name, runner.capabilities, 64):
        [found] = answers(runner, request)
        assert isinstance(found, dict), (case, found)
        assert agreement.difference(request, found, found) == 0
        off = json.loads(json.dumps(found))
        off["forecasts"][0]["quantiles"]["0.25"] = off["forecasts"][-1]["quantiles"]["0.9"]
        assert agreement.difference(request, found, off) > 0
        names.add(case)
    assert ("several targets" in names) == (name == "chronos2")
    assert {"gaps", "past one pass"} <= names


def test_the_real_process_answers_over_the_pipe():
    boot = (
        "import runpy,sys;m,*p=sys.argv[1:];sys.path[:0]=p;runpy.run_module(m,run_name='__main__')"
    )
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", boot, "tollama_numpy", str(ROOT), str(HERE.parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    request = body({"target": WAVE}, quantiles=[0.5])
    jobs = [{"id": f"3.{n}", "offset": 0, "request": request} for n in range(2)]
    frames = [
        {"id": "1", "method": "hello", "params": {"protocol": 1}},
        {
            "id": "2",
            "method": "load",
            "params": {"model": "chronos2", "path": str(GOLDEN / "chronos2"), "options": {}},
        },
        {"id": "3", "method": "batch", "params": {"threads": 2, "jobs": jobs}},
    ]
    try:
        for frame in frames:
            process.stdin.write(json.dumps(frame).encode() + b"\n")
        process.stdin.flush()
        lines = [json.loads(process.stdout.readline()) for _ in range(5)]
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()
    assert lines[0]["result"]["name"] == "numpy"
    assert lines[1]["result"]["architecture"] == "Chronos-2"
    assert {line["id"] for line in lines[2:4]} == {"3.0", "3.1"}
    assert_same(lines[2]["result"], lines[3]["result"])
    assert lines[4] == {"id": "3", "result": {}}
