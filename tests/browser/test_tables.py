"""The page's own modules that read tables, called in the browser with the cases that hurt."""

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(chromium, daemon):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{daemon.url}/")
    yield page
    context.close()


def run(page, module, code, argument=None):
    """The value of `code`, in which `m` is a module of the page and `a` the argument."""
    source = f"async (a) => {{ const m = await import('/web/{module}.js'); return {code}; }}"
    return page.evaluate(source, argument)


READ = """(() => {
  const table = c.parseTable(a);
  const found = s.buildSeries(table, g.guess(table), "file");
  return {header: table.header, roles: g.guess(table).roles, ...found};
})()"""


def read(page, text):
    """Text to series, as the page does it."""
    source = (
        "async (a) => { const [c, g, s] = await Promise.all(['csv', 'columns', 'series']"
        ".map((name) => import(`/web/${name}.js`))); return " + READ + "; }"
    )
    return page.evaluate(source, text)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2\n", [["a", "b"], ["1", "2"]]),
        ('a,"b ""c"", d"\r\n1,"x\ny"\r\n', [["a", 'b "c", d'], ["1", "x\ny"]]),
        ("a,b\n\n1,\n,\n", [["a", "b"], ["1", ""]]),
        ('"open', [["open"]]),
        ("a,", [["a", ""]]),
    ],
)
def test_rows_are_split_as_csv_has_it(page, text, rows):
    assert run(page, "csv", "m.splitRows(a, ',')", text) == rows


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("date,y\n2024-01-01,1\n2024-01-02,2\n", ","),
        ("date;y\n2024-01-01;1,5\n2024-01-02;2,5\n", ";"),
        ("date\ty\n2024-01-01\t1\n", "\t"),
        ("date|y\n2024-01-01|1\n", "|"),
        ("Datum;Umsatz;Kosten\n01.01.2024;1.000,50;0,5\n02.01.2024;1.001,50;0,7\n", ";"),
        ("01.01.2024;1,5\n02.01.2024;2,5\n", ";"),
        ("date,note,y\n2024-01-01,a;b,1\n2024-01-02,c;d,2\n", ","),
        ("y\n1\n2\n", ","),
        ("name,y\n" + '"a;b",1\n' * 40, ","),
    ],
)
def test_the_delimiter_is_found(page, text, delimiter):
    assert run(page, "csv", "m.findDelimiter(a)", text) == delimiter


@pytest.mark.parametrize("text", ["", "\ufeff", "a,b\n"])
def test_nothing_to_read_is_said_in_words(page, text):
    code = "(() => { try { m.parseTable(a); return null; } catch (e) { return e.message; } })()"
    assert "expected" in run(page, "csv", code, text)


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1.5", "2", "", "NA", "-"], [1.5, 2, None, None, None]),
        (["1,5", "1.234,5", "2"], [1.5, 1234.5, 2]),
        (["1,234", "987"], [1234, 987]),
        (["1,234", "98765"], [1.234, 98765]),
        (["1 234", "12 345.5"], [1234, 12345.5]),
        (["1e3", "-2E-1", "+4"], [1000, -0.2, 4]),
    ],
)
def test_numbers_are_read_in_the_style_of_their_column(page, cells, values):
    assert run(page, "cells", "a.map(m.numberReader(m.decimalOf(a)))", cells) == values


@pytest.mark.parametrize(
    ("cells", "isos"),
    [
        (["2024-01-31", "2024-02-29"], ["2024-01-31", "2024-02-29"]),
        (["1949-01", "1949-02"], ["1949-01-01", "1949-02-01"]),
        (["31.01.2024", "01.02.2024"], ["2024-01-31", "2024-02-01"]),
        (["1/31/2024", "2/1/2024"], ["2024-01-31", "2024-02-01"]),
        (["2024-01-01 13:00"], ["2024-01-01T13:00:00"]),
        (["2024-01-01T14:00:00Z"], ["2024-01-01T14:00:00Z"]),
        (["2024-01-01T13:00+02:00"], ["2024-01-01T13:00:00+02:00"]),
        (["2024Q1", "2024Q2"], ["2024-01-01", "2024-04-01"]),
        (["Jan 2024", "Feb 2024"], ["2024-01-01", "2024-02-01"]),
        (["3 March 2024 2:05 pm"], ["2024-03-03T14:05:00"]),
        (["20240131", "20240201"], ["2024-01-31", "2024-02-01"]),
        (["2023", "2024"], ["2023-01-01", "2024-01-01"]),
        (["1704067200"], ["2024-01-01T00:00:00"]),
    ],
)  # fmt: skip
def test_dates_are_read_as_people_write_them(page, cells, isos):
    code = "a.map(m.dateReader(m.dateKind(a, true), m.dateOrder(a).order)).map((d) => d?.iso)"
    assert run(page, "cells", code, cells) == isos


def test_a_day_that_does_not_exist_is_no_date(page):
    assert run(page, "cells", "m.dateReader('iso', '')('2023-02-29') === undefined") is True


def test_day_or_month_first_is_asked_when_nothing_tells(page):
    assert run(page, "cells", "m.dateOrder(['01/02/2024', '03/04/2024'])")["sure"] is False
    spaced = ["01/12/2023", "01/01/2024", "01/02/2024"]
    assert run(page, "cells", "m.dateOrder(a)", spaced) == {"order": "dmy", "sure": True}


@pytest.mark.parametrize(
    ("dates", "freq", "gaps"),
    [
        (["2024-01-01", "2024-02-01", "2024-04-01"], "MS", 1),
        (["2024-01-31", "2024-02-29", "2024-03-31"], "M", 0),
        (["2024-01-01", "2024-04-01", "2024-07-01"], "QS", 0),
        (["2020-01-01", "2021-01-01", "2023-01-01"], "YS", 1),
        (["2024-01-01", "2024-01-08", "2024-01-15"], "W", 0),
        (["2024-01-01T00:00", "2024-01-01T01:00", "2024-01-01T04:00"], "h", 2),
        (["2024-01-01T00:00", "2024-01-01T00:15", "2024-01-01T00:30"], "15min", 0),
        (["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-06"], "D", 2),
        (["2024-01-01", "2024-01-02", "2024-01-13T04:00", "2024-03-09"], None, 0),
    ],
)
def test_frequency_and_gaps_are_reported(page, dates, freq, gaps):
    code = "m.frequency(a.map((d) => Date.parse(d.length > 10 ? d + 'Z' : d)))"
    found = run(page, "frequency", code, dates)
    assert (found["freq"], found["gaps"]) == (freq, gaps)


def test_weekends_are_no_gaps_of_business_days(page):
    days = [f"2024-01-{d:02}" for d in range(1, 27) if (d - 1) % 7 < 5 and d != 10]
    found = run(page, "frequency", "m.frequency(a.map((d) => Date.parse(d)))", days)
    assert (found["freq"], found["gaps"]) == ("B", 1)


def test_columns_of_a_long_table_are_recognised(page):
    text = "store,date,sales,price\n" + "".join(
        f"{store},2024-01-{day:02},{day},{3}\n" for store in ("A", "B") for day in range(1, 15)
    )
    found = read(page, text)
    assert found["roles"] == ["id", "time", "target", "ignore"]
    assert [one["id"] for one in found["series"]] == ["A", "B"]
    assert found["series"][0]["freq"] == "D" and not found["problems"]


def test_columns_of_a_wide_table_are_series(page):
    found = read(page, "date,north,south\n2024-01-01,1,5\n2024-01-02,2,6\n2024-01-03,3,\n")
    assert found["roles"] == ["time", "target", "target"]
    assert [one["id"] for one in found["series"]] == ["north", "south"]


def test_numbers_alone_are_a_series(page):
    found = read(page, "5\n6\n7\n")
    assert [one["target"] for one in found["series"]] == [[5, 6, 7]]
    assert found["series"][0]["stamps"] is None


def test_rows_are_sorted_and_repeats_noted(page):
    found = read(page, "date,y\n2024-01-03,3\n2024-01-01,1\n2024-01-02,2\n2024-01-02,9\n")
    assert found["series"][0]["target"] == [1, 2, 3]
    assert "repeat" in found["notes"][0]


def test_a_cell_that_is_neither_is_named_with_its_line(page):
    text = "date,y\n" + "".join(f"2024-01-{d:02},{d}\n" for d in range(1, 20)) + "2024-01-20,oops\n"
    assert any("line 21" in one and "oops" in one for one in read(page, text)["problems"])


def test_a_request_splits_covariates_by_what_is_known_ahead(page):
    source = """async () => {
      const m = await import('/web/series.js');
      const one = {id: 'a', target: [1, 2], isos: null,
        covariates: {price: [3, 4], visits: [5, 6]}, future: {price: [7, 8, 9]}};
      return [m.toRequest(one, 2), m.toRequest(one, 4)];
    }"""
    known, unknown = page.evaluate(source)
    assert known["future_covariates"] == {"price": [3, 4, 7, 8]}
    assert known["past_covariates"] == {"visits": [5, 6]}
    assert unknown["past_covariates"] == {"price": [3, 4], "visits": [5, 6]}


def test_a_csv_download_defuses_formulas(page):
    code = "m.csvText([['=SUM(A1)', 'a,b', 1.5], ['-1+1', 'say \"x\"', -2]])"
    assert run(page, "downloads", code) == ('\'=SUM(A1),"a,b",1.5\r\n\'-1+1,"say ""x""",-2\r\n')


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (
            ["auto: a: short", "auto: b: short", "theta: a: short"],
            ["auto, theta: a and 1 more: short"],
        ),
        (["series[1]: 7 steps", "series[0]: 8 steps"], ["b and 1 more: 7 steps (and 1 alike)"]),
        (["no: series here", "no: series here"], ["no: series here"]),
        (["x: y: z", "a: 1 of 2"], ["x: y: z", "a: 1 of 2"]),
    ],
)
def test_notes_of_many_series_are_said_once(page, texts, lines):
    code = "[...m.notes(a, ['a', 'b']).querySelectorAll('li')].map((line) => line.textContent)"
    assert run(page, "dom", code, texts) == lines


def test_absent_rows_break_the_line(page):
    days = [1, 2, 3, 6, 7]
    one = {
        "stamps": [day * 86_400_000 for day in days],
        "target": days,
        "freq": "D",
        "gaps": 2,
    }
    code = "(({xs, ys, breaks}) => [xs.map((x) => x / 86400), ys, breaks.size])(m.historyLine(a))"
    xs, ys, breaks = run(page, "series", code, one)
    assert xs == [1, 2, 3, 3.5, 6, 7] and ys == [1, 2, 3, None, 6, 7] and breaks == 1
