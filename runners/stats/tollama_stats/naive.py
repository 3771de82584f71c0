"""The reference methods: naive, seasonal naive, drift (Hyndman and Athanasopoulos, FPP3, section
5.2).

Their standard errors are those of FPP3, table 5.2. Naive2, the scale of the M competitions' OWA, is
`naive` on seasonally adjusted data (see `seasonality`). Not covered: seasonality tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from .prediction import Prediction, root_mean_square


def naive(y: Sequence[float], horizon: int) -> Prediction:
    """The last value repeated; the error is that of a random walk."""
    n = len(y)
    sigma = root_mean_square(map(float.__sub__, y[1:], y[:-1]), n - 1)
    return Prediction([y[-1]] * horizon, [sigma * math.sqrt(k) for k in range(1, horizon + 1)])


def seasonal_naive(y: Sequence[float], horizon: int, season: int) -> Prediction:
    """The last full season repeated; needs `season` observations."""
    n = len(y)
    last = list(y[-season:])
    cycles = -(-horizon // season)
    sigma = root_mean_square(map(float.__sub__, y[season:], y[:-season]), n - season)
    return Prediction(
        (last * cycles)[:horizon],
        [sigma * math.sqrt(k // season + 1) for k in range(horizon)],
    )


def drift(y: Sequence[float], horizon: int) -> Prediction:
    """The last value plus the mean change: the line through the first and the last observation."""
    n = len(y)
    slope = (y[-1] - y[0]) / max(n - 1, 1)
    sigma = root_mean_square((b - a - slope for a, b in pairwise(y)), n - 2)
    steps = range(1, horizon + 1)
    return Prediction(
        [y[-1] + slope * k for k in steps],
        [sigma * math.sqrt(k * (1 + k / max(n - 1, 1))) for k in steps],
    )
