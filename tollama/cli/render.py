"""Tables and forecasts as text: for a terminal, as CSV and as JSON lines.

Everything takes the facts of a Terminal, so nothing here asks the world. Not covered: what a
terminal can do (`terminal`), charts (`chart`), progress (`progress`), JSON as the API gives it.
"""

from __future__ import annotations

import math

from tollama.cli.terminal import (
    PLAIN,
    Terminal,
    about,
    ago,
    clean,
    cut,
    human_count,
    human_duration,
    human_size,
    pad,
    paint,
    terminal,
    until,
    width_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

__all__ = [
    "PLAIN",
    "Terminal",
    "about",
    "ago",
    "csv_header",
    "csv_rows",
    "forecast_table",
    "human_count",
    "human_duration",
    "human_size",
    "report",
    "table",
    "terminal",
    "to_csv",
    "to_jsonl",
    "until",
]

SHOWN = 3
"""Series that a terminal shows; files and other forms get all."""

_LONG = 40
_GAP = "  "


def table(rows: Sequence[Sequence[Any]], headers: Sequence[str], term: Terminal) -> str:
    """Aligned columns under a header; on a terminal the widest are cut until a line fits, then
    the last ones left out.

    A column of numbers stands at the right. The answer ends with a line end.
    """
    texts = [[clean(cell, term) for cell in row] for row in rows]
    titles = [clean(header, term) for header in headers]
    right = [
        bool(rows) and all(type(row[i]) in (int, float) for row in rows) for i in range(len(titles))
    ]
    return _aligned(texts, titles, right, term, gap="    ")


def _aligned(
    texts: list[list[str]], titles: list[str], right: list[bool], term: Terminal, *, gap: str
) -> str:
    widths = [
        max([width_of(title), *(width_of(row[i]) for row in texts)])
        for i, title in enumerate(titles)
    ]
    if term.is_tty:
        if sum(widths) + len(gap) * (len(widths) - 1) > term.width:
            gap = _GAP
        least = [min(8, width) for width in widths]
        while len(widths) > 1 and sum(least) + len(gap) * (len(least) - 1) > term.width:
            del widths[-1], least[-1]
        _fit(widths, least, term.width - len(gap) * (len(widths) - 1))
    lines = []
    for number, row in enumerate([titles, *texts]):
        cells = [
            pad(cut(cell, width, term), width, right=at_right)
            for cell, width, at_right in zip(row, widths, right, strict=False)
        ]
        line = gap.join(cells).rstrip()
        lines.append(paint(line, "faint", term) if number == 0 else line)
    return "\n".join(lines) + "\n"


def _fit(widths: list[int], least: list[int], room: int) -> None:
    """Takes columns off the widest until they fit `room`, none below its `least`."""
    while sum(widths) > room:
        able = [i for i, width in enumerate(widths) if width > least[i]]
        if not able:
            return
        widths[max(able, key=widths.__getitem__)] -= 1


# -- forecasts ------------------------------------------------------------------------------------


def report(
    request: dict[str, Any], response: dict[str, Any], term: Terminal, *, chart: bool = True
) -> str:
    """A forecast as a person reads it: for each of the first series a title, a table and a chart.

    On a terminal the first `SHOWN` series are shown, elsewhere the tables of all.
    """
    from tollama.cli import chart as charts

    histories = {
        one.get("id", f"series_{number}"): one
        for number, one in enumerate(request.get("series") or ())
    }
    forecasts = response["forecasts"]
    shown = forecasts[:SHOWN] if term.is_tty else forecasts
    parts = []
    for number, forecast in enumerate(shown):
        history = histories.get(forecast["id"], {})
        for title, target, one in _parts(history.get("target") or [], forecast):
            lines = [_title(title, history, one, response.get("model"), term)]
            limit = (_LONG if len(forecasts) == 1 else 12) if term.is_tty else None
            lines.append(forecast_table({"forecasts": [one]}, term, limit=limit))
            if chart and number < SHOWN:
                drawn = charts.chart(
                    target, {**one, "timestamps": timestamps(one)}, term,
                    stamps=history.get("timestamps"), start=history.get("start"),
                )  # fmt: skip
                if drawn:
                    lines.append(drawn)
            parts.append("\n".join(lines))
    text = "\n".join(parts)
    if len(shown) < len(forecasts):
        more = len(forecasts) - len(shown)
        note = f"and {human_count(more)} more series; --format csv, json or jsonl gives all of them"
        text += "\n" + paint(cut(note, term.width, term), "faint", term) + "\n"
    return text


def _parts(
    target: list[Any], forecast: dict[str, Any]
) -> list[tuple[str, list[Any], dict[str, Any]]]:
    """The forecast, or one for each variable of a multivariate one."""
    mean = forecast["mean"]
    if not mean or not isinstance(mean[0], list):
        return [(forecast["id"], target, forecast)]
    parts = []
    for d, values in enumerate(mean):
        quantiles = {q: v[d] for q, v in (forecast.get("quantiles") or {}).items()}
        history = target[d] if d < len(target) else []
        one = {**forecast, "mean": values, "quantiles": quantiles or None}
        parts.append((f"{forecast['id']}[{d}]", history, one))
    return parts


def _title(
    name: str, history: dict[str, Any], forecast: dict[str, Any], model: Any, term: Terminal
) -> str:
    target = history.get("target") or []
    n = len(target[0]) if target and isinstance(target[0], list) else len(target)
    facts = [f"{human_count(n)} points"] if n else []
    if forecast.get("freq"):
        facts.append(f"freq {forecast['freq']}")
    if model:
        facts.append(f"model {model}")
    dot = " · " if term.unicode else ", "
    text = cut(clean(name, term), max(8, term.width // 2), term)
    more = clean(dot.join(facts), term)
    if term.is_tty and width_of(text) + 2 + width_of(more) > term.width:
        more = cut(more, max(0, term.width - width_of(text) - 2), term)
    return f"{paint(text, 'bold', term)}  {paint(more, 'faint', term)}".rstrip() + "\n"


def forecast_table(response: dict[str, Any], term: Terminal, *, limit: int | None = None) -> str:
    """Forecasts as a table: time, mean, then each interval from the narrowest, then lone quantiles.

    `limit` shows at most so many steps of a series, the first ones and the last three.
    """
    forecasts = [one for forecast in response["forecasts"] for _, _, one in _parts([], forecast)]
    several = len(forecasts) > 1
    dated = any(f.get("start_timestamp") or f.get("timestamps") for f in forecasts)
    titles = [*(["id"] if several else []), "time" if dated else "step", "mean"]
    columns: list[str] = []
    if forecasts:
        columns, names = _quantile_columns(list(forecasts[0].get("quantiles") or ()))
        titles += names
    texts: list[list[str]] = []
    for forecast in forecasts:
        quantiles = forecast.get("quantiles") or {}
        values = [
            forecast["mean"],
            *(quantiles.get(q, [None] * len(forecast["mean"])) for q in columns),
        ]
        places = _places(values)
        stamps = timestamps(forecast)
        for step, row in enumerate(zip(*values, strict=True)):
            if limit is not None and len(stamps) > limit and limit - 3 <= step < len(stamps) - 3:
                if step == limit - 3:
                    texts.append(["…" if term.unicode else "...", *[""] * (len(titles) - 1)])
                continue
            stamp = stamps[step].replace("T", " ") if dated else f"+{stamps[step]}"
            cells = [stamp, *(number(value, places) for value in row)]
            texts.append([*([clean(forecast["id"], term)] if several else []), *cells])
    left = 2 if several else 1
    times = [line[left - 1] for line in texts if line[left - 1][-1:].isdigit()]
    if dated and all(len(time) == 19 and time.endswith(":00") for time in times):
        for line in texts:
            line[left - 1] = line[left - 1].removesuffix(":00")
    if term.is_tty:
        _drop_widest(texts, titles, left + 1, term.width)
    right = [i >= left for i in range(len(titles))]
    return _aligned(texts, titles, right, term, gap=_GAP)


def _drop_widest(texts: list[list[str]], titles: list[str], keep: int, width: int) -> None:
    """Leaves out the last intervals, both bounds at once, until a line fits the width."""

    def needed() -> int:
        widths = [max(map(len, cells)) for cells in zip(titles, *texts, strict=True)]
        return sum(widths) + len(_GAP) * (len(widths) - 1)

    while len(titles) > keep and needed() > width:
        pair = titles[-1].endswith("% high")
        for row in (titles, *texts):
            del row[-2 if pair else -1 :]


def _quantile_columns(keys: list[str]) -> tuple[list[str], list[str]]:
    """Quantile keys in the order of the table, and their titles: intervals first, by width."""
    pairs = intervals(keys)
    paired = {key for _, low, high in pairs for key in (low, high)}
    order, titles = [], []
    for level, low, high in pairs:
        order += [low, high]
        titles += [f"{level}% low", f"{level}% high"]
    for key in keys:
        if key not in paired:
            order.append(key)
            titles.append("median" if float(key) == 0.5 else f"q {key}")
    return order, titles


def intervals(keys: Iterable[str]) -> list[tuple[str, str, str]]:
    """(level in percent, low key, high key) of quantile keys that pair up, narrowest first."""
    by = {round(float(key), 9): key for key in keys}
    found = []
    for q in sorted(by, reverse=True):
        other = round(1 - q, 9)
        if q < 0.5 and other in by:
            found.append((f"{round(100 * (1 - 2 * q), 6):g}", by[q], by[other]))
    return found


def _places(columns: list[list[Any]]) -> int:
    """Decimal places that give the largest value five digits, at most six places."""
    top = max((abs(v) for column in columns for v in column if v is not None), default=0.0)
    if not top or not math.isfinite(top):
        return 1
    return min(6, max(0, 4 - math.floor(math.log10(top)))) if top >= 1e-4 else 12


def number(value: float | None, places: int) -> str:
    """A value with fixed places; very large and very small ones as 1.234e+20."""
    if value is None:
        return "-"
    if value and (abs(value) >= 1e15 or (places > 6 and abs(value) < 1e-4)):
        return f"{value:.4g}"
    return f"{value:.{min(places, 6)}f}"


def timestamps(forecast: dict[str, Any]) -> list[str]:
    """The time of each step: as answered, or from start_timestamp and freq, or 1, 2, ..."""
    given: list[str] | None = forecast.get("timestamps")
    if given:
        return given
    mean = forecast["mean"]
    n = len(mean[0]) if mean and isinstance(mean[0], list) else len(mean)
    start, freq = forecast.get("start_timestamp"), forecast.get("freq")
    if start and freq:
        from tollama.core import calendar

        step = calendar.parse_freq(freq)
        moments, _ = calendar.range_from(calendar.parse_timestamp(start), step, n)
        return calendar.format_timestamps(moments, start, step)
    return [str(i) for i in range(1, n + 1)]


# -- files ----------------------------------------------------------------------------------------


def to_csv(response: dict[str, Any]) -> str:
    """Long CSV of all forecasts: id, timestamp, mean, then a column for each quantile."""
    keys = list(dict.fromkeys(k for f in response["forecasts"] for k in f.get("quantiles") or ()))
    keys.sort(key=float)
    parts = [csv_header(keys)]
    parts += (csv_rows(forecast, keys) for forecast in response["forecasts"])
    return "".join(parts)


def csv_header(quantiles: Iterable[float | str]) -> str:
    """The header line of `csv_rows`."""
    return ",".join(["id", "timestamp", "mean", *map(_key, quantiles)]) + "\n"


def csv_rows(forecast: dict[str, Any], quantiles: Iterable[float | str]) -> str:
    """One forecast as CSV lines, with the quantiles of `csv_header` in its order.

    Numbers are written in full, as JSON has them; a multivariate one becomes ids NAME[0], NAME[1].
    """
    keys = [_key(q) for q in quantiles]
    lines = []
    for name, _, one in _parts([], forecast):
        answered = one.get("quantiles") or {}
        blank = [""] * len(one["mean"])
        columns = [one["mean"], *(answered.get(key, blank) for key in keys)]
        quoted = _quoted(name)
        for stamp, values in zip(timestamps(one), zip(*columns, strict=True), strict=True):
            cells = ",".join(["" if v is None else str(v) for v in values])
            lines.append(f"{quoted},{stamp},{cells}\n")
    return "".join(lines)


def to_jsonl(response: dict[str, Any]) -> str:
    """One forecast a line, as the API has it."""
    import json

    return "".join(
        json.dumps(forecast, ensure_ascii=False, separators=(",", ":")) + "\n"
        for forecast in response["forecasts"]
    )


def _key(quantile: float | str) -> str:
    return quantile if isinstance(quantile, str) else repr(quantile)


def _quoted(text: str) -> str:
    """A cell of CSV: in quotes where it needs them."""
    if any(ch in text for ch in ',"\n\r;') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text
