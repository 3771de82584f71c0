"""Any target, any model: an answer that is finite, complete, ordered and the same twice."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tollama_stats.forecast import MODELS, forecast

LEVELS = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)

ordinary = st.floats(-1e6, 1e6, allow_nan=False)
extreme = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**70), 2**70)
demand = st.sampled_from([0, 0, 0, 1, 2, 5])
positive = st.floats(1e-3, 1e3)
values = st.one_of(ordinary, extreme, integers, demand, positive)
targets = st.one_of(
    st.lists(st.one_of(st.none(), ordinary), min_size=1, max_size=80),
    st.lists(extreme, min_size=1, max_size=60),
    st.lists(integers, min_size=1, max_size=60),
    st.lists(demand, min_size=1, max_size=60),
    st.lists(positive, min_size=1, max_size=120),
    st.lists(st.one_of(st.none(), values), min_size=1, max_size=60),
    st.builds(lambda cycle, times: cycle * times, st.lists(ordinary, max_size=13, min_size=1),
              st.integers(1, 8)),
)  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=60, deadline=None)
@given(
    target=targets,
    horizon=st.integers(1, 30),
    season=st.sampled_from([1, 2, 4, 5, 7, 12, 24, 52]),
    freq_class=st.sampled_from(["Y", "Q", "M", "W", "D", "H", None]),
)
@example(target=[None], horizon=1, season=1, freq_class=None)
@example(target=[1e300, -1e300] * 20, horizon=5, season=4, freq_class="Q")
@example(target=[5e-324, 0, 1e-300] * 20, horizon=5, season=4, freq_class="Q")
@example(target=[2**60 + k for k in range(40)], horizon=5, season=1, freq_class="Y")
@example(target=[None, 3.0, None, None, 4.0, None], horizon=3, season=2, freq_class=None)
def test_forecast_of_any_target_is_finite_complete_and_ordered(
    model: str, target: list[float | None], horizon: int, season: int, freq_class: str | None
) -> None:
    found = forecast(
        model, target, horizon, quantiles=LEVELS, season_length=season, freq_class=freq_class
    )
    paths = [found.quantiles[level] for level in LEVELS]
    for path in (found.mean, *paths):
        assert len(path) == horizon
        assert all(map(math.isfinite, path))
    for lower, higher in itertools.pairwise(paths):
        assert all(map(float.__le__, lower, higher))
    assert found.quantiles[0.5] == found.mean
    assert found.usage["model"] == model
    known = [v for v in target if v is not None]
    if known and min(known) >= 0:
        assert min(min(path) for path in paths) >= 0
    again = forecast(
        model, target, horizon, quantiles=LEVELS, season_length=season, freq_class=freq_class
    )
    assert again == found


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=25, deadline=None)
@given(target=st.lists(positive, min_size=1, max_size=80), exponent=st.integers(-900, 900))
def test_forecast_scales_exactly_with_powers_of_two(
    model: str, target: list[float], exponent: int
) -> None:
    scaled = [math.ldexp(v, exponent) for v in target]
    plain = forecast(model, target, 4, season_length=4, freq_class="Q", quantiles=(0.9,))
    found = forecast(model, scaled, 4, season_length=4, freq_class="Q", quantiles=(0.9,))
    assert found.mean == [math.ldexp(v, exponent) for v in plain.mean]


@pytest.mark.parametrize("model", MODELS)
def test_forecast_of_a_constant_repeats_it(model: str) -> None:
    found = forecast(model, [7.5] * 40, 3, quantiles=(0.1, 0.9), season_length=12, freq_class="M")
    assert found.mean == found.quantiles[0.1] == found.quantiles[0.9] == [7.5] * 3
    assert found.warnings == ["a constant target: used naive, its value is repeated"]


@pytest.mark.parametrize("model", MODELS)
def test_forecast_of_zeros_is_zero(model: str) -> None:
    found = forecast(model, [0] * 30, 3, quantiles=(0.1, 0.9))
    assert found.mean == found.quantiles[0.9] == [0.0] * 3


@pytest.mark.parametrize("model", MODELS)
def test_forecast_without_any_value_is_zero_and_says_so(model: str) -> None:
    found = forecast(model, [None] * 30, 3, quantiles=(0.1,))
    assert found.mean == found.quantiles[0.1] == [0.0] * 3
    assert found.warnings == ["every value of the target is missing: used zero"]


@pytest.mark.parametrize("model", MODELS)
def test_forecast_of_missing_values_is_near_that_of_the_whole(model: str) -> None:
    whole = [100 + 10 * math.sin(t * math.pi / 6) + 0.5 * t for t in range(96)]
    gappy = [None if t in (0, 30, 31, 57) else v for t, v in enumerate(whole)]
    found = forecast(model, [*gappy, None], 12, season_length=12, freq_class="M")
    plain = forecast(model, whole, 13, season_length=12, freq_class="M").mean[1:]
    assert max(map(abs, map(float.__sub__, found.mean, plain))) < 10
    assert found.warnings == [
        "3 missing values inside the target: interpolated",
        "1 missing value at the end of the target: forecast over them",
    ]


@pytest.mark.parametrize("model", MODELS)
def test_forecast_of_a_hundred_thousand_points_and_steps_is_complete(model: str) -> None:
    target = [100 + (t % 24) + (t % 168) / 7 + (t * 7919 % 101) / 10 for t in range(100_000)]
    found = forecast(model, target, 100_000, quantiles=(0.9,), season_length=24, freq_class="H")
    assert len(found.mean) == 100_000
    assert all(map(math.isfinite, found.quantiles[0.9]))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("freq_class", "season"), [("M", 12), ("W", 52), (None, 1)])
def test_forecast_of_growth_far_beyond_floats_is_finite(
    model: str, freq_class: str | None, season: int
) -> None:
    target = [1.1**t * (1.1 if t % 12 == 3 else 1.0) for t in range(60)]
    found = forecast(
        model, target, 30_000, quantiles=(0.9,), season_length=season, freq_class=freq_class
    )
    assert all(map(math.isfinite, found.mean))
    assert all(map(float.__ge__, found.quantiles[0.9], found.mean))
