import pytest

from tollama.core import readers
from tollama.core.errors import InvalidRequest

LOC = ("x",)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (readers.freq, "15min"),
        (readers.freq, "W-SUN"),
        (readers.timestamp, "2024-01-31T13:00:00Z"),
        (readers.model, "auto:latest"),
        (readers.model, "hf.co/ORG/repo"),
        (readers.target, [1, None, 2.5]),
        (readers.target, [[1, 2], [None, 4]]),
        (readers.covariates, {"a": [1, None], "b": ["x", None]}),
        (readers.options, {"season_length": [24, 168], "tz": "Europe/Berlin", "mine": object}),
    ],
)
def test_a_good_value_stays_as_it_is(read, value):
    assert read(value, LOC) == value


@pytest.mark.parametrize(
    ("read", "value", "places"),
    [
        (readers.freq, "X", [()]),
        (readers.freq, "", [()]),
        (readers.timestamp, "2024-02-30", [()]),
        (readers.model, "auto:7b", [()]),
        (readers.target, [], [()]),
        (readers.target, [1, "a", True], [(1,), (2,)]),
        (readers.target, [[1, 2], [3], ["x", 4]], [(1,), (2, 0)]),
        (readers.covariates, {"a": [1, "x"], "b": 3, "\udc00": [1]}, [("a", 0), ("b",), ()]),
        (readers.quantiles, [0.5, 0, 1, "x", True, 0.5], [(1,), (2,), (3,), (4,), (5,)]),
        (readers.metrics, ["mae", "zz"], [(1,)]),
        (
            readers.options,
            {"season_length": 0, "tz": "Nowhere/At", "timestamps": 1, "family": ""},
            [("timestamps",), ("season_length",), ("tz",), ("family",)],
        ),
    ],
)
def test_every_mistake_has_its_place(read, value, places):
    with pytest.raises(InvalidRequest) as caught:
        read(value, LOC)
    assert [loc for loc, _ in caught.value.problems()] == [(*LOC, *place) for place in places]


def test_quantiles_are_ascending():
    assert readers.quantiles([0.9, 0.1, 0.5], LOC) == (0.1, 0.5, 0.9)
