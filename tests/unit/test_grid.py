"""Histories with a value for every step, before they are cut."""

from __future__ import annotations

import pytest

from tollama.core.errors import InvalidRequest
from tollama.core.schemas import Series
from tollama.daemon.grid import on_grid

LOC = ("series", 0)


def series(**given: object) -> Series:
    return Series.parse({"id": "a", **given}, LOC, number=0, horizon=None)


def test_steps_left_out_become_nulls_with_a_timestamp():
    found = on_grid(
        series(
            freq="D",
            timestamps=["2024-01-01", "2024-01-02", "2024-01-05"],
            target=[1.0, 2.0, 5.0],
            past_covariates={"p": [7, 8, 9]},
            future_covariates={"f": ["x", "y", "z", "next"]},
        ),
        LOC,
    )
    assert found.target == [1.0, 2.0, None, None, 5.0]
    assert found.timestamps == [f"2024-01-0{day}" for day in range(1, 6)]
    assert found.past_covariates == {"p": [7, 8, None, None, 9]}
    assert found.future_covariates == {"f": ["x", "y", "y", "y", "z", "next"]}


def test_several_targets_are_spread_alike():
    found = on_grid(
        series(
            timestamps=["2024-01", "2024-02", "2024-03", "2024-05"],
            target=[[1, 2, 3, 5], [10, 20, 30, 50]],
        ),
        LOC,
    )
    assert found.freq == "MS"
    assert found.target == [[1, 2, 3, None, 5], [10, 20, 30, None, 50]]


def test_start_and_frequency_give_the_timestamps():
    found = on_grid(series(freq="MS", start="2023-11-01", target=[1.0, 2.0, 3.0]), LOC)
    assert found.timestamps == ["2023-11-01", "2023-12-01", "2024-01-01"]
    assert found.start is None


def test_series_without_times_is_left_alone():
    for one in (series(target=[1.0, 2.0]), series(freq="D", target=[1.0, 2.0])):
        assert on_grid(one, LOC) is one


def test_zone_tells_that_a_skipped_hour_is_no_gap():
    given = series(
        freq="h",
        timestamps=[f"2024-03-31 0{hour}:00" for hour in (0, 1, 3, 4)],
        target=[0.0, 1.0, 3.0, 4.0],
    )
    assert on_grid(given, LOC).target == [0.0, 1.0, None, 3.0, 4.0]
    found = on_grid(given, LOC, {"tz": "Europe/Berlin"})
    assert found.target == given.target
    assert found.timestamps == given.timestamps


def test_times_off_the_frequency_name_their_path():
    with pytest.raises(InvalidRequest, match=r"series\[0\]\.timestamps"):
        on_grid(
            series(freq="D", timestamps=["2024-01-01", "2024-01-02T07:00:00"], target=[1.0, 2.0]),
            LOC,
        )
