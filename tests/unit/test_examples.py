"""examples/: what the README promises of them, and that their script makes the same bytes again."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from tollama.cli import data
from tollama.core.schemas import ForecastRequest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
MADE = ("hourly.csv", "retail.csv", "chronos2_request.json")


def test_make_data_writes_the_same_bytes_again(tmp_path):
    script = [sys.executable, "-I", str(EXAMPLES / "make_data.py"), str(tmp_path)]
    subprocess.run(script, check=True, timeout=60)
    for name in MADE:
        assert (tmp_path / name).read_bytes() == (EXAMPLES / name).read_bytes(), name


def test_air_passengers_are_the_published_series():
    (series,) = data.read_series(str(EXAMPLES / "air_passengers.csv")).series
    assert series["id"] == "passengers"
    assert series["target"][:12] == [112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118]
    assert (len(series["target"]), sum(series["target"]), series["target"][-1]) == (144, 40363, 432)
    assert (series["timestamps"][0], series["timestamps"][-1]) == ("1949-01-01", "1960-12-01")


def test_hourly_has_eight_weeks_and_a_gap():
    (series,) = data.read_series(str(EXAMPLES / "hourly.csv")).series
    assert (len(series["target"]), series["target"].count(None)) == (8 * 168, 4)


def test_retail_has_four_stores_and_knows_price_and_promotion_ahead():
    path = str(EXAMPLES / "retail.csv")
    found = data.read_series(path, covariates=["visitors", "price", "promotion"])
    assert [s["id"] for s in found.series] == ["Aarhus", "Bilbao", "Cork", "Évora"]
    assert found.notes == []
    for series in found.series:
        assert len(series["target"]) == 364
        assert list(series["past_covariates"]) == ["visitors"]
        assert list(series["future_covariates"]) == ["price", "promotion"]
        assert data.known_horizon(series) == 14


@pytest.mark.parametrize(
    ("name", "model", "horizon", "ids"),
    [
        ("request.json", "mock", 3, ["passengers", "temperature"]),
        ("chronos2_request.json", "chronos2", 7, ["Aarhus", "Évora"]),
    ],
)
def test_requests_are_valid(name, model, horizon, ids):
    request = ForecastRequest.parse(data.read_request(str(EXAMPLES / name)))
    assert (request.model, request.horizon) == (model, horizon)
    assert [series.id for series in request.series] == ids
    assert request.quantiles == (0.1, 0.5, 0.9)


def test_chronos2_request_has_every_kind_of_covariate():
    request = ForecastRequest.parse(data.read_request(str(EXAMPLES / "chronos2_request.json")))
    for series in request.series:
        kinds = {name: type(values[0]) for name, values in series.past_covariates.items()}
        assert kinds == {"visitors": int, "price": float, "promotion": str}
        assert {name: len(v) for name, v in series.future_covariates.items()} == {
            "price": 7,
            "promotion": 7,
        }
