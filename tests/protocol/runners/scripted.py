"""A runner on the real SDK that does what a request's options say, for tests of the daemon's side.

`options.do` of a request and `on_load` of the load options name an act below; files named by
`gate` and `flag` make it wait or remember. The answer's usage tells process, batch and threads.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any

from tollama.core.errors import NotFound, TollamaError
from tollama.core.runner_sdk import Forecast, ForecastRequest, ForecastResponse, Runner, serve


def text(value: object, path: object) -> object:
    return value


def wait_for(path: str) -> None:
    for _ in range(60_000):
        if os.path.exists(path):
            return
        time.sleep(0.001)


class Scripted(Runner):
    name = "scripted"
    version = "1"
    capabilities = {"multivariate": True, "quantiles": "any"}  # noqa: RUF012
    options = {"do": text, "gate": text, "flag": text}  # noqa: RUF012

    def load(self, *, model: str, path: str | None, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("counter"):
            with open(options["counter"], "a") as file:
                file.write("x")
        self.act(options.get("on_load", "ok"), options)
        self.emit({"progress": 1.0})  # type: ignore[attr-defined]
        return {"pid": os.getpid(), "path": path, "vram_bytes": 5}

    def forecast_batch(
        self, requests: list[ForecastRequest]
    ) -> Iterable[tuple[int, ForecastResponse | TollamaError]]:
        for index, request in enumerate(requests):
            answer = self.attempt(request)
            if isinstance(answer, ForecastResponse):
                answer.usage["batch"] = len(requests)  # type: ignore[index]
            yield index, answer

    def forecast(self, request: ForecastRequest) -> ForecastResponse:
        self.act(request.options.get("do", "ok"), request.options)
        forecasts = [
            Forecast(one.id, [one.target[-1] or 0.0] * request.horizon, None)
            for one in request.series
        ]
        return ForecastResponse(forecasts, usage={"pid": os.getpid(), "threads": self.threads})

    def act(self, do: str, options: dict[str, Any]) -> None:
        if do == "crash_once" and not os.path.exists(options["flag"]):
            with open(options["flag"], "w"):
                do = "crash"
        if do == "crash":
            print("loading the tensor of doom", file=sys.stderr)
            print("fatal: it is doomed", file=sys.stderr)
            sys.stderr.flush()
            os._exit(3)
        elif do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif do == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif do == "error":
            raise NotFound("no weights in the snapshot")
        elif do == "bug":
            raise ValueError("matrix is singular\nsecond line")
        elif do == "memory":
            raise MemoryError("cannot allocate 3 GiB")
        elif do == "wait":
            wait_for(options["gate"])
        elif do == "print":
            print("a library greets")
            os.write(1, b"from C, too\n")
        elif do == "noise":
            os.write(2, b"warning: something\n" * 300_000)


if __name__ == "__main__":
    serve(Scripted())
