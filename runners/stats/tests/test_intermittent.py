"""Croston's family on examples worked out by hand."""

from __future__ import annotations

import pytest

from tollama_stats.forecast import forecast
from tollama_stats.intermittent import croston, is_intermittent, sba, tsb

DEMAND = [0.0, 4.0, 0.0, 0.0, 6.0]


def test_croston_divides_smoothed_size_by_smoothed_interval() -> None:
    size, interval = 4 + 0.1 * (6 - 4), 2 + 0.1 * (3 - 2)
    assert croston(DEMAND, 2).mean == pytest.approx([size / interval] * 2)
    assert sba(DEMAND, 2).mean == pytest.approx([0.95 * size / interval] * 2)


def test_tsb_smooths_the_probability_every_step() -> None:
    probability = 2 / 5
    for demand in (0, 1, 0, 0, 1):
        probability += 0.1 * (demand - probability)
    assert tsb(DEMAND, 1).mean == pytest.approx([probability * 4.2])


def test_tsb_sinks_when_demand_ends_and_croston_does_not() -> None:
    ended = [5.0, 0.0, 0.0] * 10 + [0.0] * 30
    assert tsb(ended, 1).mean[0] < 0.1 * croston(ended, 1).mean[0]


def test_intermittence_is_a_mean_interval_over_1_32() -> None:
    assert is_intermittent([0, 1] * 10)
    assert not is_intermittent([0, 1, 1, 1, 1] * 10)
    assert not is_intermittent([0, -1] * 10)
    assert not is_intermittent([0.0] * 10)


@pytest.mark.parametrize("model", ["auto", "croston", "sba", "tsb"])
def test_intervals_of_demand_are_quantiles_of_its_history(model: str) -> None:
    demand = [0, 0, 0, 5, 0, 0, 7, 0, 0, 0, 0, 3, 0, 0, 0, 6, 0, 0, 4, 0] * 4
    found = forecast(model, demand, 3, quantiles=(0.1, 0.5, 0.9), freq_class="D", season_length=7)
    assert found.quantiles[0.1] == [0.0] * 3
    assert found.quantiles[0.5] == found.mean
    assert found.quantiles[0.9][0] > 3
    assert found.usage["interval"] == "quantiles of the history"


def test_auto_keeps_the_week_of_a_shop_that_closes_on_weekends() -> None:
    week = [10, 12, 11, 13, 20, 0, 0]
    found = forecast("auto", week * 20, 7, freq_class="D", season_length=7)
    assert found.usage["season_length"] == 7
    assert found.mean == pytest.approx(week, abs=2)


@pytest.mark.parametrize("model", ["croston", "sba", "tsb"])
def test_negative_values_are_no_demand(model: str) -> None:
    found = forecast(model, [1.0, -2.0, 3.0, 0.0, 2.0], 2)
    assert found.warnings == [f"{model} is for demand that is never negative: used ses"]
