"""Nixtla's dialect as pure functions: bodies to native requests, forecasts to answers."""

import pytest

from tollama.core.errors import InvalidRequest, NotFound, NotImplementedYet
from tollama.core.schemas import ForecastRequest
from tollama.daemon.compat import nixtla, nixtla_levels, nixtla_series, nixtla_windows


def body(**more):
    series = {"y": [1.0, 2.0, 3.0, 10.0, 20.0], "sizes": [3, 2], "X": None, "X_future": None}
    series.update(more.pop("series", {}))
    return {"series": series, "model": "auto:latest", "h": 2, "freq": "MS", "level": None, **more}


def asked(plan):
    """All native requests of a plan; each must be one that the daemon takes."""
    found = [request for _, request in plan.requests]
    for request in found:
        ForecastRequest.parse(request)
    return found


def answered(plan, value=lambda number, step: float(number * 10 + step), spread=1.0):
    """The plan's answer for made-up forecasts: quantiles lie around the mean."""
    answers = []
    for places, request in plan.requests:
        items = []
        rows = len(request["series"][0]["target"]) if plan.panel.joint else 0
        for place in places:
            mean = [value(place, step) for step in range(request["horizon"])]
            levels = {repr(q): [m + (q - 0.5) * spread for m in mean] for q in request["quantiles"]}
            items.append({"mean": mean, "quantiles": levels or None})
        if rows:
            keys = items[0]["quantiles"] or ()
            items = [
                {
                    "mean": [one["mean"] for one in items],
                    "quantiles": {key: [one["quantiles"][key] for one in items] for key in keys}
                    or None,
                }
            ]
        answers.append((places, {"forecasts": items, "warnings": ["noted"]}))
    found, warnings = nixtla_series.forecasts(plan.panel, len(plan.windows), answers)
    return plan.answer(found, warnings)


def test_a_panel_is_cut_by_its_sizes():
    [request] = asked(nixtla.forecast_plan(body()))
    assert request["model"] == "auto" and request["horizon"] == 2 and request["quantiles"] == []
    assert [one["target"] for one in request["series"]] == [[1.0, 2.0, 3.0], [10.0, 20.0]]
    assert {one["freq"] for one in request["series"]} == {"MS"}


def test_starts_belong_to_their_series():
    starts = ["1949-01-01", "1950-02-01T00:00:00"]
    [request] = asked(nixtla.forecast_plan(body(series={"start_datetime": starts})))
    assert [one["start"] for one in request["series"]] == starts


@pytest.mark.parametrize(("freq", "starts"), [("BMS", ["1949-01-03"] * 2), ("MS", ["?", "?"])])
def test_what_we_cannot_read_of_time_is_left_out(freq, starts):
    [request] = asked(nixtla.forecast_plan(body(freq=freq, series={"start_datetime": starts})))
    assert all("start" not in one for one in request["series"])


def test_an_answer_has_every_field_that_the_client_reads():
    found = answered(nixtla.forecast_plan(body(level=[80])))
    assert found["mean"] == [0.0, 1.0, 10.0, 11.0]
    assert found["intervals"] == {
        "lo-80": [-0.4, 0.6, 9.6, 10.6],
        "hi-80": [0.4, 1.4, 10.4, 11.4],
    }
    assert found["weights_x"] is None and found["feature_contributions"] is None
    assert found["warnings"] == ["noted"] and found["input_tokens"] == 5
    assert answered(nixtla.forecast_plan(body()))["intervals"] is None


def test_levels_may_repeat_be_zero_and_keep_their_spelling():
    plan = nixtla.forecast_plan(body(level=[90, 0, 90, 99.5, 80.0]))
    [(_, request)] = nixtla_series.requests(
        plan.panel, plan.windows, nixtla_levels.quantiles_of([]), {}
    )
    assert request["quantiles"] == []
    [request] = asked(nixtla.forecast_plan(body(level=[90, 0, 90, 99.5, 80.0])))
    assert request["quantiles"] == [0.0025, 0.05, 0.1, 0.5, 0.9, 0.95, 0.9975]
    found = answered(plan)["intervals"]
    assert set(found) == {
        "lo-90", "hi-90", "lo-0", "hi-0", "lo-99.5", "hi-99.5", "lo-80.0", "hi-80.0",
    }  # fmt: skip
    assert found["lo-0"] == found["hi-0"]


def test_features_known_ahead_come_first_then_historic_ones():
    series = {
        "X": [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]],
        "X_future": [[10, 11, 12, 13]],
    }
    [request] = asked(nixtla.forecast_plan(body(series=series)))
    one, two = request["series"]
    assert one["future_covariates"] == {"x0": [1, 2, 3, 10, 11]}
    assert two["future_covariates"] == {"x0": [4, 5, 12, 13]}
    assert one["past_covariates"] == {"x1": [6, 7, 8]} and two["past_covariates"] == {"x1": [9, 0]}


def test_categories_are_strings_even_when_sent_as_numbers():
    series = {
        "X": [[1, 2, None, 4, 5]],
        "X_future": [[1, 2, 3, 4]],
        "categorical_exog": [0],
    }
    [request] = asked(nixtla.forecast_plan(body(series=series)))
    assert request["series"][0]["future_covariates"] == {"x0": ["1", "2", None, "1", "2"]}


def test_several_series_can_be_one_multivariate_target():
    series = {"y": [1, 2, 3, 4], "sizes": [2, 2], "X": [[5, 6, 7, 8]]}
    plan = nixtla.forecast_plan(body(series=series, multivariate=True, level=[80]))
    [request] = asked(plan)
    [one] = request["series"]
    assert one["target"] == [[1, 2], [3, 4]]
    assert one["past_covariates"] == {"x0.0": [5, 6], "x0.1": [7, 8]}
    plan = nixtla.forecast_plan(body(series=series, multivariate=True, level=[80]))
    assert answered(plan)["mean"] == [0.0, 1.0, 10.0, 11.0]
    with pytest.raises(InvalidRequest, match="equal length"):
        nixtla.forecast_plan(body(multivariate=True))


def test_large_panels_are_asked_for_in_parts():
    count = nixtla_series.MAX_WINDOWS + 5
    series = {"y": [1.0] * count, "sizes": [1] * count}
    plan = nixtla.forecast_plan(body(series=series))
    assert [len(request["series"]) for request in asked(plan)] == [count - 5, 5]
    plan = nixtla.forecast_plan(body(series=series))
    assert answered(plan)["mean"][2 * (count - 1)] == (count - 1) * 10


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"h": 0}, "h:"),
        ({"h": True}, "h:"),
        ({"level": [100]}, "level[0]:"),
        ({"level": ["80"]}, "level[0]:"),
        ({"level": 80}, "level:"),
        ({"series": {"y": [1, 2, "x", 4, 5]}}, "series.y[2]:"),
        ({"series": {"y": [1, 2]}}, "series.y:"),
        ({"series": {"sizes": [5, 0]}}, "series.sizes[1]:"),
        ({"series": {"sizes": []}}, "series.sizes:"),
        ({"series": {"X": [[1, 2]]}}, "series.X[0]:"),
        ({"series": {"X": [[1] * 5], "X_future": [[1]]}}, "series.X_future[0]:"),
        ({"series": {"X_future": [[1] * 4]}}, "series.X_future:"),
        ({"series": {"start_datetime": ["1949-01-01"]}}, "series.start_datetime:"),
        ({"model": "../x"}, "model:"),
        ({"model_parameters": []}, "model_parameters:"),
    ],
)
def test_bad_bodies_name_the_field(changed, field):
    with pytest.raises(InvalidRequest) as error:
        nixtla.forecast_plan(body(**changed))
    assert field in error.value.message, error.value.message


def test_all_bad_fields_are_said_together():
    with pytest.raises(InvalidRequest) as error:
        nixtla.forecast_plan({"h": 0, "series": {"y": []}})
    assert {tuple(d["loc"][1:]) for d in error.value.detail} >= {
        ("h",), ("model",), ("series", "sizes"),
    }  # fmt: skip


def test_fine_tuning_is_said_to_have_no_effect():
    assert "no effect" in answered(nixtla.forecast_plan(body(finetune_steps=3)))["warnings"][0]
    with pytest.raises(NotFound):
        nixtla.forecast_plan(body(finetuned_model_id="mine"))
    with pytest.raises(NotImplementedYet):
        nixtla.check_task("finetune")
    with pytest.raises(NotFound):
        nixtla.check_task("telepathy")


def test_contributions_of_a_model_without_features_are_zero():
    series = {"X": [[1, 2, 3, 4, 5]], "X_future": [[1] * 4]}
    plan = nixtla.forecast_plan(
        body(series=series, feature_contributions=True), uses_features=False
    )
    assert len(asked(plan)) == 1
    plan = nixtla.forecast_plan(
        body(series=series, feature_contributions=True), uses_features=False
    )
    found = answered(plan)
    assert found["feature_contributions"] == [[0.0] * 4, found["mean"]]
    with pytest.raises(NotImplementedYet):
        nixtla.forecast_plan(
            body(feature_contributions=True, feature_contributions_type="intervention")
        )


def test_contributions_add_up_to_the_mean():
    series = {"X": [[1, 2, 3, 4, 5]] * 2, "X_future": [[1] * 4] * 2}
    plan = nixtla.forecast_plan(body(series=series, feature_contributions=True))
    weights = {"x0": 3.0, "x1": 5.0}

    def value(place, step):
        chosen = plan.windows[place].features
        return 100 + sum(w for name, w in weights.items() if chosen is None or name in chosen)

    found = answered(plan, value)
    assert found["mean"] == [108.0] * 4
    assert found["feature_contributions"] == [[3.0] * 4, [5.0] * 4, [100.0] * 4]


@pytest.mark.parametrize(
    ("version", "freq", "starts", "kept"),
    [
        ("0.9.0", "MS", None, False),
        ("1.2", "MS", None, False),
        ("0.9.0", "MS", ["2020-01-01"], True),
        ("0.9.0", "h", None, True),
        ("0.8.0", "MS", None, True),
        ("", "MS", None, True),
    ],
)
def test_the_frequency_of_an_integer_time_column_is_not_believed(version, freq, starts, kept):
    given = {"freq": freq, "series": {"start_datetime": starts}}
    found = nixtla.without_false_freq(given, version)
    assert found["freq"] == (freq if kept else None) and given["freq"] == freq


def test_cross_validation_takes_the_last_windows():
    series = {"y": list(range(10)) + list(range(100, 104)), "sizes": [10, 4]}
    plan = nixtla_windows.cross_validation_plan(body(series=series, n_windows=2, step_size=3))
    [request] = asked(plan)
    assert [len(one["target"]) for one in request["series"]] == [5, 8, 2]
    plan = nixtla_windows.cross_validation_plan(body(series=series, n_windows=2, step_size=3))
    found = answered(plan)
    assert found["sizes"] == [4, 2] and found["idxs"] == [5, 6, 8, 9, 12, 13]
    assert len(found["mean"]) == 6 and found["intervals"] is None
    with pytest.raises(InvalidRequest, match="h: expected less"):
        nixtla_windows.cross_validation_plan(body(h=5))


def test_cross_validation_shows_no_future_of_historic_features():
    series = {"X": [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0], list("abcde")], "categorical_exog": [2]}
    plan = nixtla_windows.cross_validation_plan(body(series=series, h=1, hist_exog=[1]))
    [request] = asked(plan)
    one = request["series"][0]
    assert one["future_covariates"] == {"x0": [1, 2, 3]}  # two seen, one known ahead
    assert one["past_covariates"] == {"x1": [6, 7], "x2": ["a", "b"]}


def test_history_is_the_tail_of_each_series():
    series = {"y": [float(v) for v in range(40)] + [1.0], "sizes": [40, 1], "X": None}
    plan = nixtla_windows.cross_validation_plan(body(series=series, full_history=True))
    found = answered(plan)
    first = found["idxs"][0]
    assert found["idxs"] == list(range(first, 40)) and found["sizes"] == [40 - first, 0]
    old = {k: v for k, v in body(series=series).items() if k != "full_history"}
    plan = nixtla_windows.cross_validation_plan({**old, "feature_contributions": False})
    assert answered(plan)["idxs"] == found["idxs"]


def test_anomalies_are_what_lies_outside():
    y = [10.0] * 40
    y[30], y[31] = 500.0, None
    plan = nixtla_windows.anomaly_plan(body(series={"y": y, "sizes": [40]}, level=80))
    found = answered(plan, lambda place, step: 10.0)
    flagged = [idx for idx, flag in zip(found["idxs"], found["anomaly"], strict=True) if flag]
    assert flagged == [30] and set(found["intervals"]) == {"lo-80", "hi-80"}


def test_scores_are_deviations_of_the_normal_distribution():
    z = nixtla_windows.normal_quantile(0.995)
    assert z == pytest.approx(2.575829, abs=1e-6)
    series = {"y": [0.0] * 9 + [2.0], "sizes": [10]}
    plan = nixtla_windows.online_plan(body(series=series, h=1, detection_size=2, level=99))
    # Quantiles lie 0.495 of the spread from the mean: the interval's half-width is 1.
    found = answered(plan, lambda place, step: 0.0, spread=1 / 0.495)
    assert found["anomaly"] == [False, True] and found["sizes"] == [2]
    assert found["anomaly_score"] == pytest.approx([0.0, 2 * z])


def test_all_series_are_judged_together():
    series = {"y": [0.0] * 9 + [0.95] + [0.0] * 9 + [0.95], "sizes": [10, 10]}
    more = {"h": 1, "detection_size": 2, "level": 99, "threshold_method": "multivariate"}
    plan = nixtla_windows.online_plan(body(series=series, **more))
    found = answered(plan, lambda place, step: 0.0, spread=1 / 0.495)
    z = nixtla_windows.normal_quantile(0.995)
    assert max(found["anomaly_score"]) < z  # neither is outside alone
    total = 2 * (0.95 * z) ** 2
    assert found["accumulated_anomaly_score"] == pytest.approx([0, total, 0, total])
    # The 99 % quantile of chi-squared with 2 degrees of freedom is 9.21.
    assert nixtla_windows.chi_squared_quantile(0.99, 2) == pytest.approx(9.21, abs=0.1)
    assert total > 9.3 and found["anomaly"] == [False, True] * 2
    with pytest.raises(InvalidRequest, match="equal length"):
        nixtla_windows.online_plan(body(**{**more, "detection_size": 1}))


def test_a_detection_longer_than_a_series_is_refused():
    with pytest.raises(InvalidRequest, match="series 1 has 2 values"):
        nixtla_windows.online_plan(body(h=1, detection_size=2))
