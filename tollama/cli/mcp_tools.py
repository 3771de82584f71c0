"""The tools of `tollama mcp`: forecast, backtest, anomalies, list_models, describe_series.

Each takes data inline (`values`, `series`, `csv`) or as a `file` under a directory that the user
allowed, asks the daemon (or this process, where none runs), and gives the API's answer.

Not covered: the protocol (mcp.py).
"""

from __future__ import annotations

import os
import threading

from tollama.cli import call
from tollama.core import calendar, fields, names, readers, schemas
from tollama.core.errors import DaemonUnreachable, Forbidden, InvalidRequest, Loc
from tollama.core.fields import Fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

DATA = {
    "values": {
        "type": "array",
        "items": {"type": ["number", "null"]},
        "description": "one series, oldest value first, null where one is missing",
    },
    "series": {
        "type": "array",
        "items": {"type": "object"},
        "description": "several series: {id, target, timestamps or start with freq, "
        "past_covariates, future_covariates}",
    },
    "csv": {
        "type": "string",
        "description": "CSV text with a header: time, value and perhaps an id in columns",
    },
    "file": {
        "type": "string",
        "description": "path of a CSV, JSON lines or Parquet file in an allowed directory",
    },
    "id_column": {"type": "string", "description": "column that names the series"},
    "time_column": {"type": "string", "description": "column of the timestamps"},
    "target_column": {"type": "string", "description": "column of the values"},
    "freq": {"type": "string", "description": "step of the series: h, D, W-SUN, MS, 15min ..."},
    "start": {"type": "string", "description": "ISO time of the first of `values`, with freq"},
}
HORIZON = {"type": "integer", "minimum": 1, "description": "number of future steps"}
MODEL = {"type": "string", "description": "name of a model, see list_models (default auto)"}
OPTIONS = {"type": "object", "description": "options of the model, such as season_length"}

TOOLS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "forecast": (
        "Forecast time series, with quantiles for the uncertainty.",
        {
            **DATA,
            "horizon": HORIZON,
            "model": MODEL,
            "quantiles": {
                "type": "array",
                "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "description": "probability levels (default 0.1, 0.5, 0.9)",
            },
            "options": OPTIONS,
        },
        ["horizon"],
    ),
    "backtest": (
        "Compare models on rolling origins of the data: scores, leaderboard, winner.",
        {
            **DATA,
            "horizon": HORIZON,
            "models": {
                "type": "array",
                "items": {"type": "string"},
                "description": "models to compare (default auto, theta, seasonal-naive)",
            },
            "windows": {"type": "integer", "minimum": 1, "description": "cutoffs (default 3)"},
            "options": OPTIONS,
        },
        ["horizon"],
    ),
    "anomalies": (
        "Find values outside the interval that a model forecast for them.",
        {
            **DATA,
            "model": MODEL,
            "level": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
                "description": "probability of the interval (default 0.99)",
            },
            "detection_size": {
                "type": "integer",
                "minimum": 1,
                "description": "values to check at the end of each series (default: all it can)",
            },
            "options": OPTIONS,
        },
        [],
    ),
    "list_models": ("The models on this machine and what each can do.", {}, []),
    "describe_series": (
        "What the data look like: length, span, frequency, gaps, range, season, last values.",
        dict(DATA),
        [],
    ),
}


class Tools:
    """The tools over one daemon, or over the service of this process."""

    def __init__(self, args: Namespace) -> None:
        self.remote = call.connect(args.base_url, timeout=args.timeout)
        self.folders = [os.path.realpath(folder) for folder in args.dir]
        self.local: call.Local | None = None
        self.lock = threading.Lock()

    def names(self) -> list[str]:
        """The tools by name."""
        return list(TOOLS)

    def listed(self) -> list[dict[str, Any]]:
        """The tools as tools/list has them."""
        return [
            {
                "name": name,
                "title": name.replace("_", " "),
                "description": text,
                "inputSchema": {"type": "object", "properties": properties, "required": required},
                "annotations": {"readOnlyHint": True, "openWorldHint": False},
            }
            for name, (text, properties, required) in TOOLS.items()
        ]

    def close(self) -> None:
        """End the runners of this process, if it has any."""
        if self.local is not None:
            self.local.close()

    def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A tool's answer; raises TollamaError."""
        found: dict[str, Any] = getattr(self, name)(arguments)
        return found

    # The tools

    def forecast(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """POST /api/forecast."""
        with Fields(arguments) as f:
            horizon = f.take("horizon", fields.integer(1, schemas.MAX_HORIZON))
            request: dict[str, Any] = {
                "model": f.take("model", names.reader, "auto"),
                "horizon": horizon,
                "quantiles": list(f.take("quantiles", readers.quantiles, (0.1, 0.5, 0.9))),
                "options": {"timestamps": True, **f.take("options", readers.options, {})},
                "stream": False,
            }
            series, notes = self._series(f)
        from tollama.cli import data

        request["series"] = [data.cut_future(one, horizon) for one in series]
        return self._noted(self._ask("POST", "/api/forecast", request), notes)

    def backtest(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """POST /api/backtest."""
        with Fields(arguments) as f:
            request: dict[str, Any] = {
                "horizon": f.take("horizon", fields.integer(1, schemas.MAX_HORIZON)),
                "models": f.take(
                    "models", fields.list_of(names.reader), ["auto", "theta", "seasonal-naive"]
                ),
                "windows": f.take("windows", fields.integer(1), 3),
            }
            options = f.take("options", readers.options, {})
            request["series"], notes = self._series(f)
        if options:
            request["options"] = options
        return self._noted(self._ask("POST", "/api/backtest", request), notes)

    def anomalies(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """POST /api/anomalies; of the points that were checked only those that stand out."""
        with Fields(arguments) as f:
            request: dict[str, Any] = {
                "model": f.take("model", names.reader, "auto"),
                "level": f.take("level", fields.finite, 0.99),
            }
            size = f.take("detection_size", fields.integer(1), None)
            options = f.take("options", readers.options, {})
            request["series"], notes = self._series(f)
        if size is not None:
            request["detection_size"] = size
        if options:
            request["options"] = options
        answer = self._ask("POST", "/api/anomalies", request)
        for one in answer["series"]:
            points = one.pop("points")
            one["checked"] = len(points)
            one["points"] = [point for point in points if point["anomaly"]]
        return self._noted(answer, notes)

    def list_models(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What is here, from GET /v1/models and /api/tags."""
        with Fields(arguments):
            pass
        registry = self._ask("GET", "/v1/models")
        offers = {item["name"]: item for item in registry["available"]}
        found = []
        for item in self._ask("GET", "/api/tags")["models"]:
            offer = offers.get(item["name"], {})
            found.append(
                {
                    "name": item["name"],
                    "family": item["details"]["family"],
                    "description": offer.get("description", ""),
                    "capabilities": offer.get("capabilities", {}),
                }
            )
        return {"models": found}

    def describe_series(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Facts about the data; no model is asked."""
        with Fields(arguments) as f:
            series, notes = self._series(f)
        return self._noted({"series": [describe(one) for one in series]}, notes)

    # Data and daemon

    def _series(self, f: Fields) -> tuple[list[dict[str, Any]], list[str]]:
        values = f.take("values", fields.numbers_or_null, None)
        given = f.take("series", fields.json_list, None)
        csv = f.take("csv", fields.nonempty, None)
        path = f.take("file", fields.nonempty, None)
        freq = f.take("freq", fields.nonempty, None)
        start = f.take("start", fields.nonempty, None)
        columns = {
            name: f.take(name, fields.nonempty, None)
            for name in ("id_column", "time_column", "target_column")
        }
        forms = [one for one in (values, given, csv, path) if one is not None]
        if len(forms) != 1:
            f.reject("values", "expected exactly one of values, series, csv and file")
        if f.problems:
            return [], []
        if values is not None:
            one: dict[str, Any] = {"id": "values", "target": values}
            one.update({k: v for k, v in (("freq", freq), ("start", start)) if v is not None})
            return [_checked(one, ("values",))], []
        if given is not None:
            return [_checked(one, ("series", at), at) for at, one in enumerate(given)], []
        from tollama.cli import data

        if csv is not None:
            import io

            found = data.read_series(io.BytesIO(csv.encode()), freq=freq, name="csv", **columns)
        else:
            found = data.read_series(self._allowed(str(path)), freq=freq, **columns)
        return found.series, found.notes

    def _allowed(self, path: str) -> str:
        """The real path of a file that may be read; raises Forbidden for any other."""
        if not self.folders:
            raise Forbidden(
                "files are read only from directories that the server was given: "
                "tollama mcp --dir DIR"
            )
        for folder in self.folders:
            real = os.path.realpath(os.path.join(folder, path))
            inside = os.path.commonpath([folder, real]) == folder
            if inside and os.path.isfile(real):
                return real
        raise Forbidden(f"file {path!r}: not a file in {', '.join(self.folders)}")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        if self.local is None:
            try:
                return self.remote.call(method, path, body)
            except DaemonUnreachable as error:
                if not call.falls_back(self.remote.where, error):
                    raise
            with self.lock:
                if self.local is None:
                    self.local = call.Local()
        return self.local.call(method, path, body)

    def _noted(self, answer: dict[str, Any], notes: list[str]) -> dict[str, Any]:
        return {**answer, "notes": list(notes)} if notes else answer


def _checked(value: Any, loc: Loc, number: int = 0) -> dict[str, Any]:
    series = schemas.Series.parse(value, loc, number=number, horizon=None)
    if series.start is not None and series.freq is None:
        raise InvalidRequest.of([((*loc, "freq"), "a series with start needs a freq")])
    return {**value, "id": series.id}


def describe(series: dict[str, Any]) -> dict[str, Any]:
    """Length, span, frequency, gaps, range and season of one series."""
    target = series["target"]
    if target and isinstance(target[0], list):
        rows = [describe({**series, "target": row}) for row in target]
        return {"id": series.get("id"), "dimensions": rows}
    known = [value for value in target if value is not None]
    stamps = series.get("timestamps")
    freq = calendar.parse_freq(series["freq"]) if series.get("freq") else None
    if freq is None and stamps:
        freq = calendar.infer(calendar.parse_timestamps(stamps))
    found: dict[str, Any] = {
        "id": series.get("id"),
        "length": len(target),
        "missing": len(target) - len(known),
        "first_timestamp": stamps[0] if stamps else series.get("start"),
        "last_timestamp": stamps[-1] if stamps else None,
        "freq": str(freq) if freq else None,
        "season_length": calendar.season_length(freq),
        "covariates": sorted(
            {*series.get("past_covariates", {}), *series.get("future_covariates", {})}
        ),
        "last_values": target[-12:],
    }
    if stamps and freq is not None:
        times = calendar.parse_timestamps(stamps)
        _, total = calendar.align(times, calendar.refit(times, freq))
        found["missing_steps"] = total - len(stamps)
    if known:
        mean = sum(known) / len(known)
        spread = sum((value - mean) ** 2 for value in known) / len(known)
        found.update(
            min=min(known),
            max=max(known),
            mean=mean,
            standard_deviation=spread**0.5,
            zeros=sum(value == 0 for value in known),
        )
    return found
