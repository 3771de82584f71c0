"""Forecasts: a request's bytes cut into slices, handed to the scheduler, answers checked and passed
on.

    start -> Running    one request; its answer whole (`answer`) or series by series (`forecasts`)
    bulk                a stream of series; memory is O(slice) whatever its length

A slice carries the client's own text; the daemon checks and never rebuilds. Not covered: queues and
batches (scheduler.py), what a model does (the runner), HTTP (routes.py).
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from tollama.core import answer, protocol, splice
from tollama.core.errors import (
    BadForecast,
    Cancelled,
    InvalidRequest,
    ModelNotFound,
    TollamaError,
    to_wire,
)
from tollama.core.schemas import ForecastRequest, Series, duplicate_ids
from tollama.daemon.launches import Model
from tollama.daemon.scheduler import Call, Job, Launch, Scheduler

# How often a waiting request looks whether its client is still there.
LOOK_S = 0.25
BATCHABLE = "forecast"


class Client(Protocol):
    """Who waits for a forecast; an HTTP request is one."""

    def disconnected(self) -> bool:
        """Whether nobody waits any more."""

    def blocking(self) -> AbstractContextManager[None]:
        """A `with` block in which this thread waits and lets others work."""


class Answer(NamedTuple):
    """A whole answer: its JSON, and how long it queued and ran."""

    body: bytes
    queue_ms: float
    run_ms: float


class Part(NamedTuple):
    """The checked answer of one slice."""

    first: int
    raw: bytes
    value: dict[str, Any]


class Running:
    """A forecast that has been handed to the scheduler."""

    def __init__(
        self,
        request: ForecastRequest,
        call: Call,
        spans: list[tuple[int, int]],
        runner: str,
        client: Client,
        deadline: float,
    ) -> None:
        self.request = request
        self.deadline = deadline
        self.loading = call.loading
        self.call = call
        self.spans = spans
        self._runner = runner
        self._client = client
        self._parts: list[Part | None] = [None] * len(spans)

    def parts(self) -> Iterator[Part]:
        """Each slice's answer as it is ready; raises the first failure and gives up the rest."""
        try:
            for index, result in results(self.call, self._client):
                if isinstance(result, TollamaError):
                    raise result
                first, last = self.spans[index]
                value = answer.loads(result)
                answer.check(value, self.request, first, last, runner=self._runner)
                part = Part(first, result, value)
                self._parts[index] = part
                yield part
        finally:
            self.call.cancel()

    def forecasts(self) -> Iterator[dict[str, Any]]:
        """Each series' forecast as it is ready."""
        for part in self.parts():
            yield from part.value["forecasts"]

    def answer(self) -> Answer:
        """The whole answer, once every slice is there."""
        if None in self._parts:
            for _ in self.parts():
                pass
        parts = [part for part in self._parts if part is not None]
        if len(parts) != len(self._parts):
            raise BadForecast(f"runner {self._runner}: an answer is missing")
        # One slice is the common case: the runner's bytes are the client's.
        body = (
            parts[0].raw
            if len(parts) == 1
            else answer.join(self.request.model, [part.value for part in parts])
        )
        return Answer(body, self.call.queue_ms, self.call.run_ms)

    def cancel(self) -> None:
        """Give up what has not been answered."""
        self.call.cancel()


def results(call: Call, client: Client) -> Iterator[tuple[int, bytes | TollamaError]]:
    """A call's results as they come; cancels it when the client has gone."""
    while not call.done:
        if not call.wait(0):
            with client.blocking():
                while not call.wait(LOOK_S):
                    if client.disconnected():
                        call.cancel()
                        raise Cancelled("the client closed the connection")
        try:
            yield next(call)
        except StopIteration:
            return


class Forecasting:
    """Takes request bodies to the scheduler and answers back."""

    def __init__(
        self,
        scheduler: Scheduler,
        launch: Callable[[Model, str | None], Launch],
        model: Callable[[str], Model],
        *,
        timeout: float,
        replicas: int,
    ) -> None:
        self._scheduler = scheduler
        self._launch = launch
        self._model = model
        self._timeout = timeout
        self._replicas = replicas

    def start(self, raw: bytes, *, request_id: str, client: Client) -> Running:
        """Check a body and hand it to the scheduler; raises InvalidRequest before ModelNotFound."""
        return self._start(splice.split(raw), request_id, client, "forecast")

    def embed(self, raw: bytes, *, request_id: str, client: Client) -> bytes:
        """The embeddings of a body's series; raises Unsupported for a model that makes none."""
        body = splice.split(raw)
        if isinstance(body.value, dict) and "horizon" in body.value:
            raise InvalidRequest.of([(("horizon",), "unknown field, embeddings have no horizon")])
        running = self._start(body, request_id, client, "embed")
        parts: list[dict[str, Any]] = [{} for _ in running.spans]
        for index, result in results(running.call, client):
            if isinstance(result, TollamaError):
                raise result
            parts[index] = answer.loads(result)
        joined = dict(parts[0])
        for one in parts[1:]:
            joined["embeddings"] = [*joined.get("embeddings", ()), *one.get("embeddings", ())]
        return protocol.dumps({**joined, "model": running.request.model})

    def _start(self, body: splice.Body, request_id: str, client: Client, method: str) -> Running:
        model, missing = self._find(body.value)
        defaults = model.defaults if model else None
        value = body.value
        if method == "embed" and isinstance(value, dict):
            value = {"horizon": 1, **value}
        request = ForecastRequest.parse(value, defaults=preset_fields(defaults))
        if len(request.series) > 1:
            duplicate_ids(request.series)
        if model is None:
            raise missing or ModelNotFound(f"model '{request.model}' is not installed")
        launch = self._launch(model, request.options.get("family"))
        spans = self._cut(request, launch)
        deadline = time.monotonic() + (request.timeout or self._timeout)
        jobs = [
            self._job(
                body.slice(first, last).encode(),
                request,
                first,
                request.series[first:last],
                defaults=defaults,
                deadline=deadline,
                request_id=request_id,
                method=method,
            )
            for first, last in spans
        ]
        call = self._scheduler.submit(launch, jobs, keep_alive=request.keep_alive)
        return Running(request, call, spans, launch.family, client, deadline)

    def _find(self, value: Any) -> tuple[Model | None, ModelNotFound | None]:
        """The model that a body names, or why there is none: a bad body is said first."""
        name = value.get("model") if isinstance(value, dict) else None
        if not isinstance(name, str) or not name:
            return None, None
        try:
            return self._model(name), None
        except ModelNotFound as error:
            return None, error

    def _cut(self, request: ForecastRequest, launch: Launch) -> list[tuple[int, int]]:
        """Slices [first, last) of the request: small enough that others get their turn between."""
        count = len(request.series)
        if count == 1 or request.options.get("cross_learning"):
            return [(0, count)]
        most = launch.max_series
        if launch.replicas:
            most = min(most, -(-count // self._replicas))
        spans: list[tuple[int, int]] = []
        first, tokens = 0, 0
        for index, series in enumerate(request.series):
            cost = tokens_of(series, request.horizon)
            if index > first and (index - first >= most or tokens + cost > launch.max_tokens):
                spans.append((first, index))
                first, tokens = index, 0
            tokens += cost
        spans.append((first, count))
        return spans

    def _job(
        self,
        body: bytes,
        request: ForecastRequest,
        first: int,
        series: tuple[Series, ...],
        *,
        defaults: dict[str, Any] | None,
        deadline: float,
        request_id: str,
        method: str = "forecast",
    ) -> Job:
        return Job(
            body=body,
            series=len(series),
            offset=first,
            tokens=sum(tokens_of(one, request.horizon) for one in series),
            # cross_learning mixes all series of a call: never with another request's.
            key=None if request.options.get("cross_learning") else BATCHABLE,
            horizon=request.horizon,
            defaults=preset_fields(defaults),
            method=method,
            deadline=deadline,
            request_id=request_id,
        )

    # Bulk

    def bulk(self, lines: Iterator[bytes], *, request_id: str, client: Client) -> Iterator[bytes]:
        """NDJSON in, NDJSON out: the first line is the request without series, then one a line.

        Answers keep the order of the input. A series that cannot be forecast gives
        {"id","error","code"} in its place and the others go on. Last line: {"done":true,...}.
        """
        head_line = next(lines, b"")
        head = splice.parse(head_line)
        if isinstance(head, dict) and head.get("series"):
            raise InvalidRequest.of(
                [(("series",), "expected none on the first line of a stream, one a line after it")]
            )
        model, missing = self._find(head)
        defaults = preset_fields(model.defaults if model else None)
        request = ForecastRequest.parse(head, defaults=defaults, series_required=False)
        if request.options.get("cross_learning"):
            raise InvalidRequest.of(
                [(("options", "cross_learning"), "needs all series in one request, not a stream")]
            )
        if model is None:
            raise missing or ModelNotFound(f"model '{request.model}' is not installed")
        launch = self._launch(model, request.options.get("family"))
        return _Bulk(self, launch, request, head, defaults, request_id, client).run(lines)


class _Bulk:
    """A stream of series in flight: a window of slices, answered in order."""

    def __init__(
        self,
        forecasting: Forecasting,
        launch: Launch,
        request: ForecastRequest,
        head: dict[str, Any],
        defaults: dict[str, Any] | None,
        request_id: str,
        client: Client,
    ) -> None:
        self.forecasting = forecasting
        self.launch = launch
        self.request = request
        self.defaults = defaults
        self.request_id = request_id
        self.client = client
        plain = {k: v for k, v in head.items() if k not in ("series", "stream", "timeout")}
        self.prefix = protocol.dumps(plain)[:-1] + b',"series":['
        replicas = forecasting._replicas if launch.replicas else 1
        self.window = 2 * replicas + 1
        self.most = max(1, launch.max_series)
        self.done = 0
        self.failed = 0

    def run(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        waiting: deque[tuple[Call | None, tuple[Series, ...], int, list[bytes]]] = deque()
        number = 0
        texts: list[bytes] = []
        series: list[Series] = []
        tokens = 0

        def send() -> None:
            nonlocal tokens
            if texts:
                waiting.append(self._submit(texts, tuple(series), number - len(series)))
                texts.clear()
                series.clear()
                tokens = 0

        try:
            for line in lines:
                if not line.strip():
                    continue
                try:
                    one = self._series(line, number)
                except InvalidRequest as error:
                    # Its place in the order is kept by sending what came before it first.
                    send()
                    waiting.append((None, (), number, [self._failure(line, number, error)]))
                    number += 1
                else:
                    texts.append(line.strip())
                    series.append(one)
                    number += 1
                    tokens += tokens_of(one, self.request.horizon)
                    if len(series) >= self.most or tokens >= self.launch.max_tokens:
                        send()
                while len(waiting) > self.window:
                    yield from self._collect(waiting.popleft())
            send()
            while waiting:
                yield from self._collect(waiting.popleft())
        finally:
            for call, *_ in waiting:
                if call is not None:
                    call.cancel()
        yield (
            protocol.dumps(
                {
                    "done": True,
                    "model": self.request.model,
                    "series": self.done,
                    "failed": self.failed,
                }
            )
            + b"\n"
        )

    def _series(self, line: bytes, number: int) -> Series:
        value = splice.parse(line)
        return Series.parse(value, ("series", number), number=number, horizon=self.request.horizon)

    def _failure(self, line: bytes, number: int, error: TollamaError) -> bytes:
        self.failed += 1
        self.done += 1
        try:
            name = json.loads(line).get("id")
        except (ValueError, AttributeError, RecursionError):
            name = None
        if not isinstance(name, str):
            name = f"series_{number}"
        return protocol.dumps({"id": name, **to_wire(error)}) + b"\n"

    def _submit(
        self, texts: list[bytes], series: tuple[Series, ...], first: int
    ) -> tuple[Call, tuple[Series, ...], int, list[bytes]]:
        body = self.prefix + b",".join(texts) + b"]}"
        timeout = self.request.timeout or self.forecasting._timeout
        job = self.forecasting._job(
            splice.read_text(body).encode(),
            self.request,
            first,
            series,
            defaults=self.defaults,
            deadline=time.monotonic() + timeout,
            request_id=self.request_id,
        )
        call = self.forecasting._scheduler.submit(
            self.launch, [job], keep_alive=self.request.keep_alive
        )
        return call, series, first, list(texts)

    def _collect(
        self, item: tuple[Call | None, tuple[Series, ...], int, list[bytes]]
    ) -> Iterator[bytes]:
        call, series, first, texts = item
        if call is None:
            yield from texts
            return
        [(_, result)] = results(call, self.client)
        if isinstance(result, TollamaError):
            if len(series) > 1:
                # One of them is bad: each alone, so that the others have their answer.
                for offset, (one, text) in enumerate(zip(series, texts, strict=True)):
                    yield from self._collect(self._submit([text], (one,), first + offset))
                return
            yield self._failure(texts[0], first, result)
            return
        value = answer.loads(result)
        request = _with_series(self.request, series)
        answer.check(value, request, 0, len(series), runner=self.launch.family)
        notes = value.get("warnings") or []
        for index, forecast in enumerate(value["forecasts"]):
            self.done += 1
            line: dict[str, Any] = {"forecast": forecast}
            if index == 0 and notes:
                line["warnings"] = notes
            if index == 0 and value.get("usage"):
                line["usage"] = value["usage"]
            yield protocol.dumps(line) + b"\n"


def _with_series(request: ForecastRequest, series: tuple[Series, ...]) -> ForecastRequest:
    from dataclasses import replace

    return replace(request, series=series)


def preset_fields(defaults: dict[str, Any] | None) -> dict[str, Any] | None:
    """A preset's request fields, without its description and licence."""
    if not defaults:
        return None
    return {k: v for k, v in defaults.items() if k in ("horizon", "quantiles", "options")}


def tokens_of(series: Series, horizon: int) -> int:
    """What a series costs a batch: every value of every row, past and future."""
    rows = len(series.target) if series.multivariate else 1
    rows += len(series.past_covariates) + len(series.future_covariates)
    return rows * (series.length + horizon)
