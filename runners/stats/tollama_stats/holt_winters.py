"""Holt-Winters with a damped trend and an additive season, on logs where that is sensible.

Winters (1960) with Gardner and McKenzie's damping: ETS(A,Ad,A) of Hyndman et al. (2008), table 2.1;
on logs the season and the errors are multiplicative.

    l_t = l_{t-1} + phi b_{t-1} + alpha e_t
    b_t = phi b_{t-1} + alpha beta* e_t
    s_t = s_{t-m} + gamma (1 - alpha) e_t

The initial season is the classical decomposition's, the initial level and slope a line through the
first seasons. Not covered: tests for a season.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .optimise import nelder_mead
from .prediction import Prediction, exponentials, least_squares_line, logs_are_sensible
from .seasonality import seasonal_indices
from .smoothing import PHI_RANGE, damped_sums


class State(NamedTuple):
    """Level, slope and the season (`indices[t % m]` belongs to time t)."""

    level: float
    slope: float
    indices: list[float]


def holt_winters(y: Sequence[float], horizon: int, season: int) -> Prediction:
    """The damped Holt-Winters method; needs 2 seasons and 4 observations."""
    on_logs = logs_are_sensible(y)
    z = list(map(math.log, y)) if on_logs else list(y)
    n = len(z)
    start = initial_state(z, season)
    low, high = PHI_RANGE

    def sse(x: Sequence[float]) -> float:
        alpha, beta, gamma, phi = x
        inside = 1e-3 <= alpha <= 0.999 and 1e-4 <= beta <= 0.999 and 1e-4 <= gamma <= 0.999
        if not (inside and low <= phi <= high):
            return math.inf
        return smooth(z, start, alpha, beta, gamma, phi)[1]

    guesses = [(alpha, 0.05, gamma, 0.95) for alpha in (0.1, 0.4, 0.8) for gamma in (0.02, 0.3)]
    guess = min(guesses, key=sse)
    steps = (0.1, 0.05, 0.08 if guess[2] < 0.1 else -0.15, -0.05)
    alpha, beta, gamma, phi = nelder_mead(sse, guess, steps, iterations=25)
    state, squares = smooth(z, start, alpha, beta, gamma, phi)

    sums = damped_sums(phi, horizon)
    mean = [
        state.level + total * state.slope + state.indices[(n + k) % season]
        for k, total in enumerate(sums)
    ]
    # Hyndman et al. (2008), table 6.1: c_j = alpha + alpha beta phi_j + gamma when j is a full
    # season.
    sigma = math.sqrt(squares / max(n - 4, 1))
    spread, variance = [], 1.0
    for j, total in enumerate(sums, 1):
        spread.append(sigma * math.sqrt(variance))
        at_season = gamma * (1 - alpha) if j % season == 0 else 0.0
        variance += (alpha * (1 + beta * total) + at_season) ** 2
    prediction = Prediction(mean, spread)
    return exponentials(prediction) if on_logs else prediction


def initial_state(z: Sequence[float], season: int) -> State:
    """The state before the first observation."""
    indices = seasonal_indices(z, season, multiplicative=False)
    first = [v - indices[t % season] for t, v in enumerate(z[: max(2 * season, 10)])]
    line = least_squares_line(first)
    return State(line.intercept, line.slope, indices)


def smooth(
    z: Sequence[float], start: State, alpha: float, beta: float, gamma: float, phi: float
) -> tuple[State, float]:
    """The state after the last observation and the sum of squared one-step errors."""
    level, change = start.level, phi * start.slope  # change is phi b
    indices = list(start.indices)
    season = len(indices)
    gain, left = alpha * beta, gamma * (1 - alpha)
    squares = 0.0
    for first in range(0, len(z), season):
        for i, v in enumerate(z[first : first + season]):
            level += change
            error = v - level - indices[i]
            squares += error * error
            level += alpha * error
            change = phi * (change + gain * error)
            indices[i] += left * error
    return State(level, change / phi, indices), squares
