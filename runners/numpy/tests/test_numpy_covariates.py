"""Inputs as rows of numbers: missing values, categories, and values that are refused."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")

from tollama_numpy import covariates  # noqa: E402
from tollama_numpy.covariates import BadInput  # noqa: E402

NAN = float("nan")


def one(horizon=1, **given):
    [task] = covariates.tasks([given], horizon)
    return task


def rows(array):
    return [[None if np.isnan(x) else round(float(x), 4) for x in row] for row in array]


def test_task_stacks_targets_then_covariates_by_name():
    task = one(
        2,
        target=[[1, 2], [3, None]],
        past_covariates={"b": [5.0, 6.0], "a": [7, 8]},
        future_covariates={"b": [9.0, None]},
    )
    assert task.targets == 2
    assert rows(task.context) == [[1, 2], [3, None], [7, 8], [5, 6]]
    assert rows(task.future) == [[None] * 2, [None] * 2, [None] * 2, [9, None]]
    assert task.context.dtype == task.future.dtype == np.float32


def test_an_empty_future_is_unknown():
    task = one(2, target=[1.0], past_covariates={"a": [2.0]}, future_covariates={"a": []})
    assert rows(task.future) == [[None] * 2] * 2


def test_categories_of_one_target_are_smoothed_means():
    task = one(
        4,
        target=[1.0, 3.0, None, 5.0, 7.0],
        past_covariates={"w": ["a", "a", "a", None, "b"]},
        future_covariates={"w": ["a", None, "c", "b"]},
    )
    mean = 4.0
    a, missing, b = (mean + 4) / 3, (mean + 5) / 2, (mean + 7) / 2
    assert rows(task.context)[1] == [round(x, 4) for x in (a, a, a, missing, b)]
    assert rows(task.future)[1] == [round(x, 4) for x in (a, missing, mean, b)]


def test_categories_of_several_targets_are_ranks_over_all_inputs():
    given = {"target": [[1.0, 2.0], [3.0, 4.0]]}
    first, second, other = covariates.tasks(
        [
            {
                **given,
                "past_covariates": {"w": ["c", None]},
                "future_covariates": {"w": ["a", "x"]},
            },
            {
                **given,
                "past_covariates": {"w": ["a", "b"]},
                "future_covariates": {"w": [None, "c"]},
            },
            {**given, "past_covariates": {"w": ["z", "z"]}},
        ],
        2,
    )
    assert rows(first.context)[2] == [2, 3]
    assert rows(first.future)[2] == [0, None]
    assert rows(second.context)[2] == [0, 1]
    assert rows(second.future)[2] == [3, 2]
    assert rows(other.context)[2] == [0, 0]  # another schema, ranks of its own


def test_a_covariate_without_values_is_of_the_kind_that_others_have():
    given = {"target": [2.0, 4.0]}
    words, nothing = covariates.tasks(
        [
            {**given, "past_covariates": {"w": ["a", "b"]}},
            {**given, "past_covariates": {"w": [None, None]}},
        ],
        1,
    )
    assert rows(words.context)[1] == [2.5, 3.5]
    assert rows(nothing.context)[1] == [3, 3]
    assert rows(one(target=[2.0], past_covariates={"w": [None]}).context)[1] == [None]


def test_categories_without_a_known_target_are_zero():
    task = one(1, target=[None, None], past_covariates={"w": ["a", "b"]})
    assert rows(task.context)[1] == [0, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, None], [1, 2.5, None]),
        (np.array([1.0, NAN]), [1, None]),
        ([1e17, -1e17], [1e17, -1e17]),
        ([1e18, 1e18], [1e18, 1e18]),
    ],
)
def test_numbers_are_float32_with_nan(values, expected):
    row = covariates.numbers(values, ())
    assert row.dtype == np.float32
    np.testing.assert_allclose(row, np.array(expected, float), rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "index"),
    [
        ([0.0, 1e39], 1),
        ([1.0, float("inf")], 1),
        ([-float("inf"), 1.0], 0),
        ([1.0, None, 10**400], 2),
        ([1.0, 3.5e38], 1),
        ([1e30, -1e30], 0),
    ],
)
def test_numbers_refuse_what_float32_arithmetic_cannot_hold(values, index):
    with pytest.raises(BadInput, match="about 1e18") as caught:
        covariates.numbers(values, ("target",))
    assert caught.value.loc == ("target", index)


@pytest.mark.parametrize(
    ("given", "loc", "message"),
    [
        ({"target": [1.0, 2e40]}, (0, "target", 1), "about 1e18"),
        ({"target": [[1.0], [2e40]]}, (0, "target", 1, 0), "about 1e18"),
        ({"target": [[1.0], [2.0, 3.0]]}, (0, "target", 1), "expected 1 values, got 2"),
        (
            {"target": [1.0], "past_covariates": {"a": [1e39]}},
            (0, "past_covariates", "a", 0),
            "about 1e18",
        ),
        (
            {"target": [1.0], "past_covariates": {"a": [1.0, 2.0]}},
            (0, "past_covariates", "a"),
            "expected 1 values, got 2",
        ),
        (
            {"target": [1.0], "past_covariates": {"w": ["a", "b"]}},
            (0, "past_covariates", "w"),
            "expected 1 values, got 2",
        ),
        (
            {"target": [1.0], "future_covariates": {"a": [1.0]}},
            (0, "future_covariates", "a"),
            "its history too",
        ),
        (
            {"target": [1.0], "past_covariates": {"a": [1.0]}, "future_covariates": {"a": [1, 2]}},
            (0, "future_covariates", "a"),
            "expected 1 values, got 2",
        ),
    ],
)
def test_tasks_refuse_by_path(given, loc, message):
    with pytest.raises(BadInput, match=message) as caught:
        covariates.tasks([given], 1)
    assert caught.value.loc == loc
