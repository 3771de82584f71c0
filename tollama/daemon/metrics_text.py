"""The answer of GET /metrics: Prometheus' text format 0.0.4, what was counted and is so now.

What is known elsewhere (queues, processes, sockets) is read there, once a scrape.

Not covered: counting (metrics.py), OpenMetrics.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tollama import __version__
from tollama.daemon.child import rss_bytes
from tollama.daemon.metrics import SECONDS, Histogram, Metrics

if TYPE_CHECKING:
    from tollama.daemon.lane import Lane
    from tollama.daemon.service import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Page:
    """Lines of the exposition format; a metric's samples follow its HELP and TYPE."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._name = ""

    def metric(self, kind: str, name: str, doc: str, *values: float | None) -> None:
        """Begin a metric; values are its samples without labels."""
        self._name = name
        self.lines += (f"# HELP {name} {doc}", f"# TYPE {name} {kind}")
        self.lines += [f"{name} {value}" for value in values if value is not None]

    def sample(self, value: float, labels: dict[str, object], suffix: str = "") -> None:
        """A sample of the metric begun last."""
        pairs = ",".join(f'{name}="{_escaped(str(label))}"' for name, label in labels.items())
        self.lines.append(f"{self._name}{suffix}{{{pairs}}} {value}")

    def histogram(
        self, bounds: Sequence[float], counts: Sequence[int], total: float, labels: dict[str, Any]
    ) -> None:
        """The samples of a histogram."""
        below = 0
        for bound, count in zip((*bounds, "+Inf"), counts, strict=True):
            below += count
            self.sample(below, {**labels, "le": bound}, "_bucket")
        self.sample(round(total, 9), labels, "_sum")
        self.sample(below, labels, "_count")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def text(service: Service) -> bytes:
    """Everything, for one scrape."""
    page = Page()
    _http(page, service.metrics)
    _models(page, service)
    _pulls(page, service)
    _process(page, service)
    return "\n".join([*page.lines, ""]).encode()


def _http(page: Page, metrics: Metrics) -> None:
    requests = metrics.requests()
    page.metric("counter", "tollama_http_requests_total", "Requests that ended.")
    for (route, method, status), counts, _ in requests:
        page.sample(sum(counts), {"route": route, "method": method, "status": status})
    page.metric(
        "histogram",
        "tollama_http_request_duration_seconds",
        "From a request's first byte to its answer's last.",
    )
    for (route, method), group in groupby(requests, key=lambda one: one[0][:2]):
        rows = list(group)
        counts = [sum(column) for column in zip(*(row[1] for row in rows), strict=True)]
        labels = {"route": route, "method": method}
        page.histogram(SECONDS, counts, sum(row[2] for row in rows), labels)
    server = metrics.server
    if server is not None:
        page.metric(
            "gauge",
            "tollama_http_connections",
            "Connections that are open.",
            len(server.loop.connections),
        )
        page.metric(
            "gauge",
            "tollama_http_in_flight_bytes",
            "Request bodies in memory (TOLLAMA_MAX_INFLIGHT).",
            server.in_flight,
        )


def _models(page: Page, service: Service) -> None:
    meters = service.metrics.meters()
    for name, doc, pick in (
        ("queue_seconds", "Time requests waited before they ran, loading included.", "queue"),
        ("run_seconds", "From a request's first slice at a runner to its last result.", "run"),
        ("batch_jobs", "Slices of requests that a runner was given at once.", "batches"),
    ):
        page.metric("histogram", f"tollama_model_{name}", doc)
        for labels, meter in meters:
            one: Histogram = getattr(meter, pick)
            page.histogram(one.bounds, list(one.counts), one.sum, labels)
    page.metric(
        "counter",
        "tollama_model_jobs_total",
        "Slices of requests by outcome: ok, or an error's code.",
    )
    for labels, meter in meters:
        for outcome, count in sorted(meter.jobs.copy().items()):
            page.sample(count, {**labels, "outcome": outcome})
    for name, doc, pick in (
        ("busy_seconds_total", "Time that runners computed.", "busy"),
        ("loads_total", "Times a process loaded the model.", "loads"),
        ("restarts_total", "Processes that died with the model loaded.", "restarts"),
    ):
        page.metric("counter", f"tollama_model_{name}", doc)
        for labels, meter in meters:
            page.sample(getattr(meter, pick), labels)
    lanes = service.scheduler.lanes()
    for name, doc, measure in GAUGES:
        page.metric("gauge", f"tollama_model_{name}", doc)
        for labels, meter in meters:
            page.sample(sum(measure(lane) for lane in lanes if lane.meter is meter), labels)


def _memory(lane: Lane) -> int:
    processes = [replica.process for replica in list(lane.crew.replicas)]
    return sum(rss_bytes(process.pid) or 0 for process in processes if process is not None)


GAUGES: tuple[tuple[str, str, Callable[[Lane], int]], ...] = (
    ("replicas", "Processes that have loaded the model, 0 when it is not loaded.",
     lambda lane: sum(replica.loaded for replica in list(lane.crew.replicas))),
    ("queued_jobs", "Slices of requests that wait.", lambda lane: lane.backlog.queued),
    ("running_jobs", "Slices of requests that a runner is at.",
     lambda lane: sum(replica.live for replica in list(lane.crew.replicas))),
    ("resident_memory_bytes", "Memory of the model's processes.", _memory),
)  # fmt: skip


def _pulls(page: Page, service: Service) -> None:
    metrics = service.metrics
    page.metric("counter", "tollama_pulls_total", "Pulls by outcome: success, or an error's code.")
    for outcome, count in sorted(metrics.pulls.copy().items()):
        page.sample(count, {"outcome": outcome})
    page.metric(
        "counter",
        "tollama_pull_bytes_total",
        "Bytes of model files that pulls completed, those kept from an earlier try included.",
        metrics.pull_bytes,
    )
    running = len(service.pulls.active())
    page.metric("gauge", "tollama_pulls_running", "Models being pulled.", running)


def _process(page: Page, service: Service) -> None:
    page.metric("gauge", "tollama_build_info", "What runs here.")
    python = sys.version.partition(" ")[0]
    page.sample(1, {"version": __version__, "python": python})
    began = round(service.started_at, 3)
    page.metric("gauge", "process_start_time_seconds", "When it started, Unix time.", began)
    cpu = round(time.process_time(), 3)
    page.metric("counter", "process_cpu_seconds_total", "Processor time, runners excluded.", cpu)
    rss = rss_bytes(os.getpid())
    page.metric("gauge", "process_resident_memory_bytes", "Memory, runners excluded.", rss)
    page.metric("gauge", "process_open_fds", "Open file descriptors.", _open_fds())
    page.metric("gauge", "process_max_fds", "Most that may be open.", _max_fds())
    threads = threading.active_count()
    page.metric("gauge", "tollama_process_threads", "Threads.", threads)


def _open_fds() -> int | None:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return len(os.listdir(folder))
    return None


def _max_fds() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit
