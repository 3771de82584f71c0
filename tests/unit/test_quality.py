"""Data quality: counts, the grid, and outliers that are there or are not."""

import csv
import math
import random
from pathlib import Path

import pytest

from tollama.cli import quality


def days(*numbers):
    return [f"2024-01-{n:02}" for n in numbers]


def test_a_series_is_placed_on_its_grid_and_counted():
    series = {"id": "a", "target": [1.0, None, 0.0, 2.0], "timestamps": days(1, 2, 5, 6)}
    found = quality.look(series, "D")
    assert list(found.places) == [0, 1, 4, 5] and found.steps == [1, None, None, None, 0, 2]
    assert (found.missing, found.absent, found.zeros) == (1, 2, 1)
    assert found.remarks == [] and found.outliers == []


@pytest.mark.parametrize("freq", [None, "W"])
def test_without_a_step_that_fits_every_row_is_a_step(freq):
    series = {"id": "a", "target": [1.0, 2.0, 3.0], "timestamps": days(1, 2, 5)}
    found = quality.look(series, freq)
    assert list(found.places) == [0, 1, 2] and found.absent == 0


@pytest.mark.parametrize(
    ("target", "remark"),
    [([5.0] * 9, ["constant"]), ([0.0, 0.0, 3.0], ["mostly zeros"]), ([0.0, 1.0], [])],
)
def test_remarks_are_about_the_whole_series(target, remark):
    assert quality.look({"id": "a", "target": target}, None).remarks == remark


@pytest.mark.parametrize("season", [1, 7])
def test_a_spike_is_an_outlier_and_a_season_is_not(season):
    noise = random.Random(3)
    cycle = season if season > 1 else 30
    wave = [20 * math.sin(2 * math.pi * i / cycle) for i in range(140)]
    target = [100 + v + noise.random() for v in wave]
    assert quality.outliers(target, season) == []
    target[70] += 90
    assert quality.outliers(target, season) == [70]


def test_a_spike_among_values_that_repeat_is_an_outlier():
    target = [float(i % 7) for i in range(70)]
    assert quality.outliers(target, 7) == []
    target[30] += 40
    assert quality.outliers(target, 7) == [30]


def test_growth_with_a_season_has_no_outliers():
    path = Path(__file__).resolve().parents[2] / "examples" / "air_passengers.csv"
    target = [float(row["passengers"]) for row in csv.DictReader(path.read_text().splitlines())]
    assert len(target) == 144 and quality.outliers(target, 12) == []


@pytest.mark.parametrize("target", [[], [1.0], [None] * 20, [3.0] * 20, [1.0, 9.0, 1.0]])
def test_short_empty_and_constant_series_have_none(target):
    assert quality.outliers(target, 7) == []
