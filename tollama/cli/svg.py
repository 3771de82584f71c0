"""A chart of a history and its forecast as SVG text, for a file without scripts.

Not covered: the terminal's chart (chart.py) and the page's (daemon/web).
"""

from __future__ import annotations

import math
from html import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    Values = Sequence[float | None]

LARGE, SMALL = (720, 260), (420, 190)
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 14, 26


def chart(
    history: Values,
    mean: Sequence[float],
    bands: Sequence[tuple[Sequence[float], Sequence[float]]],
    names: Sequence[str],
    title: str,
    *,
    size: tuple[int, int] = LARGE,
    marks: Collection[int] = (),
) -> str:
    """An <svg>: `names` are the steps of history and forecast together; wide bands first.

    Missing values are gaps; `marks` are places in the history. Colours come from the style sheet
    around it: classes past, mean, band, mark.
    """
    width, height = size
    total = len(history) + len(mean)
    every = [v for v in history if v is not None]
    every += [*mean, *(v for low, high in bands for v in (*low, *high))]
    low, high, ticks = _ticks(min(every), max(every), height // 60)

    def x(i: int) -> str:
        return f"{LEFT + (width - LEFT - RIGHT) * i / max(1, total - 1):.1f}"

    def y(value: float) -> str:
        return f"{TOP + (height - TOP - BOTTOM) * (high - value) / (high - low):.1f}"

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    for tick in ticks:
        at = y(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {at}H{width - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at}" dy="4" class="left">{number(tick)}</text>')
    for i, name in labels(names, width // 100):
        at = x(i)
        room = 5 * len(name)
        side = "left" if float(at) + room > width else "mid" if float(at) - room > 0 else "right"
        parts.append(f'<path class="grid" d="M{at} {height - BOTTOM}v5"/>')
        parts.append(f'<text x="{at}" y="{height - 6}" class="{side}">{escape(name)}</text>')
    first = len(history)
    last = [(first - 1, history[-1])] if history and history[-1] is not None else []
    for lower, upper in bands:
        points = [*last, *enumerate(upper, first), *reversed([*enumerate(lower, first)])]
        parts.append(f'<path class="band" d="{_line(points, x, y)}Z"/>')
    parts.append(f'<path class="past" d="{_line([*enumerate(history)], x, y)}"/>')
    parts.append(f'<path class="mean" d="{_line([*last, *enumerate(mean, first)], x, y)}"/>')
    for i in marks:
        value = history[i]
        if value is not None:
            parts.append(f'<circle class="mark" cx="{x(i)}" cy="{y(value)}" r="3.5"/>')
    return "".join(parts) + "</svg>"


def _line(points, x, y) -> str:  # type: ignore[no-untyped-def]
    """A path through the points, broken where a value is missing; one alone is a dot."""
    parts = []
    pen = "M"
    for i, value in points:
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{x(i)} {y(value)}" + ("h.1" if pen == "M" else ""))
        pen = "L"
    return "".join(parts)


def labels(names: Sequence[str], room: int) -> list[tuple[int, str]]:
    """Places and short names of at most `room` steps: where a year, month, day or hour begins.

    Empty names are steps without a row; names that are no times are step numbers.
    """
    if names and names[-1].isdigit():
        step = max(1, round(_step(max(1, len(names)), room)))
        return [(i, name) for i, name in enumerate(names) if int(name) % step == 0]
    for cut in (4, 7, 10, 13, 19):
        found = []
        before = None
        for i, name in enumerate(names):
            if name and before and name[:cut] != before[:cut]:
                found.append((i, name[:cut].replace("T", " ") + (":00" if cut == 13 else "")))
            before = name or before
        if len(found) > 2:
            break
    fit = room if cut < 10 else max(2, room * 2 // 3)
    return found[:: math.ceil(len(found) / fit) or 1]


def _step(size: float, count: int) -> float:
    """A round step that cuts `size` into about `count` parts."""
    raw = size / count
    power = 10.0 ** math.floor(math.log10(raw))
    return float(next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999))


def _ticks(low: float, high: float, count: int) -> tuple[float, float, list[float]]:
    """Round bounds around the values, and the round numbers between them."""
    if high <= low:
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    step = _step(high - low, count)
    first, last = math.floor(low / step), math.ceil(high / step)
    return first * step, last * step, [k * step for k in range(first, last + 1)]


def number(value: float | None) -> str:
    """A number as people read it: five digits, thousands parted."""
    if value is None:
        return "–"
    if value and not 1e-4 <= abs(value) < 1e12:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1e4 or value == int(value) else f"{value:.5g}"
