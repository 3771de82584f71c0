"""`tollama report`: a file's data quality, leaderboard and forecasts as one HTML file to mail.

Not covered: how the file looks (report_page.py) and its charts (svg.py).
"""

from __future__ import annotations

import os
import sys
import time

from tollama import __version__
from tollama.cli import output
from tollama.cli.main import add_client
from tollama.cli.progress import ForecastProgress
from tollama.cli.run import DEFAULT_QUANTILES, Api, add_data, data_options
from tollama.core.errors import DaemonUnreachable, InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any


def add_report(parser: ArgumentParser) -> None:
    """The arguments of `report`."""
    add = parser.add_argument
    add("file", help="CSV, JSON lines, JSON or Parquet; - = standard input")
    add("-o", "--output", default="report.html", metavar="FILE", help="default report.html")
    add("--models", default="auto,theta,seasonal-naive", metavar="A,B", help="models to compare")
    add("--model", metavar="NAME", help="the model that forecasts (default: the winner)")
    add("--horizon", type=int, metavar="N", help="steps to forecast (default one season)")
    add("--windows", type=int, default=3, metavar="N", help="cutoffs per series (default 3)")
    add("--season-length", type=int, metavar="N", help="steps in a season")
    add("--charts", type=int, default=50, metavar="N", help="series with a chart (default 50)")
    add("--title", metavar="TEXT", help="heading (default: the file's name)")
    add_data(parser)
    add_client(parser)


def report(args: Namespace) -> int:
    """Backtest, forecast, write."""
    from tollama.cli import data, report_page
    from tollama.cli.render import intervals
    from tollama.cli.run import default_horizon

    output.check(args)
    models = [name for name in args.models.split(",") if name]
    if not models:
        raise InvalidRequest("--models: expected at least one name")
    repeats: dict[str, int] = {}
    found = data.read_series(args.file, repeats=repeats, **data_options(args))
    series = list(found.series)
    if series and isinstance(series[0]["target"][0], list):
        raise InvalidRequest("report: expected one target a series, got a multivariate one")
    horizon = default_horizon(series) if args.horizon is None else args.horizon
    options: dict[str, Any] = {"timestamps": True}
    if args.season_length:
        options["season_length"] = args.season_length
    api = Api(args)
    try:
        scores, failure = _backtest(args, api, series, models, horizon, options)
        model = args.model or (scores["winner"] if scores else models[0])
        answer = _forecast(api, series, model, horizon, options)
    finally:
        api.close()
    text = report_page.page(
        title=args.title or (os.path.basename(args.file) if args.file != "-" else "report"),
        repeats=repeats,
        made=time.strftime("%Y-%m-%d %H:%M", time.localtime()),
        series=series,
        notes=[*found.notes],
        scores=scores,
        failure=failure,
        answer=answer,
        model=model,
        charts=args.charts,
        settings={
            "Data": "standard input" if args.file == "-" else os.path.basename(args.file),
            "Horizon": f"{horizon} steps",
            "Models compared": ", ".join(models),
            "Windows of the backtest": str(args.windows),
            "Forecast by": model,
            "Season length": str(args.season_length or "as the dates say"),
            "Intervals": ", ".join(
                f"{level} %" for level, _, _ in intervals(map(str, DEFAULT_QUANTILES))
            ),
            "Covariates": args.covariates or "none",
            "Made by": f"tollama {__version__}",
        },
    )
    if args.output is None:
        sys.stdout.write(text)
        return 0
    output.save(args.output, text.encode("utf-8", "replace"))
    sys.stderr.write(f"wrote {args.output}\n")
    return 0


def _backtest(
    args: Namespace,
    api: Api,
    series: list[dict[str, Any]],
    models: list[str],
    horizon: int,
    options: dict[str, Any],
) -> tuple[dict[str, Any] | None, str]:
    """The scores, or why there are none: a report of short series is still a report."""
    body = {
        "models": models,
        "horizon": horizon,
        "windows": args.windows,
        "series": series,
        "stream": True,
        "options": {k: v for k, v in options.items() if k != "timestamps"},
    }
    progress = ForecastProgress(sys.stderr, os.environ, total=None, unit="windows")
    try:
        api.settle()
        progress.show({"status": "backtesting"})
        for event in api.stream("/api/backtest", body):
            if "response" in event:
                return event["response"], ""
            progress.total = event["total"]
            progress.count(event["completed"])
    except InvalidRequest as error:
        if any(loc[-1:] == ("horizon",) for loc, _ in error.problems()):
            return None, error.message
        raise
    finally:
        progress.end()
    raise DaemonUnreachable("the daemon ended its answer without a result")


def _forecast(
    api: Api, series: list[dict[str, Any]], model: str, horizon: int, options: dict[str, Any]
) -> dict[str, Any]:
    from tollama.cli import data

    body = {
        "model": model,
        "horizon": horizon,
        "quantiles": list(DEFAULT_QUANTILES),
        "series": [data.cut_future(one, horizon) for one in series],
        "options": options,
        "stream": False,
    }
    progress = ForecastProgress(sys.stderr, os.environ, total=None)
    progress.show({"status": "running forecast"})
    try:
        answer: dict[str, Any] = api.call("/api/forecast", body)
    finally:
        progress.end()
    return answer
