"""Progress on stderr: a bar that redraws itself on a terminal, a plain line now and then elsewhere.

`Bar` counts bytes or things with rate and time left; `PullProgress` and `ForecastProgress` turn
the API's event objects into one. Every one ends with `end`, which leaves a clean line behind (also
after Ctrl-C). Not covered: what is done meanwhile, and anything on stdout.
"""

from __future__ import annotations

import time

from tollama.cli.terminal import (
    clean,
    cut,
    human_count,
    human_duration,
    human_size,
    pad,
    paint,
    terminal,
    width_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TextIO

    from tollama.cli.terminal import Terminal

REDRAW = 0.1
"""Seconds between two drawings on a terminal."""

REPORT = 10.0
"""Seconds between two lines elsewhere."""


EDGE = 3
"""Columns left free at the right: the terminal's "^C" must not break the line."""


class Bar:
    """One line of progress: label, bar, how much, rate, time left.

    `unit` is "B" for bytes or the plural of what is counted ("series"); `total` may be None.
    Nothing is written before the first `update`; rates are measured from there, so what was done
    before it (a resumed download) does not count.
    """

    def __init__(
        self,
        stream: TextIO,
        term: Terminal,
        label: str,
        total: int | None = None,
        unit: str = "B",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream
        self.term = term
        self.label = label
        self.total = total
        self.unit = unit
        self.clock = clock
        self.done = 0
        self.began: tuple[float, int] | None = None
        self.drawn = 0.0
        self.open = False

    def update(self, done: int, *, total: int | None = None, force: bool = False) -> None:
        """Say that `done` of `total` are done; draws when it is time to."""
        now = self.clock()
        self.done = done
        self.total = total if total is not None else self.total
        if self.began is None:
            self.began = (now, done)
            self.drawn = now
            if self.term.moves:
                self.draw()
        elif force or now - self.drawn >= (REDRAW if self.term.moves else REPORT):
            self.drawn = now
            self.draw()

    def draw(self) -> None:
        """Write the line as it is now."""
        if self.term.moves:
            self.open = True  # before Ctrl-C can find it drawn
            self.stream.write(f"\r{self.line()}\x1b[K")
        else:
            self.stream.write(self.line() + "\n")
        self.stream.flush()

    def end(self, *, keep: bool = False) -> None:
        """Leave a clean line: the bar's last state (`keep`), or nothing of it."""
        if not self.open:
            return
        self.open = False
        self.stream.write(f"\r{self.line()}\x1b[K\n" if keep else "\r\x1b[K")
        self.stream.flush()

    def rate(self) -> float:
        """Units a second since the first update; 0 while there is nothing to measure."""
        if self.began is None:
            return 0.0
        seconds = self.clock() - self.began[0]
        return (self.done - self.began[1]) / seconds if seconds > 0.2 else 0.0

    def line(self) -> str:
        """The line for the terminal's width; the bar goes first when it is narrow."""
        told = self.told()
        label = clean(self.label, self.term)
        if not self.term.moves:
            return f"{label}: {', '.join(told)}"
        facts = "  ".join(told)
        share = min(1.0, self.done / self.total) if self.total else None
        room = self.term.width - EDGE - width_of(facts) - 2
        label = cut(label, max(4, min(40, room - 8)), self.term)
        size = min(40, room - width_of(label) - 2)
        parts = [label]
        if share is not None and size >= 6:
            parts.append(_bar(share, size, self.term))
        text = "  ".join([*parts, facts])
        return (
            text
            if share is not None and size >= 6
            else cut(text, self.term.width - EDGE, self.term)
        )

    def told(self) -> list[str]:
        """Percent, amount, rate and time left, as far as they are known."""
        rate = self.rate()
        facts = []
        if self.unit == "B":
            amount = human_size(self.done)
            speed = f"{human_size(rate)}/s"
            whole = f"{amount}/{human_size(self.total)}" if self.total else amount
        else:
            amount = human_count(self.done)
            speed = f"{human_count(rate) if rate >= 10 else f'{rate:.1f}'} {self.unit}/s"
            whole = (
                f"{amount}/{human_count(self.total)} {self.unit}"
                if self.total
                else f"{amount} {self.unit}"
            )
        if self.total:
            facts.append(f"{min(100, 100 * self.done // self.total):3}%".strip())
        facts.append(whole)
        if rate > 0:
            facts.append(speed)
            if self.total and self.done < self.total:
                left = human_duration((self.total - self.done) / rate)
                facts.append(left if self.term.moves else f"{left} left")
        return facts


def _bar(share: float, size: int, term: Terminal) -> str:
    """A bar of `size` columns, filled to an eighth of a column."""
    if not term.unicode:
        full = int(share * (size - 2))
        return "[" + "#" * full + " " * (size - 2 - full) + "]"
    eighths = int(share * size * 8)
    full, rest = divmod(eighths, 8)
    bar = "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    edge = "▕", "▏"
    return edge[0] + paint(pad(bar, size - 2)[: size - 2], "mean", term) + edge[1]


class PullProgress:
    """A pull's events as they come: a bar for the bytes, a line for each new step.

    `quiet` says nothing but warnings.
    """

    def __init__(
        self,
        stream: TextIO,
        environ: Mapping[str, str],
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream
        self.environ = environ
        self.term = terminal(stream, environ)
        self.quiet = quiet
        self.clock = clock
        self.bar: Bar | None = None
        self.said = ""

    def show(self, event: dict[str, Any]) -> None:
        """Take in one event of the API's stream."""
        status = str(event.get("status", ""))
        if status == "warning":
            self._say(f"warning: {event.get('message', '')}")
        elif self.quiet or not status:
            return
        elif status == "downloading":
            self._count(event)
        elif status != self.said:
            self.said = status
            name = event.get("model") if status == "success" else event.get("digest")
            self._say(status + (f" {str(name)[:40]}" if name else ""))

    def _count(self, event: dict[str, Any]) -> None:
        total = event.get("total_bytes") or None
        files, of = event.get("files_completed"), event.get("files_total")
        if self.bar is None:
            self.bar = Bar(self.stream, self.term, "", total, clock=self.clock)
        self.bar.term = terminal(self.stream, self.environ)
        self.bar.label = f"downloading {files}/{of} files" if of else "downloading"
        done = int(event.get("completed_bytes") or 0)
        self.bar.update(done, total=total, force=bool(total) and done == total != self.bar.done)

    def _say(self, line: str) -> None:
        if self.bar is not None:
            self.bar.end(keep=True)
        self.stream.write(clean(line, self.term) + "\n")
        self.stream.flush()

    def end(self) -> None:
        """Leave a clean line, with how far the download came."""
        if self.bar is not None:
            self.bar.end(keep=True)


class ForecastProgress:
    """Forecasting as it goes: what it waits for, then series done, their rate and the time left.

    `total` may be set when it is known; `unit` is the plural of what is counted.

    On a terminal it shows after a moment and is gone at the end; elsewhere only a long run writes
    lines.
    """

    def __init__(
        self,
        stream: TextIO,
        environ: Mapping[str, str],
        *,
        total: int | None,
        unit: str = "series",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream
        self.environ = environ
        self.term = terminal(stream, environ)
        self.clock = clock
        self.total = total
        self.unit = unit
        self.bar: Bar | None = None
        self.done = 0
        self.waiting = False

    def start(self, done: int = 0) -> None:
        """Begin to count series, `done` of which were done before."""
        self.done = done
        self.bar = Bar(
            self.stream, self.term, "forecasting", self.total, self.unit, clock=self.clock
        )
        self.bar.update(done)

    def show(self, event: dict[str, Any]) -> None:
        """Take in one event of the API's stream: a status, or a series that is ready."""
        if "forecast" in event or "error" in event:
            self.count(self.done + 1)
        elif "status" in event and self.bar is None and self.term.moves:
            text = clean(f"{event['status']} ...", self.term)
            text = paint(cut(text, self.term.width - EDGE, self.term), "faint", self.term)
            self.waiting = True
            self.stream.write(f"\r{text}\x1b[K")
            self.stream.flush()

    def count(self, done: int) -> None:
        """`done` series are ready."""
        first = self.bar is None
        if first:
            self.start(self.done)
        assert self.bar is not None
        self.bar.term = terminal(self.stream, self.environ)
        self.done = done
        self.bar.update(done, total=self.total, force=first and self.term.moves)

    def say(self, line: str) -> None:
        """Write a line of its own; the bar comes back below it."""
        if self.bar is not None:
            self.bar.end()
        self.stream.write(line + "\n")

    def end(self) -> None:
        """Take the progress away; what stays is the answer."""
        if self.bar is not None:
            self.bar.end()
        elif self.waiting:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
        self.waiting = False
