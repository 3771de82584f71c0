import json

import pytest

from tollama.core import answer
from tollama.core.errors import BadForecast
from tollama.core.schemas import ForecastRequest


def request(**changes):
    value = {
        "model": "m",
        "horizon": 2,
        "quantiles": [0.1, 0.9],
        "series": [{"id": "a", "target": [1]}, {"id": "b", "target": [1]}],
        **changes,
    }
    return ForecastRequest.parse(value)


def good(name, low=(0, 1), high=(2, 3)):
    return {"id": name, "mean": [1, 2], "quantiles": {"0.1": list(low), "0.9": list(high)}}


def check(*forecasts, **changes):
    asked = request(**changes)
    answer.check({"forecasts": list(forecasts)}, asked, 0, len(asked.series), runner="r")


def test_a_good_answer_passes():
    check(good("a"), good("b"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda f: f.update(id="x"), r"forecasts\[1\]\.id"),
        (lambda f: f.update(mean=[1]), r"forecasts\[1\]\.mean: expected 2 values, got 1"),
        (lambda f: f.update(mean=[1, None]), r"forecasts\[1\]\.mean\[1\]"),
        (lambda f: f.update(mean=[1, True]), r"forecasts\[1\]\.mean\[1\]"),
        (lambda f: f.update(mean=[1, float("nan")]), r"forecasts\[1\]\.mean\[1\]"),
        (lambda f: f.update(mean="x"), r"forecasts\[1\]\.mean"),
        (lambda f: f.update(quantiles=None), r"forecasts\[1\]\.quantiles"),
        (lambda f: f["quantiles"].pop("0.9"), r"forecasts\[1\]\.quantiles"),
        (lambda f: f["quantiles"].update({"0.9": [2, 0.5]}), "crosses"),
    ],
)
def test_a_violation_names_runner_and_field(change, field):
    bad = good("b")
    change(bad)
    with pytest.raises(BadForecast, match=f"runner r: .*{field}|{field}"):
        check(good("a"), bad)


def test_too_few_forecasts_are_refused():
    with pytest.raises(BadForecast, match="expected 2, one per series, got 1"):
        check(good("a"))


def test_quantiles_that_nobody_asked_for_are_refused():
    with pytest.raises(BadForecast, match="none were asked for"):
        check(good("a"), good("b"), quantiles=[])


def test_a_multivariate_answer_has_a_row_per_target():
    rows = {"id": "a", "mean": [[1, 2], [3, 4]], "quantiles": None}
    check(rows, quantiles=[], series=[{"id": "a", "target": [[1], [2]]}])
    with pytest.raises(BadForecast, match="expected 2 rows, got 1"):
        check({**rows, "mean": [[1, 2]]}, quantiles=[], series=[{"id": "a", "target": [[1], [2]]}])


@pytest.mark.parametrize("level", [0.1, 0.025, 1e-5, 0.1 + 0.2, 0.999999])
def test_a_level_reads_back_from_its_key(level):
    assert float(answer.level_key(level)) == level


def test_slices_are_joined_in_order():
    parts = [
        {"forecasts": [good("a")], "usage": {"model": "x", "series_count": 1}, "warnings": ["w"]},
        {"forecasts": [good("b")], "usage": {"model": "x", "series_count": 2}, "warnings": []},
    ]
    joined = json.loads(answer.join("m", [answer.cut(json.dumps(p).encode()) for p in parts]))
    assert [f["id"] for f in joined["forecasts"]] == ["a", "b"]
    assert joined["usage"]["series_count"] == 3
    assert joined["warnings"] == ["w"]


def test_scores_are_averaged_over_all_series():
    parts = [
        {"forecasts": [], "metrics": {"overall": {}, "series": [{"id": "a", "mae": 1.0}]}},
        {"forecasts": [], "metrics": {"overall": {}, "series": [{"id": "b", "mae": 3.0}]}},
    ]
    bodies = [answer.cut(json.dumps(part).encode()) for part in parts]
    assert json.loads(answer.join("m", bodies))["metrics"]["overall"] == {"mae": 2.0}


def test_a_joined_answer_carries_the_forecasts_as_they_were_written():
    raw = rb'{"forecasts":[{"id":"\u00e4],","mean":[1.50,2e0],"quantiles":null}],"usage":null}'
    assert rb'{"id":"\u00e4],","mean":[1.50,2e0],"quantiles":null}' in answer.join(
        "m", [answer.cut(raw), answer.cut(raw)]
    )
    with pytest.raises(BadForecast, match="not JSON"):
        answer.cut(b'{"forecasts":[')
