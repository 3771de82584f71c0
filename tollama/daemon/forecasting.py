"""Forecasts: a request's bytes cut into slices, handed to the scheduler, answers checked and passed
on.

    start -> Running    one request; its answer whole (`answer`) or series by series (`forecasts`)

A slice carries the client's own text; the daemon checks and never rebuilds. Not covered: how a
request is cut (slices.py), streams of series (bulk.py), queues and batches (scheduler.py), what a
model does (the runner), HTTP (routes.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from tollama.core import answer, completion, fitting, protocol, splice
from tollama.core.errors import (
    BadForecast,
    Cancelled,
    InvalidRequest,
    ModelNotFound,
    TollamaError,
    Unsupported,
)
from tollama.core.schemas import ForecastRequest
from tollama.daemon import slices
from tollama.daemon.launches import Model
from tollama.daemon.scheduler import Call, Launch, Scheduler

# How often a waiting request looks whether its client is still there.
LOOK_S = 0.25


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
    body: splice.Body | None  # None when the answer is not to be joined with others


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
        self._coming = self._read()
        self._early: deque[Part] = deque()

    def look(self, seconds: float) -> None:
        """Wait so long for the first slice, so that a failure that comes at once is raised here."""
        if not self.call.wait(0):
            with self._client.blocking():
                self.call.wait(seconds)
        if self.call.wait(0):
            self._early.extend(self._next())

    def parts(self) -> Iterator[Part]:
        """Each slice's answer as it is ready; raises the first failure and gives up the rest."""
        while self._early:
            yield self._early.popleft()
        yield from self._coming

    def _next(self) -> list[Part]:
        part = next(self._coming, None)
        return [] if part is None else [part]

    def _read(self) -> Iterator[Part]:
        try:
            for index, result in results(self.call, self._client):
                if isinstance(result, TollamaError):
                    raise self._whole(result)
                first, last = self.spans[index]
                body = answer.cut(result) if len(self.spans) > 1 else None
                value = answer.loads(result) if body is None else body.value
                answer.check(value, self.request, first, last, runner=self._runner)
                part = Part(first, result, value, body)
                self._parts[index] = part
                yield part
        except GeneratorExit:
            # Perhaps from the collector, which may run in a thread that holds the lane's lock. Who
            # gives up a request calls `cancel`.
            raise
        except BaseException:
            self.call.cancel()
            raise

    def _whole(self, error: TollamaError) -> TollamaError:
        """What a runner finds wrong with a slice's series, with what is wrong with the others'."""
        if len(self.spans) > 1 and type(error) is InvalidRequest:
            try:
                completion.complete(self.request)
            except InvalidRequest as found:
                known = found.problems()
                if all(problem in known for problem in error.problems()):
                    return found
        return error

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
        bodies = [part.body for part in parts if part.body is not None]
        body = answer.join(self.request.model, bodies) if bodies else parts[0].raw
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
        self.scheduler = scheduler
        self._launch = launch
        self._model = model
        self.timeout = timeout
        self.replicas = replicas

    def start(self, raw: bytes, *, request_id: str, client: Client) -> Running:
        """Check a body and hand it to the scheduler; raises InvalidRequest before ModelNotFound."""
        body = splice.skim(raw)
        try:
            return self._start(body, request_id, client, "forecast")
        except InvalidRequest:
            if not body.skimmed:
                raise
        # What is wrong is said with the values as they are.
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
        began = time.monotonic()
        value = body.value
        model, missing = self.find(value)
        defaults = preset_fields(model.defaults if model else None)
        if method == "embed" and isinstance(value, dict):
            value = {"horizon": 1, **value}
        request = ForecastRequest.parse(value, defaults=defaults)
        if request.metrics and all(one.actuals is None for one in request.series):
            raise InvalidRequest.of(
                [(("metrics",), "expected actuals on the series to score, found none")]
            )
        launch = self.launch(model, missing, request)
        spans = slices.cut(request, launch, self.replicas)
        deadline = began + (request.timeout or self.timeout)
        jobs = [
            slices.job(
                body.slice(first, last).encode(),
                request,
                request.series[first:last],
                first=first,
                defaults=defaults,
                deadline=deadline,
                request_id=request_id,
                method=method,
            )
            for first, last in spans
        ]
        call = self.scheduler.submit(launch, jobs, keep_alive=request.keep_alive)
        return Running(request, call, spans, launch.family, client, deadline)

    def find(self, value: Any) -> tuple[Model | None, ModelNotFound | None]:
        """The model that a body names, or why there is none: a bad body is said first."""
        name = value.get("model") if isinstance(value, dict) else None
        if not isinstance(name, str):
            return None, None
        try:
            return self._model(name), None
        except ModelNotFound as error:
            return None, error
        except InvalidRequest:
            return None, None  # the check of the body says it, with its path and all else

    def launch(
        self, model: Model | None, missing: ModelNotFound | None, request: ForecastRequest
    ) -> Launch:
        """How to run the model for a checked request; raises Unsupported with every refusal."""
        if model is None:
            raise missing or ModelNotFound(f"model '{request.model}' is not installed")
        launch = self._launch(model, request.options.get("family"))
        known = launch.capabilities or {}
        refused = fitting.refusals(request, lambda what: known.get(what, True))
        if refused:
            raise Unsupported.of(refused)
        return launch


def preset_fields(defaults: dict[str, Any] | None) -> dict[str, Any] | None:
    """A preset's request fields, without its description and licence."""
    if not defaults:
        return None
    return {k: v for k, v in defaults.items() if k in ("horizon", "quantiles", "options")}
