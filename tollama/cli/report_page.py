"""The HTML of a report: one file without scripts or anything fetched, which prints well.

Not covered: where its numbers come from (report.py).
"""

from __future__ import annotations

import re
from html import escape

from tollama import __version__
from tollama.cli import quality, svg
from tollama.cli.render import intervals, timestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from tollama.cli.quality import Quality

ROWS = 500  # of a table; a report is for reading
TITLES = {"mase": "MASE", "smape": "sMAPE", "mape": "MAPE", "rmse": "RMSE", "wql": "WQL"}
PERCENT = ("smape", "mape", "coverage")
SECTIONS = (
    ("forecasts", "Forecasts"),
    ("leaderboard", "Leaderboard"),
    ("quality", "Data quality"),
    ("settings", "Settings"),
)

FEW = 4  # series that get a large chart each
STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#16202e;--faint:#566375;--line:#d9dfe8;
--tint:#f2f6fd;--accent:#1f5fd1;--warn:#8a5300;--mark:#d92d20}
@media (prefers-color-scheme:dark){:root{--page:#161e29;--ink:#e8edf4;--faint:#9dabbd;
--line:#303c4c;--tint:#1c2a40;--accent:#6ea3ff;--warn:#f0b757;--mark:#ff6b5e}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:940px;padding:36px 20px 60px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;overflow-wrap:break-word}
h1{font-size:1.75rem;line-height:1.2;margin:0;letter-spacing:-.02em;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:40px 0 8px}h3{font-size:1rem;margin:22px 0 6px}
p{margin:6px 0}.faint{color:var(--faint)}.small{font-size:.88rem}a{color:var(--accent)}
.lead{font-size:1.05rem;padding:14px 18px;background:var(--tint);border-radius:10px;margin:18px 0}
nav{display:flex;flex-wrap:wrap;gap:4px 18px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:5px 8px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child,.names td:nth-child(2),.names th:nth-child(2){text-align:left}
th:first-child,td:first-child{padding-left:0}th:last-child,td:last-child{padding-right:0}
thead th{color:var(--faint);font-weight:600}.best{font-weight:700}.warn{color:var(--warn)}
.name{display:inline-block;width:max-content;max-width:16em;white-space:normal;
overflow-wrap:anywhere}
.charts{display:grid;gap:28px 24px;margin-top:14px}
.charts.many{grid-template-columns:repeat(auto-fill,minmax(min(400px,100%),1fr))}
figure{margin:0;min-width:0;break-inside:avoid}figure h3{margin:0 0 4px;overflow-wrap:anywhere}
svg{width:100%;height:auto;display:block}
svg text{font:12px system-ui,sans-serif;fill:var(--faint)}.left{text-anchor:end}
.many svg text{font-size:11px}.mid{text-anchor:middle}.grid{stroke:var(--line)}
.past{fill:none;stroke:var(--ink);stroke-width:1.5}.mean{fill:none;stroke:var(--accent);
stroke-width:2.2}.band{fill:var(--accent);opacity:.17}.mark{fill:var(--mark)}
details{margin-top:4px}summary{cursor:pointer;color:var(--accent);font-size:.9rem}
ul{margin:6px 0;padding-left:20px}li,dd{overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:auto minmax(0,1fr);gap:4px 18px;margin:0}
dt{color:var(--faint)}dd{margin:0}
@media (max-width:600px){body{padding-top:24px}svg text{font-size:19px}
.many svg text{font-size:14px}}
@page{margin:16mm 15mm}
@media print{:root{--page:#fff;--ink:#000;--faint:#444;--line:#ccc;--tint:#f4f4f4;
--accent:#1f5fd1;--warn:#7a4a00;--mark:#c00}
body{padding:0;max-width:none;font-size:10pt}.scroll{overflow:visible}table{font-size:8pt}
th,td{padding:2.5px 5px}h2{margin-top:26px;break-after:avoid}h3{break-after:avoid}
tr{break-inside:avoid}thead{display:table-header-group}.lead{border:1px solid var(--line)}
.charts.many{grid-template-columns:1fr 1fr;gap:14px 18px}svg text{font-size:11px}
nav,details:not([open]),summary{display:none}}
"""


def page(
    *,
    title: str,
    made: str,
    series: Sequence[dict[str, Any]],
    repeats: dict[str, int],
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
    looked = [
        quality.look(one, forecast.get("freq") or one.get("freq"))
        for one, forecast in zip(series, answer["forecasts"], strict=True)
    ]
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="faint">{escape(made)}, {many}, tollama {__version__}</p>',
        f'<p class="lead">{_summary(scores, failure, model, settings["Horizon"])}</p>',
        "<nav>" + " ".join(f'<a href="#{id}">{name}</a>' for id, name in SECTIONS) + "</nav>",
        _section("forecasts"),
        *_figures(series, answer, looked, charts),
        _section("leaderboard"),
        _leaderboard(scores) if scores else f'<p class="warn">{escape(failure)}</p>',
        _winners(scores) if scores and len(series) > 1 else "",
        _section("quality"),
        _quality(series, answer, looked, repeats),
        _notes(warnings, [str(one["id"]) for one in answer["forecasts"]]),
        _section("settings"),
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


def _section(id: str) -> str:
    return f'<h2 id="{id}">{dict(SECTIONS)[id]}</h2>'


def _summary(scores: dict[str, Any] | None, failure: str, model: str, horizon: str) -> str:
    said = f"The next {escape(horizon)} are forecast by <b>{escape(model)}</b>."
    if scores is None:
        return f"{said} Models could not be compared: {escape(failure)}."
    key = scores["ranked_by"]
    row = scores["leaderboard"][0]
    skill = row["skill"].get(key)
    board = scores["leaderboard"]
    who = "It" if row["model"] == model else f"<b>{escape(row['model'])}</b>"
    won = f" {who} was the best of {len(board)} models on the past"
    if row.get("wins") and len(row["series"]) > 1:
        won += f" and on {row['wins']:,} of {len(row['series']):,} series"
    score = row["metrics"].get(key)
    if score is not None:
        won += f", with {_heading(key)} {_score(key, score)}"
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


def _figures(
    series: Sequence[dict[str, Any]], answer: dict[str, Any], looked: list[Quality], charts: int
) -> list[str]:
    size = svg.LARGE if len(series) <= FEW else svg.SMALL
    levels = [label for label, _, _ in intervals(answer["forecasts"][0]["quantiles"] or {})]
    shade = (
        f" with its {' and '.join(f'{label} %' for label in levels)} intervals" if levels else ""
    )
    found = [
        f'<p class="faint small">Blue is the forecast{shade}; red dots are outliers.</p>',
        f'<div class="charts{" many" if size == svg.SMALL else ""}">',
        *map(_figure, series[:charts], answer["forecasts"], looked, [size] * charts),
        "</div>",
    ]
    if len(series) > charts:
        found.append(f'<p class="faint">and {len(series) - charts:,} more series (--charts)</p>')
    return found


def _figure(
    one: dict[str, Any], forecast: dict[str, Any], found: Quality, size: tuple[int, int]
) -> str:
    length = len(found.steps)
    steps = [str(length + k + 1) for k in range(len(forecast["mean"]))]
    if one.get("timestamps") or forecast.get("start_timestamp"):
        steps = timestamps(forecast)
    stamps = one.get("timestamps")
    past = [""] * length if stamps else [str(k + 1) for k in range(length)]
    for place, stamp in zip(found.places, stamps or (), strict=False):
        past[place] = stamp
    first = max(0, length - max(6 * len(steps), 100))
    quantiles = forecast["quantiles"] or {}
    levels = intervals(quantiles)
    bands = [(quantiles[low], quantiles[high]) for _, low, high in levels]
    wide_first = sorted(bands, key=lambda band: band[0][-1] - band[1][-1])
    name = escape(str(forecast["id"]))
    picture = svg.chart(
        found.steps[first:],
        forecast["mean"],
        wide_first,
        [*past[first:], *steps],
        f"{forecast['id']}: forecast",
        size=size,
        marks=[place - first for place in found.outliers if place >= first],
    )
    head = ["Time" if stamps else "Step", "Forecast"]
    head += [f"{edge} ({label} %)" for label, _, _ in levels for edge in ("from", "to")]
    rows = [
        [escape(step.replace("T", " ")), f"<b>{svg.number(forecast['mean'][k])}</b>"]
        + [svg.number(edge[k]) for band in bands for edge in band]
        for k, step in enumerate(steps)
    ]
    table = f"<details><summary>Values</summary>{_table('Values', head, rows)}</details>"
    return f"<figure><h3>{name}</h3>{picture}{table}</figure>"


# -- scores ---------------------------------------------------------------------------------------


def _heading(name: str) -> str:
    kind, _, level = name.partition("_")
    if level:
        return f"{'Coverage' if kind == 'coverage' else kind.upper()} {float(level):.0%}"
    return TITLES.get(name, name.upper())


def _score(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name.partition("_")[0] in PERCENT:
        return f"{value:.1%}"
    return f"{value:.3f}" if name == "mase" else svg.number(float(f"{value:.4g}"))


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
        f"Ranked by {_heading(key)} over {scores['windows']} windows of {scores['horizon']} steps, "
        "each forecast from what came before it. MASE is the mean absolute error as a multiple of "
        "that of the seasonal naive forecast inside the history: lower is better. Skill is the "
        f"share of it saved against {escape(baseline)}."
    )
    head = ["#", "Model", "Skill", "Wins", *map(_heading, names)]
    return f'<p class="faint small">{said}</p>{_table("Leaderboard", head, rows, "names")}'


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
            f"{_score(key, found.get(row['model']))}</span>"
            for row in board
        ]
        rows.append([_name(name), escape(best or "–"), *cells])
    head = ["Series", "Best", *(escape(row["model"]) for row in board)]
    return f"<h3>{_heading(key)} by series</h3>{_table('Scores by series', head, rows, 'names')}"


# -- data -----------------------------------------------------------------------------------------


def _name(text: object) -> str:
    return f'<span class="name">{escape(str(text))}</span>'


def _quality(
    series: Sequence[dict[str, Any]],
    answer: dict[str, Any],
    looked: list[Quality],
    repeats: dict[str, int],
) -> str:
    rows = []
    for one, forecast, found in zip(series, answer["forecasts"], looked, strict=True):
        values = [v for v in one["target"] if v is not None]
        stamps = one.get("timestamps")
        span = f"{_time(stamps[0])} to {_time(stamps[-1])}" if stamps else "no dates"
        remarks = f' <span class="warn">{", ".join(found.remarks)}</span>' if found.remarks else ""
        repeated = repeats.get(one["id"], repeats.get("", 0))
        odd = (found.missing, found.absent, repeated, len(found.outliers))
        cells = [
            _name(forecast["id"]) + remarks,
            escape(str(forecast.get("freq") or one.get("freq") or "none")),
            f"{len(one['target']):,}",
            *map(_warn, odd[:3]),
            f"{found.zeros:,}",
            _warn(odd[3]),
            escape(span),
            f"{svg.number(min(values))} to {svg.number(max(values))}" if values else "–",
        ]
        rows.append((-sum(odd), cells))
    if len(rows) > ROWS:
        rows.sort(key=lambda row: row[0])  # those that want a look are not cut off
    head = ["Series", "Freq", "Values", "Missing", "Absent", "Repeated", "Zeros", "Outliers"]
    said = (
        "Missing: rows without a value. Absent: steps without a row. Repeated: rows with the time "
        "of another row, left out. Outliers: far from the values one and two seasons away, by more "
        "than five times the usual distance."
    )
    table = _table("Data quality", [*head, "Time", "Range"], [cells for _, cells in rows])
    return f'<p class="faint small">{said}</p>{table}'


def _time(stamp: str) -> str:
    return (stamp.removesuffix(":00") if stamp.count(":") == 2 else stamp).replace("T", " ")


def _warn(count: int) -> str:
    return f'<span class="warn">{count:,}</span>' if count else "0"


def _notes(warnings: Sequence[str], ids: Sequence[str]) -> str:
    """What was said ("model: id: text"), once for all series, models and numbers."""
    known = set(ids)
    groups: dict[str, tuple[dict[str, None], dict[str, None]]] = {}  # sense: texts, ids
    for text in warnings:
        parts = text.split(": ", 2)
        at = next((k for k, part in enumerate(parts[:2]) if part in known), None)
        if at is None:
            at = next((k for k, part in enumerate(parts[:2]) if part.startswith("series[")), None)
            name = None if at is None else _indexed(parts[at], ids)
        else:
            name = parts[at]
        said = text if at is None else ": ".join(parts[at + 1 :])
        texts, names = groups.setdefault(re.sub(r"\d+", "#", said), ({}, {}))
        texts[said] = None
        if name:
            names[name] = None
    if not groups:
        return ""
    lines = []
    for texts, names in groups.values():
        text = next(iter(texts)) + (f" (and {len(texts) - 1:,} alike)" if len(texts) > 1 else "")
        first = next(iter(names), None)
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        lines.append(f"<li>{escape(f'{first}{more}: {text}' if first else text)}</li>")
    over = f"<li>and {len(lines) - 50:,} more</li>" if len(lines) > 50 else ""
    return f"<h3>Notes</h3><ul class=small>{''.join(lines[:50])}{over}</ul>"


def _indexed(place: str, ids: Sequence[str]) -> str:
    """The id of "series[3]"."""
    digits = place[7:-1]
    return ids[int(digits)] if digits.isdigit() and int(digits) < len(ids) else place
