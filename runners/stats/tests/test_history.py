"""Gaps, ends and sizes of a target."""

from __future__ import annotations

import math

import pytest

from tollama_stats.history import clean


def restored(target: list[float | None], season: int = 1) -> list[float]:
    history = clean(target, season)
    assert history is not None
    return history.restore(history.values)


def test_leading_gaps_go_inner_ones_fill_and_trailing_ones_are_counted() -> None:
    history = clean([None, 1.0, None, None, 4.0, None], 1)
    assert history is not None
    assert history.restore(history.values) == pytest.approx([1.0, 2.0, 3.0, 4.0])
    assert (history.trailing, history.filled) == (1, 2)


def test_gaps_of_a_seasonal_series_are_filled_with_its_season() -> None:
    whole = [100 + 20 * math.sin(math.pi * t / 2) + t for t in range(40)]
    gappy = [None if t in (13, 22) else v for t, v in enumerate(whole)]
    assert restored(gappy, 4) == pytest.approx(whole, abs=2.5)


def test_nothing_known_is_no_history() -> None:
    assert clean([None, None], 1) is None


@pytest.mark.parametrize("value", [5e-324, 1e-300, 1.0, 2.0**60, 1.7e308])
def test_scaling_is_exact_and_ordinary_inside(value: float) -> None:
    history = clean([value, -value / 2], 1)
    assert history is not None
    assert max(map(abs, history.values)) <= 1
    assert history.restore(history.values) == [value, -value / 2]


def test_integers_beyond_floats_are_held_at_the_largest() -> None:
    assert restored([10**400, -(10**400)]) == [1.7976931348623157e308, -1.7976931348623157e308]
