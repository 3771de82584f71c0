"""The HTML of a report: one file without scripts or anything fetched, which prints well.

Not covered: where its numbers come from (report.py).
"""

from __future__ import annotations

from html import escape

from tollama import __version__
from tollama.cli import svg
from tollama.cli.render import intervals, timestamps
from tollama.core import calendar
from tollama.core.errors import TollamaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

ROWS = 500  # of a table; a report is for reading
TITLES = {"mase": "MASE", "smape": "sMAPE", "mape": "MAPE", "rmse": "RMSE", "wql": "WQL"}
PERCENT = ("smape", "mape", "coverage")

STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#16202e;--faint:#566375;--line:#d9dfe8;
--tint:#f2f6fd;--accent:#1f5fd1;--warn:#8a5300}
@media (prefers-color-scheme:dark){:root{--page:#161e29;--ink:#e8edf4;--faint:#9dabbd;
--line:#303c4c;--tint:#1c2a40;--accent:#6ea3ff;--warn:#f0b757}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:860px;padding:32px 20px 60px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;overflow-wrap:break-word}
h1{font-size:1.7rem;margin:0;letter-spacing:-.02em}h2{font-size:1.15rem;margin:36px 0 8px}
h3{font-size:1rem;margin:20px 0 6px}figure h3{margin-top:0}p{margin:6px 0}.faint{color:var(--faint)}
.lead{font-size:1.05rem;padding:14px 18px;background:var(--tint);border-radius:10px;margin:18px 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child,.names td:nth-child(2),
.names th:nth-child(2){text-align:left}
thead th{color:var(--faint);font-weight:600}.best{font-weight:700}.warn{color:var(--warn)}
figure{margin:22px 0;break-inside:avoid}svg{width:100%;height:auto;display:block}
svg text{font:12px system-ui,sans-serif;fill:var(--faint)}.left{text-anchor:end}
.mid{text-anchor:middle}.grid{stroke:var(--line)}.past{fill:none;stroke:var(--ink);stroke-width:1.5}
.mean{fill:none;stroke:var(--accent);stroke-width:2.2}.band{fill:var(--accent);opacity:.17}
details{margin-top:6px}summary{cursor:pointer;color:var(--accent);font-size:.9rem}
li,dd{overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:auto minmax(0,1fr);gap:4px 18px;margin:0}
dt{color:var(--faint)}dd{margin:0}
@media print{:root{--page:#fff;--ink:#000;--faint:#444;--line:#ccc;--tint:#f4f4f4;--accent:#1f5fd1}
body{padding:0;max-width:none;font-size:10.5pt}.scroll{overflow:visible}table{font-size:7.5pt}
th,td{padding:3px 5px}h2{break-after:avoid}tr{break-inside:avoid}
details:not([open]){display:none}}
"""


def page(
    *,
    title: str,
    made: str,
    series: Sequence[dict[str, Any]],
    notes: Sequence[str],
    scores: dict[str, Any] | None,
    failure: str,
    answer: dict[str, Any],
    model: str,
    charts: int,
    settings: dict[str, str],
) -> str:
    """The whole file."""
    many = f"{len(series):,} series" if len(series) > 1 else "one series"
    warnings = [*notes, *answer.get("warnings", []), *(scores or {}).get("warnings", [])]
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="faint">{escape(made)}, {many}, tollama {__version__}</p>',
        f'<p class="lead">{_summary(scores, failure, model, settings["Horizon"])}</p>',
        "<h2>Forecasts</h2>",
        *_figures(series, answer, charts),
        "<h2>Leaderboard</h2>",
        _leaderboard(scores) if scores else f'<p class="warn">{escape(failure)}</p>',
        _winners(scores) if scores and len(series) > 1 else "",
        "<h2>Data quality</h2>",
        _quality(series, answer),
        _notes(warnings),
        "<h2>Settings</h2>",
        "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in settings.items()),
        "</dl>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def _summary(scores: dict[str, Any] | None, failure: str, model: str, horizon: str) -> str:
    said = f"The next {escape(horizon)} are forecast by <b>{escape(model)}</b>."
    if scores is None:
        return f"{said} Models could not be compared: {escape(failure)}."
    key = scores["ranked_by"]
    row = scores["leaderboard"][0]
    skill = row["skill"].get(key)
    won = f" <b>{escape(row['model'])}</b> was the best of {len(scores['leaderboard'])} on the past"
    score = row["metrics"].get(key)
    if score is not None:
        won += f", with {_heading(key)} {svg.number(score)}"
    if skill is not None and row["model"] != scores["baseline"]["model"]:
        better = "better" if skill >= 0 else "worse"
        won += f", {abs(skill):.1%} {better} than {escape(scores['baseline']['model'])}"
    return f"{said}{won}."


def _table(name: str, head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of cells that are HTML already."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    more = f'<p class="faint">and {len(lines) - ROWS:,} more</p>' if len(lines) > ROWS else ""
    inner = "".join(f"<tr>{line}</tr>" for line in lines[:ROWS])
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">'
        f'<table class="{kind}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{inner}</tbody></table></div>{more}"
    )


# -- forecasts ------------------------------------------------------------------------------------


def _figures(series: Sequence[dict[str, Any]], answer: dict[str, Any], charts: int) -> list[str]:
    found = [
        _figure(one, forecast)
        for one, forecast in zip(series[:charts], answer["forecasts"], strict=False)
    ]
    if len(series) > charts:
        found.append(f'<p class="faint">and {len(series) - charts:,} more series (--charts)</p>')
    return found


def _figure(one: dict[str, Any], forecast: dict[str, Any]) -> str:
    length = len(one["target"])
    steps = [str(length + k + 1) for k in range(len(forecast["mean"]))]
    if one.get("timestamps") or forecast.get("start_timestamp"):
        steps = timestamps(forecast)
    shown = max(6 * len(steps), 100)
    history = one["target"][-shown:]
    first = length - len(history)
    stamps = one.get("timestamps")
    past = stamps[first:] if stamps else [str(first + k + 1) for k in range(len(history))]
    quantiles = forecast["quantiles"] or {}
    levels = intervals(quantiles)
    bands = [(quantiles[low], quantiles[high]) for _, low, high in levels]
    wide_first = sorted(bands, key=lambda band: band[0][-1] - band[1][-1])
    name = escape(str(forecast["id"]))
    picture = svg.chart(
        history, forecast["mean"], wide_first, [*past, *steps], f"{forecast['id']}: forecast"
    )
    head = ["Time" if stamps else "Step", "Forecast"]
    head += [f"{edge} ({label} %)" for label, _, _ in levels for edge in ("from", "to")]
    rows = [
        [escape(step.replace("T", " ")), f"<b>{svg.number(forecast['mean'][k])}</b>"]
        + [svg.number(edge[k]) for band in bands for edge in band]
        for k, step in enumerate(steps)
    ]
    table = f"<details><summary>Values</summary>{_table('Values', head, rows)}</details>"
    shade = f"; shaded: {' and '.join(f'{label} %' for label, _, _ in levels)}" if levels else ""
    said = f'<figcaption class="faint">history and forecast{shade}</figcaption>'
    return f"<figure><h3>{name}</h3>{picture}{said}{table}</figure>"


# -- scores ---------------------------------------------------------------------------------------


def _heading(name: str) -> str:
    kind, _, level = name.partition("_")
    if level:
        return f"{'Coverage' if kind == 'coverage' else kind.upper()} {float(level):.0%}"
    return TITLES.get(name, name.upper())


def _score(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" if name.partition("_")[0] in PERCENT else svg.number(value)


def _leaderboard(scores: dict[str, Any]) -> str:
    board, key = scores["leaderboard"], scores["ranked_by"]
    names = [name for name in board[0]["metrics"] if not name.startswith("msis")]
    baseline = scores["baseline"]["model"]
    rows = []
    for place, row in enumerate(board, 1):
        skill = row["skill"].get(key)
        rows.append(
            [
                str(place),
                f'<span class="{"best" if place == 1 else ""}">{escape(row["model"])}</span>',
                "–" if skill is None or row["model"] == baseline else f"{skill:+.1%}",
                f"{row['wins']:,}",
                *(_score(name, row["metrics"][name]) for name in names),
            ]
        )
    said = (
        f"ranked by {_heading(key)}; {scores['windows']} windows of {scores['horizon']} steps, "
        f"each forecast from what came before it; skill against {escape(baseline)}"
    )
    head = ["#", "Model", "Skill", "Wins", *map(_heading, names)]
    return f'<p class="faint">{said}</p>{_table("Leaderboard", head, rows, "names")}'


def _winners(scores: dict[str, Any]) -> str:
    key = scores["ranked_by"]
    board = sorted(scores["leaderboard"], key=lambda row: str(row["model"]))
    values: dict[str, dict[str, float | None]] = {}
    for row in board:
        for one in row["series"]:
            values.setdefault(one["id"], {})[row["model"]] = one.get(key)
    rows = []
    for name, found in values.items():
        known = {model: value for model, value in found.items() if value is not None}
        best = min(known, key=lambda model: known[model]) if known else None
        cells = [
            f'<span class="{"best" if row["model"] == best else ""}">'
            f"{svg.number(found.get(row['model']))}</span>"
            for row in board
        ]
        rows.append([escape(str(name)), escape(best or "–"), *cells])
    head = ["Series", "Best", *(escape(row["model"]) for row in board)]
    return f"<h3>{_heading(key)} by series</h3>{_table('Scores by series', head, rows, 'names')}"


# -- data -----------------------------------------------------------------------------------------


def _quality(series: Sequence[dict[str, Any]], answer: dict[str, Any]) -> str:
    rows = []
    for one, forecast in zip(series, answer["forecasts"], strict=True):
        values = [v for v in one["target"] if v is not None]
        missing = len(one["target"]) - len(values)
        stamps = one.get("timestamps") or []
        freq = forecast.get("freq") or one.get("freq")
        absent = _absent(stamps, freq)
        flags = []
        if values and min(values) == max(values):
            flags.append("constant")
        if values and sum(1 for v in values if v == 0) > len(values) / 2:
            flags.append("mostly zeros")
        rows.append(
            [
                escape(str(forecast["id"])),
                escape(str(freq or "none")),
                f"{len(one['target']):,}",
                _warn(missing),
                _warn(absent),
                escape(stamps[0].replace("T", " ")) if stamps else "–",
                escape(stamps[-1].replace("T", " ")) if stamps else "–",
                *(svg.number(v) for v in ((min(values), max(values)) if values else (None, None))),
                f'<span class="warn">{", ".join(flags)}</span>' if flags else "",
            ]
        )
    head = ["Series", "Freq", "Values", "Empty", "Absent steps", "First", "Last", "Min", "Max", ""]
    return _table("Data quality", head, rows)


def _warn(count: int) -> str:
    return f'<span class="warn">{count:,}</span>' if count else "0"


def _absent(stamps: list[str], freq: str | None) -> int:
    """How many steps are missing between the timestamps."""
    if not stamps or not freq:
        return 0
    try:
        _, length = calendar.align(calendar.parse_timestamps(stamps), calendar.parse_freq(freq))
    except TollamaError:
        return 0  # off the grid: the answer's warnings say so
    return length - len(stamps)


def _notes(warnings: Sequence[str]) -> str:
    found = list(dict.fromkeys(warnings))
    if not found:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in found[:50])
    more = f"<li>and {len(found) - 50:,} more</li>" if len(found) > 50 else ""
    return f"<details open><summary>{len(found):,} notes</summary><ul>{items}{more}</ul></details>"
