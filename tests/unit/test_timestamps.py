"""Timestamps: what is read, what is refused, and the style in which new ones are written."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest

from tollama.core.errors import InvalidRequest
from tollama.core.frequency import parse_freq
from tollama.core.timestamps import (
    format_timestamp,
    format_timestamps,
    parse_timestamp,
    parse_timestamps,
)

UTC = timezone.utc


def east(hours: float) -> timezone:
    return timezone(timedelta(hours=hours))


READ = [
    ("2024-01-31", datetime(2024, 1, 31)),
    ("2024-01-31T13:05", datetime(2024, 1, 31, 13, 5)),
    ("2024-01-31 13:05:07", datetime(2024, 1, 31, 13, 5, 7)),
    ("2024-01-31T13", datetime(2024, 1, 31, 13)),
    ("2024-01-31t13:05", datetime(2024, 1, 31, 13, 5)),
    ("2024-01-31T13:05:07.5", datetime(2024, 1, 31, 13, 5, 7, 500_000)),
    ("2024-01-31T13:05:07,25", datetime(2024, 1, 31, 13, 5, 7, 250_000)),
    ("2024-01-31T13:05:07.123456789", datetime(2024, 1, 31, 13, 5, 7, 123_456)),
    ("2024-01-31T13:05:07Z", datetime(2024, 1, 31, 13, 5, 7, tzinfo=UTC)),
    ("2024-01-31T13:05:07z", datetime(2024, 1, 31, 13, 5, 7, tzinfo=UTC)),
    ("2024-01-31T13:05:07.250Z", datetime(2024, 1, 31, 13, 5, 7, 250_000, UTC)),
    ("2024-01-31T13:05Z", datetime(2024, 1, 31, 13, 5, tzinfo=UTC)),
    ("2024-01-31T13:05:07+01:00", datetime(2024, 1, 31, 13, 5, 7, tzinfo=east(1))),
    ("2024-01-31 13:05:07 +0530", datetime(2024, 1, 31, 13, 5, 7, tzinfo=east(5.5))),
    ("2024-01-31T13:05:07-03", datetime(2024, 1, 31, 13, 5, 7, tzinfo=east(-3))),
    ("20240131", datetime(2024, 1, 31)),
    ("20240131T130507Z", datetime(2024, 1, 31, 13, 5, 7, tzinfo=UTC)),
    ("2024-W05", datetime(2024, 1, 29)),
    ("2024-W05-3", datetime(2024, 1, 31)),
    ("2024-02", datetime(2024, 2, 1)),
    ("1949", datetime(1949, 1, 1)),
    ("2024Q3", datetime(2024, 7, 1)),
    ("2024-Q3", datetime(2024, 7, 1)),
    ("2024-02-29", datetime(2024, 2, 29)),
    ("  2024-01-31  ", datetime(2024, 1, 31)),
    ("0001-01-01", datetime(1, 1, 1)),
    ("9999-12-31T23:59:59.999999", datetime(9999, 12, 31, 23, 59, 59, 999_999)),
]

REFUSED = [
    "",
    "foo",
    "2024-13-01",
    "2023-02-29",
    "2024-00-10",
    "2024-1-5",
    "01/31/2024",
    "31.01.2024",
    "24-01-31",
    "2024-01-31T25:00",
    "2024-01-31T24:00",
    "2024-01-31T13:60",
    "2024-01-31T13:05:61",
    "2024-01-31T13:05:07.",
    "2024-01-31x13:05",
    "2024-01-31T13:05:07+25:00",
    "2024-01-31T13:05:07 Europe/Berlin",
    "2024-01-31T",
    "2024-01-31Z",
    "202401",
    "2024Q5",
    "2024-W60",
    "0000-01-01",
    "1706659200",
    "now",
    "٢٠٢٤-01-31",
    "2024-01-31\x00",
    "2024-01-31" * 1000,
]


@pytest.mark.parametrize(("text", "expected"), READ)
def test_parse_timestamp_reads(text: str, expected: datetime) -> None:
    found = parse_timestamp(text)
    assert found == expected
    assert found.utcoffset() == expected.utcoffset()


@pytest.mark.parametrize("text", REFUSED)
def test_parse_timestamp_refuses(text: str) -> None:
    with pytest.raises(InvalidRequest, match="expected an ISO 8601 timestamp") as caught:
        parse_timestamp(text)
    assert len(caught.value.message) < 200


def test_parse_timestamp_refuses_what_is_no_text() -> None:
    for value in (None, 20240131, 1.5, ["2024-01-31"], datetime(2024, 1, 1)):
        with pytest.raises(InvalidRequest):
            parse_timestamp(value)  # type: ignore[arg-type]


def test_parse_timestamps_is_parse_timestamp_of_each() -> None:
    assert parse_timestamps([text for text, _ in READ]) == [parse_timestamp(t) for t, _ in READ]
    assert parse_timestamps([]) == []
    plain = ["2024-01-31", "2024-02-01"]
    assert parse_timestamps(plain) == [datetime(2024, 1, 31), datetime(2024, 2, 1)]


def test_parse_timestamps_names_every_bad_one() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_timestamps(["2024-01-31", "x", "2024-02-01", "2024-02-30", 7])  # type: ignore[list-item]
    assert [loc for loc, _ in caught.value.problems()] == [(1,), (3,), (4,)]


@pytest.mark.parametrize(
    ("like", "moment", "freq", "expected"),
    [
        ("2024-01-31", "2024-02-29T00:00:00", "ME", "2024-02-29"),
        ("2024-01-31", "2024-02-29T00:00:00", "", "2024-02-29"),
        ("2024-01-31", "2024-02-29T00:00:00", "h", "2024-02-29T00:00:00"),
        ("2024-01-31", "2024-02-29T06:00:00", "h", "2024-02-29T06:00:00"),
        ("2024-01-31", "2024-02-29T06:00:00", "", "2024-02-29T06:00:00"),
        ("2024-01-31T00:00", "2024-02-29T00:00:00", "D", "2024-02-29T00:00"),
        ("2024-01-31 00:00:00", "2024-02-29T00:00:00", "D", "2024-02-29 00:00:00"),
        ("2024-01-31 00:00", "2024-02-29T01:02:03", "s", "2024-02-29 01:02:03"),
        ("2024-01-31T00:00:00.000", "2024-02-29T00:00:00", "D", "2024-02-29T00:00:00.000"),
        ("2024-01-31T00:00:00", "2024-01-01T00:00:00.005000", "ms", "2024-01-01T00:00:00.005"),
        ("2024-01-31T00:00:00.5", "2024-01-01T00:00:00.000005", "us", "2024-01-01T00:00:00.000005"),
        (
            "2024-01-31T00:00:00.000000000",
            "2024-01-01T00:00:00",
            "D",
            "2024-01-01T00:00:00.000000000",
        ),
        ("2024-01-31T00:00:00Z", "2024-01-01T00:00:00+00:00", "D", "2024-01-01T00:00:00Z"),
        ("2024-01-31T00:00Z", "2024-01-01T00:00:00+00:00", "D", "2024-01-01T00:00Z"),
        ("2024-01-31T00:00:00Z", "2024-01-01T00:00:00+01:00", "D", "2024-01-01T00:00:00+01:00"),
        (
            "2024-01-31T00:00:00+00:00",
            "2024-01-01T00:00:00+00:00",
            "D",
            "2024-01-01T00:00:00+00:00",
        ),
        (
            "2024-01-31 00:00:00-03:00",
            "2024-01-01T00:00:00-03:00",
            "D",
            "2024-01-01 00:00:00-03:00",
        ),
        ("2024-01-31T00:00:00", "2024-01-01T00:00:00+01:00", "D", "2024-01-01T00:00:00"),
        ("20240131", "2024-02-29T00:00:00", "ME", "20240229"),
        ("1949", "1950-01-01T00:00:00", "YS", "1950"),
        ("1949", "1949-12-31T00:00:00", "YE", "1949-12-31"),
        ("1949-01", "1949-02-01T00:00:00", "MS", "1949-02"),
        ("1949-01", "1949-02-28T00:00:00", "ME", "1949-02-28"),
        ("2024Q1", "2024-04-01T00:00:00", "QS", "2024Q2"),
        ("2024-Q4", "2025-01-01T00:00:00", "QS", "2025-Q1"),
        ("2024Q1", "2024-02-01T00:00:00", "MS", "2024-02-01"),
        ("2024-W05", "2024-02-05T00:00:00", "W-MON", "2024-02-05"),
        ("0900-01-31", "0901-01-31T00:00:00", "YE", "0901-01-31"),
    ],
)
def test_format_timestamp_keeps_the_style(like: str, moment: str, freq: str, expected: str) -> None:
    found = format_timestamp(parse_timestamp(moment), like, parse_freq(freq) if freq else None)
    assert found == expected


@pytest.mark.parametrize(("like", "moment"), READ)
def test_format_timestamp_is_read_back(like: str, moment: datetime) -> None:
    for day in (moment, datetime(2031, 12, 31, 23, 59, 58, 123_456, moment.tzinfo)):
        for freq in (None, parse_freq("D"), parse_freq("h")):
            found = parse_timestamp(format_timestamp(day, like, freq))
            assert found == day
            assert found.utcoffset() == day.utcoffset()


def test_format_timestamps_is_format_timestamp_of_each() -> None:
    moments = [datetime(2024, month, 1) for month in range(1, 13)]
    texts = format_timestamps(moments, "2023-12")
    assert texts == [format_timestamp(moment, "2023-12") for moment in moments]


def test_importing_the_calendar_stays_cheap() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tollama.core.calendar; "
        "print(*{'typing', 'zoneinfo', 'dataclasses', 'pathlib', 'logging'} & set(sys.modules))"
    )
    root = __file__.rsplit("tests", 1)[0]
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, root],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == ""
