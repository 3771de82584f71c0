"""Built-in requests, and how far two answers to one are apart."""

from __future__ import annotations

import math

import pytest

from tollama.core import agreement
from tollama.core.schemas import ForecastRequest

ALL = {
    "multivariate": True,
    "past_covariates": True,
    "future_covariates": True,
    "categorical_covariates": True,
}


def answer(*forecasts):
    return {
        "forecasts": [
            {"mean": mean, "quantiles": {"0.1": low, "0.9": high}} for mean, low, high in forecasts
        ]
    }


@pytest.mark.parametrize("can", [ALL, {}], ids=["all", "none"])
def test_every_request_is_one_that_the_api_takes(can):
    for _, request in agreement.requests("m", can, 64):
        parsed = ForecastRequest.parse(request)
        assert len(parsed.series) == len(request["series"])


def test_what_a_model_cannot_do_is_not_asked():
    few = dict(agreement.requests("m", {}, None))
    many = dict(agreement.requests("m", ALL, 64))
    assert set(few) < set(many)
    assert many["past one pass"]["horizon"] > 64
    assert {"several targets", "covariates", "categories"} <= set(many) - set(few)


def test_the_difference_is_a_share_of_the_peak():
    request = {"series": [{"target": [10.0, None, -50.0]}]}
    one = answer(([20.0, 20.0], [10.0, 10.0], [30.0, 30.0]))
    other = answer(([20.0, 20.0], [10.0, 10.0], [30.0, 30.5]))
    assert agreement.difference(request, one, one) == 0
    assert agreement.difference(request, one, other) == pytest.approx(0.5 / 50)


def test_the_worst_series_counts():
    request = {"series": [{"target": [100.0]}, {"target": [[1.0], [2.0]]}]}
    two = ([[1.0], [2.0]], [[1.0], [2.0]], [[1.0], [2.0]])
    off = ([[1.0], [2.2]], [[1.0], [2.0]], [[1.0], [2.2]])
    row = ([100.0], [100.0], [100.0])
    found = agreement.difference(request, answer(row, two), answer(row, off))
    assert found == pytest.approx(0.2 / 2)


def test_answers_of_other_lengths_are_infinitely_apart():
    request = {"series": [{"target": [1.0]}]}
    one, other = answer(([1.0], [1.0], [1.0])), answer(([1.0, 1.0], [1.0], [1.0]))
    assert agreement.difference(request, one, other) == math.inf
