"""The learned weights: a softmax of linear functions of the series' features.

After FFORMA (Montero-Manso, Athanasopoulos, Hyndman and Talagala 2020), which learns by boosted
trees what is linear here: with features x_i, standardised and held within 4 standard deviations,

    share_j  ~  exp(prior_j + b_j + sum_i x_i w_ij)

so that the four base methods share equally where nothing speaks for others. The table was fitted
to the series of M1, M3, M4 and Tourism by benchmarks/train_weights.py, which also shows what it is
worth on collections that it never saw. Not covered: classes other than Y, Q, M and O.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .components import BASE, SLOTS
from .weight_table import TABLE

FURTHEST = 4.0
PRIOR = [0.0 if name in BASE else -1.5 for name in SLOTS]


def equal_shares() -> dict[str, float]:
    """A quarter for each base method."""
    return {name: 1 / len(BASE) for name in BASE}


def learned_shares(numbers: Sequence[float], *, trust: float = 1.0) -> dict[str, float]:
    """The share of each slot for the numbers of `features`; they sum to one.

    With `trust` below one the rest is shared equally by the base methods.
    """
    logits = list(PRIOR)
    constant = math.e - 1  # log1p makes 1 of it
    for x, (_, centre, width, row) in zip((*numbers, constant), TABLE, strict=True):
        z = (math.copysign(math.log1p(abs(x)), x) - centre) / width
        z = min(max(z, -FURTHEST), FURTHEST)
        logits = [logit + z * w for logit, w in zip(logits, row, strict=True)]
    highest = max(logits)
    powers = [math.exp(logit - highest) for logit in logits]
    total = math.fsum(powers)
    equal = equal_shares()
    return {
        name: trust * power / total + (1 - trust) * equal.get(name, 0.0)
        for name, power in zip(SLOTS, powers, strict=True)
    }
