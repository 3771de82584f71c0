"""The Python client: the API of a daemon as methods, on the standard library.

    from tollama import Client
    client = Client()                                   # TOLLAMA_HOST, else http://localhost:11435
    client.forecast([112, 118, 132, 129], horizon=3)    # or a dict, a list of series, a table
    client.forecast(df, model="auto", horizon=12, levels=[80, 95])   # a table of the same kind back

Errors of the daemon are raised as the classes of tollama.core.errors. A 503 is tried again after
what its Retry-After says. `AsyncClient` has the same methods as coroutines.

Not covered: starting a daemon, and data files (the command line reads them).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Iterator
from typing import Any

from tollama import frames
from tollama.core.errors import InvalidRequest
from tollama.transport import Transport

__all__ = ["AsyncClient", "Client", "Forecast", "TollamaForecaster"]

# `list` is a method here, so the type needs a name.
Models = list[dict[str, Any]]
RETRIES = 3


class Forecast:
    """The forecasts of a request: `mean` and `quantiles` of the first series, all in `forecasts`.

    `raw` is the API's answer. `plot` draws history and forecast where matplotlib is installed.
    """

    def __init__(self, raw: dict[str, Any], series: list[dict[str, Any]]) -> None:
        self.raw = raw
        self.series = series

    @property
    def forecasts(self) -> list[dict[str, Any]]:
        """One forecast per series, in order."""
        found: list[dict[str, Any]] = self.raw["forecasts"]
        return found

    @property
    def mean(self) -> list[float]:
        """The point forecast of the first series."""
        found: list[float] = self.forecasts[0]["mean"]
        return found

    @property
    def quantiles(self) -> dict[str, list[float]]:
        """The quantiles of the first series by level."""
        return self.forecasts[0]["quantiles"] or {}

    @property
    def warnings(self) -> list[str]:
        """What was mended, ignored or replaced."""
        found: list[str] = self.raw["warnings"]
        return found

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The forecast of a series by id."""
        return self.forecasts[self._index(name)]

    def _index(self, name: str) -> int:
        for index, one in enumerate(self.forecasts):
            if one["id"] == name:
                return index
        raise KeyError(name)

    def __repr__(self) -> str:
        return f"<Forecast of {len(self.forecasts)} series by {self.raw['model']}>"

    def plot(self, name: str | None = None, *, ax: Any = None) -> Any:
        """Draw one series with its intervals; returns the matplotlib axes."""
        from matplotlib import pyplot

        index = 0 if name is None else self._index(name)
        forecast, history = self.forecasts[index], self.series[index]["target"]
        ax = ax or pyplot.gca()
        steps = range(len(history), len(history) + len(forecast["mean"]))
        ax.plot(range(len(history)), history, label=forecast["id"])
        ax.plot(steps, forecast["mean"], label=self.raw["model"])
        levels = {float(level): row for level, row in (forecast["quantiles"] or {}).items()}
        for low, row in levels.items():
            high = next((one for one in levels if abs(low + one - 1) < 1e-9), low)
            if low < high:
                ax.fill_between(steps, row, levels[high], alpha=0.2, color="C1")
        ax.legend()
        return ax


class Client:
    """A daemon's API. `retries` is how often a 503 or 429 is tried again, `timeout` is in seconds.

    `base_url` may be unix:///PATH; `ca_bundle` is a PEM file with what signed an https daemon's
    certificate (else TOLLAMA_CA_BUNDLE, SSL_CERT_FILE).
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        ca_bundle: str | None = None,
        timeout: float = 300.0,
        retries: int = RETRIES,
    ) -> None:
        self._http = Transport(base_url, api_key, ca_bundle, timeout, retries)

    # Models

    def version(self) -> str:
        """The daemon's version."""
        return str(self._http.call("GET", "/api/version")["version"])

    def list(self) -> Models:
        """Installed and built-in models."""
        models: Models = self._http.call("GET", "/api/tags")["models"]
        return models

    def ps(self) -> Models:
        """Loaded models."""
        models: Models = self._http.call("GET", "/api/ps")["models"]
        return models

    def show(self, model: str) -> dict[str, Any]:
        """One model in full."""
        return dict(self._http.call("POST", "/api/show", {"model": model}))

    def pull(self, model: str, **settings: Any) -> dict[str, Any]:
        """Download a model and wait for it; settings as POST /api/pull takes them."""
        last: dict[str, Any] = {}
        for event in self.pull_events(model, **settings):
            last = event
        return last

    def pull_events(self, model: str, **settings: Any) -> Iterator[dict[str, Any]]:
        """Download a model, its progress as it comes."""
        return self._http.stream("/api/pull", {"model": model, "stream": True, **settings})

    def delete(self, model: str) -> None:
        """Remove a model."""
        self._http.call("DELETE", "/api/delete", {"model": model})

    def copy(self, source: str, destination: str) -> None:
        """Install a model under another name."""
        self._http.call("POST", "/api/copy", {"source": source, "destination": destination})

    def load(self, model: str, keep_alive: float | str | None = None) -> None:
        """Load a model before it is needed."""
        body: dict[str, Any] = {"model": model}
        if keep_alive is not None:
            body["keep_alive"] = keep_alive
        self._http.call("POST", "/api/generate", body)

    def unload(self, model: str) -> None:
        """End a model's processes."""
        self._http.call("POST", "/api/generate", {"model": model, "keep_alive": 0})

    # Forecasts

    def forecast(
        self,
        data: Any,
        *,
        horizon: int,
        model: str = "auto",
        levels: Iterable[float] | None = None,
        quantiles: Iterable[float] | None = None,
        freq: str | None = None,
        future: Any = None,
        covariates: Iterable[str] = (),
        id_col: str = "unique_id",
        time_col: str = "ds",
        target_col: str = "y",
        **options: Any,
    ) -> Any:
        """Forecast `data` (see frames.py); a table comes back as a table of the same kind.

        `levels` are intervals in percent, as in statsforecast: their columns are MODEL-lo-80 and
        MODEL-hi-80. `quantiles` are levels in (0, 1): their columns are MODEL-q-0.1. Everything
        that is not a table gives a Forecast. Other arguments are options of the model.
        """
        series, table = frames.to_series(
            data,
            id_col=id_col,
            time_col=time_col,
            target_col=target_col,
            freq=freq,
            future=future,
            covariates=covariates,
        )
        columns = _columns(model, levels, quantiles)
        zone = {"tz": table.zone} if table.zone else {}
        body = {
            "model": model,
            "horizon": horizon,
            "quantiles": sorted(map(float, columns)),
            "series": series,
            "options": {"timestamps": True, **zone, **options},
        }
        raw = self._http.call("POST", "/v1/forecast", body)
        if table.kind not in frames.KINDS:
            return Forecast(raw, series)
        return frames.give_back(frames.to_rows(raw, table, columns, model), table)

    def backtest(
        self,
        data: Any,
        *,
        horizon: int,
        models: Iterable[str] = ("auto", "seasonal-naive"),
        windows: int = 3,
        freq: str | None = None,
        id_col: str = "unique_id",
        time_col: str = "ds",
        target_col: str = "y",
        **settings: Any,
    ) -> dict[str, Any]:
        """Compare models on rolling origins; settings as POST /api/backtest takes them."""
        series, _ = frames.to_series(
            data, id_col=id_col, time_col=time_col, target_col=target_col, freq=freq
        )
        body = {"models": [*models], "horizon": horizon, "windows": windows, "series": series}
        return dict(self._http.call("POST", "/api/backtest", {**body, **settings}))

    def anomalies(
        self,
        data: Any,
        *,
        model: str = "auto",
        level: float = 99,
        freq: str | None = None,
        id_col: str = "unique_id",
        time_col: str = "ds",
        target_col: str = "y",
        **settings: Any,
    ) -> dict[str, Any]:
        """Values outside their forecast at `level` percent."""
        series, _ = frames.to_series(
            data, id_col=id_col, time_col=time_col, target_col=target_col, freq=freq
        )
        body = {"model": model, "level": level / 100 if level > 1 else level, "series": series}
        return dict(self._http.call("POST", "/api/anomalies", {**body, **settings}))

    def embed(self, data: Any, *, model: str = "chronos2", **options: Any) -> dict[str, Any]:
        """Embeddings of series."""
        series, _ = frames.to_series(data)
        return dict(
            self._http.call(
                "POST", "/api/embed", {"model": model, "series": series, "options": options}
            )
        )


def _columns(
    model: str, levels: Iterable[float] | None, quantiles: Iterable[float] | None
) -> dict[str, str]:
    """Each wanted quantile's key with the name of its column."""
    found: dict[str, str] = {}
    for level in levels or ():
        if not 0 < level < 100:
            raise InvalidRequest(f"levels: expected percentages such as 80, got {level!r}")
        found[repr(round((100 - level) / 200, 10))] = f"{model}-lo-{level:g}"
        found[repr(round((100 + level) / 200, 10))] = f"{model}-hi-{level:g}"
    for level in quantiles or ():
        found[repr(float(level))] = f"{model}-q-{level:g}"
    return found


class AsyncClient:
    """`Client` with coroutines: each call runs in a thread of asyncio's pool."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        self._client = Client(*args, **settings)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name.startswith("_") or not callable(method):
            raise AttributeError(name)

        @functools.wraps(method)
        async def call(*args: Any, **settings: Any) -> Any:
            return await asyncio.to_thread(method, *args, **settings)

        return call

    async def pull_events(self, model: str, **settings: Any) -> Any:
        """Download a model, its progress as it comes (an async iterator)."""
        events = self._client.pull_events(model, **settings)
        end = object()
        while (event := await asyncio.to_thread(next, events, end)) is not end:
            yield event


class TollamaForecaster:
    """A forecaster in the shape of scikit-learn and sktime: fit, predict, predict_quantiles.

    `y` is a list, a pandas Series or a table in the long form. `client` defaults to Client().
    """

    def __init__(
        self,
        model: str = "auto",
        *,
        freq: str | None = None,
        client: Client | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.freq = freq
        self.client = client
        self.options = options

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments, as scikit-learn's clone reads them."""
        return {name: getattr(self, name) for name in ("model", "freq", "client", "options")}

    def set_params(self, **params: Any) -> TollamaForecaster:
        """Change arguments."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"unknown parameter {name!r}")
            setattr(self, name, value)
        return self

    def fit(self, y: Any, X: Any = None, fh: Any = None) -> TollamaForecaster:
        """Remember the history: the models need no training."""
        if X is not None:
            raise InvalidRequest("X: pass covariates to Client.forecast, this class takes none")
        self._y = y
        self._fh = fh
        return self

    def predict(self, fh: Any = None) -> Any:
        """The point forecast of the next `fh` steps."""
        return self._predict(fh, None)

    def predict_quantiles(self, fh: Any = None, *, alpha: Iterable[float] = (0.1, 0.9)) -> Any:
        """The forecast with a column, or key, per quantile level."""
        return self._predict(fh, alpha)

    def _predict(self, fh: Any, quantiles: Iterable[float] | None) -> Any:
        if not hasattr(self, "_y"):
            raise ValueError("call fit before predict")
        wanted = self._fh if fh is None else fh
        if wanted is None:
            raise ValueError("expected the horizon fh, in fit or in predict")
        steps = [int(step) - 1 for step in wanted] if hasattr(wanted, "__iter__") else None
        horizon = int(wanted) if steps is None else max(steps, default=-1) + 1
        if horizon < 1 or min(steps or [0]) < 0:
            raise ValueError(f"fh: expected steps from 1 on, got {fh!r}")
        client = self.client or Client()
        found = client.forecast(
            self._y,
            horizon=horizon,
            model=self.model,
            freq=self.freq,
            quantiles=quantiles,
            **(self.options or {}),
        )
        if not isinstance(found, Forecast):
            return found if steps is None else frames.pick(found, horizon, steps)
        if quantiles is None:
            return found.mean if steps is None else [found.mean[step] for step in steps]
        rows = {float(level): values for level, values in found.quantiles.items()}
        if steps is not None:
            rows = {level: [values[step] for step in steps] for level, values in rows.items()}
        return rows
