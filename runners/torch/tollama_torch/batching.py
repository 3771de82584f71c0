"""Which series go through the model together: lengths bucketed, padding and memory bounded.

A batch costs a fixed overhead plus what its padded tokens cost, so the cheapest way to cut the
series, sorted by length, into batches is found exactly (dynamic programming over the cut points).
On a CPU a batch is also kept small enough that its activations stay in the cache.

Not covered: which series may share a batch at all; the caller gives one such group at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Size(NamedTuple):
    """What one series asks of the model: `rows` (targets and covariates) of `tokens` each."""

    rows: int
    tokens: int


class Budget(NamedTuple):
    """Limits of one batch, and its fixed `overhead` expressed in tokens.

    `pair_bytes` is what each token position costs for every pair of rows (the mask of attention
    between rows); 0 when rows do not see each other.
    """

    tokens: int
    rows: int
    overhead: int
    pair_bytes: int = 0
    bytes: int = 1 << 62

    def halved(self, rows: int, tokens: int) -> Budget:
        """The budget after a batch of `rows` rows and `tokens` tokens did not fit in memory."""
        return self._replace(rows=max(1, rows // 2), tokens=max(1, tokens // 2))

    def fits(self, rows: int, width: int) -> bool:
        """Whether `rows` rows, padded to `width` tokens each, make one batch."""
        return (
            rows <= self.rows
            and rows * width <= self.tokens
            and rows * rows * width * self.pair_bytes <= self.bytes
        )


def plan(sizes: Sequence[Size], budget: Budget) -> list[list[int]]:
    """Batches of indices into `sizes`, each within the budget, all together at the least cost.

    A series over the budget on its own gets a batch of its own. Batches come in the order of their
    first series, so that early ones are answered early.
    """
    order = sorted(range(len(sizes)), key=lambda i: (sizes[i].tokens, i))
    # best[k]: the least cost of the first k series in order; start[k]: where its last batch begins.
    best: list[float] = [0.0]
    start: list[int] = [0]
    for end in range(1, len(order) + 1):
        width = sizes[order[end - 1]].tokens
        rows = 0
        least = float("inf")
        chosen = end - 1
        for begin in range(end - 1, -1, -1):
            rows += sizes[order[begin]].rows
            if begin < end - 1 and not budget.fits(rows, width):
                break
            cost = best[begin] + budget.overhead + rows * width
            if cost <= least:
                least = cost
                chosen = begin
        best.append(least)
        start.append(chosen)
    batches: list[list[int]] = []
    end = len(order)
    while end:
        batches.append(sorted(order[start[end] : end]))
        end = start[end]
    return sorted(batches, key=lambda batch: batch[0])
