"""What a backtest shows a model, and how it ranks."""

from __future__ import annotations

import random

from tollama.core.schemas import Series
from tollama.daemon.backtest import _rank, cut, cutoffs, ranking_score


def test_cutoffs_end_at_the_last_horizon_and_need_a_value():
    assert cutoffs(20, 5, 3, 5) == [5, 10, 15]
    assert cutoffs(20, 5, 3, 1) == [13, 14, 15]
    assert cutoffs(12, 5, 9, 3) == [1, 4, 7]
    assert cutoffs(5, 5, 3, 5) == []


def test_nothing_behind_the_cutoff_is_shown_but_what_is_known_ahead():
    rng = random.Random(1)

    def drawn(n: int, cutoff: int, horizon: int, tail: float) -> dict[str, object]:
        values = [rng.random() for _ in range(n + horizon)]
        after = [tail] * n
        found = cut(
            Series.parse(
                {
                    "id": "a",
                    "target": values[:cutoff] + after[cutoff:],
                    "past_covariates": {"p": values[:cutoff] + after[cutoff:]},
                    "future_covariates": {
                        "f": values[: cutoff + horizon] + [tail] * (n - cutoff),
                        "only ahead": [tail] * horizon,
                    },
                },
                ("series", 0),
                number=0,
                horizon=None,
            ),
            cutoff,
            horizon,
        )
        del found["actuals"]
        return found

    for _ in range(50):
        n, horizon = rng.randint(4, 40), rng.randint(1, 3)
        cutoff = rng.randint(1, n - horizon)
        state = rng.getstate()
        first = drawn(n, cutoff, horizon, 0.0)
        rng.setstate(state)
        assert drawn(n, cutoff, horizon, 1e9) == first
        assert len(first["future_covariates"]["f"]) == cutoff + horizon
        assert "only ahead" not in first["future_covariates"]


def test_first_score_asked_for_ranks():
    assert ranking_score(["mae", "rmse"], {"mae": 1.0, "rmse": 2.0}) == "mae"
    assert ranking_score(["coverage"], {"coverage_0.95": 1.0, "coverage_0.8": 1.0}) == (
        "coverage_0.95"
    )
    assert ranking_score(["wql"], {"wql": None}) == "wql"


def test_coverage_ranks_by_its_distance_from_the_level():
    assert _rank("coverage_0.8", 0.75) < _rank("coverage_0.8", 0.95)
    assert _rank("mase", 0.5) < _rank("mase", 0.6) < _rank("mase", None)
