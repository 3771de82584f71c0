"""The metrics against utilsforecast, GluonTS's definitions in numpy, and numbers by hand."""

from __future__ import annotations

import math
import random

import pytest

from tollama.core import metrics
from tollama.core.errors import InvalidRequest

QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
SEASON = 7


def sample(seed: int) -> tuple[list[float], list[float], list[float], dict[float, list[float]]]:
    """Training values, actuals, a mean and quantiles of a random series."""
    chance = random.Random(seed)
    scale = 10 ** chance.uniform(-3, 6)
    level = chance.uniform(-2, 5)
    train = [scale * (level + chance.gauss(0, 1)) for _ in range(chance.randint(9, 80))]
    actual = [scale * (level + chance.gauss(0, 1)) for _ in range(chance.randint(1, 30))]
    mean = [scale * (level + chance.gauss(0, 0.5)) for _ in actual]
    width = {q: scale * (q - 0.5) * chance.uniform(0.5, 4) for q in QUANTILES}
    return train, actual, mean, {q: [f + width[q] for f in mean] for q in QUANTILES}


@pytest.mark.parametrize("seed", range(40))
def test_metrics_equal_utilsforecast(seed: int) -> None:
    pandas = pytest.importorskip("pandas")
    numpy = pytest.importorskip("numpy")
    losses = pytest.importorskip("utilsforecast.losses")
    train, actual, mean, quantiles = sample(seed)
    columns = {f"q{q}": values for q, values in quantiles.items()}
    frame = pandas.DataFrame(
        {
            "unique_id": "a",
            "ds": range(len(actual)),
            "y": actual,
            "f": mean,
            "f-lo-95": quantiles[0.025],
            "f-hi-95": quantiles[0.975],
            **columns,
        }
    )
    history = pandas.DataFrame({"unique_id": "a", "ds": range(-len(train), 0), "y": train})
    scaled = {"seasonality": SEASON, "train_df": history}
    levels = numpy.array(QUANTILES)
    band = quantiles[0.025], quantiles[0.975]

    def close(name: str, found: float | None, *args: object, **kwargs: object) -> None:
        expected = float(getattr(losses, name)(frame, *args, **kwargs)["f"].iloc[0])
        assert found == pytest.approx(expected, rel=1e-9, abs=0), name

    for name in ("mae", "mse", "rmse", "mape", "smape"):
        close(name, getattr(metrics, name)(actual, mean), ["f"])
    for name in ("mase", "rmsse"):
        close(name, getattr(metrics, name)(actual, mean, train, SEASON), ["f"], **scaled)
    for q in QUANTILES:
        loss = metrics.quantile_loss(actual, quantiles[q], q)
        close("quantile_loss", loss, {"f": f"q{q}"}, q=q)
    wql = metrics.wql(actual, quantiles)
    close("scaled_crps", wql, {"f": list(columns)}, quantiles=levels)
    close("coverage", metrics.coverage(actual, *band), ["f"], level=95)
    close("winkler_score", metrics.winkler(actual, *band, 0.95), ["f"], level=95)


@pytest.mark.parametrize("seed", range(40))
def test_metrics_equal_the_definitions_of_gluonts(seed: int) -> None:
    numpy = pytest.importorskip("numpy")
    train, actual, mean, quantiles = sample(seed)
    x, y, f = numpy.array(train), numpy.array(actual), numpy.array(mean)
    bands = {q: numpy.array(values) for q, values in quantiles.items()}
    seasonal_error = numpy.mean(numpy.abs(x[SEASON:] - x[:-SEASON]))
    losses = [2 * numpy.sum(numpy.abs((y - v) * ((y <= v) - q))) for q, v in bands.items()]
    alpha = 0.05
    low, high = bands[0.025], bands[0.975]
    interval = numpy.mean(
        high - low + 2 / alpha * (low - y) * (y < low) + 2 / alpha * (y - high) * (y > high)
    )
    expected = {
        "mae": numpy.mean(numpy.abs(y - f)),
        "rmse": numpy.sqrt(numpy.mean((y - f) ** 2)),
        "mape": numpy.mean(numpy.abs(y - f) / numpy.abs(y)),
        "smape": numpy.mean(2 * numpy.abs(y - f) / (numpy.abs(y) + numpy.abs(f))) / 2,
        "mase": numpy.mean(numpy.abs(y - f)) / seasonal_error,
        "wql": numpy.mean([loss / numpy.sum(numpy.abs(y)) for loss in losses]),
        "msis_0.95": interval / seasonal_error,
        "coverage_0.8": numpy.mean((bands[0.1] <= y) & (y <= bands[0.9])),
    }
    found = metrics.evaluate(
        metrics.METRICS,
        actual=actual,
        mean=mean,
        quantiles=quantiles,
        train=train,
        season_length=SEASON,
    )
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-9, abs=0), name


def test_metrics_by_hand() -> None:
    actual, mean, train = [1.0, 2.0, 4.0], [2.0, 2.0, 2.0], [1.0, 3.0, 2.0, 5.0]
    assert metrics.mae(actual, mean) == 1.0
    assert metrics.rmse(actual, mean) == pytest.approx(math.sqrt(5 / 3))
    assert metrics.mape(actual, mean) == pytest.approx(0.5)
    assert metrics.smape(actual, mean) == pytest.approx((1 / 3 + 1 / 3) / 3)
    assert metrics.smape_m4(actual, mean) == pytest.approx(200 * 2 / 9)
    assert metrics.seasonal_error(train, 1) == 2.0
    assert metrics.seasonal_error(train, 2) == 1.5
    assert metrics.mase(actual, mean, train, 1) == 0.5
    assert metrics.rmsse(actual, mean, train, 1) == pytest.approx(math.sqrt(5 / 14))
    assert metrics.quantile_loss(actual, mean, 0.9) == pytest.approx((0.1 + 0 + 1.8) / 3)
    assert metrics.wql(actual, {0.5: mean}) == pytest.approx(3 / 7)
    assert metrics.coverage(actual, [1.0, 2.5, 0.0], [3.0, 3.0, 5.0]) == pytest.approx(2 / 3)
    assert metrics.winkler([0.0], [1.0], [3.0], 0.8) == pytest.approx(2 + 10)
    assert metrics.msis([0.0], [1.0], [3.0], train, 1, 0.8) == pytest.approx(6)
    assert metrics.owa(10.0, 1.0, 20.0, 2.0) == 0.5


def test_metrics_leave_unknown_actuals_out() -> None:
    known = {"mean": [2.0, 5.0], "quantiles": {0.1: [1.0, 4.0], 0.5: [2.0, 5.0], 0.9: [3.0, 6.0]}}
    spread = {
        "mean": [2.0, 9.0, 5.0, 9.0],
        "quantiles": {
            0.1: [1.0, 9.0, 4.0, 9.0],
            0.5: [2.0, 9.0, 5.0, 9.0],
            0.9: [3.0, 9.0, 6.0, 9.0],
        },
    }
    train = [1.0, 2.0, 4.0]
    first = metrics.evaluate(
        metrics.METRICS, actual=[1.5, 7.0], train=train, season_length=1, **known
    )
    second = metrics.evaluate(
        metrics.METRICS, actual=[1.5, None, 7.0, math.nan], train=train, season_length=1, **spread
    )
    assert first == second
    assert all(value is not None for value in first.values())


def test_seasonal_error_leaves_pairs_with_gaps_out() -> None:
    assert metrics.seasonal_error([1.0, None, 4.0, 6.0, math.nan], 1) == 2.0
    assert metrics.seasonal_error([1.0, None, 4.0], 2) == 3.0


def test_undefined_metrics_are_none() -> None:
    names = metrics.METRICS
    quantiles = {0.1: [0.0], 0.9: [1.0]}
    everything = {"mean": [1.0], "quantiles": quantiles, "season_length": 1}
    unknown = metrics.evaluate(names, actual=[None], train=[1.0, 2.0], **everything)
    assert set(unknown.values()) == {None}
    flat = metrics.evaluate(names, actual=[0.0], train=[5.0, 5.0], **everything)
    assert [name for name, value in flat.items() if value is None] == [
        "mape",
        "mase",
        "rmsse",
        "wql",
        "msis_0.8",
    ]
    for train in ([], [1.0]):
        short = metrics.evaluate(names, actual=[2.0], train=train, **everything)
        assert short["mase"] is short["rmsse"] is short["msis_0.8"] is None
    assert metrics.owa(1.0, 1.0, 0.0, 1.0) is None
    assert metrics.owa(None, 1.0, 1.0, 1.0) is None


def test_metrics_are_finite_or_none_at_the_ends_of_the_range() -> None:
    values = [0, 0.0, 5e-324, -1.7e308, 1.7e308, 10**300, 1.0]
    for y in values:
        for f in values:
            found = metrics.evaluate(
                metrics.METRICS,
                actual=[y, y],
                mean=[f, f],
                quantiles={0.1: [f, f], 0.9: [f, y]},
                train=[y, f, y],
                season_length=1,
            )
            assert all(v is None or math.isfinite(v) for v in found.values()), (y, f, found)


def test_evaluate_answers_only_what_is_asked() -> None:
    common = {"actual": [1.0], "mean": [1.0], "train": [1.0, 2.0], "season_length": 1}
    found = metrics.evaluate(["smape", "mae"], quantiles=None, **common)
    assert list(found) == ["smape", "mae"]
    bare = metrics.evaluate(["msis", "coverage", "wql"], quantiles=None, **common)
    assert bare == {"msis": None, "coverage": None, "wql": None}
    one_sided = metrics.evaluate(["coverage"], quantiles={0.5: [1.0], 0.9: [2.0]}, **common)
    assert one_sided == {"coverage": None}
    quantiles = {0.025: [0.0], 0.1: [0.5], 0.9: [1.5], 0.975: [2.0]}
    pairs = metrics.evaluate(["coverage"], quantiles=quantiles, **common)
    assert pairs == {"coverage_0.95": 1.0, "coverage_0.8": 1.0}
    with pytest.raises(InvalidRequest, match=r"mase.*'nope'"):
        metrics.evaluate(["nope"], quantiles=None, **common)


def test_symmetric_pairs_survive_rounding() -> None:
    levels = [i / 1000 for i in range(1, 1000)]
    pairs = metrics.symmetric_pairs(levels)
    assert len(pairs) == 499
    assert pairs[0] == (0.998, 0.001, 0.999)
    assert all(low in levels and high in levels for _, low, high in pairs)
    assert metrics.symmetric_pairs([0.1, 0.2, 0.5]) == []


def test_forecasts_of_another_length_are_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="zip"):
        metrics.mae([1.0, 2.0], [1.0])
