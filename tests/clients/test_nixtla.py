"""Nixtla's own client, unpatched, against the daemon: every call, values asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
nixtla = pytest.importorskip("nixtla")
ApiError = pytest.importorskip("nixtla.nixtla_client").ApiError

# The client's own announcements, and its use of logging's old names.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning"),
]

COLUMNS = ["TimeGPT", "TimeGPT-lo-80", "TimeGPT-hi-80"]


ROOT = Path(__file__).resolve().parents[2]


def needs(method):
    """A mark for what older versions of the client do not have."""
    return pytest.mark.skipif(
        not hasattr(nixtla.NixtlaClient, method), reason=f"this nixtla has no {method}"
    )


@pytest.fixture(scope="module")
def client(daemon):
    return nixtla.NixtlaClient(api_key="any", base_url=daemon.url, max_retries=1)


@pytest.fixture(scope="module")
def air(passengers):
    dates, values = passengers
    return pd.DataFrame({"unique_id": "a", "ds": pd.to_datetime(dates), "y": values})


@pytest.fixture(scope="module")
def five(air):
    """Five series of different length and level."""
    parts = [
        air.iloc[k * 6 :].assign(unique_id=f"id{k}", y=air["y"].iloc[k * 6 :] * (k + 1))
        for k in range(5)
    ]
    return pd.concat(parts, ignore_index=True)


def equal(found, wanted):
    np.testing.assert_allclose(np.asarray(found, float), np.asarray(wanted, float), rtol=1e-6)


def forecast(client, df, h=12, **more):
    more.setdefault("model", "auto")
    more.setdefault("freq", "MS")
    return client.forecast(df, h=h, **more)


def test_key_usage_and_sizes(client, daemon):
    assert client.validate_api_key()
    assert set(client.usage()) == {"minute", "month"}
    params = daemon.call("GET", "/model_params?model=auto&freq=MS")["detail"]
    assert params["input_size"] >= 100_000 and params["horizon"] >= 1000


@needs("list_models")
def test_models_are_listed(client, daemon):
    tags = daemon.call("GET", "/api/tags")["models"]
    assert client.list_models() == sorted(item["name"] for item in tags)


def test_seasonal_naive_repeats_last_year(client, air):
    found = forecast(client, air.iloc[:132], model="seasonal-naive")
    assert found["TimeGPT"].tolist() == air["y"].iloc[120:132].tolist()
    assert found["ds"].tolist() == air["ds"].iloc[132:].tolist()
    assert found["unique_id"].unique().tolist() == ["a"]


def test_values_and_levels_equal_the_native_ones(client, daemon, air):
    native = daemon.forecast(air["y"], 12, quantiles=[0.025, 0.1, 0.9, 0.975])
    found = forecast(client, air, level=[80, 95])
    equal(found["TimeGPT"], native["mean"])
    equal(found["TimeGPT-lo-80"], native["quantiles"]["0.1"])
    equal(found["TimeGPT-hi-80"], native["quantiles"]["0.9"])
    equal(found["TimeGPT-lo-95"], native["quantiles"]["0.025"])
    equal(found["TimeGPT-hi-95"], native["quantiles"]["0.975"])
    assert (found["TimeGPT-hi-95"] > found["TimeGPT-hi-80"]).all()
    assert (found["TimeGPT-lo-95"] < found["TimeGPT-lo-80"]).all()


def test_a_level_keeps_its_spelling(client, air):
    assert "TimeGPT-lo-99.5" in forecast(client, air, level=[99.5])
    assert "TimeGPT-hi-80.0" in forecast(client, air, level=[80.0])


def test_quantiles_come_back_as_columns_even_when_levels_repeat(client, daemon, air):
    asked = [0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95]
    found = forecast(client, air, quantiles=asked)
    native = daemon.forecast(air["y"], 12, quantiles=[0.1, 0.9])
    equal(found["TimeGPT-q-10"], native["quantiles"]["0.1"])
    equal(found["TimeGPT-q-90"], native["quantiles"]["0.9"])
    columns = [f"TimeGPT-q-{round(100 * q)}" for q in asked]
    assert set(columns) <= set(found)
    assert (np.diff(found[columns].to_numpy(), axis=1) >= 0).all()


def test_five_shuffled_ids_equal_five_single_calls(client, five):
    shuffled = five.sample(frac=1, random_state=1)
    together = forecast(client, shuffled, level=[80])
    assert together["unique_id"].unique().tolist() == [f"id{k}" for k in range(5)]
    for name, part in together.groupby("unique_id"):
        alone = forecast(client, five[five["unique_id"] == name], level=[80])
        equal(part[COLUMNS], alone[COLUMNS])


def test_partitions_change_nothing(client, five):
    whole = forecast(client, five, level=[80])
    split = forecast(client, five, level=[80], num_partitions=2)
    pd.testing.assert_frame_equal(whole, split)


def test_integer_time_and_no_id_column(client, daemon, air):
    df = pd.DataFrame({"ds": range(1, 133), "y": air["y"].iloc[:132]})
    found = forecast(client, df, freq=1, model="seasonal-naive")
    assert found["ds"].tolist() == list(range(133, 145))
    assert "unique_id" not in found
    # Integers are no months: the same as a native request without a frequency.
    native = daemon.forecast(df["y"], 12, model="seasonal-naive", freq=None)
    equal(found["TimeGPT"], native["mean"])


def test_a_time_zone_with_summer_time(client, air):
    times = pd.date_range("2024-03-20", periods=200, freq="h", tz="Europe/Berlin")
    df = pd.DataFrame({"ds": times, "y": np.sin(np.arange(200) * 2 * np.pi / 24) + 3})
    found = forecast(client, df, h=24, freq="h", model="seasonal-naive")
    equal(found["TimeGPT"], df["y"].iloc[-24:])


def test_missing_values(client, daemon, air):
    df = air.copy()
    df.loc[[5, 50, 51], "y"] = np.nan
    found = forecast(client, df)
    equal(found["TimeGPT"], daemon.forecast(df["y"].tolist(), 12)["mean"])


def test_a_frequency_that_we_do_not_know_is_no_reason_to_fail(daemon, air):
    series = {"y": air["y"].tolist(), "sizes": [len(air)], "start_datetime": ["1949-01-03"]}
    body = {"model": "auto", "h": 12, "freq": "BMS", "series": series}
    found = daemon.call("POST", "/v2/forecast", body)
    equal(found["mean"], daemon.forecast(air["y"], 12, freq=None)["mean"])


@pytest.fixture(scope="module")
def features(air):
    """AirPassengers with a feature known ahead, a historic and a categorical one."""
    n = len(air)
    rng = np.random.default_rng(0)
    df = air.assign(promo=rng.random(n), weather=rng.random(n), kind=["x", "y", "z"] * (n // 3))
    future = pd.DataFrame(
        {
            "unique_id": "a",
            "ds": pd.date_range("1961-01-01", periods=12, freq="MS"),
            "promo": rng.random(12),
        }
    )
    return df, future


def test_features_that_the_model_cannot_use_change_nothing(client, air, features):
    df, future = features
    plain = forecast(client, air)
    found = forecast(
        client,
        df.drop(columns="kind"),
        X_df=future,
        hist_exog_list=["weather"],
        feature_contributions=True,
    )
    equal(found["TimeGPT"], plain["TimeGPT"])
    shap = client.feature_contributions
    # True of a model that looks at the target only: the features add nothing to it.
    assert (shap[["promo", "weather"]] == 0).all().all()
    equal(shap["base_value"], found["TimeGPT"])


def test_categorical_features(client, air, features):
    df, future = features
    future = future.assign(kind=["x", "y", "z"] * 4)
    found = forecast(
        client,
        df.drop(columns="weather"),
        X_df=future,
        categorical_exog_list=["kind"],
        feature_contributions=True,
    )
    assert (client.feature_contributions[["promo", "kind"]] == 0).all().all()
    equal(found["TimeGPT"], forecast(client, air)["TimeGPT"])


def test_date_features(client, air):
    found = forecast(client, air, date_features=["month", "year"])
    equal(found["TimeGPT"], forecast(client, air)["TimeGPT"])


def test_history_is_forecast_from_what_lies_before_it(client, air):
    found = forecast(client, air, add_history=True, level=[80])
    history = found[found["ds"] <= air["ds"].max()]
    future = found[found["ds"] > air["ds"].max()]
    assert len(future) == 12 and len(history) >= 96
    equal(future[COLUMNS], forecast(client, air, level=[80])[COLUMNS])
    first = history["ds"].min()
    alone = forecast(client, air[air["ds"] < first], h=1)
    equal(history["TimeGPT"].iloc[0], alone["TimeGPT"].iloc[0])
    assert (history["TimeGPT-lo-80"] < history["TimeGPT-hi-80"]).all()


def test_history_with_contributions_and_partitions(client, five):
    df = five.assign(x=1.0)
    future = pd.concat(
        [
            pd.DataFrame(
                {
                    "unique_id": name,
                    "ds": pd.date_range("1961-01-01", periods=3, freq="MS"),
                    "x": 1.0,
                }
            )
            for name in df["unique_id"].unique()
        ]
    )
    found = forecast(
        client, df, h=3, X_df=future, add_history=True, feature_contributions=True, num_partitions=2
    )
    equal(client.feature_contributions["base_value"], found["TimeGPT"])


@pytest.fixture(scope="module")
def tiny(daemon):
    """A tiny Chronos-2 with made-up weights, which does use features."""
    folder = ROOT / "runners" / "numpy" / "tests" / "golden" / "chronos2"
    env = {**os.environ, "TOLLAMA_HOME": str(daemon.home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tollama", "pull", "tiny", "--from-dir", str(folder)]
    subprocess.run(command, env=env, check=True, capture_output=True)
    return "tiny"


def test_features_reach_a_model_that_uses_them(client, daemon, tiny, air, features):
    df, future = features
    future = future.assign(kind=["x", "y", "z"] * 4)
    more = {"hist_exog_list": ["weather"], "categorical_exog_list": ["kind"], "model": tiny}
    found = forecast(client, df, X_df=future, feature_contributions=True, **more)
    shap = client.feature_contributions
    plain = forecast(client, air, model=tiny)
    assert not np.allclose(found["TimeGPT"], plain["TimeGPT"])

    def sent(values):  # the client sends 32 bits
        return [float(str(value)) for value in np.asarray(values, "float32")]

    series = {
        "target": air["y"].tolist(),
        "freq": "MS",
        "future_covariates": {
            "x0": sent(df["promo"]) + sent(future["promo"]),
            "x1": [*df["kind"], *future["kind"]],
        },
        "past_covariates": {"x2": sent(df["weather"])},
    }
    body = {"model": tiny, "horizon": 12, "series": [series]}
    native = daemon.call("POST", "/v1/forecast", body)["forecasts"][0]
    equal(found["TimeGPT"], native["mean"])
    equal(shap["base_value"], plain["TimeGPT"])
    total = shap[["promo", "kind", "weather", "base_value"]].sum(axis=1)
    np.testing.assert_allclose(total, found["TimeGPT"], rtol=1e-4)
    assert (shap[["promo", "kind", "weather"]].abs().max() > 0).all()

    history = forecast(
        client, df, X_df=future, feature_contributions=True, add_history=True, **more
    )
    total = client.feature_contributions[["promo", "kind", "weather", "base_value"]].sum(axis=1)
    np.testing.assert_allclose(total, history["TimeGPT"], rtol=1e-4)


def test_several_series_as_one_target(client, daemon, tiny, air):
    values = air["y"].tolist()
    both = pd.concat([air, air.assign(unique_id="b", y=values[::-1])])
    found = forecast(client, both, model=tiny, multivariate=True, level=[80])
    body = {
        "model": tiny,
        "horizon": 12,
        "quantiles": [0.1, 0.9],
        "series": [{"target": [values, values[::-1]], "freq": "MS"}],
    }
    native = daemon.call("POST", "/v1/forecast", body)["forecasts"][0]
    equal(found["TimeGPT"], np.ravel(native["mean"]))
    equal(found["TimeGPT-lo-80"], np.ravel(native["quantiles"]["0.1"]))
    with pytest.raises(ApiError) as error:
        forecast(client, both, multivariate=True)
    assert error.value.status_code == 422 and "one target" in error.value.body["error"]


def test_fine_tuning_steps_are_answered_without_fine_tuning(client, air):
    found = forecast(client, air, finetune_steps=5, finetune_loss="mae")
    equal(found["TimeGPT"], forecast(client, air)["TimeGPT"])


def test_model_parameters_are_options(client, daemon, air):
    found = forecast(client, air, model="seasonal-naive", model_parameters={"season_length": 6})
    equal(found["TimeGPT"].iloc[:6], air["y"].iloc[-6:])


def test_polars_frames(client, air):
    polars = pytest.importorskip("polars")
    df = polars.DataFrame(
        {"unique_id": air["unique_id"].tolist(), "ds": air["ds"].tolist(), "y": air["y"].tolist()}
    )
    found = forecast(client, df, freq="1mo", model="seasonal-naive")
    equal(found["TimeGPT"].to_numpy(), air["y"].iloc[-12:])


def test_cross_validation_sees_only_what_lies_before_a_cutoff(client, air):
    found = client.cross_validation(
        air, h=12, n_windows=3, step_size=6, freq="MS", model="auto", level=[80]
    )
    assert found["cutoff"].nunique() == 3 and len(found) == 36
    for cutoff, window in found.groupby("cutoff"):
        alone = forecast(client, air[air["ds"] <= cutoff], level=[80])
        equal(window[COLUMNS], alone[COLUMNS])
        assert window["ds"].tolist() == alone["ds"].tolist()
        equal(window["y"], air.set_index("ds")["y"].loc[window["ds"]])


def test_cross_validation_of_several_series_with_partitions(client, five):
    whole = client.cross_validation(five, h=6, n_windows=2, freq="MS", model="theta")
    split = client.cross_validation(
        five, h=6, n_windows=2, freq="MS", model="theta", num_partitions=2
    )
    pd.testing.assert_frame_equal(whole, split)
    assert len(whole) == 5 * 12


def test_cross_validation_with_features_and_quantiles(client, features):
    df, _ = features
    found = client.cross_validation(
        df,
        h=6,
        n_windows=2,
        freq="MS",
        model="seasonal-naive",
        hist_exog_list=["weather"],
        categorical_exog_list=["kind"],
        quantiles=[0.1, 0.9],
    )
    assert (found["TimeGPT-q-10"] < found["TimeGPT-q-90"]).all()


def test_an_outlier_is_an_anomaly(client, air):
    df = air.copy()
    df.loc[120, "y"] = 1500
    found = client.detect_anomalies(df, freq="MS", model="auto", level=99)
    flagged = found[found["anomaly"].astype(bool)]["ds"].tolist()
    assert df["ds"].iloc[120] in flagged and len(flagged) <= 12
    clean = client.detect_anomalies(air, freq="MS", model="auto", level=99)
    assert not clean["anomaly"].astype(bool).iloc[:80].all()
    wider = client.detect_anomalies(df, freq="MS", model="auto", level=99.9)
    assert wider["anomaly"].sum() <= found["anomaly"].sum()


def test_anomalies_of_several_series_with_partitions(client, five):
    whole = client.detect_anomalies(five, freq="MS", model="seasonal-naive")
    split = client.detect_anomalies(five, freq="MS", model="seasonal-naive", num_partitions=2)
    pd.testing.assert_frame_equal(whole, split)


def test_anomalies_as_they_come(client, air):
    df = air.copy()
    df.loc[len(df) - 3, "y"] = 1500
    found = client.detect_anomalies_online(
        df, h=6, detection_size=12, freq="MS", model="auto", level=99
    )
    assert len(found) == 12
    flagged = found[found["anomaly"].astype(bool)]
    assert df["ds"].iloc[-3] in flagged["ds"].tolist()
    # 99 % of a normal distribution lie within 2.576 deviations.
    assert (flagged["anomaly_score"] > 2.575).all()
    calm = found[~found["anomaly"].astype(bool)]
    assert (calm["anomaly_score"] <= 2.577).all()


def test_anomalies_of_all_series_at_once(client, air):
    parts = []
    for k in range(3):
        df = air.assign(unique_id=f"s{k}", y=air["y"] * (1 + k))
        df.loc[140, "y"] *= 2.5
        parts.append(df)
    found = client.detect_anomalies_online(
        pd.concat(parts),
        h=12,
        detection_size=12,
        freq="MS",
        model="auto",
        threshold_method="multivariate",
    )
    assert len(found) == 36
    by_time = found.groupby("ds")
    assert (by_time["accumulated_anomaly_score"].nunique() == 1).all()
    sums = by_time["anomaly_score"].apply(lambda s: (s**2).sum())
    equal(by_time["accumulated_anomaly_score"].first(), sums)
    assert found.set_index("ds")["anomaly"].loc[air["ds"].iloc[140]].astype(bool).all()


@needs("simulate")
def test_simulated_paths_follow_the_quantiles_and_the_seed(client, daemon, air):
    paths = client.simulate(air, h=12, n_paths=400, seed=7, freq="MS", model="auto")
    assert len(paths) == 400 * 12 and not paths["coupled"].any()
    again = client.simulate(air, h=12, n_paths=400, seed=7, freq="MS", model="auto")
    pd.testing.assert_frame_equal(paths, again)
    other = client.simulate(air, h=12, n_paths=400, seed=8, freq="MS", model="auto")
    assert not np.allclose(paths["TimeGPT"], other["TimeGPT"])
    native = daemon.forecast(air["y"], 12, quantiles=[0.1, 0.9])["quantiles"]
    spread = np.subtract(native["0.9"], native["0.1"])
    table = paths.pivot(index="sample_id", columns="ds", values="TimeGPT")
    assert (np.abs(table.quantile(0.1) - native["0.1"]) < 0.25 * spread).all()
    assert (np.abs(table.quantile(0.9) - native["0.9"]) < 0.25 * spread).all()


@needs("explain")
def test_explain_finds_the_feature_that_leads(client, air):
    rng = np.random.default_rng(3)
    lead = rng.normal(size=300)
    df = pd.DataFrame(
        {
            "unique_id": "a",
            "ds": pd.date_range("2020-01-01", periods=300, freq="D"),
            "y": np.r_[0, lead[:-1]] + 0.2 * rng.normal(size=300),
            "leads": lead,
            "noise": rng.normal(size=300),
        }
    )
    granger = client.explain(df, method="granger", freq="D").set_index("feature")["weight"]
    assert granger["leads"] > 2 and granger["noise"] < 0.1
    entropy = client.explain(df, method="transfer_entropy", freq="D").set_index("feature")
    equal(entropy["weight"], granger / 2)


@needs("jobs")
def test_jobs(client, air):
    job = client.jobs.forecast(air, h=12, freq="MS", model="auto", level=[80])
    pd.testing.assert_frame_equal(job.wait(), forecast(client, air, level=[80]))
    assert job.status == "succeeded"
    job = client.jobs.cross_validation(air, h=12, freq="MS", model="auto")
    assert len(job.wait()) == 12
    job = client.jobs.detect_anomalies(air, h=6, detection_size=6, freq="MS", model="auto")
    assert len(job.wait()) == 6


@needs("jobs")
def test_a_job_that_fails_says_why(client, air):
    job = client.jobs.forecast(
        air, h=12, freq="MS", model="auto", model_parameters={"season_length": "x"}
    )
    with pytest.raises(nixtla.JobError, match="season_length"):
        job.wait()


@needs("jobs")
def test_a_job_can_be_cancelled(client, daemon, air):
    big = pd.concat([air.assign(unique_id=f"s{k}") for k in range(300)])
    job = client.jobs.detect_anomalies(big, h=1, detection_size=100, freq="MS", model="auto")
    job.cancel()
    status = daemon.call("GET", f"/v2/anomaly_detection/jobs/{job.job_id}")
    assert status["status"] == "cancelled"
    deadline = time.monotonic() + 30
    while any(m["running"] for m in daemon.call("GET", "/api/ps")["models"]):
        assert time.monotonic() < deadline, "its forecasts go on"


def test_fine_tuning_is_refused_honestly(client, air):
    with pytest.raises(ApiError) as error:
        client.finetune(air, freq="MS", model="auto")
    assert error.value.status_code == 501
    assert "trains no models" in error.value.body["detail"]
    assert client.finetuned_models() == []
    for call in (client.finetuned_model, client.delete_finetuned_model):
        try:
            assert call("x") is False
        except ApiError as refused:
            assert refused.status_code == 404
    with pytest.raises(ApiError) as error:
        forecast(client, air, finetuned_model_id="x")
    assert error.value.status_code == 404


def refusals(daemon) -> int:
    """How many requests the daemon has refused."""
    with urllib.request.urlopen(daemon.url + "/metrics", timeout=60) as answer:
        text = answer.read().decode()
    lines = (line for line in text.splitlines() if line.startswith("tollama_http_requests_total{"))
    counts = [line for line in lines if 'status="404"' in line or 'status="422"' in line]
    return sum(int(float(line.rpartition(" ")[2])) for line in counts)


def test_errors_have_a_detail_and_are_not_repeated(client, daemon, air):
    before = refusals(daemon)
    with pytest.raises(ApiError) as error:
        forecast(client, air, model="timegpt-1-long-horizon")
    assert error.value.status_code == 404 and "tollama cp" in error.value.body["detail"]
    with pytest.raises(ApiError) as error:
        forecast(client, air, level=[100])
    assert error.value.status_code == 422
    assert error.value.body["detail"][0]["loc"] == ["body", "level", 0]
    deadline = time.monotonic() + 30
    while refusals(daemon) < before + 2:  # a request is counted when its answer is out
        assert time.monotonic() < deadline, "its refusals are not counted"
    assert refusals(daemon) == before + 2
    assert daemon.call("GET", "/v2/nowhere", status=404)["detail"].startswith("no such path")
    assert daemon.call("GET", "/v2/forecast", status=405)["detail"]
    found = daemon.call("POST", "/v2/forecast", {"model": "auto", "h": 1}, status=422)
    assert found["detail"][0]["loc"] == ["body", "series"]


def test_an_alias_serves_timegpt(client, daemon, air):
    daemon.call("POST", "/api/copy", {"source": "auto", "destination": "timegpt-1"})
    alias = client.forecast(air, h=12, freq="MS", model="timegpt-1")
    equal(alias["TimeGPT"], forecast(client, air)["TimeGPT"])


@pytest.fixture(scope="module")
def many(air):
    """1,200 series: over 1 MiB of JSON, which the client compresses with zstd."""
    values = air["y"].to_numpy()
    noise = np.random.default_rng(0).normal(1, 0.05, (1200, len(values)))
    return pd.DataFrame(
        {
            "unique_id": np.repeat([f"s{k:04}" for k in range(1200)], len(values)),
            "ds": np.tile(air["ds"], 1200),
            "y": (noise * values).ravel(),
        }
    )


def test_a_large_body_comes_compressed(client, many):
    found = forecast(client, many, model="seasonal-naive")
    last = many.groupby("unique_id").tail(12)
    equal(found["TimeGPT"], last["y"].astype("float32"))


def test_a_large_body_needs_no_package_of_the_daemon(start, many):
    daemon = start("-S")  # without site-packages, as `python -I -S tollama.pyz` runs
    client = nixtla.NixtlaClient(api_key="any", base_url=daemon.url, max_retries=1)
    found = forecast(client, many, model="seasonal-naive")
    last = many.groupby("unique_id").tail(12)
    equal(found["TimeGPT"], last["y"].astype("float32"))


def test_ten_clients_at_once_leave_the_daemon_quick(client, daemon, five):
    forecast(client, five)
    results, failures = [], []

    def work():
        try:
            results.append(forecast(client, five, level=[80])["TimeGPT"].to_numpy())
        except Exception as error:  # shown below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    asked = 0
    while any(thread.is_alive() for thread in threads):
        with urllib.request.urlopen(daemon.url + "/api/ps", timeout=10) as response:
            assert json.load(response)["models"]
        asked += 1
    for thread in threads:
        thread.join()
    assert not failures and len(results) == 10 and asked
    for one in results[1:]:
        equal(one, results[0])


def test_one_503_is_retried(daemon, air):
    """A front that is busy once, and passes on what comes after."""
    refused = []

    class Front(BaseHTTPRequestHandler):
        def do_GET(self):
            self.do_POST()

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.command == "POST" and not refused:
                refused.append(self.path)
                self.answer(503, b'{"detail":"queue full"}', {"Retry-After": "1"})
                return
            request = urllib.request.Request(daemon.url + self.path, body or None)
            for name in ("content-encoding", "content-type", "nixtla-client-version"):
                if self.headers.get(name):
                    request.add_header(name, self.headers[name])
            with urllib.request.urlopen(request) as response:
                self.answer(response.status, response.read(), {})

        def answer(self, status, body, headers):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        client = nixtla.NixtlaClient(
            api_key="x",
            base_url=f"http://127.0.0.1:{server.server_port}",
            max_retries=3,
            retry_interval=1,
        )
        found = forecast(client, air, model="seasonal-naive")
        assert found["TimeGPT"].tolist() == air["y"].iloc[-12:].tolist()
        assert refused == ["/v2/forecast"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_keys_are_checked_as_nixtla_does(start, air):
    daemon = start(TOLLAMA_API_KEYS="forecast:secret-key")
    good = nixtla.NixtlaClient(api_key="secret-key", base_url=daemon.url, max_retries=1)
    bad = nixtla.NixtlaClient(api_key="wrong", base_url=daemon.url, max_retries=1)
    assert good.validate_api_key() and not bad.validate_api_key()
    assert len(forecast(good, air)) == 12
    with pytest.raises(ApiError) as error:
        forecast(bad, air)
    assert error.value.status_code == 401 and "API key" in error.value.body["detail"]
