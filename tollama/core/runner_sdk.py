"""The whole runner side of the pipe: write one class, call `serve`.

    class Mine(Runner):
        name = "mine"
        def forecast(self, request):
            return ForecastResponse([Forecast(s.id, [s.target[-1]] * request.horizon)
                                     for s in request.series])
    serve(Mine())

Covered: frames, handshake, reading and completing requests, covariates that the model cannot use,
unknown options, scores, errors as values, cancellation of jobs that have not begun, end on EOF even
in the middle of a computation. Not covered: batching across requests, which a family does in
`forecast_batch`.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable
from typing import Any, BinaryIO

from tollama import _bytecode
from tollama.core import answer, fields, fitting, metrics, protocol
from tollama.core.completion import complete
from tollama.core.errors import (
    BadForecast,
    InvalidRequest,
    Loc,
    OutOfMemory,
    RunnerError,
    TollamaError,
    Unsupported,
)
from tollama.core.lines import Lines
from tollama.core.readers import COMMON_OPTIONS
from tollama.core.schemas import (
    Forecast,
    ForecastRequest,
    ForecastResponse,
    Series,
    with_defaults,
)

_CHUNK = 1 << 18

__all__ = ["Forecast", "ForecastRequest", "ForecastResponse", "Runner", "Series", "serve"]


class Runner:
    """A model behind the pipe; subclass it and override `forecast`, and `load` if there are
    weights.

    `options` names the request options that the model takes besides the common ones, each with a
    reader of fields.py. `capabilities` says what of a request the model can use. `threads` is the
    number of threads that it may use for the present call.
    """

    name = "runner"
    version = "0"
    capabilities: dict[str, Any] = {}  # noqa: RUF012
    options: dict[str, Any] = {}  # noqa: RUF012
    threads = 1

    def load(
        self, *, model: str, path: str | None, options: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Make `model` ready; `path` is its folder of weights. ps shows the facts returned."""

    def forecast(self, request: ForecastRequest) -> ForecastResponse:
        """The forecasts of a complete, checked request: one per series, in order."""
        raise NotImplementedError

    def forecast_batch(
        self, requests: list[ForecastRequest]
    ) -> Iterable[tuple[int, ForecastResponse | TollamaError]]:
        """Answers to several requests as (index, answer), each as soon as it is ready."""
        for index, request in enumerate(requests):
            yield index, self.attempt(request)

    def attempt(self, request: ForecastRequest) -> ForecastResponse | TollamaError:
        """`forecast` with a failure as a value, so that neighbours in a batch go on."""
        try:
            return self.forecast(request)
        except Exception as error:
            return as_error(error, self.name)

    def embed(self, request: ForecastRequest) -> dict[str, Any]:
        """Embeddings of the series (POST /api/embed)."""
        raise Unsupported(f"{self.name} does not make embeddings")

    def emit(self, event: dict[str, Any]) -> None:
        """Report progress while loading; the loop replaces this."""

    def unload(self) -> None:
        """Let go of what `load` took; the process ends afterwards."""

    def can(self, capability: str) -> bool:
        """Whether the loaded model has a capability."""
        return bool(self.capabilities.get(capability))


def as_error(error: BaseException, name: str) -> TollamaError:
    """Any failure of a model's code as an error of the tree, with its one-line reason."""
    if isinstance(error, TollamaError):
        return error
    traceback.print_exception(error, file=sys.stderr)
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    if isinstance(error, MemoryError) or "out of memory" in reason.lower():
        return OutOfMemory(f"{name} ran out of memory: {reason}")
    return RunnerError(f"{name} failed: {reason}")


def moved(error: TollamaError, offset: int) -> TollamaError:
    """A model's error with its series numbered as the client numbered them."""
    if offset == 0 or not isinstance(error, InvalidRequest) or not isinstance(error.detail, list):
        return error
    return type(error).of(
        [
            (("series", loc[1] + offset, *loc[2:]), text)
            if loc[:1] == ("series",) and len(loc) > 1 and isinstance(loc[1], int)
            else (loc, text)
            for loc, text in error.problems()
        ]
    )


def serve(runner: Runner) -> None:
    """Answer frames until stdin ends; never returns."""
    # Frames get a private descriptor and fd 1 becomes stderr, so that a print in a library cannot
    # break a frame.
    stdout = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    _Loop(runner, stdout).run()


def _end_with(fd: int) -> None:
    """Exit when the other end of a pipe closes, also in the middle of a computation."""
    poller = select.poll()
    poller.register(fd, 0)  # nothing but its end: bytes are for the thread that computes
    while not poller.poll():
        continue
    os._exit(0)


class _Loop:
    """One thread reads a frame and answers it: a request costs no switch between threads."""

    def __init__(self, runner: Runner, stdout: BinaryIO) -> None:
        self.runner = runner
        self.stdout = stdout
        self.stdin = 0
        self.poller: Any = None
        self.lines = Lines(protocol.MAX_LINE)
        self.frames: deque[dict[str, Any]] = deque()
        self.cancelled: set[str] = set()
        self.running: set[str] = set()

    def run(self) -> None:
        if hasattr(select, "poll"):  # on Windows the end is seen between two frames
            self.poller = select.poll()
            self.poller.register(self.stdin, select.POLLIN)
            watch = threading.Thread(target=_end_with, args=(self.stdin,), daemon=True)
            watch.start()
        while True:
            while not self.frames:
                self.take()
            self.answer(self.frames.popleft())

    def look(self) -> None:
        """Take what has come meanwhile, mostly cancellations."""
        if self.poller is not None and self.poller.poll(0):
            self.take()

    def take(self) -> None:
        """Read some bytes, waiting for them."""
        chunk = os.read(self.stdin, _CHUNK)
        if not chunk:  # the daemon is gone or wants this process gone
            os._exit(0)
        for line in self.lines.feed(chunk):
            self.keep(line)

    def keep(self, line: bytes) -> None:
        frame = protocol.decode(line)
        if frame is None:
            print(f"ignored a line that is not a frame: {line[:80]!r}", file=sys.stderr)
        elif frame.get("method") == "cancel":
            params = frame.get("params")
            if isinstance(params, dict) and params.get("id") in self.running:
                self.cancelled.add(params["id"])
        else:
            for job in _jobs(frame):
                self.running.add(job["id"])
            self.frames.append(frame)

    def write(self, line: bytes) -> None:
        view = memoryview(line)
        try:
            while view:
                view = view[self.stdout.write(view) :]
        except BrokenPipeError:
            os._exit(0)

    def answer(self, frame: dict[str, Any]) -> None:
        frame_id = frame.get("id")
        if not isinstance(frame_id, str):
            return
        try:
            raw = self.call(frame_id, frame.get("method"), frame.get("params"))
        except Exception as error:
            self.write_error(frame_id, as_error(error, self.runner.name))
        else:
            self.write(protocol.result_line(frame_id, raw))

    def write_error(self, frame_id: str, error: TollamaError) -> None:
        self.write(protocol.encode({"id": frame_id, "error": protocol.error_to_frame(error)}))

    def call(self, frame_id: str, method: object, params: Any) -> bytes:
        runner = self.runner
        if method == "hello":
            return protocol.dumps(
                {
                    "name": runner.name,
                    "version": runner.version,
                    "protocol": protocol.PROTOCOL,
                    "capabilities": runner.capabilities,
                }
            )
        if method == "load":
            runner.emit = lambda event: self.write(  # type: ignore[method-assign]
                protocol.encode({"id": frame_id, "event": event})
            )
            options = dict(params.get("options") or {})
            # A copy or a preset has a name of its own; the runner knows the model it was made from.
            model = options.pop("base", None) or params["model"]
            facts = runner.load(model=model, path=params.get("path"), options=options)
            _bytecode.save()  # everything is imported now, and a kill may come at any time
            return protocol.dumps(facts or {})
        if method == "unload":
            runner.unload()
            return b"{}"
        if method == "forecast":
            [(_, result)] = self.forecast([{"id": frame_id, "request": params}])
            if isinstance(result, TollamaError):
                raise result
            return result
        if method == "batch":
            self.batch(params)
            return b"{}"
        raise InvalidRequest(f"unknown method {method!r}")

    def batch(self, params: dict[str, Any]) -> None:
        threads = params.get("threads")
        if isinstance(threads, int) and threads > 0:
            self.runner.threads = threads
        jobs = params["jobs"]
        try:
            for job, result in self.forecast(jobs):
                if isinstance(result, TollamaError):
                    self.write_error(job["id"], result)
                else:
                    self.write(protocol.result_line(job["id"], result))
        finally:
            for job in jobs:
                self.running.discard(job["id"])
                self.cancelled.discard(job["id"])

    def forecast(
        self, jobs: list[dict[str, Any]]
    ) -> Iterable[tuple[dict[str, Any], bytes | TollamaError]]:
        ready: list[tuple[dict[str, Any], ForecastRequest, list[str]]] = []
        if len(jobs) > 1:
            self.look()
        for job in jobs:
            if job["id"] in self.cancelled:
                continue
            try:
                if job.get("method") == "embed":
                    yield job, self.embed(job)
                    continue
                request, warnings = prepare(self.runner, job)
            except Exception as error:
                yield job, as_error(error, self.runner.name)
                continue
            ready.append((job, request, warnings))
        if not ready:
            return
        answered = 0
        for index, response in self.responses(ready):
            job, request, warnings = ready[index]
            answered += 1
            if isinstance(response, TollamaError):
                yield job, moved(response, job.get("offset") or 0)
                continue
            try:
                yield job, finish(request, response, warnings)
            except Exception as error:
                yield job, as_error(error, self.runner.name)
        if answered + sum(job["id"] in self.cancelled for job, _, _ in ready) < len(ready):
            raise BadForecast(
                f"{self.runner.name}: expected {len(ready)} answers of a batch, got {answered}"
            )

    def responses(
        self, ready: list[tuple[dict[str, Any], ForecastRequest, list[str]]]
    ) -> Iterable[tuple[int, ForecastResponse | TollamaError]]:
        """What the model answers; jobs that it takes one by one can still be cancelled."""
        if type(self.runner).forecast_batch is not Runner.forecast_batch:
            yield from self.runner.forecast_batch([request for _, request, _ in ready])
            return
        for index, (job, request, _) in enumerate(ready):
            if index:
                self.look()
            if job["id"] not in self.cancelled:
                yield index, self.runner.attempt(request)

    def embed(self, job: dict[str, Any]) -> bytes:
        value = {"horizon": 1, **job["request"]}
        request, _ = prepare(self.runner, {**job, "request": value})
        try:
            return protocol.dumps(self.runner.embed(request))
        except InvalidRequest as error:
            raise moved(error, job.get("offset") or 0) from None


def _jobs(frame: dict[str, Any]) -> list[dict[str, Any]]:
    params = frame.get("params")
    jobs = (
        params.get("jobs") if frame.get("method") == "batch" and isinstance(params, dict) else None
    )
    return jobs if isinstance(jobs, list) else []


def prepare(runner: Runner, job: dict[str, Any]) -> tuple[ForecastRequest, list[str]]:
    """A job's request, read and completed for this model, with its warnings."""
    offset = job.get("offset") or 0
    value = job["request"]
    if job.get("defaults"):
        value = with_defaults(value, job["defaults"])
    request = ForecastRequest.parse(value, offset=offset)
    request, warnings = complete(request, offset=offset)
    return fit(runner, request, offset, warnings), warnings


def fit(
    runner: Runner, request: ForecastRequest, offset: int, warnings: list[str]
) -> ForecastRequest:
    """The request with only what the model can use; options that it does not know are refused."""
    problems: list[tuple[Loc, str]] = []
    for name, value in request.options.items():
        if name in COMMON_OPTIONS:
            continue
        read = runner.options.get(name)
        if read is None:
            known = [*COMMON_OPTIONS, *runner.options]
            problems.append((("options", name), fields.unknown_field(name, known)))
            continue
        try:
            if value is not None:
                read(value, ("options", name))
        except InvalidRequest as error:
            problems += error.problems()
    if problems:
        raise InvalidRequest.of(problems)
    return fitting.fit(request, runner.can, offset=offset, warnings=warnings)


def finish(request: ForecastRequest, response: ForecastResponse, warnings: list[str]) -> bytes:
    """A model's response as the JSON that goes back."""
    scores = score(request, response) if request.metrics else None
    value = answer.to_json(request, response, warnings=warnings, scores=scores)
    try:
        return protocol.dumps(value)
    except ValueError:
        # json says only that some number is not finite; the check says which.
        answer.check(value, request, 0, len(request.series), runner=request.model)
        raise


def score(request: ForecastRequest, response: ForecastResponse) -> dict[str, Any]:
    """The asked metrics for every series that has actuals."""
    rows: list[dict[str, Any]] = []
    for series, forecast in zip(request.series, response.forecasts, strict=True):
        if series.actuals is None or series.multivariate:
            continue
        found = metrics.evaluate(
            list(request.metrics),
            actual=series.actuals,
            mean=forecast.mean,
            quantiles=forecast.quantiles,
            train=series.target,
            season_length=series.season_length,
        )
        rows.append({"id": series.id, **found})
    return answer.join_scores(rows)
