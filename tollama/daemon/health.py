"""What is known of a model's runner across restarts: crashes, back-off, and when to refuse at once.

The first crash is followed by a restart at once, the next ones within a minute by a growing pause.
After FAST crashes in WINDOW seconds, or two starts in a row that failed, requests that come during
the pause fail at once with the reason instead of waiting. A minute without a crash forgets them
all, and so does a request that is answered: that is no loop.

Not covered: which request is to blame (blame.py).
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import TYPE_CHECKING

from tollama.core.errors import RunnerCrashed, TollamaError

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 60.0
FAST = 5
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
# Starts in a row that fail before requests stop waiting for the next one.
STARTS = 2


class Health:
    """The crash history of one model, shared by its lanes."""

    def __init__(self, model: str, jitter: Callable[[], float] = random.random) -> None:
        self.model = model
        self.restarts = 0
        self.failed_starts = 0
        self.last_error: str | None = None
        self.resume_at = -math.inf
        self._crashes: deque[float] = deque()
        self._error: TollamaError | None = None
        self._jitter = jitter

    def crashed(self, now: float, error: TollamaError) -> None:
        """Count a crash and set the pause before the next start."""
        self._forget(now)
        self._crashes.append(now)
        self.note(error)
        self.resume_at = now + self._pause()

    def failed_start(self, now: float, error: TollamaError) -> None:
        """Count a start that did not end in a loaded model."""
        self.failed_starts += 1
        self.crashed(now, error)

    def started(self) -> None:
        """A model was loaded."""
        self.failed_starts = 0

    def note(self, error: TollamaError) -> None:
        """Remember an error that does not count as a crash."""
        self.last_error = error.message
        self._error = error

    def recovered(self) -> None:
        """Requests have been answered since the last crash: that was no loop."""
        self._crashes.clear()

    def refusal(self, now: float) -> TollamaError | None:
        """The error for a request that comes now, or None when it may wait for a start."""
        self._forget(now)
        if now >= self.resume_at or self._error is None:
            return None
        if len(self._crashes) < FAST and self.failed_starts < STARTS:
            return None
        error = copy_of(self._error)
        error.retry_after = max(1.0, math.ceil(self.resume_at - now))
        if isinstance(error, RunnerCrashed) and len(self._crashes) >= FAST:
            error.message = (
                f"{error.message} ({len(self._crashes)} crashes in {WINDOW:.0f} s, "
                f"next start in {error.retry_after:.0f} s)"
            )
            error.args = (error.message,)
        return error

    def _pause(self) -> float:
        count = len(self._crashes)
        if count <= 1:
            return 0.0
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (count - 2))
        return pause * (0.75 + 0.25 * self._jitter())

    def _forget(self, now: float) -> None:
        while self._crashes and self._crashes[0] <= now - WINDOW:
            self._crashes.popleft()


def copy_of(error: TollamaError) -> TollamaError:
    """The same error as a new exception: one object raised in many threads would mix tracebacks."""
    copy = error.__class__.__new__(error.__class__)
    TollamaError.__init__(copy, error.message, detail=error.detail, retry_after=error.retry_after)
    return copy
