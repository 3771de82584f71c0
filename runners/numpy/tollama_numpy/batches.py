"""Which tasks are computed together: alike in length, and not more than fits.

Padding costs as much as data and a batch has a fixed cost of its own (reading all weights), so the tasks are
sorted by length and cut where the sum of both is least.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_TOKENS = 4096  # a batch of that many is as fast as a larger one, a token, and needs less memory
FIXED_COST = 64  # of a batch, in tokens


class Size(NamedTuple):
    """What a task takes: rows that stay together, tokens of history a row, tokens ahead a row."""

    rows: int
    tokens: int
    extra: int


def in_order(rows: list[int], batch_size: int) -> list[list[int]]:
    """Consecutive tasks; a batch is full once it has `batch_size` rows or more."""
    plan: list[list[int]] = []
    count = batch_size
    for index, own in enumerate(rows):
        if count >= batch_size:
            plan.append([])
            count = 0
        plan[-1].append(index)
        count += own
    return plan


def by_size(sizes: list[Size], batch_size: int) -> list[list[int]]:
    """Batches of indices; the tasks of one batch have the same number of tokens ahead."""
    plan: list[list[int]] = []
    for extra in sorted({size.extra for size in sizes}):
        alike = [index for index, size in enumerate(sizes) if size.extra == extra]
        for bucket in _buckets(alike, sizes):
            width = max(sizes[index].tokens for index in bucket) + extra + 1
            limit = min(batch_size, max(1, MAX_TOKENS // width))
            plan += _filled(bucket, sizes, limit)
    return plan


def _buckets(indices: list[int], sizes: list[Size]) -> list[list[int]]:
    """Cuts tasks into ranges of lengths at the least cost (dynamic programming over lengths)."""
    by_length: dict[int, list[int]] = {}
    for index in indices:
        by_length.setdefault(sizes[index].tokens, []).append(index)
    lengths = sorted(by_length)
    extra = sizes[indices[0]].extra + 1
    rows = [sum(sizes[index].rows for index in by_length[length]) for length in lengths]
    best, cut = [0.0], [0]
    for end, length in enumerate(lengths, 1):
        options, together = [], 0
        for start in range(end - 1, -1, -1):
            together += rows[start]
            options.append((best[start] + FIXED_COST + together * (length + extra), start))
        cost, start = min(options)
        best.append(cost)
        cut.append(start)
    found, end = [], len(lengths)
    while end:
        found.append([i for length in lengths[cut[end] : end] for i in by_length[length]])
        end = cut[end]
    return found[::-1]


def _filled(bucket: list[int], sizes: list[Size], limit: int) -> list[list[int]]:
    """Batches of at most `limit` rows, a larger task alone."""
    plan: list[list[int]] = []
    count = limit
    for index in bucket:
        if count + sizes[index].rows > limit or not plan:
            plan.append([])
            count = 0
        plan[-1].append(index)
        count += sizes[index].rows
    return plan
