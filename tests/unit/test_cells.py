"""cli.cells: one style for a column of numbers or dates, found from all of its cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollama.cli import cells as c
from tollama.core.errors import InvalidRequest

COLUMNS = [
    (["1", "-2.5", "+3e2", ".5", "4."], [1, -2.5, 300, 0.5, 4]),
    (["1,5", "2", "1.234,25"], [1.5, 2, 1234.25]),
    (["1,234.5", "12"], [1234.5, 12]),
    (["1,234,567", "3"], [1234567, 3]),
    (["1.234.567", "3"], [1234567, 3]),
    (["1 234,5", "7"], [1234.5, 7]),
    (["1\u00a0234", "7"], [1234, 7]),
    (["1\u202f234,5"], [1234.5]),
    (["1'234.5"], [1234.5]),
    (["1,234", "987"], [1234, 987]),
    (["1,234", "9870"], [1.234, 9870]),
    (["0,123", "1,234"], [0.123, 1.234]),
    (["1.234", "2.345"], [1.234, 2.345]),
    (["\u22125", "5"], [-5, 5]),
    (["1", "", "NA", "n/a", "NaN", "null", "-", " "], [1, *[None] * 7]),
    (["", "NA"], [None, None]),
]


@pytest.mark.parametrize(("cells", "values"), COLUMNS)
def test_numbers_are_read_in_the_style_of_their_column(cells, values):
    assert c.as_numbers(cells, c.number_style(cells)) == (values, None)


def test_commas_that_could_be_either_are_left_open():
    assert c.number_style(["1,234", "2,345"]) is None
    assert c.as_numbers(["1,234"], c.number_style(["1,234"], ".")) == ([1234], None)
    assert c.as_numbers(["1,234"], c.number_style(["1,234"], ",")) == ([1.234], None)


@pytest.mark.parametrize("bad", ["x", "1_000", "inf", "-Infinity", "1e999", "1,2,3", "0x10", "1 2"])
def test_what_is_no_finite_number_is_found_by_its_index(bad):
    assert c.as_numbers(["1", "2", bad, "3"], c.NumberStyle(".")) == ([1, 2], 2)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_pythons_own_numbers_are_read_back_exactly(values):
    texts = [repr(v) for v in values]
    assert c.as_numbers(texts, c.number_style(texts)) == (values, None)


DATES = [
    ("2024-03-05", "2024-03-05"),
    ("2024-3-5", "2024-03-05"),
    ("2024/03/05", "2024-03-05"),
    ("2024.03.05", "2024-03-05"),
    ("2024-03", "2024-03-01"),
    ("2024/03", "2024-03-01"),
    ("2024M03", "2024-03-01"),
    ("2024Q2", "2024-04-01"),
    ("2024-Q2", "2024-04-01"),
    ("Q2 2024", "2024-04-01"),
    ("2024-W05", "2024-01-29"),
    ("2024-W05-3", "2024-01-31"),
    ("20240305", "2024-03-05"),
    ("2024-03-05 07:08", "2024-03-05T07:08:00"),
    ("2024-03-05T07:08:09", "2024-03-05T07:08:09"),
    ("2024-03-05T07:08:09.250", "2024-03-05T07:08:09.250"),
    ("2024-03-05T07:08:09.000", "2024-03-05T07:08:09"),
    ("2024-03-05T07:08:09Z", "2024-03-05T07:08:09Z"),
    ("2024-03-05 07:08:09 UTC", "2024-03-05T07:08:09Z"),
    ("2024-03-05T07:08:09+0530", "2024-03-05T07:08:09+05:30"),
    ("2024-03-05 07:08:09-03", "2024-03-05T07:08:09-03:00"),
    ("2024/3/5 1:02 PM", "2024-03-05T13:02:00"),
    ("2024/3/5 12:02 am", "2024-03-05T00:02:00"),
    ("25.03.2024", "2024-03-25"),
    ("25/3/24", "2024-03-25"),
    ("25-03-1999 13:30", "1999-03-25T13:30:00"),
    ("3/25/2024", "2024-03-25"),
    ("03/25/2024 1:30:00 PM", "2024-03-25T13:30:00"),
    ("5 Mar 2024", "2024-03-05"),
    ("05-Mar-24", "2024-03-05"),
    ("March 5, 2024", "2024-03-05"),
    ("Mar 2024", "2024-03-01"),
    ("Mar-24", "2024-03-01"),
    ("2024-Mar", "2024-03-01"),
    ("03/2024", "2024-03-01"),
]


@pytest.mark.parametrize(("text", "iso"), DATES)
def test_dates_become_iso(text, iso):
    kind = c.date_kind([text], named=False)
    order = c.date_order([text])[0] if kind == "numeric" else ""
    assert c.as_timestamp(text, c.DateStyle(kind, order)) == iso


NAMED = [
    ("1949", "1949-01-01"),
    ("194902", "1949-02-01"),
    ("1577836800", "2020-01-01T00:00:00"),
    ("1577836800500", "2020-01-01T00:00:00.500000"),
]


@pytest.mark.parametrize(("text", "iso"), NAMED)
def test_plain_numbers_are_dates_only_under_a_name_that_says_so(text, iso):
    assert c.date_kind([text], named=False) is None
    kind = c.date_kind([text], named=True)
    assert c.as_timestamp(text, c.DateStyle(kind, "")) == iso


@pytest.mark.parametrize("text", ["112", "1.5", "1,5", "abc", "May", "Q5 2024", "x2024-01-01"])
def test_other_cells_are_no_dates(text):
    assert c.date_kind([text], named=False) is None


@pytest.mark.parametrize(
    "text", ["2024-02-30", "2024-01-01 25:00", "2024-01-01 PM", "2024-01-01Z", "2024-W60"]
)
def test_impossible_dates_are_errors(text):
    with pytest.raises(ValueError):
        c.as_timestamp(text, c.DateStyle(c.date_kind([text], named=False), ""))


MONTHS = [f"01/{m:02}/2024" for m in range(1, 13)]
ORDERS = [
    (["03/04/2024", "25/04/2024"], ("dmy", "parts")),
    (["03/04/2024", "04/25/2024"], ("mdy", "parts")),
    (["03.04.2024", "04.04.2024"], ("dmy", "dots")),
    ([*MONTHS, "01/01/2025"], ("dmy", "spacing")),
    ([f"{m:02}/01/2024" for m in range(1, 13)] + ["01/01/2025"], ("mdy", "spacing")),
    (MONTHS, None),
    (["03/04/2024"], None),
]


@pytest.mark.parametrize(("cells", "order"), ORDERS)
def test_day_or_month_first_is_told_by_the_whole_column(cells, order):
    assert c.date_order(cells) == order


def test_some_timestamps_with_a_zone_are_refused():
    with pytest.raises(InvalidRequest, match="UTC offset on all or on none"):
        c.sort_keys(["2024-01-01T00:00:00Z", "2024-01-01T00:00:00"])
