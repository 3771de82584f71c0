"""Batches within their budget, at the least cost."""

from __future__ import annotations

import itertools
import random

import pytest

from tollama_torch.batching import Budget, Size, plan


def cost(batches, sizes, budget):
    total = 0
    for batch in batches:
        rows = sum(sizes[i].rows for i in batch)
        total += budget.overhead + rows * max(sizes[i].tokens for i in batch)
    return total


@pytest.mark.parametrize("seed", range(20))
def test_plan_covers_everything_once_within_the_budget(seed):
    rng = random.Random(seed)
    sizes = [Size(rng.randrange(1, 6), rng.randrange(2, 500)) for _ in range(rng.randrange(1, 80))]
    budget = Budget(tokens=900, rows=20, overhead=rng.choice((0, 40, 1000)))
    batches = plan(sizes, budget)
    assert sorted(itertools.chain(*batches)) == list(range(len(sizes)))
    for batch in batches:
        rows = sum(sizes[i].rows for i in batch)
        assert len(batch) == 1 or budget.fits(rows, max(sizes[i].tokens for i in batch))
    assert [batch[0] for batch in batches] == sorted(batch[0] for batch in batches)


@pytest.mark.parametrize("seed", range(10))
def test_plan_is_no_dearer_than_equal_cuts_of_the_sorted_lengths(seed):
    rng = random.Random(seed)
    sizes = [Size(1, rng.randrange(4, 130)) for _ in range(32)]
    budget = Budget(tokens=1 << 30, rows=64, overhead=46)
    order = sorted(range(32), key=lambda i: sizes[i].tokens)
    found = cost(plan(sizes, budget), sizes, budget)
    for width in (1, 4, 8, 16, 32):
        cuts = [order[i : i + width] for i in range(0, 32, width)]
        assert found <= cost(cuts, sizes, budget)


def test_plan_never_pads_short_series_to_a_long_one():
    sizes = [Size(1, 8)] * 10 + [Size(1, 500)]
    assert plan(sizes, Budget(tokens=10_000, rows=100, overhead=46)) == [list(range(10)), [10]]


def test_pairs_of_rows_are_bounded():
    budget = Budget(tokens=1 << 30, rows=1000, overhead=10, pair_bytes=4, bytes=40_000)
    assert max(map(len, plan([Size(1, 100)] * 50, budget))) == 10


def test_budget_after_memory_ran_out_is_half_of_what_was_tried():
    budget = Budget(tokens=900, rows=256, overhead=46)
    assert budget.halved(20, 700)[:2] == (350, 10)
    assert budget.halved(1, 1)[:2] == (1, 1)


def test_nothing_to_plan():
    assert plan([], Budget(tokens=1, rows=1, overhead=0)) == []
