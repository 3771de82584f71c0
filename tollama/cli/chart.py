"""A history and its forecast as a chart in characters: axes, lines, shaded intervals.

Lines are braille dots (two by four a cell), bands are blocks to an eighth of a cell in two
colours; without colours bands are shaded cells, without Unicode everything is letters. Nothing here
asks the terminal. Not covered: tables (`render`), other kinds of charts.
"""

from __future__ import annotations

import math
from collections import namedtuple

from tollama.cli.render import intervals, timestamps
from tollama.cli.terminal import SGR, Terminal, code, paint, shade, width_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Values = Sequence[float | None]

Band = namedtuple("Band", "level low high")
"""An interval: its level as text, and its two bounds a future step."""

_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLOCKS = " ▁▂▃▄▅▆▇█"
_MAX_WIDTH = 120
_FEWEST = 24


def chart(
    history: Values,
    forecast: dict[str, Any],
    term: Terminal,
    *,
    levels: Sequence[float] = (80, 95),
    stamps: Sequence[str] | None = None,
    start: str | None = None,
    height: int | None = None,
) -> str:
    """The end of `history`, then mean and intervals of `forecast`, as lines that fit the terminal.

    `levels` are the percentages of the two bands wanted (the nearest that the forecast has are
    drawn); `stamps` the timestamps of the history. "" when there is no room or nothing to draw.
    """
    mean: list[float | None] = list(forecast["mean"])
    tail = list(history)[-max(3 * len(mean), _FEWEST) :]
    past = [*(stamps or ())][-len(tail) :] if stamps and tail else []
    bands = _bands(forecast.get("quantiles") or {}, levels)
    span = _span(tail, mean, bands)
    if span is None or term.width < 24:
        return ""
    rows = height or max(6, min(16, term.height // 2))
    ticks = _ticks(*span, max(2, rows // 2))
    labels = {_row(value, span, rows): text for value, text in ticks}
    margin = max(map(len, labels.values())) + 1
    cols = min(term.width, _MAX_WIDTH) - margin - 2
    plot = _Plot(cols, rows, span, len(tail), len(mean), term)
    plot.shade(tail, bands)
    joint = [(len(tail) - 1, tail[-1])] if tail else []
    plot.line([*joint, *enumerate(mean, len(tail))], "mean")
    plot.line(list(enumerate(tail)), "history")
    axis = ("│", "┤", "└", "─", "┴") if term.unicode else ("|", "+", "+", "-", "+")
    lines = [" " * (margin + 1) + _legend(bands, term, cols)]
    for row in range(rows):
        side = axis[1] if row in labels else axis[0]
        label = f"{labels.get(row, ''):>{margin - 1}} {side}"
        lines.append(f"{paint(label, 'faint', term)}{plot.text(row)}".rstrip())
    names = _names([*past, *timestamps(forecast)], len(tail), len(mean), bool(past or stamps))
    rule, below = _time_axis(plot, names, axis)
    lines.append(paint(" " * margin + axis[2] + rule, "faint", term))
    lines.append(paint(" " * (margin + 1) + below, "faint", term))
    return "\n".join(lines) + "\n"


def _bands(quantiles: dict[str, list[Any]], levels: Sequence[float]) -> list[Band]:
    """The drawn intervals, widest first: for each level wanted the nearest one there is."""
    have = intervals(quantiles)
    chosen = {
        min(have, key=lambda one: (abs(float(one[0]) - level), one[0])) for level in levels if have
    }
    ordered = sorted(chosen, key=lambda one: -float(one[0]))
    return [Band(level, quantiles[low], quantiles[high]) for level, low, high in ordered]


def _span(tail: Values, mean: Values, bands: list[Band]) -> tuple[float, float] | None:
    """The values that the height covers: lines wholly, bands as far as they leave lines visible."""
    known = [v for v in (*tail, *mean) if v is not None and math.isfinite(v)]
    if not known:
        return None
    low, high = min(known), max(known)
    room = 3 * (high - low) or abs(high) or 1.0
    edges = [v for b in bands for v in (*b.low, *b.high) if v is not None and math.isfinite(v)]
    if edges:
        low, high = max(min(low, *edges), low - room), min(max(high, *edges), high + room)
    if not math.isfinite(2 * (high - low)):
        return None
    if high - low <= 1e-12 * max(abs(high), abs(low)):
        middle = abs(high) / 10 or 1.0
        return low - middle, high + middle
    return low - 0.02 * (high - low), high + 0.02 * (high - low)


def _ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Round values between the bounds, about `count`, with labels of equal places."""
    step = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(step))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= step * 0.999)
    first = math.ceil(low / step)
    values = [i * step for i in range(first, math.floor(high / step) + 1)]
    top = max((abs(v) for v in values), default=0.0)
    if top >= 1e6 or (0 < top < 1e-4):
        return [(v, f"{v:.3g}") for v in values] or [(low, f"{low:.3g}")]
    places = max(0, -math.floor(math.log10(step)) + (f"{step / unit:g}" == "2.5"))
    return [(v, f"{v + 0.0:.{places}f}") for v in values] or [(low, f"{low:.3g}")]


def _row(value: float, span: tuple[float, float], rows: int) -> int:
    """The row of a value, 0 at the top."""
    share = (span[1] - value) / (span[1] - span[0])
    return min(rows - 1, max(0, int(share * rows)))


class _Plot:
    """The cells inside the axes: dots of lines over shares of bands."""

    def __init__(
        self,
        cols: int,
        rows: int,
        span: tuple[float, float],
        n: int,
        horizon: int,
        term: Terminal,
    ) -> None:
        self.cols, self.rows, self.span, self.term = cols, rows, span, term
        self.n, self.horizon = n, horizon
        self.dots: dict[tuple[int, int], int] = {}
        self.owner: dict[tuple[int, int], str] = {}
        self.parts: dict[tuple[int, int], list[int]] = {}
        self.names: list[str] = []

    def column(self, step: float) -> float:
        """The place of a step along the width, in cells."""
        return (step + 0.5) * self.cols / (self.n + self.horizon)

    @property
    def border(self) -> int:
        """The column where the future begins."""
        return int(self.column(self.n - 0.5))

    def line(self, points: list[tuple[int, float | None]], owner: str) -> None:
        """Draw from point to point; a missing value breaks the line."""
        before: tuple[int, int] | None = None
        wide, tall = (2, 4) if self.term.unicode else (1, 1)
        low, high = self.span
        for step, value in points:
            if value is None or not math.isfinite(value):
                before = None
                continue
            x = min(self.cols * wide - 1, int(self.column(step) * wide))
            share = (high - value) / (high - low)
            y = min(self.rows * tall - 1, max(0, int(share * self.rows * tall)))
            for dot in _between(before or (x, y), (x, y)):
                self.dot(*dot, owner)
            before = (x, y)

    def dot(self, x: int, y: int, owner: str) -> None:
        if self.term.unicode:
            cell = (y // 4, x // 2)
            if self.owner.get(cell, owner) != owner:
                self.dots[cell] = 0
            self.dots[cell] = self.dots.get(cell, 0) | _BRAILLE[y % 4][x % 2]
        else:
            cell = (y, x)
        self.owner[cell] = owner

    def shade(self, tail: Values, bands: list[Band]) -> None:
        """Note for each cell which eighths of it lie in which band, the last band on top."""
        self.names = ["outer", "inner"][-len(bands) :] if bands else []
        last = tail[-1] if tail else None
        for number, band in enumerate(bands, 1):
            low, high = list(band.low), list(band.high)
            first = self.n
            if last is not None:
                low, high, first = [last, *low], [last, *high], self.n - 1
            for col in range(self.cols):
                step = (col + 0.5) * (self.n + self.horizon) / self.cols - 0.5 - first
                # Half a step past the last one, so that the band ends with the plot.
                step = min(step, len(low) - 1.0)
                if step < 0 or (last is None and col < self.border):
                    continue
                self.fill(col, _at(low, step), _at(high, step), number)

    def fill(self, col: int, low: float | None, high: float | None, number: int) -> None:
        if low is None or high is None:
            return
        bottom, top = self.span
        # Shares first: a scale over the smallest of floats would be infinite.
        begin = max(0, round((top - high) / (top - bottom) * 8 * self.rows))
        end = min(8 * self.rows, round((top - low) / (top - bottom) * 8 * self.rows))
        for eighth in range(begin, end):
            part = self.parts.setdefault((eighth // 8, col), [0] * 8)
            part[eighth % 8] = number

    def text(self, row: int) -> str:
        """One row as text with its colours, runs of equal colour joined."""
        line, before = [], ""
        for col in range(self.cols):
            glyph, codes = self.cell(row, col)
            if codes != before:
                line.append("\x1b[0m" if before else "")
                line.append(f"\x1b[{codes}m" if codes else "")
                before = codes
            line.append(glyph)
        return "".join(line) + ("\x1b[0m" if before else "")

    def cell(self, row: int, col: int) -> tuple[str, str]:
        """The letter of a cell and its SGR parameters."""
        term, place = self.term, (row, col)
        part = self.parts.get(place)
        owner = self.owner.get(place)
        if owner is not None:
            glyph = chr(0x2800 + self.dots[place]) if term.unicode else "*o"[owner == "mean"]
            band = _most(part) if part and term.colors and term.unicode else 0
            name = shade("mean on band", term) if band and owner == "mean" else owner
            codes = [code(name, term), "1" if owner == "mean" and term.colors else ""]
            codes.append(self.band_code(band, background=True) if band else "")
            return glyph, ";".join(filter(None, codes))
        if part:
            if not term.colors or not term.unicode:
                band = _most(part)
                letters = " ░▒" if term.unicode else " .:"
                glyph = letters[band + 2 - len(self.names) if band else 0]
                return glyph, self.band_code(band) if band else ""
            return self.blocks(part)
        if col == self.border and self.n:
            return ("┊" if term.unicode else "|"), code("faint", term)
        return " ", ""

    def blocks(self, part: list[int]) -> tuple[str, str]:
        """The block letter and colours nearest to the eighths of a cell, given from the top."""
        best = (-1, 0, 0, 0)
        for split in range(8):
            above, below = part[:split], part[split:]
            a, b = (_most(above) if above else _most(below)), _most(below)
            hits = above.count(a) + below.count(b)
            if hits > best[0]:
                best = (hits, split, a, b)
        _, split, a, b = best
        if a == b or split == 0:
            return " ", self.band_code(b, background=True) if b else ""
        glyph = _BLOCKS[8 - split]
        if not b:  # the lower part is empty: the letter in the background's own colour
            return glyph, f"7;{self.band_code(a)}"
        codes = [self.band_code(b), self.band_code(a, background=True) if a else ""]
        return glyph, ";".join(filter(None, codes))

    def band_code(self, band: int, *, background: bool = False) -> str:
        return code(shade(self.names[band - 1], self.term), self.term, background=background)


def _most(part: list[int]) -> int:
    return max(sorted(set(part)), key=part.count)


def _at(values: Values, step: float) -> float | None:
    """The value between two steps, None beside a missing one."""
    left = math.floor(step)
    right = min(left + 1, len(values) - 1)
    a, b = values[left], values[right]
    return None if a is None or b is None else a + (b - a) * (step - left)


def _between(a: tuple[int, int], b: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots of a straight line (Bresenham 1965), both ends included."""
    steps = max(abs(b[0] - a[0]), abs(b[1] - a[1]))
    if not steps:
        return [b]
    return [
        (a[0] + round((b[0] - a[0]) * i / steps), a[1] + round((b[1] - a[1]) * i / steps))
        for i in range(steps + 1)
    ]


def _legend(bands: list[Band], term: Terminal, cols: int) -> str:
    line = "──" if term.unicode else None
    items = [paint(line or "*", "history", term) + " history"]
    items.append(paint(line or "o", "mean", term) + " mean")
    for band, name in zip(reversed(bands), ("inner", "outer"), strict=False):
        inner = name == "inner"
        letter = (
            ("██" if term.colors else "▒▒" if inner else "░░") if term.unicode else ":."[not inner]
        )
        items.append(paint(letter, shade(name, term), term) + f" {band.level}%")
    while len(items) > 1 and sum(width_of(SGR.sub("", item)) + 3 for item in items) > cols + 3:
        items.pop()
    return "   ".join(items)


def _names(stamps: list[str], n: int, horizon: int, dated: bool) -> list[str]:
    """A short label of each step: the part of its timestamp that tells steps apart."""
    if not dated or len(stamps) != n + horizon:
        ahead = stamps[-horizon:]
        if ahead and not ahead[0].isdigit():
            return [*(f"-{n - i}" for i in range(n)), *_short(ahead)]
        return [*(f"-{n - i}" for i in range(n)), *(f"+{i + 1}" for i in range(horizon))]
    return _short(stamps)


def _short(stamps: list[str]) -> list[str]:
    if all(len(s) == 10 for s in stamps):
        if all(s.endswith("-01-01") for s in stamps):
            return [s[:4] for s in stamps]
        if all(s.endswith("-01") for s in stamps):
            return [s[:7] for s in stamps]
        return stamps
    if all(len(s) >= 16 for s in stamps):
        return [f"{s[5:10]} {s[11:16]}" for s in stamps]
    return stamps


def _time_axis(plot: _Plot, names: list[str], axis: Sequence[str]) -> tuple[str, str]:
    """The rule with its ticks and the labels below it, as many as fit: the future's first first."""
    total = plot.n + plot.horizon
    rule, below = [axis[3]] * plot.cols, [" "] * plot.cols
    wanted = [plot.n, 0, total - 1]
    for parts in (2, 4, 8):
        wanted += [total * i // parts for i in range(1, parts)]
    for step in wanted:
        name = names[step] if step < len(names) else ""
        at = min(plot.cols - 1, int(plot.column(step)))
        begin = max(0, min(plot.cols - len(name), at - len(name) // 2))
        if (
            len(name) > plot.cols
            or "".join(below[max(0, begin - 2) : begin + len(name) + 2]).strip()
        ):
            continue
        below[begin : begin + len(name)] = name
        rule[at] = axis[4]
    return "".join(rule), "".join(below).rstrip()
