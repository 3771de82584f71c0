"""Which tasks are computed together: alike in length, and not more than fits the cache.

Padding costs as much as data and a batch has a fixed cost of its own (reading all weights), so the
tasks are sorted by length and cut where the sum of both is least.
"""

from __future__ import annotations

import math
from typing import NamedTuple

FIXED_COST = 48  # of a batch, in tokens


class Size(NamedTuple):
    """What a task takes: rows that stay together, tokens of history and tokens ahead of each."""

    rows: int
    past: int
    ahead: int

    @property
    def width(self) -> int:
        """Tokens of a row."""
        return self.past + self.ahead


class Limits(NamedTuple):
    """What a batch may take; tokens below `worth_splitting` are not divided between threads."""

    rows: int
    tokens: int
    worth_splitting: int
    threads: int


def in_order(rows: list[int], limit: int) -> list[list[int]]:
    """Consecutive tasks; a batch is full once it has `limit` rows or more."""
    plan: list[list[int]] = []
    count = limit
    for index, own in enumerate(rows):
        if count >= limit:
            plan.append([])
            count = 0
        plan[-1].append(index)
        count += own
    return plan


def by_size(sizes: list[Size], limits: Limits) -> list[list[int]]:
    """Batches of indices; the tasks of one batch have the same number of tokens ahead."""
    plan: list[list[int]] = []
    for ahead in sorted({size.ahead for size in sizes}):
        alike = [index for index, size in enumerate(sizes) if size.ahead == ahead]
        for bucket in _buckets(alike, sizes):
            plan += _cut(bucket, sizes, limits)
    return plan


def _buckets(indices: list[int], sizes: list[Size]) -> list[list[int]]:
    """Cuts tasks into ranges of lengths at the least cost (dynamic programming over lengths)."""
    by_width: dict[int, list[int]] = {}
    for index in indices:
        by_width.setdefault(sizes[index].width, []).append(index)
    widths = sorted(by_width)
    rows = [sum(sizes[index].rows for index in by_width[width]) for width in widths]
    best, cut = [0], [0]
    for end, width in enumerate(widths, 1):
        options, together = [], 0
        for start in range(end - 1, -1, -1):
            together += rows[start]
            options.append((best[start] + FIXED_COST + together * width, start))
        cost, start = min(options)
        best.append(cost)
        cut.append(start)
    found, end = [], len(widths)
    while end:
        found.append([i for width in widths[cut[end] : end] for i in by_width[width]])
        end = cut[end]
    return found[::-1]


def _cut(bucket: list[int], sizes: list[Size], limits: Limits) -> list[list[int]]:
    """Batches of about equally many rows, a larger task alone; one for each thread if it pays."""
    width = max(sizes[index].width for index in bucket)
    total = sum(sizes[index].rows for index in bucket)
    most = max(1, min(limits.rows, limits.tokens // width))
    count = math.ceil(total / most)
    if total * width >= limits.threads * limits.worth_splitting:
        count = math.ceil(count / limits.threads) * limits.threads
    most = min(most, math.ceil(total / count))
    plan: list[list[int]] = []
    rows = most
    for index in bucket:
        if rows + sizes[index].rows > most or not plan:
            plan.append([])
            rows = 0
        plan[-1].append(index)
        rows += sizes[index].rows
    return plan
