"""Sample paths and explanations: seeded, bounded, and right where the answer is known."""

import random
from math import log

import pytest

from tollama.core.errors import InvalidRequest
from tollama.daemon.compat import nixtla_explain, nixtla_paths, shapley


def quantiles(widths):
    """Quantiles around 0 whose spread at each step is `widths`."""
    return {repr(q): [(q - 0.5) * w for w in widths] for q in nixtla_paths.GRID}


def test_paths_stay_within_the_outer_quantiles_and_follow_the_inner_ones():
    found = nixtla_paths.paths(quantiles([1.0, 1.0, 2.0]), 4000, random.Random(1))
    for step, width in enumerate([1.0, 1.0, 2.0]):
        values = sorted(path[step] for path in found)
        assert values[0] >= -0.495 * width and values[-1] <= 0.495 * width
        for q in (0.1, 0.5, 0.9):
            assert values[int(4000 * q)] == pytest.approx((q - 0.5) * width, abs=0.03 * width)


def test_the_same_seed_gives_the_same_paths():
    one, two, other = (
        nixtla_paths.paths(quantiles([1, 2]), 3, random.Random(seed)) for seed in (5, 5, 6)
    )
    assert one == two != other


def correlation(pairs):
    n = len(pairs)
    mx, my = sum(x for x, _ in pairs) / n, sum(y for _, y in pairs) / n
    cov = sum((x - mx) * (y - my) for x, y in pairs)
    vx, vy = sum((x - mx) ** 2 for x, _ in pairs), sum((y - my) ** 2 for _, y in pairs)
    return cov / (vx * vy) ** 0.5


@pytest.mark.parametrize(
    ("widths", "persistence", "expected"),
    [
        ([1.0, 1.0], 0.0, 0.0),  # intervals of equal width: steps are independent
        ([1.0, 2**0.5], 1.0, 0.5**0.5),  # a random walk: corr = sqrt(1 / 2)
        ([1.0, 1.25**0.5], 0.5, 0.5 / 1.25**0.5),
        ([1.0, 9.0], 1.0, 0.5**0.5),
        ([0.0, 1.0], 0.0, 0.0),
        ([1.0, 0.5], 0.0, 0.0),
    ],
)
def test_steps_hang_together_as_the_intervals_say(widths, persistence, expected):
    levels = quantiles(widths)
    steps = list(zip(*levels.values(), strict=True))
    assert nixtla_paths.persistence(steps) == pytest.approx(persistence)
    found = nixtla_paths.paths(levels, 4000, random.Random(0))
    if widths[0]:
        assert correlation(found) == pytest.approx(expected, abs=0.06)


def test_a_value_between_quantiles_is_interpolated():
    values = tuple(nixtla_paths.GRID)
    assert nixtla_paths.value_at(values, 0.65) == pytest.approx(0.65)
    assert nixtla_paths.value_at(values, 0.0) == 0.005
    assert nixtla_paths.value_at(values, 1.0) == 0.995


def test_simulate_answers_path_by_path():
    body = {
        "model": "auto", "h": 2, "n_paths": 3, "seed": 1, "freq": "D",
        "series": {"y": [1, 2, 3, 4], "sizes": [2, 2]},
    }  # fmt: skip
    plan = nixtla_paths.simulate_plan(body)
    [(_, request)] = list(plan.requests)
    assert request["quantiles"] == list(nixtla_paths.GRID)
    flat = {key: [float(at) for at in range(2)] for key in map(repr, nixtla_paths.GRID)}
    high = {key: [value + 100 for value in values] for key, values in flat.items()}
    found = plan.answer([{"quantiles": flat}, {"quantiles": high}], [])
    assert found["samples"] == [0.0, 1.0, 100.0, 101.0] * 3
    assert (found["sizes"], found["n_paths"], found["h"], found["coupled"]) == ([2, 2], 3, 2, False)
    with pytest.raises(InvalidRequest, match="n_paths"):
        nixtla_paths.simulate_plan({**body, "n_paths": 10**9})


def explained(y, columns, method="granger", **more):
    series = {"y": y, "sizes": [len(y)], "X": columns, **more}
    return nixtla_explain.explain({"series": series, "method": method})["weights"]


def test_feedback_is_the_gain_in_residual_variance():
    draw = random.Random(2)
    x = [draw.gauss(0, 1) for _ in range(2000)]
    y = [0.0, *(2 * v for v in x[:-1])]
    y = [v + draw.gauss(0, 1) for v in y]
    noise = [draw.gauss(0, 1) for _ in range(2000)]
    granger = explained(y, [x, noise])
    # var(y) = 5 without x, 1 with it.
    assert granger[0] == pytest.approx(log(5), abs=0.15) and granger[1] < 0.02
    entropy = explained(y, [x, noise], "transfer_entropy")
    assert entropy == pytest.approx([value / 2 for value in granger])


def test_categories_count_by_their_indicators():
    draw = random.Random(3)
    kinds = [draw.choice("abc") for _ in range(500)]
    effect = {"a": 0.0, "b": 5.0, "c": -5.0}
    y = [0.0, *(effect[k] for k in kinds[:-1])]
    y = [v + draw.gauss(0, 1) for v in y]
    [weight] = explained(y, [kinds], categorical_exog=[0])
    assert weight > 2


def test_degenerate_data_has_no_weight_and_no_failure():
    assert explained([1.0] * 50, [[2.0] * 50]) == [0.0]
    assert explained([1.0, 2.0, 3.0], [[1.0, 2.0, 3.0]]) == [0.0]
    exact = explained(
        [0.0, *(float(v % 7) for v in range(99))], [[float(v % 7) for v in range(100)]]
    )
    assert 0 <= exact[0] <= 21
    gaps = [float(v) if v % 5 else None for v in range(100)]
    assert explained(gaps, [[float(v * v % 11) for v in range(100)]])[0] >= 0


def test_explain_refuses_what_it_cannot_do():
    series = {"y": [1, 2], "sizes": [2], "X": [[1, 2]]}
    with pytest.raises(InvalidRequest, match="method"):
        nixtla_explain.explain({"series": series, "method": "magic"})
    with pytest.raises(InvalidRequest, match="at least one feature"):
        nixtla_explain.explain({"series": {**series, "X": None}, "method": "granger"})


def test_shapley_values_are_exact_for_few_features():
    names = ["a", "b", "c"]

    def worth(chosen):
        # c matters only together with a: they share it.
        return [10.0 + 2 * ("a" in chosen) + 3 * ("b" in chosen) + 4 * ({"a", "c"} <= chosen)]

    games = shapley.games(names)
    assert len(games) == 8
    found = shapley.rows(names, {chosen: worth(chosen) for chosen in games})
    assert [row[0] for row in found] == pytest.approx([4.0, 3.0, 2.0, 10.0])


def test_many_features_are_sampled_and_still_add_up():
    names = [f"x{k}" for k in range(12)]

    def worth(chosen):
        return [sum((k + 1) * (f"x{k}" in chosen) for k in range(12)) + 5.0 * (len(chosen) > 6)]

    games = shapley.games(names)
    assert len(games) <= 120 and frozenset(names) in games
    found = shapley.rows(names, {chosen: worth(chosen) for chosen in games})
    assert sum(row[0] for row in found) == pytest.approx(worth(frozenset(names))[0])
    assert found[11][0] == pytest.approx(12, abs=2)
