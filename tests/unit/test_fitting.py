import pytest

from tollama.core.completion import complete
from tollama.core.errors import Unsupported
from tollama.core.fitting import fit, refusals
from tollama.core.schemas import ForecastRequest

SERIES = {
    "target": [1, 2, 3],
    "past_covariates": {"p": [1, 2, 3], "c": ["a", "b", "a"]},
    "future_covariates": {"f": [1, 2], "g": [1, 2, 3, 4, 5]},
    "static_covariates": {"s": 1},
}


def request(*series, **options):
    value = {"model": "m", "horizon": 2, "series": list(series), "options": options}
    return ForecastRequest.parse(value)


def fitted(capabilities, *series):
    whole, warnings = complete(request(*series))
    found = fit(whole, capabilities.__contains__, warnings=warnings)
    return found.series[0], warnings


def test_what_the_model_cannot_use_is_dropped_with_a_warning_each():
    found, warnings = fitted({"past_covariates"}, SERIES)
    assert list(found.past_covariates) == ["p"]
    assert not found.future_covariates
    assert not found.static_covariates
    assert warnings == [
        f"m cannot use the {what}: ignored"
        for what in (
            "past covariate 'c'",
            "future covariate 'f'",
            "future covariate 'g'",
            "static covariate 's'",
        )
    ]


def test_the_past_of_a_future_covariate_goes_where_that_one_goes():
    found, warnings = fitted({"future_covariates"}, SERIES)
    assert list(found.future_covariates) == ["f", "g"]
    assert list(found.past_covariates) == ["g"]
    assert not any("'g'" in w for w in warnings)


def test_a_warning_is_said_once_for_all_series():
    _, warnings = fitted(set(), {"id": "a", **SERIES}, {"id": "b", **SERIES})
    assert len(warnings) == len(set(warnings)) == 5


def test_the_strict_mode_refuses_everything_at_once():
    strict = request({"target": [1]}, SERIES, covariates_mode="strict")
    with pytest.raises(Unsupported) as caught:
        fit(strict, {"static_covariates"}.__contains__, offset=4, warnings=[])
    assert [loc for loc, _ in caught.value.problems()] == [
        ("series", 5, "past_covariates", "p"),
        ("series", 5, "past_covariates", "c"),
        ("series", 5, "future_covariates", "f"),
        ("series", 5, "future_covariates", "g"),
    ]


def test_several_targets_are_refused_where_one_is_wanted():
    both = request({"target": [[1], [2]]}, {"target": [1]}, {"target": [[3], [4]]})
    assert [loc for loc, _ in refusals(both, set().__contains__)] == [
        ("series", 0, "target"),
        ("series", 2, "target"),
    ]
    assert refusals(both, {"multivariate"}.__contains__) == []
