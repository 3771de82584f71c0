"""Pulls that are going on: one thread a model, watched by any number of clients.

Two pulls of one model join, pulls of different models run side by side, a client that hangs up
changes nothing, `cancel` ends a pull. Each watcher sees every event from where it joined to the
end.

Not covered: what a pull does (models/pulls.py, models/hub.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from tollama.core import redact
from tollama.core.errors import Cancelled, NotFound, TollamaError

Work = Callable[[Callable[[dict[str, Any]], None], threading.Event], None]


class Pulling:
    """One pull: its events so far, and how it ended."""

    def __init__(self, key: str, secret: str | None) -> None:
        self.key = key
        self.secret = secret
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

    def end(self, error: TollamaError | None) -> None:
        """Publish the end."""
        with self.changed:
            self.error = error
            self.done = True
            self.changed.notify_all()

    def watch(self) -> Iterator[dict[str, Any]]:
        """Every event as it comes; raises the pull's error at its end."""
        at, last = 0, None
        while True:
            with self.changed:
                while not self.done and not self._news(at, last):
                    self.changed.wait()
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

    def _news(self, at: int, last: object) -> bool:
        return len(self.events) > at or bool(at and self.events[at - 1] is not last)


class Pulls:
    """All pulls of this process by model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, Pulling] = {}
        self._threads: set[threading.Thread] = set()

    def join(self, key: str, work: Work, *, secret: str | None = None) -> Pulling:
        """The pull of `key` that is going on, or a new one doing `work(on_event, cancelled)`."""
        with self._lock:
            pulling = self._active.get(key)
            if pulling is not None and not pulling.cancelled.is_set():
                return pulling
            pulling = Pulling(key, secret)
            self._active[key] = pulling
            thread = threading.Thread(
                target=self._run, args=(pulling, work), name=f"pull {key}", daemon=True
            )
            self._threads.add(thread)
        thread.start()
        return pulling

    def _run(self, pulling: Pulling, work: Work) -> None:
        error: TollamaError | None = None
        try:
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
                if self._active.get(pulling.key) is pulling:
                    del self._active[pulling.key]
                self._threads.discard(threading.current_thread())
            if error is None and pulling.cancelled.is_set():
                error = Cancelled("the pull was cancelled; what was downloaded is kept")
            pulling.end(error)

    def cancel(self, key: str) -> None:
        """End a pull; raises NotFound when none is going on."""
        with self._lock:
            pulling = self._active.get(key)
        if pulling is None:
            raise NotFound(f"no pull of '{key}' is going on")
        pulling.cancelled.set()

    def active(self) -> list[str]:
        """The models being pulled."""
        with self._lock:
            return sorted(self._active)

    def close(self, timeout: float) -> None:
        """End all pulls; what was downloaded is kept for the next one."""
        with self._lock:
            threads = list(self._threads)
            for pulling in self._active.values():
                pulling.cancelled.set()
        for thread in threads:
            thread.join(timeout)
