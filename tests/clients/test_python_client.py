"""tollama.Client against a real daemon, with real tables."""

import asyncio
import datetime
import socket
import threading

import pytest

from tollama import AsyncClient, Client, TollamaForecaster
from tollama.core.errors import DaemonUnreachable, InvalidRequest, ModelNotFound

MONTHS = [datetime.date(2020 + i // 12, i % 12 + 1, 1) for i in range(36)]
VALUES = [float(10 + (i * 5) % 12 * 10 + i) for i in range(36)]
LONG = {
    "unique_id": ["a"] * 36 + ["b"] * 36,
    "ds": MONTHS * 2,
    "y": VALUES + [v * 2 for v in VALUES],
}


@pytest.fixture(scope="module")
def client(daemon):
    return Client(daemon.url)


def test_models_are_listed_shown_loaded_and_unloaded(client):
    assert "auto" in {m["name"] for m in client.list()}
    assert client.show("auto")["family"] == "stats"
    client.load("ses", keep_alive="1h")
    assert "ses" in {m["name"] for m in client.ps()}
    client.unload("ses")
    assert "ses" not in {m["name"] for m in client.ps()}
    assert client.pull("mock")["status"] == "success"
    client.copy("mock", "mine")
    client.delete("mine")
    client.delete("mock")
    with pytest.raises(ModelNotFound):
        client.show("mock")


def test_a_list_gives_a_forecast(client):
    found = client.forecast(VALUES, horizon=3, model="seasonal-naive", freq="MS", levels=[80])
    assert found.mean == VALUES[24:27]
    assert list(found.quantiles) == ["0.1", "0.9"]
    assert "1 series" in repr(found)


def test_a_dict_gives_a_forecast_by_name(client):
    found = client.forecast({"x": [1, 2], "y": [3, 4]}, horizon=1, model="naive")
    assert found["y"]["mean"] == [4]


def test_a_pandas_table_comes_back_as_one(client):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(LONG)
    found = client.forecast(frame, horizon=2, model="seasonal-naive", levels=[80], quantiles=[0.5])
    assert list(found.columns) == [
        "unique_id", "ds", "seasonal-naive", "seasonal-naive-lo-80", "seasonal-naive-hi-80",
        "seasonal-naive-q-0.5",
    ]  # fmt: skip
    assert found["seasonal-naive"].tolist() == [*VALUES[24:26], *(2 * v for v in VALUES[24:26])]
    assert found["ds"].iloc[0] == pandas.Timestamp("2023-01-01")


def test_missing_values_of_pandas_are_missing(client):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"ds": MONTHS[:4], "y": [1.0, float("nan"), 3.0, 4.0]})
    assert client.forecast(frame, horizon=1, model="naive")["naive"].tolist() == [4.0]


@pytest.mark.parametrize("kind", ["polars", "pyarrow"])
def test_other_tables_come_back_as_their_kind(client, kind):
    module = pytest.importorskip(kind)
    table = module.DataFrame(LONG) if kind == "polars" else module.table(LONG)
    found = client.forecast(table, horizon=1, model="naive")
    assert type(found) is type(table)
    values = found["naive"].to_list() if kind == "polars" else found.column("naive").to_pylist()
    assert values == [VALUES[-1], VALUES[-1] * 2]


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_a_table_keeps_its_types_and_needs_no_order(client, kind):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip(kind)
    times = pandas.date_range("2024-03-29", periods=36, freq="D", tz="Europe/Berlin")
    frame = pandas.DataFrame({**LONG, "ds": [*times, *times], "unique_id": [7] * 36 + [9] * 36})
    table = shuffled = frame.sample(frac=1, random_state=1).sort_values("unique_id", kind="stable")
    if kind == "polars":
        import polars

        table = polars.from_pandas(shuffled)
    elif kind == "pyarrow":
        import pyarrow

        table = pyarrow.Table.from_pandas(shuffled, preserve_index=False)
    found = client.forecast(table, horizon=2, model="naive")
    assert type(found) is type(table)
    if kind == "pandas":
        assert found["ds"].dtype == frame["ds"].dtype and found["unique_id"].dtype == "int64"
    elif kind == "polars":
        assert [found.schema[c] for c in ("unique_id", "ds")] == [
            table.schema[c] for c in ("unique_id", "ds")
        ]
    else:
        assert [found.schema.field(c).type for c in ("unique_id", "ds")] == [
            table.schema.field(c).type for c in ("unique_id", "ds")
        ]
    found = found if kind == "pandas" else found.to_pandas()
    assert found["naive"].tolist() == [VALUES[-1]] * 2 + [2 * VALUES[-1]] * 2
    assert found["ds"].tolist() == [times[-1] + pandas.DateOffset(days=k) for k in (1, 2)] * 2


def test_integer_times_go_on(client):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"ds": range(10, 20, 2), "y": range(5)})
    assert client.forecast(frame, horizon=2, model="naive")["ds"].tolist() == [20, 22]


def test_dates_of_polars_and_pyarrow_stay_dates(client):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"ds": MONTHS, "y": VALUES})
    found = client.forecast(table, horizon=1, model="naive")
    assert found.column("ds").to_pylist() == [datetime.date(2023, 1, 1)]
    polars = pytest.importorskip("polars")
    found = client.forecast(polars.DataFrame(table.to_pydict()), horizon=1, model="naive")
    assert found["ds"].to_list() == [datetime.date(2023, 1, 1)]
    with pytest.raises(InvalidRequest, match="LazyFrame"):
        client.forecast(polars.LazyFrame({"y": [1]}), horizon=1)


def test_columns_of_values_are_lists(client):
    numpy = pytest.importorskip("numpy")
    polars = pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    for values in (numpy.array([1, 2]), polars.Series([1, 2]), pyarrow.array([1, 2]), (1, 2)):
        assert client.forecast(values, horizon=1, model="naive").mean == [2]
        assert client.forecast({"x": values}, horizon=1, model="naive")["x"]["mean"] == [2]


def test_a_series_of_pandas_comes_back_as_one(client):
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(VALUES, pandas.period_range("2020-01", periods=36, freq="M"), name="v")
    found = client.forecast(series, horizon=2, model="seasonal-naive")
    assert found.tolist() == VALUES[24:26]
    assert found.index[0] == pandas.Timestamp("2023-01-01")
    frame = client.forecast(series, horizon=2, model="naive", levels=[80])
    assert list(frame.columns) == ["naive", "naive-lo-80", "naive-hi-80"]
    forecaster = TollamaForecaster("naive", client=client).fit(pandas.Series([1.0, None, 3.0]))
    assert forecaster.predict([1, 3]).to_dict() == {3: 3.0, 5: 3.0}


def test_a_forecast_is_drawn(client, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    found = client.forecast(
        {"a": [1, 2], "b": [3, None, 4]}, horizon=3, model="naive", quantiles=[0.1, 0.4, 0.9]
    )
    try:
        axes = found.plot("b")
        assert [line.get_label() for line in axes.lines] == ["b", "naive"]
        assert list(axes.lines[1].get_xdata()) == [3, 4, 5] and len(axes.collections) == 1
        with pytest.raises(KeyError):
            found.plot("c")
    finally:
        pyplot.close("all")


def test_backtest_and_anomalies_take_the_same_data(client):
    found = client.backtest(VALUES, horizon=3, models=["naive", "seasonal-naive"], freq="MS")
    assert found["winner"] == "seasonal-naive"
    spiked = [*VALUES[:30], 500.0, *VALUES[31:]]
    flagged = client.anomalies(spiked, model="naive", step=1, detection_size=8)
    assert 30 in [p["index"] for p in flagged["series"][0]["points"] if p["anomaly"]]


def test_errors_keep_their_class_and_fields(client):
    with pytest.raises(InvalidRequest) as caught:
        client.forecast([1, 2], horizon=0)
    assert caught.value.problems()[0][0] == ("horizon",)
    with pytest.raises(InvalidRequest, match="percentages"):
        client.forecast([1, 2], horizon=1, levels=[180])
    with pytest.raises(InvalidRequest, match="expected a list"):
        client.forecast(5, horizon=1)
    with pytest.raises(InvalidRequest, match="expected numbers, got 'x'"):
        client.forecast([1, "x"], horizon=1)


def test_nobody_there_is_said_with_what_to_do():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(DaemonUnreachable, match="tollama serve"):
            Client(f"http://127.0.0.1:{held.getsockname()[1]}").version()


def test_a_503_is_tried_again():
    answers = [
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 33\r\n\r\n"
        b'{"error":"x","code":"queue_full"}',
        b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"version":"9.9"}',
    ]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert Client(f"127.0.0.1:{server.getsockname()[1]}").version() == "9.9"
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "expected JSON"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'19\r\n{"status":"downloading"}\n\r\n',
            "went away before the end",
        ),
    ],
)
def test_half_an_answer_is_an_error(answer, text):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = Client(f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(DaemonUnreachable, match=text):
            client.pull("mock") if b"chunked" in answer else client.version()
        thread.join(10)


def test_the_async_client_does_the_same(daemon):
    async def work():
        client = AsyncClient(daemon.url)
        version, found = await asyncio.gather(
            client.version(), client.forecast([1, 2, 3], horizon=1, model="naive")
        )
        events = [event async for event in client.pull_events("mock")]
        await client.delete("mock")
        return version, found.mean, events[-1]["status"]

    version, mean, status = asyncio.run(work())
    assert version == Client(daemon.url).version()
    assert (mean, status) == ([3], "success")


def test_a_forecaster_in_the_shape_of_sklearn(client):
    forecaster = TollamaForecaster("naive", client=client).fit([1, 2, 3])
    assert forecaster.predict(2) == [3, 3]
    assert forecaster.predict([1, 3]) == [3, 3]
    assert list(forecaster.predict_quantiles(1, alpha=[0.1, 0.9])) == [0.1, 0.9]
    assert TollamaForecaster(**forecaster.get_params()).model == "naive"
    with pytest.raises(ValueError, match="call fit"):
        TollamaForecaster().predict(1)


def test_a_forecaster_is_scored_by_utilsforecast(client):
    pandas = pytest.importorskip("pandas")
    evaluation = pytest.importorskip("utilsforecast.evaluation")
    losses = pytest.importorskip("utilsforecast.losses")
    frame = pandas.DataFrame({**LONG, "ds": pandas.to_datetime(LONG["ds"])})
    train = frame[frame.ds < "2022-07-01"]
    forecaster = TollamaForecaster("seasonal-naive", freq="MS", client=client).fit(train)
    found = forecaster.predict(6)
    joined = frame[frame.ds >= "2022-07-01"].merge(found, on=["unique_id", "ds"])
    scores = evaluation.evaluate(joined, metrics=[losses.mae], models=["seasonal-naive"])
    by_id = dict(zip(scores["unique_id"], scores["seasonal-naive"], strict=True))
    # The value a year earlier is 12 lower in "a" and 24 lower in "b".
    assert by_id == {"a": pytest.approx(12.0), "b": pytest.approx(24.0)}
    some = forecaster.predict([1, 6])
    assert some["ds"].dt.month.tolist() == [7, 12, 7, 12]
    bands = forecaster.predict_quantiles(2, alpha=[0.1, 0.9])
    assert (bands["seasonal-naive-q-0.1"] < bands["seasonal-naive-q-0.9"]).all()
