"""Is there a season, what is its shape, and the series without it.

The test and the multiplicative decomposition are those of the M4 competition's benchmarks
(Makridakis, Spiliotis and Assimakopoulos 2020, appendix; the test is Bartlett's on one
autocorrelation), so that `naive2`, `theta` and `comb` equal the competition's. `auto` also asks an
analysis of variance, which sees a season in few noisy cycles. Not covered: changing seasonal shapes
(`holt_winters`, `autoregression`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import mul
from typing import NamedTuple

SHORTEST_SHARE = 3  # a test needs this many full seasons
CALENDAR = (4, 7, 12, 24, 52, 96, 168)
CLEARLY, PREFERENCE = 10.0, 20.0  # in units of BIC
PHASES = 8  # parts of a long cycle that have a mean of their own
LONGEST_SEARCH = 1_500
Z99 = 2.326  # one-sided, of the normal distribution
# Smooth waves that a few noisy years hide from the search below (weeks have edges that it sees),
# and how clearly their means must differ where nobody named the season.
COMMON, UNASKED = (4, 12), 3.5
LAGS = 200  # Bartlett's sum over more lags than this is estimated from every k-th


class Adjustment(NamedTuple):
    """A series without its season, and the season's `horizon` future values to put back."""

    values: list[float]
    future: list[float]
    kind: str  # "none", "multiplicative" or "additive"

    @property
    def is_seasonal(self) -> bool:
        """Whether a season was removed."""
        return self.kind != "none"

    def restore(
        self, mean: Sequence[float], spread: Sequence[float]
    ) -> tuple[list[float], list[float]]:
        """Mean and spread with the season put back."""
        if self.kind == "multiplicative":
            return list(map(mul, mean, self.future)), list(map(mul, spread, self.future))
        if self.kind == "additive":
            return list(map(float.__add__, mean, self.future)), list(spread)
        return list(mean), list(spread)


def is_seasonal(y: Sequence[float], season: int, *, critical: float = 1.645) -> bool:
    """Whether the autocorrelation at lag `season` differs from zero (M4's test, 90%).

    |r_m| > critical * sqrt((1 + 2 * sum_{k<m} r_k^2) / n)
    """
    n = len(y)
    if season < 2 or n < SHORTEST_SHARE * season:
        return False
    deviations, variance = _deviations(y)
    if variance <= 0:
        return False

    def squared(lag: int) -> float:
        r: float = math.fsum(map(mul, deviations[lag:], deviations)) / variance
        return r * r

    stride = -(-(season - 1) // LAGS)
    lags = range(1, season, stride)
    below = math.fsum(map(squared, lags)) * (season - 1) / len(lags)
    return squared(season) > critical * critical / n * (1 + 2 * below)


def shows_season(y: Sequence[float], season: int) -> bool:
    """Whether M4's test or the analysis of variance (99%) finds the season."""
    return is_seasonal(y, season) or seasonal_means_differ(y, season) > Z99


def seasonal_means_differ(y: Sequence[float], season: int) -> float:
    """How clearly the seasons' means differ, as a standard normal deviate.

    Fisher's (1925) one-way analysis of variance of the values less their centred moving average:
    F = (between / (m - 1)) / (within / (n - m)), made normal by Paulson's (1942) approximation.
    """
    if season < 2 or len(y) < SHORTEST_SHARE * season:
        return 0.0
    trend = centred_moving_average(y, season)
    values, total = _deviations(list(map(float.__sub__, y[season // 2 :], trend)))
    groups = [values[i::season] for i in range(season)]
    between = math.fsum(math.fsum(group) ** 2 / len(group) for group in groups)
    within = max(total - between, 1e-9 * total)
    if within <= 0:
        return 0.0
    a, b = season - 1, len(values) - season
    root = (between / a / (within / b)) ** (1 / 3)
    ninth_a, ninth_b = 2 / (9 * a), 2 / (9 * b)
    return ((1 - ninth_b) * root - (1 - ninth_a)) / math.sqrt(ninth_b * root * root + ninth_a)


def is_cycle(y: Sequence[float], season: int) -> bool:
    """Whether a long season is there: M4's test, and the first differences repeat too (95%,
    one-sided).

    On the level alone the slow swings of a random walk look like a long season two times in five.
    """
    if not is_seasonal(y, season):
        return False
    changes, variance = _deviations(list(map(float.__sub__, y[1:], y[:-1])))
    r = math.fsum(map(mul, changes[season:], changes)) / variance if variance > 0 else 0.0
    return r > 1.645 / math.sqrt(len(changes))


def _deviations(y: Sequence[float]) -> tuple[list[float], float]:
    """Deviations from the mean and the sum of their squares."""
    average = math.fsum(y) / len(y)
    deviations = [v - average for v in y]
    return deviations, math.fsum(map(mul, deviations, deviations))


def centred_moving_average(y: Sequence[float], season: int) -> list[float]:
    """The 2 x m (m even) or m (odd) moving average of the inner n - 2 * (m // 2) times."""
    half = season // 2
    window = math.fsum(y[:season])
    averages = []
    for t in range(half, len(y) - half):
        if season % 2:
            averages.append(window / season)
        else:  # the window reaches from t - half to t + half - 1; its ends count half
            averages.append((window + 0.5 * (y[t + half] - y[t - half])) / season)
        leaving, entering = t - half, t - half + season
        if entering < len(y):
            window += y[entering] - y[leaving]
    return averages


def seasonal_indices(y: Sequence[float], season: int, *, multiplicative: bool) -> list[float]:
    """Classical decomposition: index i belongs to times i, i + m, i + 2m ... (FPP3, section 3.4).

    Multiplicative indices average 1, additive ones 0.
    """
    half = season // 2
    totals, counts = [0.0] * season, [0] * season
    for t, level in enumerate(centred_moving_average(y, season), half):
        if multiplicative:
            if level == 0:
                continue
            totals[t % season] += y[t] / level
        else:
            totals[t % season] += y[t] - level
        counts[t % season] += 1
    neutral = 1.0 if multiplicative else 0.0
    raw = [a / c if c else neutral for a, c in zip(totals, counts, strict=True)]
    centre = math.fsum(raw) / season
    if multiplicative:
        return [v / centre for v in raw] if centre else [1.0] * season
    return [v - centre for v in raw]


def adjust(
    y: Sequence[float],
    season: int,
    horizon: int,
    *,
    test: Callable[[Sequence[float], int], bool] = is_seasonal,
) -> Adjustment:
    """The seasonally adjusted series if the test finds a season, else the series itself.

    Multiplicative as in M4; additive where that is undefined (negative values, an index at or below
    zero).
    """
    if not test(y, season):
        return Adjustment(list(y), [], "none")
    return remove_season(y, season, horizon)


def remove_season(y: Sequence[float], season: int, horizon: int) -> Adjustment:
    """The adjusted series without a test; needs two seasons."""
    n = len(y)
    if min(y) >= 0:
        indices = seasonal_indices(y, season, multiplicative=True)
        if min(indices) > 0:
            values = [v / indices[t % season] for t, v in enumerate(y)]
            future = [indices[t % season] for t in range(n, n + horizon)]
            return Adjustment(values, future, "multiplicative")
    indices = seasonal_indices(y, season, multiplicative=False)
    values = [v - indices[t % season] for t, v in enumerate(y)]
    return Adjustment(values, [indices[t % season] for t in range(n, n + horizon)], "additive")


def detect_season(y: Sequence[float]) -> int:
    """The season of a series whose frequency is not known; 1 when there is none.

    A season of m steps must show in the changes, over one step or over m/8 to m/4 steps: in the
    level a random walk's slow swings look like seasons, and in the changes of one step a long
    smooth wave drowns in noise. Peaks of the autocorrelation are the candidates; each is judged by
    the BIC of a model that gives phases of the cycle a mean of their own. One must win clearly
    against none; among those that do, the calendar's periods are preferred. Where none does, one of
    the common periods may show in its means.
    """
    y = y[-LONGEST_SEARCH:]
    longest = min((len(y) - 1) // SHORTEST_SHARE, 400)
    best, best_gain = 1, 0.0
    span = 1
    while 4 * span < longest or span == 1 < longest:
        changes, variance = _deviations(list(map(float.__sub__, y[span:], y)))
        if variance <= 0:
            return best
        lowest, highest = (4 * span + 1, min(8 * span, longest)) if span > 1 else (2, longest)
        for season in _peaks(changes, variance, lowest, highest, 2 * math.sqrt(span / len(y))):
            phases = season if span == 1 else PHASES
            gain = _phase_gain(changes, variance, season, phases, span)
            if gain > CLEARLY:
                gain += PREFERENCE if season in CALENDAR else 0.0
                if gain > best_gain:
                    best, best_gain = season, gain
        span *= 2
    if best == 1:
        clearness, season = max((seasonal_means_differ(y, season), season) for season in COMMON)
        best = season if clearness > UNASKED else 1
    return best


def _peaks(
    changes: Sequence[float], variance: float, lowest: int, highest: int, bar: float
) -> list[int]:
    """The lags from `lowest` to `highest` with the highest peaks, and the calendar's over `bar`."""
    r = {
        k: math.fsum(map(mul, changes[k:], changes)) / variance
        for k in range(lowest - 1, highest + 2)
    }
    high = [k for k in range(lowest, highest + 1) if r[k] > bar]
    peaks = sorted((k for k in high if r[k] >= max(r[k - 1], r[k + 1])), key=lambda k: -r[k])
    return sorted({*peaks[:8], *(k for k in high if k in CALENDAR)})


def _phase_gain(
    changes: Sequence[float], variance: float, season: int, phases: int, span: int
) -> float:
    """BIC of no season less that of a mean for each phase; overlapping changes count once."""
    totals, counts = [0.0] * phases, [0] * phases
    place = [i * phases // season for i in range(season)]
    for i, v in enumerate(changes):
        phase = place[i % season]
        totals[phase] += v
        counts[phase] += 1
    explained = math.fsum(t * t / c for t, c in zip(totals, counts, strict=True)) / variance
    n = len(changes) / span
    return -n * math.log(max(1 - explained, 1e-9)) - (phases - 1) * math.log(n)
