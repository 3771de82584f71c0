import pytest

from tollama.core.errors import InvalidRequest
from tollama.core.schemas import ForecastRequest


def request(**changes):
    value = {
        "model": "auto",
        "horizon": 3,
        "series": [{"id": "a", "freq": "D", "target": [1, 2.5, None]}],
    }
    value.update(changes)
    return value


def paths(value):
    with pytest.raises(InvalidRequest) as caught:
        ForecastRequest.parse(value)
    return {".".join(map(str, loc)): text for loc, text in caught.value.problems()}


def series(**changes):
    return request(series=[{"id": "a", "target": [1, 2, 3], **changes}])


def test_a_good_request_is_read():
    found = ForecastRequest.parse(
        request(quantiles=[0.9, 0.1], options={"season_length": 7}, timeout=5, keep_alive="1h30m")
    )
    assert found.quantiles == (0.1, 0.9)
    assert found.keep_alive == 5400.0
    assert found.series[0].length == 3


def test_ids_are_made_up_by_position():
    found = ForecastRequest.parse(request(series=[{"target": [1]}, {"target": [1]}]), offset=4)
    assert [s.id for s in found.series] == ["series_4", "series_5"]


def test_all_bad_fields_are_reported_together():
    found = paths(
        {
            "horizon": 0,
            "quantiles": [0.5, 1, 0.5, "x"],
            "series": [
                {"id": 1, "target": [1, "x"]},
                {"target": []},
                {"freq": "foo", "target": [1]},
            ],
            "serie": 1,
            "options": {"covariates_mode": "maybe"},
            "timeout": -1,
            "keep_alive": "soon",
        }
    )
    assert set(found) == {
        "model", "horizon", "quantiles.1", "quantiles.2", "quantiles.3", "series.0.id",
        "series.0.target.1", "series.1.target", "series.2.freq", "serie", "options.covariates_mode",
        "timeout", "keep_alive",
    }  # fmt: skip
    assert found["serie"] == "unknown field, did you mean 'series'?"
    assert found["series.0.target.1"] == "expected a finite number or null, got 'x'"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"timestamps": ["2024-01-01"]}, "series.0.timestamps"),
        ({"timestamps": ["2024-01-01", "x", "2024-01-03"]}, "series.0.timestamps.1"),
        ({"timestamps": ["2024-01-01", "2024-01-01", "2024-01-03"]}, "series.0.timestamps.1"),
        ({"timestamps": ["2024-01-01", "2024-01-02", 3]}, "series.0.timestamps.2"),
        ({"start": "yesterday", "freq": "D"}, "series.0.start"),
        ({"past_covariates": {"p": [1, 2]}}, "series.0.past_covariates.p"),
        ({"past_covariates": {"p": [1, "a", 2]}}, "series.0.past_covariates.p.0"),
        ({"future_covariates": {"p": [1, 2]}}, "series.0.future_covariates.p"),
        ({"actuals": [1]}, "series.0.actuals"),
        ({"target": [[1, 2], [1]]}, "series.0.target.1"),
        ({"target": [[], []]}, "series.0.target.0"),
        ({"target": None}, "series.0.target"),
        ({"target": "abc"}, "series.0.target"),
        ({"foo": 1}, "series.0.foo"),
    ],
)
def test_a_bad_series_field_is_named(changes, path):
    assert path in paths(series(**changes))


def test_future_covariates_may_cover_history_and_horizon():
    ForecastRequest.parse(series(future_covariates={"p": [1] * 6, "q": [1] * 3}))


def test_a_multivariate_target_has_rows():
    found = ForecastRequest.parse(series(target=[[1, 2], [3, None]]))
    assert found.series[0].multivariate
    assert found.series[0].length == 2


def test_too_many_output_values_are_refused():
    found = paths(
        request(horizon=100_000, quantiles=[0.1, 0.9], series=[{"target": [1]} for _ in range(67)])
    )
    assert "20,000,000" in found["horizon"]


@pytest.mark.parametrize("value", [None, 1, "x", []])
def test_a_body_that_is_no_object_is_refused(value):
    with pytest.raises(InvalidRequest, match="expected an object"):
        ForecastRequest.parse(value)


def test_a_preset_fills_in_what_the_request_leaves_out():
    value = {"model": "m", "series": [{"target": [1]}], "options": {"a": 1}}
    defaults = {"horizon": 28, "quantiles": [0.5], "options": {"a": 2, "b": 3}}
    found = ForecastRequest.parse(value, defaults=defaults)
    assert found.horizon == 28
    assert found.options == {"a": 1, "b": 3}


def test_equal_ids_are_refused_with_both_places():
    with pytest.raises(InvalidRequest, match=r"series\[1\]\.id.*series\[0\]"):
        ForecastRequest.parse(request(series=[{"id": "a", "target": [1]}] * 2))
