import pytest

from tollama.core.completion import complete
from tollama.core.errors import InvalidRequest
from tollama.core.schemas import ForecastRequest


def completed(series, **changes):
    value = {"model": "auto", "horizon": 2, "series": [series], **changes}
    request, warnings = complete(ForecastRequest.parse(value))
    return request.series[0], warnings


def test_frequency_and_next_timestamp_come_from_timestamps():
    found, warnings = completed(
        {"target": [1, 2, 3], "timestamps": ["2024-01-31", "2024-02-29", "2024-03-31"]}
    )
    assert (found.freq, found.next_timestamp, found.season_length) == ("ME", "2024-04-30", 12)
    assert warnings == []


def test_missing_steps_become_null_with_a_warning():
    found, warnings = completed(
        {
            "target": [1, 2, 3],
            "freq": "D",
            "timestamps": ["2024-01-01", "2024-01-02", "2024-01-05"],
            "past_covariates": {"p": [1, 2, 3]},
        }
    )
    assert found.target == [1, 2, None, None, 3]
    assert found.past_covariates == {"p": [1, 2, None, None, 3]}
    assert "2 steps missing" in warnings[0]


def test_a_multivariate_target_is_spread_row_by_row():
    found, _ = completed(
        {"target": [[1, 2], [3, 4]], "freq": "D", "timestamps": ["2024-01-01", "2024-01-03"]}
    )
    assert found.target == [[1, None, 2], [3, None, 4]]


def test_a_start_off_its_grid_rolls_forward_with_a_warning():
    found, warnings = completed({"target": [1, 2], "start": "2024-01-15", "freq": "MS"})
    assert found.next_timestamp == "2024-04-01"
    assert "not on the grid" in warnings[0]


def test_start_without_freq_is_refused():
    with pytest.raises(InvalidRequest, match=r"series\[0\]\.freq"):
        completed({"target": [1, 2], "start": "2024-01-01"})


def test_neither_timestamps_nor_start_means_integer_steps():
    found, warnings = completed({"target": [1, 2]})
    assert (found.freq, found.next_timestamp, found.season_length) == (None, None, 1)
    assert warnings == []


def test_covariates_over_history_and_horizon_are_split():
    found, _ = completed({"target": [1, 2], "future_covariates": {"p": [1, 2, 3, 4], "q": [5, 6]}})
    assert found.past_covariates == {"p": [1, 2]}
    assert found.future_covariates == {"p": [3, 4], "q": [5, 6]}


def test_season_length_can_be_said():
    found, _ = completed({"target": [1], "freq": "D"}, options={"season_length": 30})
    assert found.season_length == 30


def test_all_future_timestamps_come_when_asked():
    found, _ = completed(
        {"target": [1], "start": "2024-01-01", "freq": "h"}, options={"timestamps": True}
    )
    assert found.future_timestamps == ["2024-01-01T01:00:00", "2024-01-01T02:00:00"]


def test_a_timestamp_off_the_grid_is_named():
    with pytest.raises(InvalidRequest, match=r"series\[0\]\.timestamps\[1\]"):
        completed({"target": [1, 2], "freq": "h", "timestamps": ["2024-01-01", "2024-01-01T00:30"]})


def test_a_grid_of_gigabytes_is_refused():
    with pytest.raises(InvalidRequest, match="pass a longer freq"):
        completed({"target": [1, 2], "freq": "S", "timestamps": ["1900-01-01", "2024-01-01"]})
