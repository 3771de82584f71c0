"""When a runner dies with jobs: which are tried again, how, and which one is at fault.

A job alone is retried once on a fresh process. A batch is tried in halves, then singles, so that a
poisonous request fails alone and its neighbours get their answers. Deaths during that search are
not counted as a crash loop, unless nothing at all is answered between them.

Not covered: back-off and refusal (health.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tollama.core.errors import TollamaError
    from tollama.daemon.backlog import Backlog
    from tollama.daemon.call import Job
    from tollama.daemon.health import Health


class Blame:
    """The search for the job that a runner dies of; its lane's lock guards it."""

    def __init__(self, backlog: Backlog, health: Health) -> None:
        self.backlog = backlog
        self.health = health
        # Deaths in a row without an answer, and how many the search for one culprit can take.
        self.barren = 0
        self.limit = 0
        # Whether a job was answered since the last death.
        self.useful = False

    def answered(self) -> None:
        """The runner answered a job."""
        self.barren = 0
        self.useful = True

    def crash(self, jobs: list[Job], error: TollamaError, now: float) -> list[Job]:
        """A runner died with these jobs unanswered; returns those that fail for good.

        The others are queued again as suspects.
        """
        if not jobs:
            self.health.note(error)
            return []
        again = any(job.crashes for job in jobs)
        for job in jobs:
            job.crashes += 1
        if self.useful:
            self.health.recovered()
            self.useful = False
        self.barren += 1
        if not again:
            self.health.crashed(now, error)
            self.barren = 1
            self.limit = math.ceil(math.log2(len(jobs))) + 2
        elif self.barren > self.limit:
            # Whatever it is given, it dies: not the fault of one request.
            self.health.crashed(now, error)
            return [*jobs, *self.backlog.clear_suspects()]
        else:
            self.health.note(error)
        if len(jobs) == 1 and jobs[0].crashes > 1:
            return jobs
        self.backlog.suspect(jobs)
        return []
