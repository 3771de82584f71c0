"""The runner class: requests in, responses out, frequencies as classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tollama.core import calendar
from tollama.core.completion import complete
from tollama.core.schemas import ForecastRequest
from tollama_stats.family import Stats, frequency_class
from tollama_stats.forecast import MODELS


@pytest.mark.parametrize(
    ("freq", "expected"),
    [
        ("YS", "Y"), ("12MS", "Y"), ("QE", "Q"), ("3MS", "Q"), ("ME", "M"), ("2MS", None),
        ("W-MON", "W"), ("7D", "W"), ("D", "D"), ("B", "D"), ("24h", "D"), ("168h", "W"),
        ("h", "H"), ("15min", "H"), ("S", "H"), ("ms", None), ("2D", None),
    ],
)  # fmt: skip
def test_frequency_class_goes_by_the_length_of_a_step(freq: str, expected: str | None) -> None:
    assert frequency_class(calendar.parse_freq(freq)) == expected


def test_family_offers_the_methods_it_has() -> None:
    manifest = json.loads((Path(__file__).parents[1] / "runner.json").read_text(encoding="utf-8"))
    assert sorted(model["name"] for model in manifest["models"]) == sorted(MODELS)


def test_runner_answers_every_series_and_names_it_in_warnings() -> None:
    runner = Stats()
    runner.load(model="auto", path=None, options={})
    request, _ = complete(
        ForecastRequest.parse(
            {
                "model": "auto",
                "horizon": 3,
                "quantiles": [0.9, 0.1],
                "series": [
                    {"id": "a", "freq": "MS", "target": [1, 2, 3, None, 5]},
                    {"id": "b", "target": [4]},
                ],
            }
        )
    )
    response = runner.forecast(request)
    assert [one.id for one in response.forecasts] == ["a", "b"]
    assert list(response.forecasts[0].quantiles) == [0.1, 0.9]
    assert response.forecasts[1].mean == [4.0] * 3
    assert "b: one observation: used naive, its value is repeated" in response.warnings
    assert [one["id"] for one in response.usage["series"]] == ["a", "b"]
