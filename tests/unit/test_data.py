"""cli.data: files and streams as series, what is guessed, what is refused and in which words."""

from __future__ import annotations

import bz2
import datetime
import gzip
import io
import json
import lzma

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollama.cli import data, sources
from tollama.core.errors import InvalidRequest, NotFound, TollamaError


def read(text, **options):
    raw = text if isinstance(text, bytes) else text.encode()
    return data.read_series(io.BytesIO(raw), **options)


def one(text, **options):
    (series,) = read(text, **options).series
    return series


def refused(text, **options):
    with pytest.raises(InvalidRequest) as caught:
        list(read(text, **options).series)
    return caught.value.message


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


# -- layouts --------------------------------------------------------------------------------------

LONG_HEADERS = [
    ("unique_id,ds,y", {}),
    ("item_id,timestamp,target", {}),
    ("ID,Date,Value", {}),
    ("series_id,datetime,values", {}),
    ("Series ID,Time,Close", {}),
    ("shop,when,amount", {}),
    ("a,b,c", {"id_column": "a", "time_column": "b", "target_column": "c"}),
    ("a,b,c", {"id_column": "1", "time_column": "2", "target_column": "3"}),
]


@pytest.mark.parametrize(("header", "options"), LONG_HEADERS)
def test_long_csv_is_grouped_by_id(header, options):
    rows = "\nB,2024-01-01,5\nA,2024-01-01,1\nA,2024-01-02,2\nB,2024-01-02,\n"
    found = read(header + rows, **options).series
    stamps = ["2024-01-01", "2024-01-02"]
    assert found == [
        {"id": "B", "target": [5.0, None], "timestamps": stamps},
        {"id": "A", "target": [1.0, 2.0], "timestamps": stamps},
    ]


def test_wide_csv_has_a_series_in_every_numeric_column():
    found = read("date,north,note,south\n2024-01,1,x,10\n2024-02,2,y,20\n")
    assert [(s["id"], s["target"]) for s in found.series] == [
        ("north", [1.0, 2.0]),
        ("south", [10.0, 20.0]),
    ]
    assert found.series[0]["timestamps"] == ["2024-01-01", "2024-02-01"]
    assert found.notes == ["the stream: columns not used: note"]


def test_a_remark_that_is_the_same_in_every_row_leaves_a_wide_table_wide():
    found = read("month,north,south,unit\n2024-01,1,10,kg\n2024-02,2,20,kg\n")
    assert [s["id"] for s in found.series] == ["north", "south"]
    assert found.notes == ["the stream: columns not used: unit"]
    (series,) = read("ds,y,price,shop\n2024-01,1,10,A\n2024-02,2,20,A\n").series
    assert (series["id"], series["target"]) == ("A", [1.0, 2.0])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("date,value\n2024-01-01,1\n2024-01-02,abc\n2024-01-03,3\n", "line 3, column 'value'"),
        ("date,value\n2024-01-01,$1\n2024-01-02,$2\n", "line 2, column 'value'"),
        ("id,ds,y,price\na,2024-01-01,1,5\na,2024-01-02,x,5\n", "line 3, column 'y'"),
        ("date,north\n2024-01-01,1\n2024-01-02,n.a\n2024-01-03,3\n", "line 3, column 'north'"),
    ],
)
def test_the_cell_that_is_no_number_is_named(text, place):
    assert f"{place}: expected a number or an empty cell" in refused(text)


def test_a_time_column_with_a_mistake_is_not_left_out():
    message = refused("date,value\n2024-01-01,1\nfoo,2\n2024-01-03,3\n")
    assert "line 3, column 'date': expected a date, got 'foo'" in message


def test_wide_series_begin_at_their_first_value_and_end_together():
    a, b = read("date,a,b\n2024-01-01,,1\n2024-01-02,5,2\n2024-01-03,6,\n").series
    assert a["timestamps"] == ["2024-01-02", "2024-01-03"]
    assert a["target"] == [5.0, 6.0]
    assert b["target"] == [1.0, 2.0, None]


def test_time_may_stand_in_any_column_of_a_wide_table():
    series = one("load,when\n3,2024-01-01 00:00\n4,2024-01-01 01:00\n")
    assert series["id"] == "load"
    assert series["timestamps"] == ["2024-01-01T00:00:00", "2024-01-01T01:00:00"]


@pytest.mark.parametrize(
    "text", ["1\n2\n\n3", "x\n1\n2\n3\n", "value\r\n1\r\n2\r\n3\r\n", "1\r2\r3"]
)
def test_a_single_column_of_numbers_is_one_series(text, tmp_path):
    (series,) = data.read_series(write(tmp_path, "visits.csv", text)).series
    assert series["target"] == [1.0, 2.0, 3.0]
    assert series["id"] == ("x" if text.startswith("x") else "visits")
    assert "timestamps" not in series


def test_name_is_the_id_where_the_data_has_none():
    assert one("1\n2\n", name="mine")["id"] == "mine"
    assert one("ds,y\n2024-01-01,1\n2024-01-02,2\n", name="mine")["id"] == "mine"
    assert one("month,passengers\n1949-01,112\n", name="mine")["id"] == "passengers"


def test_headerless_long_csv_finds_its_columns():
    found = read("A,2024-01-01,5\nA,2024-01-02,6\nB,2024-01-01,7\n")
    assert [(s["id"], s["target"]) for s in found.series] == [("A", [5.0, 6.0]), ("B", [7.0])]
    assert "taken as id: column_1" in found.notes[0]


def test_one_series_a_line_as_the_m_competitions_publish_them():
    found = read('"","V2","V3","V4"\n"M1",1,2,3\n"M2",4,5,\n'.replace('""', '"V1"'))
    assert found.series == [
        {"id": "M1", "target": [1.0, 2.0, 3.0]},
        {"id": "M2", "target": [4.0, 5.0]},
    ]


def test_one_series_a_line_under_dates_keeps_the_dates():
    first, second = read("page,2024-01-01,2024-01-02,2024-01-03\nhome,1,2,3\nhelp,4,,\n").series
    assert first["timestamps"] == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert second["target"] == [4.0, None, None]


def test_a_column_that_counts_rows_is_not_a_series():
    series = one(",date,value\n0,2024-01-01,3\n1,2024-01-02,4\n")
    assert (series["target"], len(series["timestamps"])) == ([3.0, 4.0], 2)


def test_several_columns_that_tell_rows_apart_make_the_id():
    rows = ["date,store,item,sales"]
    for store in (1, 2):
        for item in (1, 2):
            rows += [f"2013-01-0{d},{store},{item},{d * store * item}" for d in (1, 2)]
    found = read("\n".join(rows))
    assert [s["id"] for s in found.series] == ["1/1", "1/2", "2/1", "2/2"]
    assert found.notes == ["the stream: taken as id: store,item (--id NAME,... chooses others)"]
    assert [s["id"] for s in read("\n".join(rows), id_column="item,store").series][1] == "2/1"


def test_several_targets_restrict_a_wide_table():
    found = read("date,a,b,c\n2024-01-01,1,2,3\n", target_column="c,a")
    assert [s["id"] for s in found.series] == ["c", "a"]


def test_freq_is_passed_on():
    assert one("1\n2\n", freq="D")["freq"] == "D"
    assert one('{"target":[1]}', freq="D")["freq"] == "D"
    assert one('{"target":[1],"freq":"h"}', freq="D")["freq"] == "h"


# -- text -----------------------------------------------------------------------------------------

PLAIN = "ds,y\n2024-01-01,1\n2024-01-02,2\n"


@pytest.mark.parametrize(
    "raw",
    [
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", " | ").encode(),
        ("sep=,\n" + PLAIN).encode(),
        ("\n\n" + PLAIN + ",\n\n").encode(),
        PLAIN.replace("2024-01-01", '"2024-01-01"').encode(),
        gzip.compress(PLAIN.encode()),
        bz2.compress(PLAIN.encode()),
        lzma.compress(PLAIN.encode()),
    ],
)
def test_every_usual_packing_reads_the_same(raw):
    assert one(raw) == {"id": "y", "target": [1.0, 2.0], "timestamps": ["2024-01-01", "2024-01-02"]}


def test_latin_1_is_read_and_said():
    found = read("date;Größe €\n2024-01-01;1\n2024-01-02;2\n".encode("cp1252"))
    assert found.series[0]["id"] == "Größe €"
    assert found.notes == ["the stream: not UTF-8 (line 1), read as Latin-1"]


def test_a_quoted_cell_may_hold_delimiters_and_line_ends():
    found = read('id,ds,y\n"Miller, ""M""\nand sons",2024-01-01,1\n').series
    assert found[0]["id"] == 'Miller, "M"\nand sons'


def test_a_very_long_cell_is_no_limit():
    assert one("id,ds,y\n" + "x" * 300_000 + ",2024-01-01,1\n")["target"] == [1.0]


def test_unsorted_rows_are_sorted_with_a_note():
    found = read("ds,y\n2024-01-03,3\n2024-01-01,1\n2024-01-02,2\n")
    assert found.series[0]["target"] == [1.0, 2.0, 3.0]
    assert found.notes == ["the stream: rows were not in time order and have been sorted"]


def test_zoned_timestamps_are_ordered_by_instant():
    series = one(
        "ds,y\n2024-01-01T02:00:00+02:00,2\n2024-01-01T00:30:00Z,3\n2023-12-31T23:00:00Z,1\n"
    )
    assert series["target"] == [1.0, 2.0, 3.0]


# -- covariates and the future ---------------------------------------------------------------------

SHOP = "store,date,sales,promo,weather\n" + "".join(
    f"{store},2024-01-0{d},{'' if d > 3 else d},{d % 2},{'sun' if d < 4 else ''}\n"
    for store in "AB"
    for d in (1, 2, 3, 4, 5)
)


def test_rows_after_the_target_with_covariates_are_known_ahead():
    series = read(SHOP, covariates=["promo", "weather"]).series[0]
    assert series["target"] == [1.0, 2.0, 3.0]
    assert series["timestamps"] == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert series["future_covariates"] == {"promo": [1.0, 0.0, 1.0, 0.0, 1.0]}
    assert series["past_covariates"] == {"weather": ["sun", "sun", "sun"]}
    assert data.known_horizon(series) == 2
    assert data.cut_future(series, 1)["future_covariates"] == {"promo": [1.0, 0.0, 1.0, 0.0]}
    assert data.cut_future(series, 5) is series


def test_covariates_not_asked_for_are_left_out_with_a_note():
    found = read(SHOP)
    assert found.series[0] == {
        "id": "A",
        "target": [1.0, 2.0, 3.0],
        "timestamps": ["2024-01-01", "2024-01-02", "2024-01-03"],
    }
    unused, left_out = found.notes
    assert unused.startswith("the stream: columns not used: promo, weather (--covariates NAME")
    assert left_out.startswith("the stream: rows without a target at the end, but with other")
    assert left_out.endswith("were left out (2 series)")


def test_an_empty_end_without_covariates_is_missing_values():
    assert one("ds,y\n2024-01-01,1\n2024-01-02,\n")["target"] == [1.0, None]


def test_none_is_a_category_and_a_missing_number():
    text = "ds,y,kind,x\n2024-01-01,1,none,1\n2024-01-02,2,NA,none\n2024-01-03,3,,2\n"
    text += "2024-01-04,4,flyer,3\n"
    assert one(text, covariates=["kind", "x"])["past_covariates"] == {
        "kind": ["none", "NA", None, "flyer"],
        "x": [1.0, None, 2.0, 3.0],
    }


def test_covariates_belong_to_every_series_of_a_wide_table():
    found = read(
        "date,a,b,hot\n2024-01-01,1,5,0\n2024-01-02,2,6,1\n2024-01-03,,,1\n",
        covariates=["hot"],
    )
    assert [s["future_covariates"]["hot"] for s in found.series] == [[0.0, 1.0, 1.0]] * 2


def test_a_target_of_nothing_but_missing_values_is_passed_on():
    assert one("ds,y,x\n2024-01-01,,1\n2024-01-02,,2\n")["target"] == [None, None]


# -- JSON -----------------------------------------------------------------------------------------

JSON_FORMS = [
    ("[1, 2, null]", [{"target": [1, 2, None]}]),
    ("[[1, 2], [3]]", [{"target": [1, 2]}, {"target": [3]}]),
    ('{"id": "a", "target": [1, NaN]}', [{"id": "a", "target": [1, None]}]),
    ('{"item_id": 7, "target": [1]}', [{"id": "7", "target": [1]}]),
    (
        '{"id":"a","target":[1]}\n\n{"id":"b","target":[2]}\n',
        [{"id": "a", "target": [1]}, {"id": "b", "target": [2]}],
    ),
    (
        '{"model":"auto","horizon":3}\n{"target":[1]}\n{"target":[2]}',
        [{"target": [1]}, {"target": [2]}],
    ),
    ('{"series": [{"target": [1]}], "horizon": 3}', [{"target": [1]}]),
    ('{\n "series": [\n  {"target": [1]}\n ]\n}', [{"target": [1]}]),
    ('[{"target": [1]}, {"target": [2]}]', [{"target": [1]}, {"target": [2]}]),
    (
        '[{"ds": "2024-01-01", "y": 1}, {"ds": "2024-01-02", "y": null}]',
        [{"id": "y", "target": [1.0, None], "timestamps": ["2024-01-01", "2024-01-02"]}],
    ),
    (
        '{"ds": "2024-01-01", "y": 1.5}\n{"ds": "2024-01-02", "y": 2}\n',
        [{"id": "y", "target": [1.5, 2.0], "timestamps": ["2024-01-01", "2024-01-02"]}],
    ),
    (
        '{"when": ["2024-01-01", "2024-01-02"], "sales": [1, 2]}',
        [{"id": "sales", "target": [1.0, 2.0], "timestamps": ["2024-01-01", "2024-01-02"]}],
    ),
]


@pytest.mark.parametrize(("text", "series"), JSON_FORMS)
def test_json_forms_are_read(text, series):
    assert read(text).series == series


KINDS = [
    (PLAIN, "csv"),
    ("[1,2]", "json"),
    ('{"target":[1]}\n', "json"),
    ('{"target":[1]}\n{"target":[1]}\n', "jsonl"),
    ('{"model":"m","series":[{"target":[1]}]}', "request"),
    ('{\n"model":"m",\n"series":[]\n}', "request"),
    ("\n\n", "empty"),
    (b"PAR1....", "parquet"),
]


@pytest.mark.parametrize(("text", "kind"), KINDS)
def test_sniff_tells_the_kind(text, kind, tmp_path):
    assert data.sniff(write(tmp_path, "file", text)) == kind


def test_read_request_gives_the_object_as_it_stands(tmp_path):
    request = {"model": "mock", "horizon": 2, "series": [{"target": [1, 2]}], "odd": 1}
    assert data.read_request(write(tmp_path, "r.json", json.dumps(request))) == request
    path = write(tmp_path, "s.json", '{"target": [1]}')
    with pytest.raises(
        InvalidRequest, match=r'request object with "series", found a single series'
    ):
        data.read_request(path)


def test_parquet_reads_as_the_same_csv(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table(
        {
            "item_id": ["a", "a"],
            "timestamp": [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 2)],
            "target": [1.5, None],
        }
    )
    path = str(tmp_path / "x.parquet")
    parquet.write_table(table, path)
    expected = [{"id": "a", "target": [1.5, None], "timestamps": ["2024-01-01", "2024-01-02"]}]
    assert data.read_series(path).series == expected
    assert list(data.iter_series(path).series) == expected


def test_parquet_without_pyarrow_says_what_to_do(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "Parquet needs pyarrow" in refused(b"PAR1....PAR1")


# -- refusals -------------------------------------------------------------------------------------

TEN = "".join(f"2024-01-{d:02},{d}\n" for d in range(1, 11))


def test_rows_that_repeat_a_time_are_counted_where_a_count_is_wanted():
    text = "store,ds,y\n" + "".join(f"{store},{row}\n" for store in "ab" for row in TEN.split())
    repeats = {}
    series = read(text + "b,2024-01-04,9\n", id_column="store", repeats=repeats).series
    assert [len(one["target"]) for one in series] == [10, 10]
    assert series[1]["target"][3] == 4 and repeats == {"b": 1}


def test_many_rows_that_repeat_a_time_are_refused_all_the_same():
    assert "--id" in refused("ds,y\n" + TEN + TEN, repeats={})


REFUSED = [
    ("", "expected a table or numbers, found an empty file"),
    ("\n \n", "expected a table or numbers, found an empty file"),
    ("a,b\n", "expected rows below the header (a, b), found none"),
    (b"\x00\x01\x02", "expected text (CSV, JSON), found binary data"),
    (b"PK\x03\x04...", "found an Excel workbook or a zip archive; save the sheet as CSV"),
    (gzip.compress(PLAIN.encode() * 50)[:-9], "compressed file ended before the end"),
    ("ds,y\n" + TEN + "2024-01-11,abc\n", "expected a finite number or an empty cell, got 'abc'"),
    ("ds,y\n" + TEN + "2024-01-11,inf\n", "line 12, column 'y': expected a finite number"),
    ("ds,y\n" + TEN + "2024-01-11,1e999\n", "line 12, column 'y': expected a finite number"),
    ("ds,y\n" + TEN + "2024-13-11,1\n", "line 12, column 'ds': expected a date like 2024-01-01"),
    ("ds,y\n" + TEN + ",1\n", "expected a date like 2024-01-01, got an empty cell"),
    ("ds,y\n" + TEN + "2024-01-02,1\n", "line 12: expected one row a timestamp, but 2024-01-02"),
    ("id,ds,y\nA,2024-01-01,1\nA,2024-01-01,1\n", "2024-01-01 of series 'A' is on line 2 already"),
    ("id,ds,y\nA,2024-01-01,1\n,2024-01-01,1\n", "column 'id': expected an id, got an empty"),
    ("ds,y\n" + TEN + "2024-01-11,1,5\n", "line 12: expected 2 columns, found 3"),
    ("ds,y\n" + TEN + "2024-01-11\n", "line 12: expected 2 columns, found 1"),
    ('ds,y\n"2024-01-01,1\n', "line 2: expected delimited text, found a quote that is"),
    ("ds,a\n2024-01-01,x\n", "expected a column of numbers to forecast, found none among ds, a"),
    ("id,ds,a,b\nA,2024-01-01,1,2\n", "expected one column to forecast, found a, b; choose"),
    ("a,a\n1,2\n", "expected different column names, found 'a' twice"),
    ("ds,y\n2024-01-01T00:00Z,1\n2024-01-01T00:00,2\n", "expected a UTC offset on all or on none"),
    ("date,y\n03/04/2024,1\n03/05/2024,2\n", "'03/04/2024' could have the day or the month"),
    ('date,y\n2024-01-01,"1,234"\n2024-01-02,"1,235"\n', "'1,234' could have a decimal"),
    ("t,y\n1,5\n2,6\n9999,7\n", "dates or evenly numbered steps, found steps of 1 to 9997"),
    ('{"a":', "line 1, column 6: expected JSON (expecting value)"),
    ('{"target":[1]}\n{"target":[1]\n', "line 2, column 14: expected JSON"),
    ('{"target":[1]}\n{"goal":[1]}\n', "line 2: expected a series object with a list"),
    ('["a"]', "expected numbers, series objects with a target, or records, found a list of 1"),
    ("[]", "found nothing"),
    ("[" * 100_000, "expected"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_cannot_be_read_is_named_with_its_place(text, message):
    found = refused(text)
    assert message in found
    assert found.startswith("the stream")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_column": "z"}, "--target 'z': expected one of the columns ds, y"),
        ({"id_column": "z"}, "--id 'z': expected one of the columns ds, y"),
        ({"time_column": "z"}, "--time 'z': expected one of the columns ds, y"),
        ({"covariates": ["z"]}, "--covariates 'z': expected one of the columns ds, y"),
        ({"target_column": "y", "covariates": ["y"]}, "'y' is the id or the target already"),
    ],
)
def test_an_unknown_column_is_named_with_the_known_ones(options, message):
    assert message in refused(PLAIN, **options)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound, match=r"no file '.*none\.csv'"):
        data.read_series(str(tmp_path / "none.csv"))
    with pytest.raises(InvalidRequest, match="expected a readable file, got: is a directory"):
        data.read_series(str(tmp_path))


# -- streaming -------------------------------------------------------------------------------------


@pytest.fixture
def small_window(monkeypatch):
    """Streams from the first bytes on, as a file of many megabytes would be."""
    monkeypatch.setattr(sources, "WHOLE", 70_000)


def long_rows(ids):
    return "".join(f"s{i},2024-01-{d:02},{i * d}\n" for i in ids for d in range(1, 29))


def test_streamed_series_equal_those_read_whole(small_window):
    raw = ("id,ds,y\n" + long_rows(range(300))).encode()
    assert len(raw) > 100_000
    streamed = data.iter_series(io.BytesIO(raw)).series
    assert next(streamed)["id"] == "s0"
    assert list(streamed) == data.read_series(io.BytesIO(raw)).series[1:]


def test_streaming_reads_no_further_than_it_must(small_window):
    class Endless(io.RawIOBase):
        served = 0

        def readable(self):
            return True

        def read(self, size=-1):
            assert size >= 0, "asked for all of it"
            begin = self.served // 100_000
            self.served += size
            head = b"id,ds,y\n" if begin == 0 and self.served == size else b""
            self.block = getattr(self, "block", head)
            while len(self.block) < size:
                n = self.count = getattr(self, "count", 0) + 1
                self.block += long_rows([n]).encode()
            part, self.block = self.block[:size], self.block[size:]
            return part

    endless = Endless()
    series = data.iter_series(endless).series
    for _ in range(50):
        next(series)
    assert endless.served < 2_000_000


def test_streamed_ids_must_lie_together(small_window):
    raw = ("id,ds,y\n" + long_rows(range(300)) + "s7,2024-02-01,1\n").encode()
    with pytest.raises(
        InvalidRequest, match=r"line 8402: id 's7' comes again after line 225; .* sort"
    ):
        list(data.iter_series(io.BytesIO(raw)).series)
    assert data.read_series(io.BytesIO(raw)).series[7]["target"][-1] == 1.0


def test_streamed_json_lines_hold_one_at_a_time(small_window):
    raw = b"".join(b'{"id":"s%d","target":[%s]}\n' % (i, b"1," * 99 + b"1") for i in range(1000))
    series = data.iter_series(io.BytesIO(raw)).series
    assert next(series)["id"] == "s0"
    assert len(list(series)) == 999


def test_a_small_file_may_be_unsorted_when_streamed():
    raw = b"id,ds,y\na,2024-01-01,1\nb,2024-01-01,1\na,2024-01-02,2\n"
    assert [s["id"] for s in data.iter_series(io.BytesIO(raw)).series] == ["a", "b"]


# -- round trip ---------------------------------------------------------------------------------

DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y%m%d", "%d %b %Y")
WRITTEN = st.tuples(
    st.sampled_from(((",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), ("|", ","))),
    st.sampled_from(DATES),
    st.lists(
        st.one_of(st.none(), st.integers(-(10**6), 10**6).map(lambda v: v / 100)),
        min_size=16,
        max_size=40,
    ).filter(lambda values: any(v is not None for v in values)),
    st.booleans(),
)


@given(WRITTEN)
def test_a_table_reads_back_in_whatever_style_it_was_written(written):
    (delimiter, decimal), style, values, long = written
    day = datetime.date(2024, 1, 1)
    lines = [delimiter.join(["key", "ds", "y"] if long else ["ds", "north"])]
    stamps = []
    for step, value in enumerate(values):
        date = day + datetime.timedelta(days=step)
        stamps.append(date.isoformat())
        text = "" if value is None else f"{value:.2f}".replace(".", decimal)
        cells = [date.strftime(style), text]
        lines.append(delimiter.join(["A", *cells] if long else cells))
    series = one("\n".join(lines))
    assert series == {"id": "A" if long else "north", "target": values, "timestamps": stamps}


# -- any bytes ------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text("0123456789,;.\t\n\"'-/: aNé{}[]", max_size=120).map(str.encode),
    )
)
def test_any_bytes_are_series_or_a_tollama_error(raw):
    try:
        found = data.read_series(io.BytesIO(raw))
    except TollamaError as error:
        assert error.exit_code == 2
        return
    for series in found.series:
        json.dumps(series, allow_nan=True)
        assert series["target"]
