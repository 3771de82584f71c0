"""What the family refuses, warns of and reports, with the real libraries on tiny checkpoints."""

from __future__ import annotations

import json
import math
import random
import struct

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("chronos")

import numpy as np  # noqa: E402

from tollama.core import runner_sdk  # noqa: E402
from tollama.core.errors import (  # noqa: E402
    InvalidRequest,
    OutOfMemory,
    RunnerError,
    TollamaError,
    Unsupported,
)

RNG = random.Random(11)
WALK = [10 + math.sin(k / 3) + RNG.random() for k in range(80)]


def request_of(runner, *targets, horizon=4, quantiles=(0.1, 0.5, 0.9), offset=0, **fields):
    series = fields.pop("series", None) or [{"target": target} for target in targets]
    body = {"model": "m", "horizon": horizon, "quantiles": list(quantiles), "series": series}
    job = {"id": "1", "request": {**body, **fields}, "offset": offset}
    return runner_sdk.prepare(runner, job)[0]


@pytest.fixture(scope="module")
def chronos2(load):
    return load("chronos2-tiny")


def test_facts_say_what_was_loaded(chronos2):
    facts = chronos2.facts
    assert facts["architecture"] == "Chronos-2"
    assert (facts["device"], facts["dtype"]) == ("cpu", "float32")
    assert (facts["context_length"], facts["max_horizon"]) == (8192, 1024)
    assert facts["vram_bytes"] == 0 and facts["parameters"] > 20_000


def test_usage_says_where_it_ran(chronos2):
    usage = chronos2.forecast(request_of(chronos2, WALK)).usage
    assert (usage["device"], usage["dtype"], usage["batch_rows"]) == ("cpu", "float32", 1)
    assert usage["compute_ms"] > 0


def test_answers_are_the_shortest_decimals_of_their_float32(chronos2):
    mean = chronos2.forecast(request_of(chronos2, WALK)).forecasts[0].mean
    assert all(type(value) is float for value in mean)
    assert max(len(repr(value)) for value in mean) <= 13
    assert [float(repr(np.float32(value)).split("(")[-1].rstrip(")")) for value in mean] == mean


@pytest.mark.parametrize("name", ["chronos2-hot", "bolt-hot", "t5-tiny", None])
def test_quantiles_never_cross(load, name):
    runner = load(name)
    forecast = runner.forecast(
        request_of(runner, WALK, horizon=30, quantiles=(0.05, 0.1, 0.33, 0.5, 0.9))
    ).forecasts[0]
    rows = np.array(list(forecast.quantiles.values()))
    assert (np.diff(rows, axis=0) >= 0).all()


def test_no_quantiles_asked_is_none_answered(chronos2):
    assert (
        chronos2.forecast(request_of(chronos2, WALK, quantiles=())).forecasts[0].quantiles is None
    )


def test_non_negative_clips(chronos2):
    target = [-value for value in WALK]
    found = chronos2.forecast(request_of(chronos2, target, options={"non_negative": True}))
    assert set(found.forecasts[0].mean) == {0.0}


def test_clamped_quantiles_warn(chronos2):
    found = chronos2.forecast(request_of(chronos2, WALK, quantiles=(0.001, 0.5)))
    assert found.warnings == [
        "quantiles 0.001 are outside what Chronos-2 was trained on: answered with its quantiles "
        "0.01 and 0.99"
    ]


def test_context_that_is_cut_warns(load):
    runner = load("bolt-tiny")
    found = runner.forecast(request_of(runner, WALK * 30, WALK, WALK * 40))
    assert found.warnings == [
        "only the last 2048 points are used: 'series_0' has 2400 points and 1 more series are "
        "longer too"
    ]
    asked = runner.forecast(request_of(runner, WALK, options={"context_length": 5000}))
    assert asked.warnings == ["context_length 5000 is over the model's 2048: 2048 is used"]


def test_long_horizon_warns(load):
    runner = load("bolt-tiny")
    found = runner.forecast(request_of(runner, WALK, horizon=65))
    assert "over the 64 steps" in found.warnings[0]
    assert len(found.forecasts[0].mean) == 65


@pytest.mark.parametrize("name", ["chronos2-tiny", "bolt-tiny", "t5-tiny", None])
@pytest.mark.parametrize("value", [1e39, -3.5e38, 1e300, 1e37])
def test_overflow_is_refused_with_its_path(load, name, value):
    runner = load(name)
    target = [*WALK[:17], value, *WALK[17:]]
    with pytest.raises(InvalidRequest) as caught:
        runner.forecast(request_of(runner, WALK, target))
    [(loc, text)] = caught.value.problems()
    assert loc == ("series", 1, "target", 17)
    assert "float32" in text


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e16, 1e17, 3e17])
@pytest.mark.parametrize("name", ["chronos2-hot", "bolt-hot"])
def test_any_accepted_magnitude_answers_finite_and_leaves_neighbours_alone(load, name, scale):
    runner = load(name)
    plain = request_of(runner, WALK)
    alone = runner.forecast(plain)
    big = request_of(runner, [value * scale for value in WALK])
    found = dict(runner.forecast_batch([plain, big, plain]))
    for index in (0, 2):
        np.testing.assert_allclose(
            found[index].forecasts[0].mean, alone.forecasts[0].mean, rtol=1e-4
        )
    if not isinstance(found[1], InvalidRequest):
        assert np.isfinite(found[1].forecasts[0].mean).all()


def test_covariate_overflow_is_refused_with_its_path(chronos2):
    series = {
        "target": WALK,
        "past_covariates": {"x": [1.0] * 80},
        "future_covariates": {"x": [1.0, 2.0, 1e39, 4.0]},
    }
    with pytest.raises(InvalidRequest) as caught:
        chronos2.forecast(request_of(chronos2, series=[{"target": WALK}, series]))
    assert caught.value.problems()[0][0] == ("series", 1, "future_covariates", "x", 2)


def test_flat_past_with_a_wild_future_does_not_poison(load):
    runner = load("chronos2-hot")
    series = {
        "target": WALK,
        "past_covariates": {"x": [1.0] * 80},
        "future_covariates": {"x": [1e16, -1e16, 0.0, None]},
    }
    plain = request_of(runner, WALK)
    alone = runner.forecast(plain)
    found = dict(runner.forecast_batch([plain, request_of(runner, series=[series])]))
    np.testing.assert_allclose(found[0].forecasts[0].mean, alone.forecasts[0].mean, rtol=1e-4)


@pytest.mark.parametrize(
    ("past", "future", "text"),
    [
        ({}, {"x": [1.0] * 4}, "its history too: 84 values"),
        ({"x": [1.0] * 80}, {"x": ["a"] * 4}, "expected numbers"),
        ({"x": ["a"] * 80}, {"x": [1.0] * 4}, "expected strings"),
    ],
)
def test_future_covariates_must_match_their_past(chronos2, past, future, text):
    series = {"target": WALK, "past_covariates": past, "future_covariates": future}
    with pytest.raises(InvalidRequest, match=text) as caught:
        chronos2.forecast(request_of(chronos2, series=[series]))
    assert caught.value.problems()[0][0] == ("series", 0, "future_covariates", "x")


def test_ugly_series_get_finite_answers(load):
    for name in ("chronos2-tiny", "bolt-tiny", "t5-tiny"):
        runner = load(name)
        ugly = [[5.0], [None], [None] * 40, [3.3] * 50, [None] * 20 + [1.0], [0.0] * 17]
        found = runner.forecast(request_of(runner, *ugly))
        for forecast in found.forecasts:
            assert np.isfinite(forecast.mean).all()


def test_too_few_values_are_refused_by_fracast(load):
    runner = load(None)
    with pytest.raises(InvalidRequest, match="at least 8 values") as caught:
        runner.forecast(request_of(runner, WALK, [1.0, None, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]))
    assert caught.value.problems()[0][0] == ("series", 1, "target")


def test_one_bad_request_does_not_fail_its_neighbours(chronos2):
    bad = request_of(chronos2, [1.0, 1e39])
    good = request_of(chronos2, WALK)
    found = dict(chronos2.forecast_batch([bad, good, bad]))
    assert isinstance(found[0], InvalidRequest) and isinstance(found[2], InvalidRequest)
    assert len(found[1].forecasts) == 1


def test_answers_come_as_their_batches_are_done(load):
    runner = load("chronos2-tiny")
    requests = [
        request_of(runner, WALK, options={"batch_size": 1, "context_length": 10 + k})
        for k in range(6)
    ]
    stream = runner.forecast_batch(requests)
    calls = []
    predict = type(runner.session.architecture).predict

    def counted(architecture, items, key):
        calls.append(len(items))
        return predict(architecture, items, key)

    runner.session.architecture.predict = counted.__get__(runner.session.architecture)
    try:
        next(stream)
        assert calls == [1]
        assert len(list(stream)) == 5
    finally:
        del runner.session.architecture.predict


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps"])
def test_device_that_is_not_there_is_an_error_and_never_the_cpu(load, chronos2, device):
    if device.startswith("cuda") and torch.cuda.is_available() and device == "cuda":
        pytest.skip("this machine has one")
    with pytest.raises(Unsupported, match="was asked for but"):
        load("chronos2-tiny", device=device)
    with pytest.raises(Unsupported) as caught:
        chronos2.forecast(request_of(chronos2, WALK, options={"device": device}))
    assert caught.value.problems()[0][0] == ("options", "device")
    assert chronos2.forecast(request_of(chronos2, WALK)).usage["device"] == "cpu"


def test_bad_device_and_unknown_option_are_refused(chronos2):
    for options in ({"device": "gpu"}, {"dtype": "float64"}, {"crosslearning": True}):
        with pytest.raises(InvalidRequest):
            request_of(chronos2, WALK, options=options)


def test_number_format_changes_by_request_and_back(load):
    runner = load("chronos2-tiny")
    plain, narrow = (
        request_of(runner, WALK),
        request_of(runner, WALK, options={"dtype": "bfloat16"}),
    )
    first = runner.forecast(plain)
    found = dict(runner.forecast_batch([narrow, plain]))
    assert found[0].usage["dtype"] == "bfloat16"
    assert found[1].usage["dtype"] == "float32"
    assert found[1].forecasts == first.forecasts
    np.testing.assert_allclose(found[0].forecasts[0].mean, first.forecasts[0].mean, rtol=0.1)


def test_auto_number_format_is_one_of_the_two(load):
    assert load("chronos2-tiny", dtype="auto").facts["dtype"] in ("float32", "bfloat16")


def test_threads_follow_the_call(load):
    runner = load("chronos2-tiny")
    runner.threads = 1
    runner.forecast(request_of(runner, WALK))
    assert torch.get_num_threads() == 1
    runner.threads = 2
    runner.forecast(request_of(runner, WALK))
    assert torch.get_num_threads() == 2


def scarce(runner, limit, error):
    """A session whose model runs out of memory above `limit` items."""
    from tollama_torch.session import Session

    inner = runner.session.architecture

    class Scarce(type(inner)):
        def __init__(self):
            self.__dict__ = dict(inner.__dict__)

        def predict(self, items, key):
            sizes.append(len(items))
            if len(items) > limit:
                raise error
            return super().predict(items, key)

    sizes = []
    return Session("m", Scarce(), runner.session.placement), sizes


OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_out_of_memory_halves_the_batch_and_goes_on(load):
    runner = load("chronos2-tiny")
    requests = [request_of(runner, [value + k for value in WALK]) for k in range(12)]
    expected = dict(runner.forecast_batch(requests))
    session, sizes = scarce(runner, 3, OUT)
    found = dict(runner._forecast(session, list(enumerate(requests))))
    for index, answer in expected.items():
        np.testing.assert_allclose(
            found[index].forecasts[0].mean, answer.forecasts[0].mean, rtol=1e-4
        )
    assert sizes[0] == 12 and max(sizes[1:]) == 6
    sizes.clear()
    assert len(list(runner._forecast(session, list(enumerate(requests))))) == 12
    assert max(sizes) == 3


def test_out_of_memory_of_one_series_is_named(load):
    runner = load("chronos2-tiny")
    session, _ = scarce(runner, 0, OUT)
    [(_, found)] = runner._forecast(session, [(0, request_of(runner, WALK))])
    assert type(found) is OutOfMemory
    assert "ran out of memory on cpu" in found.message and "batch_size" in found.message


def test_real_allocation_failure_is_recognised():
    from tollama_torch.devices import is_out_of_memory

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 58)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_library_failure_is_one_line_and_hits_only_its_request(load):
    runner = load("chronos2-tiny")
    session, _ = scarce(runner, 1, ValueError("odd shapes\nand more"))
    requests = [request_of(runner, WALK) for _ in range(4)]
    found = dict(runner._forecast(session, list(enumerate(requests))))
    assert all(not isinstance(answer, TollamaError) for answer in found.values())
    session, _ = scarce(runner, 0, ValueError("odd shapes\nand more"))
    [(_, failed)] = runner._forecast(session, [(0, requests[0])])
    assert type(failed) is RunnerError
    assert failed.message == "m failed: ValueError: odd shapes"


def spoil(path, **changes):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **changes}))


def cut(path):
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def drop_tensor(path):
    file = path / "model.safetensors"
    raw = file.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    name = next(n for n, t in header.items() if n != "__metadata__" and t["data_offsets"][0] == 0)
    header["unrelated.weight"] = header.pop(name)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda path: (path / "config.json").unlink(), "config.json is missing"),
        (lambda path: (path / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda path: (path / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda path: (path / "model.safetensors").write_bytes(b"\0" * 4), "not a safetensors"),
        (cut, "expected 1"),
        (drop_tensor, "lack 1 tensors"),
    ],
)
def test_damaged_snapshot_is_named_with_the_command(checkpoints, tmp_path, damage, text):
    import shutil

    from tollama_torch.family import TorchRunner

    folder = tmp_path / "snapshot"
    shutil.copytree(checkpoints("chronos2-tiny"), folder)
    damage(folder)
    with pytest.raises(RunnerError, match=text) as caught:
        TorchRunner().load(model="mine", path=str(folder), options={})
    assert "tollama verify mine" in caught.value.message


def test_other_architecture_is_named(checkpoints, tmp_path):
    import shutil

    from tollama_torch.family import TorchRunner

    folder = tmp_path / "snapshot"
    shutil.copytree(checkpoints("chronos2-tiny"), folder)
    spoil(folder, architectures=["BertModel"])
    with pytest.raises(RunnerError, match="BertModel"):
        TorchRunner().load(model="mine", path=str(folder), options={})


@pytest.mark.parametrize("name", ["chronos2-hot", "bolt-hot", "t5-tiny"])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_embeddings_do_not_depend_on_neighbours(load, name, pooling):
    runner = load(name)
    targets = [WALK, WALK[:30], WALK[:5] + [None] * 3, WALK * 3]
    options = {"pooling": pooling}
    together = runner.embed(request_of(runner, *targets, options=options))
    assert len(together["embeddings"]) == 4
    for target, vector in zip(targets, together["embeddings"], strict=True):
        [alone] = runner.embed(request_of(runner, target, options=options))["embeddings"]
        assert len(vector) == 16
        np.testing.assert_allclose(vector, alone, rtol=1e-3, atol=1e-4)
    if name != "t5-tiny":  # its two dozen tokens are all alike at this size
        assert not np.allclose(together["embeddings"][0], together["embeddings"][3], rtol=1e-3)


def test_embedding_is_the_librarys(load, library):
    runner, pipeline = load("chronos2-hot"), library("chronos2-hot")
    [vector] = runner.embed(request_of(runner, series=[{"target": [WALK, WALK[::-1]]}]))[
        "embeddings"
    ]
    [found], _ = pipeline.embed([torch.tensor([WALK, WALK[::-1]])])
    np.testing.assert_allclose(vector, found[:, :5].mean(dim=(0, 1)), rtol=1e-4, atol=1e-5)


def test_fracast_makes_no_embeddings(load):
    runner = load(None)
    with pytest.raises(Unsupported, match="Fracast"):
        runner.embed(request_of(runner, WALK))


def test_unload_lets_go(checkpoints):
    from tollama_torch.family import TorchRunner

    runner = TorchRunner()
    runner.load(model="m", path=checkpoints("chronos2-tiny"), options={})
    runner.unload()
    assert runner.session is None
