"""`tollama run`: a file, standard input or a request in; a table with a chart, JSON, CSV or JSON
lines out.

A big file that goes to a file is done series by series (bulk.py). Not covered: reading data
(data.py) and where the answer goes (output.py).
"""

from __future__ import annotations

import os
import sys

from tollama.cli import call, output
from tollama.cli.main import add_client
from tollama.core.errors import DaemonUnreachable, InvalidRequest, ModelNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import Any

    from tollama.cli.call import Local

FORMATS = ("table", "json", "csv", "jsonl")
# 80% and 95% bounds.
DEFAULT_QUANTILES = (0.025, 0.1, 0.9, 0.975)


def add_run(parser: ArgumentParser) -> None:
    """The arguments of `run`."""
    parser.add_argument("model", help="an installed model, or one of the registry (pulled first)")
    parser.add_argument(
        "file", nargs="?", help="CSV, JSON lines, JSON or Parquet; - = standard input"
    )
    add_data(parser)
    add = parser.add_argument
    add("--input", metavar="FILE", help="a request as the API takes it (JSON)")
    add("--horizon", type=int, metavar="N", help="number of steps to forecast (default one season)")
    add(
        "--quantiles",
        metavar="Q,Q",
        help="levels such as 0.1,0.5,0.9 (default 80%% and 95%% bounds)",
    )
    add("--context-length", type=int, metavar="N", help="use only the last N values of each series")
    add("--season-length", metavar="N[,N]", help="steps in a season, instead of what freq implies")
    add("--non-negative", action="store_true", help="cut the forecast at zero")
    add(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the model"
    )
    add("--keep-alive", metavar="DURATION", help="how long the daemon keeps the model loaded")
    add("--format", choices=FORMATS, help="output form (default: table on a terminal, else json)")
    add("-o", "--output", metavar="FILE", help="write to a file; its ending chooses the form")
    add("--no-stream", action="store_true", help="ask for one answer instead of progress lines")
    add("--no-chart", action="store_true", help="print only the table")
    add_client(parser)


def add_data(parser: ArgumentParser) -> None:
    """The arguments that say what is in a data file."""
    add = parser.add_argument
    add("--id", metavar="COLUMN", help="column that names the series")
    add("--time", metavar="COLUMN", help="column of the timestamps")
    add("--target", metavar="COLUMN", help="column of the values")
    add("--covariates", metavar="COL,COL", help="columns to pass to the model as covariates")
    add("--freq", help="step of the series: h, D, W-SUN, MS, QS, 15min ... (default: inferred)")
    add("--decimal", choices=(".", ","), help="decimal mark of the numbers")
    add("--date-order", choices=("dmy", "mdy"), help="order of dates such as 03/04/2024")


def run(args: Namespace) -> int:
    """Forecast and print."""
    from tollama.cli import bulk

    if args.file is not None and args.input is not None:
        raise InvalidRequest("run: expected a data file or --input, got both")
    output.check(args)
    api = Api(args)
    try:
        if bulk.wanted(args):
            return bulk.run(args, api)
        request = read_input(args, api)
        response = forecast(args, api, request)
    finally:
        api.close()
    output.write(args, request, response)
    return 0


class Api:
    """The daemon, or this process where none runs and no address was given."""

    def __init__(self, args: Namespace) -> None:
        self.remote = call.connect(args.base_url, timeout=args.timeout)
        self.local: Local | None = None

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """POST an object, its answer's lines as they come."""
        if self.local is None:
            try:
                yield from self.remote.stream("POST", path, body)
                return
            except DaemonUnreachable as error:
                if not call.falls_back(self.remote.where, error):
                    raise
            self.here()
        assert self.local is not None
        yield from self.local.stream("POST", path, body)

    def call(self, path: str, body: dict[str, Any]) -> Any:
        """POST an object, its whole answer."""
        if self.local is None:
            try:
                return self.remote.call("POST", path, body)
            except DaemonUnreachable as error:
                if not call.falls_back(self.remote.where, error):
                    raise
            self.here()
        assert self.local is not None
        return self.local.call("POST", path, body)

    def settle(self) -> None:
        """Find out who does the work before any progress is shown, which the note would break."""
        if not self.remote.where.given and not self.remote.reachable():
            self.here()

    def here(self) -> Local:
        """The service of this process; says so once."""
        if self.local is None:
            sys.stderr.write("no daemon is running, forecasting in this process\n")
            self.local = call.Local()
        return self.local

    def close(self) -> None:
        """End the runners of this process, if it has any."""
        if self.local is not None:
            self.local.close()


def data_options(args: Namespace) -> dict[str, Any]:
    """The data arguments as data.read_series takes them."""
    return {
        "id_column": args.id,
        "time_column": args.time,
        "target_column": args.target,
        "covariates": [c for c in (args.covariates or "").split(",") if c],
        "freq": args.freq,
        "decimal": args.decimal,
        "date_order": args.date_order,
    }


def settings_of(args: Namespace) -> dict[str, Any]:
    """The request's fields that the flags set."""
    request: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for item in args.option:
        name, equals, text = item.partition("=")
        if not equals:
            raise InvalidRequest(f"--option: expected NAME=VALUE, got {item!r}")
        options[name] = _value(text)
    if args.season_length:
        lengths = [_value(part) for part in args.season_length.split(",")]
        options["season_length"] = lengths if len(lengths) > 1 else lengths[0]
    if args.context_length is not None:
        options["context_length"] = args.context_length
    if args.non_negative:
        options["non_negative"] = True
    if args.horizon is not None:
        request["horizon"] = args.horizon
    if args.quantiles is not None:
        request["quantiles"] = quantiles_of(args.quantiles)
    if args.keep_alive is not None:
        request["keep_alive"] = args.keep_alive
    if options:
        request["options"] = options
    return request


def _value(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def quantiles_of(text: str) -> list[float]:
    """--quantiles as numbers; percent signs are understood."""
    levels = []
    for part in text.replace(" ", ",").split(","):
        if not part:
            continue
        try:
            levels.append(float(part[:-1]) / 100 if part.endswith("%") else float(part))
        except ValueError:
            raise InvalidRequest(
                f"--quantiles: expected numbers between 0 and 1 such as 0.1,0.9, got {part!r}"
            ) from None
    return levels


def preset_of(args: Namespace, api: Api) -> dict[str, Any]:
    """The horizon and quantiles that the model's preset has and no flag gives."""
    if args.horizon is not None and args.quantiles is not None:
        return {}
    try:
        preset = api.call("/api/show", {"model": args.model}).get("preset") or {}
    except ModelNotFound:
        return {}  # a model that is pulled for this run has none
    return {name: preset[name] for name in ("horizon", "quantiles") if preset.get(name)}


def read_input(args: Namespace, api: Api) -> dict[str, Any]:
    """The request that the arguments mean, its data read."""
    from tollama.cli import data

    if args.input is not None:
        request = data.read_request(args.input)
        changed = settings_of(args)
        options = {**(request.get("options") or {}), **changed.pop("options", {})}
        request.update(changed, model=args.model)
        if options:
            request["options"] = options
        return request
    if args.file is None:
        if sys.stdin is None or sys.stdin.isatty():
            raise InvalidRequest("run: expected a data file, '-' or --input FILE")
        args.file = "-"
    found = data.read_series(args.file, **data_options(args))
    for note in found.notes:
        sys.stderr.write(f"note: {note}\n")
    request = {
        "model": args.model,
        "quantiles": list(DEFAULT_QUANTILES),
        **preset_of(args, api),
        **settings_of(args),
    }
    if "horizon" not in request:
        request["horizon"] = default_horizon(found.series)
    request["series"] = [data.cut_future(one, request["horizon"]) for one in found.series]
    return request


def default_horizon(series: list[dict[str, Any]]) -> int:
    """As far as the covariates are known, else one season."""
    from tollama.cli import data
    from tollama.core import calendar

    known = [h for h in map(data.known_horizon, series) if h]
    if known:
        return min(known)
    freq = None
    first = series[0] if series else {}
    if first.get("freq"):
        freq = calendar.parse_freq(first["freq"])
    elif first.get("timestamps"):
        freq = calendar.infer(calendar.parse_timestamps(first["timestamps"]))
    season = calendar.season_length(freq)
    horizon = season if season > 1 else 12
    sys.stderr.write(f"note: no --horizon, forecasting {horizon} steps\n")
    return horizon


def forecast(args: Namespace, api: Api, request: dict[str, Any]) -> dict[str, Any]:
    """The answer; a model of the registry that is missing is pulled first."""
    try:
        return _forecast(args, api, request)
    except ModelNotFound as error:
        if "is not in the registry" in error.message:
            raise
    from tollama.cli import pull

    events = api.stream("/api/pull", {"model": args.model, "stream": True})
    pull.show_progress(events)
    return _forecast(args, api, request)


def _forecast(args: Namespace, api: Api, request: dict[str, Any]) -> dict[str, Any]:
    if args.no_stream:
        answer: dict[str, Any] = api.call("/api/forecast", {**request, "stream": False})
        return answer
    from tollama.cli.progress import ForecastProgress

    many = len(request.get("series") or ()) > 1
    body = {**request, "stream": True}
    if many:
        body["options"] = {**(request.get("options") or {}), "stream_series": True}
    progress = ForecastProgress(sys.stderr, os.environ, total=len(request.get("series") or ()))
    try:
        for event in api.stream("/api/forecast", body):
            if "response" in event:
                response: dict[str, Any] = event["response"]
                return response
            progress.show(event)
    finally:
        progress.end()
    raise DaemonUnreachable("the daemon ended its answer without a forecast")
