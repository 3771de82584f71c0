"""A stream of series, forecast line by line: NDJSON in, NDJSON out, memory O(slices) on both ends.

The first line is the request without series, then one series a line. Answers keep the order of the
input. A series that cannot be forecast gives {"id","error","code"} in its place and the others go
on. Last line: {"done":true,...}.

One call of the scheduler carries the whole stream, so that it has one turn a round like any other
request and is refused at its beginning or not at all. Not covered: ids that are there twice, which
would take memory for every id.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tollama.core import answer, protocol, splice
from tollama.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    RunnerCrashed,
    TollamaError,
    Unavailable,
    to_wire,
)
from tollama.core.schemas import ForecastRequest, Series
from tollama.daemon import slices
from tollama.daemon.forecasting import Client, Forecasting, preset_fields, results
from tollama.daemon.scheduler import Call, Launch


class Slice:
    """Lines that are sent together and what became of them: a checked answer or an error.

    A line that is no series makes a slice of its own, without texts.
    """

    def __init__(self, first: int, texts: list[bytes], series: list[Series]) -> None:
        self.first = first
        self.texts = texts
        self.series = tuple(series)
        self.names = [one.id for one in series]
        self.result: dict[str, Any] | TollamaError | None = None
        self.again = False

    def alone(self) -> list[Slice]:
        """Each of its series by itself."""
        return [
            Slice(self.first + at, [text], [one])
            for at, (text, one) in enumerate(zip(self.texts, self.series, strict=True))
        ]


def refused(line: bytes, number: int, error: TollamaError) -> Slice:
    """A line that is no series."""
    try:
        name = json.loads(line).get("id")
    except (ValueError, AttributeError, RecursionError):
        name = None
    one = Slice(number, [], [])
    one.names = [name if isinstance(name, str) else f"series_{number}"]
    one.result = error
    return one


def start(
    forecasting: Forecasting, lines: Iterator[bytes], *, request_id: str, client: Client
) -> Iterator[bytes]:
    """The answer's lines; raises what is wrong with the first line or with the model."""
    lines = (line for line in lines if line.strip())
    head = splice.parse(next(lines, b""))
    if isinstance(head, dict) and head.get("series"):
        raise InvalidRequest.of(
            [(("series",), "expected none on the first line of a stream, one a line after it")]
        )
    model, missing = forecasting.find(head)
    defaults = preset_fields(model.defaults if model else None)
    request = ForecastRequest.parse(head, defaults=defaults, series_required=False)
    if request.options.get("cross_learning"):
        raise InvalidRequest.of(
            [(("options", "cross_learning"), "needs all series in one request, not a stream")]
        )
    launch = forecasting.launch(model, missing, request)
    return Bulk(forecasting, launch, request, head, defaults, request_id, client).run(lines)


class Bulk:
    """A stream in flight: a window of slices, answered in order."""

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
        self.window = 2 * (forecasting.replicas if launch.replicas else 1) + 1
        # Slices in the order of the input, and those of them that the scheduler has.
        self.waiting: deque[Slice] = deque()
        self.flight: dict[int, Slice] = {}
        self.done = 0
        self.failed = 0
        self.call = self._submit()

    def run(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """The lines of the answer."""
        most, tokens, number = max(1, self.launch.max_series), 0, -1
        texts: list[bytes] = []
        series: list[Series] = []
        try:
            for number, line in enumerate(lines):
                try:
                    one = self._series(line, number)
                except InvalidRequest as error:
                    # What came before it is sent first, so that the order is kept.
                    self._send(texts, series, number)
                    self.waiting.append(refused(line, number, error))
                    texts, series, tokens = [], [], 0
                else:
                    texts.append(line.strip())
                    series.append(one)
                    tokens += slices.tokens_of(one, self.request.horizon)
                    if len(series) >= most or tokens >= self.launch.max_tokens:
                        self._send(texts, series, number + 1)
                        texts, series, tokens = [], [], 0
                yield from self._ready(self.window)
            self._send(texts, series, number + 1)
            yield from self._ready(0)
            self.call.close()
        finally:
            self.call.cancel()
        last = {"done": True, "model": self.request.model, "series": self.done}
        yield protocol.dumps({**last, "failed": self.failed}) + b"\n"

    # Towards the scheduler

    def _series(self, line: bytes, number: int) -> Series:
        loc = ("series", number)
        try:
            value = splice.parse(line)
        except InvalidRequest as error:
            text = error.message.replace("the body", "the line", 1)
            raise InvalidRequest.of([(loc, text)]) from None
        return Series.parse(value, loc, number=number, horizon=self.request.horizon)

    def _submit(self) -> Call:
        return self.forecasting.scheduler.submit(
            self.launch, [], keep_alive=self.request.keep_alive, more=True
        )

    def _send(self, texts: list[bytes], series: list[Series], end: int) -> None:
        """Send the series before number `end`, if there are any."""
        if texts:
            one = Slice(end - len(series), texts, series)
            self.waiting.append(one)
            self._add(one)

    def _add(self, one: Slice) -> None:
        if not self.call.takes_jobs:
            # The model was unloaded meanwhile: what it had has its end, the rest loads it again.
            while self.flight:
                self._receive()
            self.call = self._submit()
        one.result = None
        body = self.prefix + b",".join(one.texts) + b"]}"
        job = slices.job(
            splice.read_text(body).encode(),
            self.request,
            one.series,
            first=one.first,
            defaults=self.defaults,
            deadline=time.monotonic() + (self.request.timeout or self.forecasting.timeout),
            request_id=self.request_id,
        )
        self.flight[self.call.add(job)] = one

    def _receive(self) -> None:
        """Take one result, waiting for it."""
        index, result = next(results(self.call, self.client))
        one = self.flight.pop(index)
        try:
            if isinstance(result, TollamaError):
                raise result
            value = answer.loads(result)
            request = replace(self.request, series=one.series)
            answer.check(value, request, 0, len(one.series), runner=self.launch.family)
            one.result = value
        except TollamaError as error:
            one.result = error

    # Towards the client

    def _ready(self, window: int) -> Iterator[bytes]:
        """What can be answered; waits until no more than `window` slices have no answer."""
        while True:
            while self.waiting and self.waiting[0].result is not None:
                yield from self._answered(self.waiting.popleft())
            if not self.flight or (len(self.waiting) <= window and not self.call.wait(0)):
                return
            self._receive()

    def _answered(self, one: Slice) -> Iterator[bytes]:
        """The lines of a slice that has its result, unless something else is tried."""
        if isinstance(one.result, dict):
            yield from self._forecasts(one.result)
            return
        assert one.result is not None
        instead = self._instead(one, one.result)
        self.waiting.extendleft(reversed(instead))
        for other in instead:
            self._add(other)
        if not instead:
            for name in one.names:
                self.failed += 1
                self.done += 1
                yield protocol.dumps({"id": name, **to_wire(one.result)}) + b"\n"

    def _instead(self, one: Slice, error: TollamaError) -> list[Slice]:
        """What is tried for a failed slice: itself after an unloading, else each of its series."""
        if isinstance(error, DeadlineExceeded) or not one.texts:
            return []
        if isinstance(error, Unavailable) and not isinstance(error, RunnerCrashed):
            if one.again:
                return []
            one.again = True
            return [one]
        if not self.call.takes_jobs or _of_all(error):
            raise error  # the other series would fail like these
        return one.alone() if len(one.series) > 1 else []

    def _forecasts(self, value: dict[str, Any]) -> Iterator[bytes]:
        notes = value.get("warnings") or []
        for index, forecast in enumerate(value["forecasts"]):
            self.done += 1
            line: dict[str, Any] = {"forecast": forecast}
            if index == 0 and notes:
                line["warnings"] = notes
            if index == 0 and value.get("usage"):
                line["usage"] = value["usage"]
            yield protocol.dumps(line) + b"\n"


def _of_all(error: TollamaError) -> bool:
    """Whether it is about fields of the first line, such as an unknown option."""
    if not isinstance(error, InvalidRequest):
        return False
    return all(loc and loc[0] != "series" for loc, _ in error.problems())
