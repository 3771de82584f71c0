"""The answers that the library gave, and proof that the tests would see a wrong block."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")

from tollama_numpy import chronos2, chronos_bolt, forecaster, layers, preprocess  # noqa: E402
from tollama_numpy.chronos2 import Chronos2  # noqa: E402
from tollama_numpy.chronos_bolt import ChronosBolt  # noqa: E402

GOLDEN = Path(__file__).parent / "golden"
CLASSES = {"chronos2": Chronos2, "bolt": ChronosBolt}
TOLERANCE = 1e-4  # of the series' peak
SEEN = 2.5e-3


def cases(name):
    return json.loads((GOLDEN / name / "requests.json").read_text())


def model(name):
    return CLASSES[name].from_directory(str(GOLDEN / name))


def peak(target, answer):
    values = np.abs(np.array(target, float))
    known = values[~np.isnan(values)]
    return max(float(known.max(initial=0)), float(np.abs(answer).max()), 1e-9)


def worst(name, loaded, **keywords):
    """The largest difference from the library over all cases, in the series' peak."""
    answers = np.load(GOLDEN / name / "answers.npz")
    found = {}
    for case in cases(name):
        predicted = loaded.predict(case["inputs"], case["horizon"], **case["options"], **keywords)
        for index, (given, answer) in enumerate(zip(case["inputs"], predicted, strict=True)):
            expected = answers[f"{case['name']}/{index}"]
            assert answer.shape == expected.shape
            assert answer.dtype == np.float32
            difference = np.abs(answer - expected).max() / peak(given["target"], expected)
            found[f"{case['name']}/{index}"] = float(difference)
    return found


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("keywords", [{}, {"workers": 2}], ids=["alone", "two workers"])
def test_predict_equals_the_library(name, keywords):
    differences = worst(name, model(name), **keywords)
    assert {key: value for key, value in differences.items() if value > TOLERANCE} == {}


@pytest.mark.parametrize("name", CLASSES)
def test_embed_equals_the_library(name):
    loaded = model(name)
    first = cases(name)[0]["inputs"][0]["target"]
    [found, other] = loaded.embed([first, [1.0, 2.0, None] * 40])
    expected = next(
        value
        for key, value in np.load(GOLDEN / name / "answers.npz").items()
        if key.startswith("embedding/")
    )
    np.testing.assert_allclose(found.tokens, expected, atol=1e-4)
    assert found.patches == 3
    assert other.tokens.shape[1] == 8 + loaded.tokens_after


@pytest.mark.parametrize("name", CLASSES)
def test_tasks_of_all_cases_in_one_batch_equal_the_library(name):
    loaded = model(name)
    answers = np.load(GOLDEN / name / "answers.npz")
    expected, tasks, targets = [], [], []
    for case in cases(name):
        if case["options"].get("cross_learning"):
            continue
        limit = case["options"].get("context_length")
        tasks += loaded.tasks(case["inputs"], case["horizon"], context_length=limit)
        targets += [given["target"] for given in case["inputs"]]
        expected += [answers[f"{case['name']}/{i}"] for i in range(len(case["inputs"]))]
    order = np.random.default_rng(0).permutation(len(tasks))
    by_ahead = {}
    for index in order:
        by_ahead.setdefault(loaded.size(tasks[index]).ahead, []).append(index)
    for indices in by_ahead.values():  # padded together, which a plan would avoid
        found = loaded.compute([tasks[index] for index in indices])
        for index, answer in zip(indices, found, strict=True):
            difference = np.abs(answer - expected[index]).max()
            assert difference <= TOLERANCE * peak(targets[index], expected[index])


def no_positions(self, length):
    return np.ones((length, 1, 1), np.float32), np.zeros((length, 1, 1), np.float32)


def uniform_attention(q, k, v, bias=None):
    return np.broadcast_to(v.mean(-2, keepdims=True), (*q.shape[:-1], v.shape[-1]))


BREAKS = {
    "rotary positions": ("chronos2", layers.RotaryPositions, "table", no_positions),
    "hidden keys": ("chronos2", layers, "key_bias", lambda visible: None),
    "groups": ("chronos2", chronos2, "_groups", lambda sizes: []),
    "attention": ("chronos2", layers, "attend", uniform_attention),
    "relative positions": (
        "bolt",
        layers.RelativePositions,
        "bias",
        lambda self, length: np.zeros((1, 1, length, length), np.float32),
    ),
    "hidden keys of Bolt": ("bolt", layers, "key_bias", lambda visible: None),
    "cross attention": ("bolt", chronos_bolt.CrossAttention, "__call__", lambda *_: None),
    "order of time": ("bolt", forecaster, "left_padded", None),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_block_is_seen(monkeypatch, what):
    name, owner, attribute, replacement = BREAKS[what]
    if replacement is None:
        right = preprocess.left_padded
        replacement = lambda rows: right([row[:, ::-1] for row in rows])  # noqa: E731
    loaded = model(name)
    monkeypatch.setattr(owner, attribute, replacement)
    assert max(worst(name, loaded).values()) > SEEN


@pytest.mark.parametrize("attribute", ["reg", "time_scale"])
def test_a_broken_token_or_clock_is_seen(attribute):
    loaded = model("chronos2")
    setattr(loaded, attribute, getattr(loaded, attribute) * np.float32(0.01))
    assert max(worst("chronos2", loaded).values()) > SEEN
