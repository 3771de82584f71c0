"""The calendar on cases written out by hand (test_calendar_pandas has the random ones)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tollama.core.calendar import (
    Freq,
    align,
    format_timestamp,
    future,
    infer,
    is_increasing,
    localize,
    parse_freq,
    parse_timestamp,
    range_from,
    refit,
    zone,
)
from tollama.core.errors import InvalidRequest


def moments(text: str) -> list[datetime]:
    return [parse_timestamp(part) for part in text.split()]


def test_future_keeps_a_fixed_offset() -> None:
    last = parse_timestamp("2024-03-30T23:00:00+01:00")
    assert [s.isoformat() for s in future(last, Freq("h", 2), 2)] == [
        "2024-03-31T01:00:00+01:00",
        "2024-03-31T03:00:00+01:00",
    ]


def test_future_in_zone_steps_days_by_the_clock_and_hours_by_time() -> None:
    last = parse_timestamp("2024-03-30T00:00:00+01:00")
    days = future(last, Freq("D"), 2, tz="Europe/Berlin")
    assert [s.isoformat() for s in days] == [
        "2024-03-31T00:00:00+01:00",
        "2024-04-01T00:00:00+02:00",
    ]
    last = parse_timestamp("2024-10-27T01:00:00+02:00")
    hours = future(last, Freq("h"), 3, tz="Europe/Berlin")
    assert [s.isoformat() for s in hours] == [
        "2024-10-27T02:00:00+02:00",
        "2024-10-27T02:00:00+01:00",
        "2024-10-27T03:00:00+01:00",
    ]
    assert align([last, *hours], Freq("h"))[0] == [0, 1, 2, 3]


def test_future_in_zone_moves_a_skipped_hour_forward() -> None:
    last = parse_timestamp("2024-03-30T02:30:00")
    found = future(last, Freq("D"), 2, tz="Europe/Berlin")
    assert [s.isoformat() for s in found] == [
        "2024-03-31T03:30:00+02:00",
        "2024-04-01T02:30:00+02:00",
    ]


def test_localize_makes_days_of_local_midnights_written_in_utc() -> None:
    utc = moments("2024-03-29T23:00Z 2024-03-30T23:00Z 2024-03-31T22:00Z 2024-04-02T22:00Z")
    assert infer(utc) is None
    local = localize(utc, "Europe/Berlin")
    assert local == utc
    assert infer(local) == Freq("D")
    assert align(local, Freq("D")) == ([0, 1, 2, 4], 5)
    naive = moments("2024-03-31T01:00 2024-03-31T03:00 2024-03-31T04:00")
    assert infer(localize(naive, "Europe/Berlin")) == Freq("h")
    assert align(localize(naive, "Europe/Berlin"), Freq("h")) == ([0, 1, 2], 3)


def test_zone_rejects_an_unknown_name() -> None:
    for name in ("Mars/Olympus", "", "../etc/passwd", "Europe"):
        with pytest.raises(InvalidRequest, match="time zone"):
            zone(name)


def test_range_past_the_last_year_is_an_error() -> None:
    for freq in (Freq("D", 400_000), Freq("h", 999_999), Freq("YE"), Freq("B", 999_999)):
        with pytest.raises(InvalidRequest, match="9999"):
            range_from(datetime(2024, 1, 1), freq, 10_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01 2024-01-02", "D"),
        ("2024-01-01 2024-01-03", None),
        ("2024-01-01 2024-02-01", "MS"),
        ("2024-01-31 2024-02-29", "ME"),
        ("2024-01-01 2024-04-01", "QS-JAN"),
        ("2024-02-01 2024-05-01 2024-08-01", "QS-FEB"),
        ("2023-12-31 2024-03-31 2024-06-30", "QE-DEC"),
        ("2022-01-01 2023-01-01 2024-01-01", "YS-JAN"),
        ("2022-12-31 2023-12-31", "YE-DEC"),
        ("1949 1950 1951", "YS-JAN"),
        ("1949-01 1949-02 1949-05", "MS"),
        ("2024-01-01 2024-03-01 2024-06-01", "MS"),
        ("2024-01-04 2024-01-05 2024-01-08", "B"),
        ("2024-01-01 2024-01-02 2024-01-15", "D"),
        ("2024-01-01 2024-01-02 2024-01-03 2024-01-04 2024-01-05", "D"),
        ("2024-01-05 2024-01-06 2024-01-07 2024-01-08", "D"),
        ("2024-01-07 2024-01-14 2024-01-28", "W-SUN"),
        ("2024-01-01 2024-01-15 2024-01-29", "2W-MON"),
        ("2024-01-01T00:00 2024-01-01T01:00", "h"),
        ("2024-01-01T00:00 2024-01-01T00:15 2024-01-01T00:45", "15min"),
        ("2024-01-01T00:00 2024-01-01T00:00:10 2024-01-01T00:00:20", "10s"),
        ("2024-01-01T00:00 2024-01-02T12:00 2024-01-04T00:00", "36h"),
        ("2024-01-15 2024-02-15 2024-03-15", None),
        ("2024-01-01T00:00:00 2024-01-01T01:00:03 2024-01-01T02:00:01", None),
        ("2024-03-30T00:00+01:00 2024-03-31T00:00+01:00 2024-04-01T00:00+02:00", "D"),
        ("2024-03-31T01:00+01:00 2024-03-31T03:00+02:00 2024-03-31T04:00+02:00", "h"),
        ("2024-01-02 2024-01-01 2023-12-31", None),
        ("2024-01-01 2024-01-01 2024-01-01", None),
        ("2024-01-01", None),
    ],
)
def test_infer_table(text: str, expected: str | None) -> None:
    found = infer(moments(text))
    assert (found and str(found)) == expected


def test_infer_tells_business_days_with_holidays_from_days_with_gaps() -> None:
    business = [s for s in range_from(datetime(2024, 1, 1), Freq("B"), 60)[0] if s.day != 1]
    assert infer(business) == Freq("B")
    positions, length = align(business, Freq("B"))
    assert length > len(positions)
    assert infer(range_from(datetime(2024, 1, 1), Freq("D"), 6)[0]) == Freq("D")


def test_align_names_the_first_stamp_off_the_grid() -> None:
    with pytest.raises(InvalidRequest) as caught:
        align(moments("2024-01-01 2024-02-01 2024-02-15 2024-03-16"), Freq("MS"))
    [(loc, message)] = caught.value.problems()
    assert loc == (2,)
    assert "'MS'" in message
    assert "2024-02-15" in message
    with pytest.raises(InvalidRequest) as caught:
        align(moments("2024-01-01 2024-01-08 2024-01-15"), Freq("W"))
    [(loc, message)] = caught.value.problems()
    assert loc == (0,)
    assert "'W-MON'" in message
    with pytest.raises(InvalidRequest):
        align(moments("2024-01-01T00:00 2024-01-02T01:00"), Freq("D"))
    with pytest.raises(InvalidRequest):
        align(moments("2024-01-01T00:00 2024-01-01T00:30"), Freq("h"))


@pytest.mark.parametrize(
    ("text", "freq", "expected"),
    [
        ("2024-01-01 2024-01-08 2024-01-22", "W", "W-MON"),
        ("2024-01-01 2024-03-01 2024-04-01", "M", "MS"),
        ("2024-01-31 2024-02-29", "MS", "ME"),
        ("2024-01-01 2024-04-01", "Q", "QS-JAN"),
        ("2023-06-30 2024-06-30", "Y", "YE-JUN"),
        ("2024-01-01 2024-02-02", "M", "ME"),
        ("2024-01-07 2024-01-14", "W", "W-SUN"),
        ("2024-01-06 2024-01-07", "B", "B"),
    ],
)
def test_refit_moves_the_anchor_to_the_data(text: str, freq: str, expected: str) -> None:
    assert str(refit(moments(text), parse_freq(freq))) == expected


def test_is_increasing_finds_the_first_violation() -> None:
    assert is_increasing([]) is None
    assert is_increasing(moments("2024-01-01 2024-01-02 2024-01-03")) is None
    assert is_increasing(moments("2024-01-01 2024-01-02 2024-01-02")) == 2
    assert is_increasing(moments("2024-01-03 2024-01-02 2024-01-01")) == 1
    assert is_increasing(moments("2024-10-27T02:00+02:00 2024-10-27T02:00+01:00")) is None
    with pytest.raises(InvalidRequest) as caught:
        is_increasing(moments("2024-01-01 2024-01-02T00:00Z"))
    assert caught.value.problems()[0][0] == (1,)


def test_future_stamps_read_back_through_their_text() -> None:
    last = datetime(2024, 1, 31, 12, tzinfo=timezone(timedelta(hours=-3)))
    for freq in map(parse_freq, ("min", "h", "D", "ME", "QE")):
        for like in ("2024-01-31T12:00:00-03:00", "2024-01-31 12:00-0300"):
            for stamp in future(last, freq, 5):
                assert parse_timestamp(format_timestamp(stamp, like, freq)) == stamp


@pytest.mark.parametrize("freq", ["15min", "D", "B", "W-TUE", "2MS", "QE", "YS"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_steps_that_are_left_out_cost_nothing_and_change_nothing(freq, zone):
    start, step = datetime(2024, 3, 29, 1, 30), parse_freq(freq)
    whole, rolled = range_from(start, step, 40, tz=zone)
    later, again = range_from(start, step, 10, tz=zone, skip=30)
    assert later == whole[30:] and again == rolled
