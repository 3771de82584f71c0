"""Pulls that are going on: one thread a model, watched by any number of clients.

Two pulls of one model join when they ask for the same, else the second waits for the first. Pulls
of different models run side by side, a client that hangs up changes nothing, `cancel` ends a pull.
Each watcher sees every step from the start, of the progress the newest.

Not covered: what a pull does (models/pulls.py, models/hub.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tollama.core import redact
from tollama.core.errors import Cancelled, NotFound, TollamaError, Unavailable

LOOK_UP = 1.0  # seconds between two looks at whether a silent watcher is still there

Work = Callable[[Callable[[dict[str, Any]], None], threading.Event], None]


class Pulling:
    """One pull: its events so far, and how it ended."""

    def __init__(self, key: str, same: object, secret: str | None) -> None:
        self.key = key
        self.same = same
        self.secret = secret
        self._watchers: list[Callable[[], bool]] = []
        self.events: list[dict[str, Any]] = []
        self.error: TollamaError | None = None
        self.done = False
        self.cancelled = threading.Event()
        self.changed = threading.Condition()

    def add(self, event: dict[str, Any]) -> None:
        """Publish an event. Progress replaces the progress before it, so memory stays flat."""
        with self.changed:
            replaces = (
                self.events
                and event.get("status") == "downloading"
                and self.events[-1].get("status") == "downloading"
            )
            if replaces:
                self.events[-1] = event
            else:
                self.events.append(event)
            self.changed.notify_all()

    def succeeded(self) -> bool:
        """Whether all of its work was done, perhaps just before it was cancelled."""
        return bool(self.events) and self.events[-1].get("status") == "success"

    def end(self, error: TollamaError | None) -> None:
        """Publish the end."""
        with self.changed:
            self.error = error
            self.done = True
            self.changed.notify_all()

    def watch(self, gone: Callable[[], bool] | None = None) -> Iterator[dict[str, Any]]:
        """Every event as it comes; raises the pull's error at its end.

        `gone` is asked now and then whether anybody still listens.
        """
        mark = gone or _never
        with self.changed:
            self._watchers.append(mark)
        try:
            yield from self._watch(gone)
        finally:
            with self.changed:
                self._watchers.remove(mark)

    def _watch(self, gone: Callable[[], bool] | None) -> Iterator[dict[str, Any]]:
        at, last = 0, None
        while True:
            with self.changed:
                while not self.done and not self._news(at, last):
                    self.changed.wait(None if gone is None else LOOK_UP)
                    if gone is not None and gone():
                        return
                # The newest progress event may have been replaced since it was shown.
                start = at - 1 if at and self.events[at - 1] is not last else at
                news = self.events[start:]
                at = len(self.events)
                done, error = self.done, self.error
            for event in news:
                last = event
                yield event
            if done:
                if error is not None:
                    raise error
                return

    def watched(self) -> bool:
        """Whether anybody still watches it."""
        with self.changed:
            watchers = list(self._watchers)
        return not all(gone() for gone in watchers)

    def wait(self, cancelled: threading.Event) -> None:
        """Until this pull has ended, or another one that waits for it is cancelled."""
        with self.changed:
            while not self.done and not cancelled.is_set():
                self.changed.wait(0.1)

    def _news(self, at: int, last: object) -> bool:
        return len(self.events) > at or bool(at and self.events[at - 1] is not last)


def _never() -> bool:
    return False


class Pulls:
    """All pulls of this process by model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, list[Pulling]] = {}  # by model, the one that works first
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def join(
        self, key: str, work: Work, *, same: object = None, secret: str | None = None
    ) -> Pulling:
        """The pull of `key` that is going on, or a new one doing `work(on_event, cancelled)`.

        `same` is what both must agree on to be one pull; a pull that asks for something else
        starts when those before it have ended.
        """
        with self._lock:
            if self._closed:
                raise Unavailable("the daemon is stopping, pull again when it is back")
            queue = self._active.setdefault(key, [])
            for pulling in queue:
                if pulling.same == same and not pulling.cancelled.is_set():
                    return pulling
            pulling = Pulling(key, same, secret)
            before = list(queue)
            queue.append(pulling)
            thread = threading.Thread(
                target=self._run, args=(pulling, before, work), name=f"pull {key}", daemon=True
            )
            self._threads.add(thread)
        thread.start()
        return pulling

    def _run(self, pulling: Pulling, before: list[Pulling], work: Work) -> None:
        error: TollamaError | None = None
        try:
            for other in before:
                if not other.done:
                    pulling.add({"status": "waiting for another pull of this model"})
                other.wait(pulling.cancelled)
            if not pulling.cancelled.is_set():
                work(pulling.add, pulling.cancelled)
        except TollamaError as failure:
            error = failure
            error.message = redact.text(error.message, pulling.secret)
            error.args = (error.message,)
        except Exception as failure:
            text = redact.text(f"{type(failure).__name__}: {failure}", pulling.secret)
            error = TollamaError(f"the pull failed: {text}")
        finally:
            with self._lock:
                self._active[pulling.key].remove(pulling)
                if not self._active[pulling.key]:
                    del self._active[pulling.key]
                self._threads.discard(threading.current_thread())
            if error is None and pulling.cancelled.is_set() and not pulling.succeeded():
                error = Cancelled("the pull was cancelled; what was downloaded is kept")
            pulling.end(error)

    def cancel(self, key: str, *, unless_watched: bool = False) -> bool:
        """End a model's pulls; raises NotFound when none is going on.

        With `unless_watched` a pull that a client watches goes on; False when none was ended.
        """
        with self._lock:
            queue = list(self._active.get(key, ()))
        if not queue:
            raise NotFound(f"no pull of '{key}' is going on")
        ended = False
        for pulling in queue:
            if not unless_watched or not pulling.watched():
                pulling.cancelled.set()
                ended = True
        return ended

    def wait(self, key: str, timeout: float) -> None:
        """Until no pull of a model is going on any more, or the time is over."""
        end = time.monotonic() + timeout
        with self._lock:
            queue = list(self._active.get(key, ()))
        for pulling in queue:
            with pulling.changed:
                pulling.changed.wait_for(lambda p=pulling: p.done, end - time.monotonic())  # type: ignore[misc]

    def active(self) -> list[str]:
        """The models being pulled."""
        with self._lock:
            return sorted(self._active)

    def close(self, timeout: float) -> None:
        """End all pulls; what was downloaded is kept for the next one."""
        with self._lock:
            self._closed = True
            threads = list(self._threads)
            for queue in self._active.values():
                for pulling in queue:
                    pulling.cancelled.set()
        end = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
