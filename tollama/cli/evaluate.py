"""backtest and anomalies: which model suits a file, and which of its values do not fit."""

from __future__ import annotations

import os
import sys

from tollama.cli.main import add_client
from tollama.cli.models import add_format, as_json, print_json, print_table
from tollama.cli.run import Api, add_data, data_options, quantiles_of
from tollama.core.errors import DaemonUnreachable, InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any


def add_backtest(parser: ArgumentParser) -> None:
    """The arguments of `backtest`."""
    add = parser.add_argument
    add("file", help="CSV, JSON lines, JSON or Parquet; - = standard input")
    add("--models", default="auto,theta,seasonal-naive", metavar="A,B", help="models to compare")
    add(
        "--horizon",
        type=int,
        metavar="N",
        help="steps forecast at each cutoff (default one season)",
    )
    add("--windows", type=int, default=3, metavar="N", help="cutoffs per series (default 3)")
    add("--stride", type=int, metavar="N", help="steps between cutoffs (default: the horizon)")
    add("--quantiles", metavar="Q,Q", help="levels to score (default 80%% and 95%% bounds)")
    add("--metrics", metavar="A,B", help="scores to compute, the first ranks the models")
    add("--season-length", type=int, metavar="N", help="steps in a season")
    add("--forecasts", action="store_true", help="give every forecast too (JSON)")
    add_data(parser)
    add_format(parser, "table", "json")
    add_client(parser)


def read_file(args: Namespace) -> list[dict[str, Any]]:
    """The series of the file; what was guessed goes to stderr."""
    from tollama.cli import data

    found = data.read_series(args.file, **data_options(args))
    for note in found.notes:
        sys.stderr.write(f"note: {note}\n")
    series: list[dict[str, Any]] = found.series
    return series


def backtest(args: Namespace) -> int:
    """Compare models on rolling origins."""
    from tollama.cli.progress import ForecastProgress
    from tollama.cli.run import default_horizon

    series = read_file(args)
    body: dict[str, Any] = {
        "models": [name for name in args.models.split(",") if name],
        "horizon": args.horizon or default_horizon(series),
        "windows": args.windows,
        "series": series,
        "stream": True,
        "forecasts": args.forecasts,
    }
    if args.stride is not None:
        body["stride"] = args.stride
    if args.quantiles:
        body["quantiles"] = quantiles_of(args.quantiles)
    if args.metrics:
        body["metrics"] = [name for name in args.metrics.split(",") if name]
    if args.season_length:
        body["options"] = {"season_length": args.season_length}
    api = Api(args)
    progress = ForecastProgress(sys.stderr, os.environ, total=None, unit="windows")
    try:
        response = None
        api.settle()
        progress.show({"status": "backtesting"})
        for event in api.stream("/api/backtest", body):
            if "response" in event:
                response = event["response"]
            else:
                progress.total = event["total"]
                progress.count(event["completed"])
    finally:
        progress.end()
        api.close()
    if response is None:
        raise DaemonUnreachable("the daemon ended its answer without a result")
    if as_json(args):
        print_json(response)
        return 0
    show_leaderboard(response)
    return 0


def show_leaderboard(response: dict[str, Any]) -> None:
    """The leaderboard as a table, the winner below it."""
    board = response["leaderboard"]
    key = response["ranked_by"]
    metrics = [name for name in board[0]["metrics"] if name == key or not name.startswith("msis")]
    rows = []
    for place, row in enumerate(board, 1):
        skill = row["skill"].get(key)
        values = [_number(row["metrics"][name]) for name in metrics]
        rows.append(
            [
                place,
                row["model"],
                *values,
                "-" if skill is None else f"{skill:+.1%}",
                f"{row['wins']}/{len(row['series'])}",
            ]
        )
    titles = [_title(name) for name in metrics]
    print_table(["", "MODEL", *titles, "SKILL", "WINS"], rows)
    sys.stdout.write(
        f"\nwinner: {response['winner']} by {key}; {response['windows']} windows of "
        f"{response['horizon']} steps, skill against {response['baseline']['model']}\n"
    )
    for warning in response["warnings"][:10]:
        sys.stderr.write(f"warning: {warning}\n")
    if len(response["warnings"]) > 10:
        sys.stderr.write(f"warning: and {len(response['warnings']) - 10} more\n")


def _title(metric: str) -> str:
    """A score's name as a heading: coverage_0.95 is "95% COV"."""
    name, _, level = metric.partition("_")
    name = "COV" if name == "coverage" else name.upper()
    return f"{float(level) * 100:.4g}% {name}" if level else name


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def add_anomalies(parser: ArgumentParser) -> None:
    """The arguments of `anomalies`."""
    add = parser.add_argument
    add("file", help="CSV, JSON lines, JSON or Parquet; - = standard input")
    add("--model", default="auto", help="the model that forecasts (default auto)")
    add("--level", type=float, default=99, metavar="L", help="interval in percent (default 99)")
    add("--detection-size", type=int, metavar="N", help="check only the last N values of a series")
    add("--step", type=int, metavar="N", help="values forecast at once (1 = one step ahead)")
    add("--season-length", type=int, metavar="N", help="steps in a season")
    add("--all", action="store_true", help="print every checked value, not only the anomalies")
    add_data(parser)
    add_format(parser, "table", "json", "csv")
    add_client(parser)


def anomalies(args: Namespace) -> int:
    """Values outside what the model forecast for them."""
    level = args.level / 100 if args.level > 1 else args.level
    if not 0 < level < 1:
        raise InvalidRequest(f"--level: expected a percentage such as 99, got {args.level:g}")
    body: dict[str, Any] = {"model": args.model, "level": level, "series": read_file(args)}
    for name in ("detection_size", "step"):
        if getattr(args, name) is not None:
            body[name] = getattr(args, name)
    if args.season_length:
        body["options"] = {"season_length": args.season_length}
    from tollama.cli.progress import ForecastProgress

    api = Api(args)
    progress = ForecastProgress(sys.stderr, os.environ, total=None)
    try:
        api.settle()
        progress.show({"status": "looking for anomalies"})
        response = api.call("/api/anomalies", body)
    finally:
        progress.end()
        api.close()
    if as_json(args):
        print_json(response)
        return 0
    rows = []
    for series in response["series"]:
        for point in series["points"]:
            if point["anomaly"] or args.all:
                rows.append(
                    [
                        series["id"],
                        point["timestamp"] or point["index"],
                        _number(point["value"]),
                        _number(point["lower"]),
                        _number(point["upper"]),
                        "-" if point["score"] is None else f"{point['score']:.2f}",
                        "anomaly" if point["anomaly"] else "",
                    ]
                )
    headers = ["SERIES", "TIME", "VALUE", "LOWER", "UPPER", "SCORE", ""]
    if args.format == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["id", "timestamp", "value", "lower", "upper", "score", "anomaly"])
        writer.writerows(rows)
        return 0
    if rows:
        print_table(headers, rows)
    checked = sum(len(series["points"]) for series in response["series"])
    found = sum(series["anomalies"] for series in response["series"])
    sys.stdout.write(
        f"{found} anomalies in {checked} checked values ({100 * level:.4g}% interval)\n"
    )
    for warning in response["warnings"][:10]:
        sys.stderr.write(f"warning: {warning}\n")
    return 0
