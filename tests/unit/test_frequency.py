"""Frequency strings: spellings, canonical form, season lengths."""

from __future__ import annotations

import pytest

from tollama.core.errors import InvalidRequest
from tollama.core.frequency import MONTHS, WEEKDAYS, Freq, parse_freq, same_period, season_length

SPELLINGS = {
    "us": "us U u us US microsecond microseconds",
    "ms": "ms L l millisecond",
    "s": "S s 1s sec second seconds Second",
    "min": "min T t MIN Min minute minutes 1min",
    "h": "h H hour hours hourly Hour 1H",
    "D": "D d 1D 1d day days daily DAILY",
    "B": "B b",
    "W-SUN": "W w W-SUN w-sun week weeks weekly 1W",
    "MS": "MS month months monthly 1MS",
    "ME": "M ME me Me 1M",
    "QS-JAN": "QS qs QS-JAN quarter quarters quarterly",
    "QE-DEC": "Q QE q Q-DEC qe-dec",
    "YS-JAN": "AS YS ys AS-JAN year years yearly annual",
    "YE-DEC": "A Y YE y a A-DEC Y-DEC",
    "15min": "15min 15T 15minutes",
    "30s": "30S 30s 030s",
    "2h": "2H 2h 2hours",
    "2W-MON": "2W-MON 2w-mon",
    "3QE-MAR": "3Q-MAR 3QE-Mar",
    "QS-OCT": "QS-OCT",
    "YE-JUN": "A-JUN Y-JUN YE-JUN",
    "YS-APR": "AS-APR YS-APR",
    "6MS": "6MS 6months",
}


@pytest.mark.parametrize(("expected", "texts"), SPELLINGS.items())
def test_parse_freq_reads_old_new_and_spoken_spellings(expected: str, texts: str) -> None:
    for text in texts.split():
        assert str(parse_freq(text)) == expected, text
    assert parse_freq(expected) == parse_freq(texts.split()[0])


def test_parse_freq_ignores_blanks() -> None:
    assert str(parse_freq(" 15 min ")) == "15min"
    assert str(parse_freq("business day")) == "B"


def test_canonical_spelling_is_read_by_pandas() -> None:
    to_offset = pytest.importorskip("pandas.tseries.frequencies").to_offset
    every = [Freq(unit) for unit in ("us", "ms", "S", "min", "h", "D", "B", "MS", "ME")]
    every += [Freq("W", n, day) for n in (1, 3) for day in range(len(WEEKDAYS))]
    every += [Freq(u, 2, m) for u in ("QS", "QE", "YS", "YE") for m in range(1, len(MONTHS) + 1)]
    for freq in every:
        assert to_offset(str(freq)).freqstr == str(freq)
        assert parse_freq(str(freq)) == freq


REFUSED = (
    *("foo", "0D", "-1D", "5", "1.5h", "1h30min", "2D2D", "9999999D", "", " ", "D\n2", "a" * 100),
    *("D-MON", "h-SUN", "W-FOO", "W-JAN", "W-SUNDAY", "W-", "-SUN", "Q-SUN", "QS-MON"),
    *("BM", "BMS", "C", "SM", "bh", "N", "ns"),
    *("\uff11D", "\u33cd"),  # a full-width digit, a letter-like sign
)


@pytest.mark.parametrize("text", REFUSED)
def test_parse_freq_refuses_and_names_the_known(text: str) -> None:
    with pytest.raises(InvalidRequest, match="expected a frequency such as 'h', 'D', 'W-SUN'"):
        parse_freq(text)


@pytest.mark.parametrize("text", ["m", "15m", "Ms", "mS"])
def test_parse_freq_refuses_what_may_be_minutes_or_months(text: str) -> None:
    with pytest.raises(InvalidRequest, match="write 'min' for minutes"):
        parse_freq(text)


def test_parse_freq_refuses_what_is_no_text() -> None:
    for value in (None, 3, ["D"], {}):
        with pytest.raises(InvalidRequest):
            parse_freq(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h", 24),
        ("2h", 12),
        ("6h", 4),
        ("5h", 1),
        ("24h", 7),
        ("D", 7),
        ("2D", 1),
        ("7D", 52),
        ("B", 5),
        ("W-MON", 52),
        ("2W", 26),
        ("4W", 13),
        ("MS", 12),
        ("ME", 12),
        ("3MS", 4),
        ("5MS", 1),
        ("QS", 4),
        ("QE-MAR", 4),
        ("2QS", 2),
        ("YS", 1),
        ("YE", 1),
        ("2YE", 1),
        ("min", 60),
        ("2min", 30),
        ("5min", 288),
        ("7min", 1),
        ("10min", 144),
        ("15min", 96),
        ("30min", 48),
        ("60min", 24),
        ("s", 60),
        ("10s", 360),
        ("ms", 1),
        ("us", 1),
    ],
)
def test_season_length_follows_the_customs(text: str, expected: int) -> None:
    assert season_length(parse_freq(text)) == expected


def test_season_length_without_a_frequency_is_one() -> None:
    assert season_length(None) == 1


def test_same_period_ignores_anchors_and_edges() -> None:
    def same(a: str, b: str) -> bool:
        return same_period(parse_freq(a), parse_freq(b))

    assert same("MS", "ME")
    assert same("W-SUN", "7D")
    assert same("60min", "h")
    assert same("QS-FEB", "3ME")
    assert same("YE", "4QS")
    assert not same("D", "B")
    assert not same("D", "24h")
    assert not same("MS", "QS")


def test_freq_is_an_immutable_value() -> None:
    assert Freq("W") == Freq("W", 1, 6)
    assert {Freq("QS"): 1}[parse_freq("QS-JAN")] == 1
    with pytest.raises(AttributeError):
        Freq("D").n = 2  # type: ignore[misc]
