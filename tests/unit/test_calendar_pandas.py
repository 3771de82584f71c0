"""The calendar against pandas, over random starts, frequencies, lengths and gaps."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from tollama.core.calendar import Freq, align, future, infer, range_from, refit

pandas = pytest.importorskip("pandas")
hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
given, settings, assume = hypothesis.given, hypothesis.settings, hypothesis.assume


def build(unit: str, n: int, anchor: int) -> Freq:
    if unit == "W":
        return Freq(unit, n, anchor % 7)
    return Freq(unit, n, anchor % 12 + 1 if unit[0] in "QY" else None)


UNITS = ("us", "ms", "S", "min", "h", "D", "B", "W", "MS", "ME", "QS", "QE", "YS", "YE")
freqs = st.builds(
    build,
    st.sampled_from(UNITS),
    st.one_of(st.just(1), st.integers(1, 40)),
    st.integers(0, 83),
)
starts = st.one_of(
    st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),
    st.dates(datetime(1950, 1, 1).date(), datetime(2050, 1, 1).date()).map(
        lambda day: datetime(day.year, day.month, day.day)
    ),
    st.builds(datetime, st.integers(1896, 2104), st.integers(1, 12), st.just(1)),
    st.builds(datetime, st.sampled_from([1900, 1999, 2000, 2023, 2024]), st.just(2), st.just(28)),
)


@settings(max_examples=600, deadline=None)
@given(starts, freqs, st.integers(1, 30))
def test_range_from_equals_pandas(start: datetime, freq: Freq, n: int) -> None:
    expected = pandas.date_range(start, periods=n, freq=str(freq), unit="us")
    found, rolled = range_from(start, freq, n)
    assert found == list(expected.to_pydatetime())
    assert rolled == (found[0] != start)


@settings(max_examples=600, deadline=None)
@given(starts, freqs, st.integers(1, 30))
def test_future_equals_pandas(last: datetime, freq: Freq, horizon: int) -> None:
    expected = pandas.date_range(last, periods=horizon + 1, freq=str(freq), unit="us")
    expected = [stamp for stamp in expected.to_pydatetime() if stamp > last][:horizon]
    assert future(last, freq, horizon) == expected


# Starts in the years whose rules every pandas knows, half of them around a change of the clocks.
zoned_starts = st.one_of(
    st.datetimes(datetime(1971, 1, 1), datetime(2030, 1, 1)),
    st.builds(
        lambda change, minutes: change + timedelta(minutes=minutes),
        st.sampled_from(
            [datetime(2024, month, day) for month, day in ((3, 10), (3, 31), (10, 27), (11, 3))]
            + [datetime(2024, 4, 7), datetime(2024, 10, 6)]
        ),
        st.sampled_from([15, 60, 24 * 60]).flatmap(
            lambda step: st.integers(-40, 40).map(lambda i: i * step)
        ),
    ),
)


@settings(max_examples=600, deadline=None)
@given(
    zoned_starts,
    freqs,
    st.integers(1, 30),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_range_in_zone_equals_pandas(start: datetime, freq: Freq, n: int, name: str) -> None:
    # pandas refuses an hour that happens twice or never; hours stepped through are no matter.
    walls = pandas.date_range(start, periods=1 if freq.is_clock else n, freq=str(freq), unit="us")
    walls = walls.insert(0, pandas.Timestamp(start))
    assume(not walls.tz_localize(name, ambiguous="NaT", nonexistent="NaT").hasnans)
    first = pandas.Timestamp(start).tz_localize(name)
    expected = pandas.date_range(first, periods=n, freq=str(freq), unit="us")
    assume(expected[-1].year < 2037)
    found, _ = range_from(start, freq, n, tz=name)
    assert [stamp.isoformat() for stamp in found] == [
        stamp.isoformat() for stamp in expected.to_pydatetime()
    ]


@settings(max_examples=400, deadline=None)
@given(starts, freqs, st.integers(3, 40), st.randoms(use_true_random=False), st.booleans())
def test_infer_finds_the_grid_of_a_range(
    start: datetime, freq: Freq, n: int, chance: random.Random, gaps: bool
) -> None:
    assume(freq.unit != "B" or (freq.n == 1 and n > 8))
    stamps, _ = range_from(start, freq, n)
    kept = stamps
    if gaps and n > 8:
        # Two neighbours stay, so that the step is seen.
        kept = stamps[:2] + [stamp for stamp in stamps[2:-1] if chance.random() < 0.8] + stamps[-1:]
    found = infer(kept)
    assert found is not None
    positions, length = align(kept, found)
    assert [range_from(kept[0], found, length)[0][at] for at in positions] == kept
    if kept is stamps and freq.unit not in ("B", "D"):
        assert positions == list(range(n))
    assert refit(kept, found) == found


@settings(max_examples=300, deadline=None)
@given(starts, freqs, st.integers(2, 60), st.randoms(use_true_random=False))
def test_align_gives_positions_on_the_grid(
    start: datetime, freq: Freq, n: int, chance: random.Random
) -> None:
    stamps, _ = range_from(start, freq, n)
    kept = [0, *(i for i in range(1, n) if chance.random() < 0.5)]
    assert align([stamps[i] for i in kept], freq) == (kept, kept[-1] + 1)
