"""A chart of a history and its forecast as SVG text, for a file without scripts.

Not covered: the terminal's chart (chart.py) and the page's (daemon/web).
"""

from __future__ import annotations

import math
from html import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Values = Sequence[float | None]

WIDTH, HEIGHT = 720, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 10, 26


def chart(
    history: Values,
    mean: Sequence[float],
    bands: Sequence[tuple[Sequence[float], Sequence[float]]],
    names: Sequence[str],
    title: str,
) -> str:
    """An <svg>: `names` are the steps of history and forecast together; wide bands first.

    Missing values are gaps. Colours come from the style sheet around it: classes past, mean, band.
    """
    total = len(history) + len(mean)
    every = [v for v in history if v is not None]
    every += [*mean, *(v for low, high in bands for v in (*low, *high))]
    low, high, ticks = _ticks(min(every), max(every))

    def x(i: int) -> str:
        return f"{LEFT + (WIDTH - LEFT - RIGHT) * i / max(1, total - 1):.1f}"

    def y(value: float) -> str:
        return f"{TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low):.1f}"

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
    ]
    for tick in ticks:
        at = y(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {at}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at}" dy="4" class="left">{number(tick)}</text>')
    count = min(6, total)
    for k in range(count):
        i = round((total - 1) * k / max(1, count - 1))
        side = "left" if k == count - 1 and k else "right" if k == 0 else "mid"
        name = escape(names[i].replace("T", " "))
        parts.append(f'<text x="{x(i)}" y="{HEIGHT - 7}" class="{side}">{name}</text>')
    first = len(history)
    for lower, upper in bands:
        points = [f"{x(first + k)} {y(v)}" for k, v in enumerate(upper)]
        points += [f"{x(first + k)} {y(v)}" for k, v in reversed(list(enumerate(lower)))]
        parts.append(f'<path class="band" d="M{"L".join(points)}Z"/>')
    parts.append(f'<path class="past" d="{_line([*enumerate(history)], x, y)}"/>')
    last = [(first - 1, history[-1])] if history and history[-1] is not None else []
    ahead = [*last, *((first + k, v) for k, v in enumerate(mean))]
    parts.append(f'<path class="mean" d="{_line(ahead, x, y)}"/></svg>')
    return "".join(parts)


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


def _ticks(low: float, high: float) -> tuple[float, float, list[float]]:
    """Round bounds around the values, and the round numbers between them."""
    if high <= low:
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    raw = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return first * step, last * step, [k * step for k in range(first, last + 1)]


def number(value: float | None) -> str:
    """A number as people read it: five digits, thousands parted."""
    if value is None:
        return "–"
    if value and not 1e-4 <= abs(value) < 1e12:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1e4 or value == int(value) else f"{value:.5g}"
