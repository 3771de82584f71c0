"""Batches, threads, normalisation and quantiles."""

from __future__ import annotations

import sys
import threading

import pytest

np = pytest.importorskip("numpy")

from tollama_numpy import batches, memory, preprocess, quantiles, threads  # noqa: E402
from tollama_numpy.batches import Limits, Size  # noqa: E402

LIMITS = Limits(rows=256, tokens=1024, worth_splitting=100, threads=1)


def test_by_size_takes_every_task_once_and_keeps_to_its_limits():
    rng = np.random.default_rng(0)
    sizes = [
        Size(int(rng.integers(1, 5)), int(rng.integers(1, 130)), int(rng.integers(1, 3)))
        for _ in range(200)
    ]
    for limits in (LIMITS, LIMITS._replace(rows=7), LIMITS._replace(threads=3)):
        plan = batches.by_size(sizes, limits)
        assert sorted(index for batch in plan for index in batch) == list(range(200))
        for batch in plan:
            members = [sizes[index] for index in batch]
            rows, width = sum(s.rows for s in members), max(s.width for s in members)
            assert len({s.ahead for s in members}) == 1
            assert len(members) == 1 or rows <= limits.rows
            assert len(members) == 1 or rows * width <= limits.tokens


def test_by_size_pads_little_where_lengths_differ_much():
    sizes = [Size(1, past, 3) for past in (4, 5, 6, 7, 100, 101, 110, 128)] * 8
    plan = batches.by_size(sizes, LIMITS)
    padded = sum(max(sizes[i].width for i in batch) * len(batch) for batch in plan)
    assert padded <= 1.15 * sum(size.width for size in sizes)
    assert len(plan) <= 12


def test_by_size_puts_alike_tasks_together_and_gives_each_thread_one_batch():
    sizes = [Size(1, 33, 3)] * 8
    assert len(batches.by_size(sizes, LIMITS)) == 1
    plan = batches.by_size(sizes, LIMITS._replace(threads=2))
    assert [len(batch) for batch in plan] == [4, 4]
    few = LIMITS._replace(threads=2, worth_splitting=1000)
    assert len(batches.by_size(sizes, few)) == 1


def test_a_group_over_the_limit_is_a_batch_of_its_own():
    plan = batches.by_size([Size(50, 30, 1), Size(1, 30, 1), Size(1, 30, 1)], LIMITS)
    assert sorted(map(sorted, plan)) == [[0], [1, 2]]


@pytest.mark.parametrize(
    ("rows", "limit", "expected"),
    [
        ([1, 1, 1], 2, [[0, 1], [2]]),
        ([3, 1, 1], 2, [[0], [1, 2]]),
        ([1, 3, 1], 2, [[0, 1], [2]]),
        ([], 2, []),
    ],
)
def test_in_order_fills_as_the_library_does(rows, limit, expected):
    assert batches.in_order(rows, limit) == expected


def test_run_gives_every_result_on_several_threads():
    barrier = threading.Barrier(2, timeout=30)

    def meet(piece):
        barrier.wait()  # passes only when two pieces are computed at the same time
        return piece * piece

    if not threads.calm_blas():
        pytest.skip("no OpenBLAS that can be told")
    assert sorted(threads.run(meet, [1, 2, 3, 4], 2)) == [1, 4, 9, 16]


@pytest.mark.parametrize("count", [1, 3])
def test_run_passes_an_error_on(count):
    def fail(piece):
        raise ValueError(piece)

    with pytest.raises(ValueError, match="7"):
        list(threads.run(fail, [7, 7], count))


@pytest.mark.parametrize("team", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 40, 300])
def test_product_in_parts_is_the_product(team, rows):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 200)).astype(np.float32)
    weight = rng.normal(size=(1001, 200)).astype(np.float32)
    [found] = threads.run(lambda piece: threads.product(piece, weight), [x], team)
    np.testing.assert_allclose(found, x @ weight.T, rtol=1e-4, atol=1e-4)


def test_product_passes_an_error_of_a_helper_on():
    x, weight = np.ones((400, 200), np.float32), np.ones((999, 150), np.float32)
    with pytest.raises(ValueError, match="matmul"):
        list(threads.run(lambda piece: threads.product(piece, weight), [x], 2))


def test_scale_counts_what_is_there():
    rows = np.array([[1, 2, np.nan, 3], [np.nan] * 4, [5, 5, 5, 5]], np.float32)
    found = preprocess.Scale.of(rows)
    np.testing.assert_allclose(found.loc[:, 0], [2, 0, 5])
    np.testing.assert_allclose(found.scale[:, 0], [np.sqrt(2 / 3), 1, 1e-5], rtol=1e-6)


@pytest.mark.parametrize("length", [1, 5, 8, 31, 32, 33, 100, 511, 512, 513, 5000, 8192])
def test_total_is_a_sum(length):
    rows = np.random.default_rng(length).normal(size=(3, length)).astype(np.float32)
    np.testing.assert_allclose(
        preprocess.total(rows)[:, 0], rows.astype(float).sum(1), atol=1e-5 * length
    )


def test_patches_are_filled_up_on_the_left():
    found = preprocess.patches(np.arange(5, dtype=np.float32)[None], 4)
    assert found.shape == (1, 2, 4)
    assert np.isnan(found[0, 0, :3]).all()
    assert found[0, 0, 3] == 0 and found[0, 1].tolist() == [1, 2, 3, 4]


def test_interpolate_is_linear_inside_and_flat_outside():
    values = np.array([[[10.0, 20.0, 40.0]]], np.float32)
    found = quantiles.interpolate([0.05, 0.1, 0.3, 0.5, 0.7, 0.95], [0.1, 0.5, 0.9], values)
    np.testing.assert_allclose(found[0, 0], [10, 10, 15, 20, 30, 40], rtol=1e-6)


def test_equally_spaced_agrees_with_numpy():
    values = np.random.default_rng(1).normal(size=(4, 6, 11)).astype(np.float32)
    levels = [0.01, 0.25, 0.5, 0.999]
    expected = np.moveaxis(np.quantile(values, levels, axis=-1), 0, -1)
    np.testing.assert_allclose(quantiles.equally_spaced(levels, values), expected, atol=1e-5)


def test_weighted_samples_give_more_to_the_heavier():
    samples = np.array([[3.0, 1.0, 2.0]], np.float32)
    light = quantiles.of_weighted_samples([0.5], np.array([1.0, 1.0, 1.0]), samples)
    heavy = quantiles.of_weighted_samples([0.5], np.array([8.0, 1.0, 1.0]), samples)
    assert light[0, 0] < heavy[0, 0]


def test_masses_sum_to_one():
    found = quantiles.masses([0.1, 0.5, 0.9])
    np.testing.assert_allclose(found, np.array([0.25, 0.4, 0.25]) / 0.9, rtol=1e-6)


def test_available_memory_is_known_on_linux():
    found = memory.available()
    if sys.platform == "linux":
        assert found is not None and found > 0
    else:
        assert found is None
