"""ROUTES: every URL of the API, and its handler: parse, call the service, dump.

Not covered: HTTP itself (http.py) and other dialects (compat/).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tollama import __version__
from tollama.core import names, protocol, schemas, splice
from tollama.core.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
)
from tollama.daemon import anomalies, bulk, diagnostics, hub_share, metrics_text, presets, web, wire
from tollama.daemon import backtest as backtests
from tollama.daemon.access import Access, is_local
from tollama.daemon.compat import routes as compat
from tollama.daemon.forecasting import Answer, Running
from tollama.daemon.http_message import Later, Reply, Request
from tollama.daemon.limits import Clients
from tollama.daemon.openapi import document
from tollama.daemon.route import NDJSON, Route, dump, ndjson
from tollama.daemon.service import Service
from tollama.models.pulls import PullRequest

MAX_BULK_LINE = 64 << 20
# How long a stream that need not load holds its first line: an error until then has its status.
HOLD_S = 0.1


def model_of(body: wire.ShowBody | wire.DeleteBody | wire.CancelPullBody) -> str:
    """The model that a body names, under either of its two fields."""
    name = body.model or body.name
    if name is None:
        raise InvalidRequest.of([(("model",), "this field is required")])
    return name


def root(service: Service, request: Request) -> Reply:
    page = web.page(request)
    return page or Reply(body=b"tollama is running", content_type="text/plain; charset=utf-8")


def page_file(service: Service, request: Request) -> Reply:
    return web.asset(request)


def version(service: Service, request: Request) -> Reply:
    return dump(service.version())


def alive(service: Service, request: Request) -> Reply:
    return dump({"status": "ok"})


def ready(service: Service, request: Request) -> Reply:
    service.ready()
    return dump({"status": "ok"})


def tags(service: Service, request: Request) -> Reply:
    return dump(service.tags())


def show(service: Service, request: Request) -> Reply:
    body = wire.read(wire.ShowBody, splice.parse(request.body))
    return dump(service.show(model_of(body)))


def ps(service: Service, request: Request) -> Reply:
    return dump(service.ps())


def info(service: Service, request: Request) -> Reply:
    return dump(diagnostics.info(service))


def scrape(service: Service, request: Request) -> Reply:
    return Reply(body=metrics_text.text(service), content_type=metrics_text.CONTENT_TYPE)


def delete(service: Service, request: Request) -> Reply:
    body = wire.read(wire.DeleteBody, splice.parse(request.body))
    return dump(service.delete(model_of(body), purge=body.purge))


def copy(service: Service, request: Request) -> Reply:
    body = wire.read(wire.CopyBody, splice.parse(request.body))
    service.copy(body.source, body.destination)
    return dump({"status": "success"})


def create(service: Service, request: Request) -> Reply:
    body, wanted = presets.parse(splice.parse(request.body))
    events = presets.create(service, body.model, wanted)
    return ndjson(events) if body.stream else dump(list(events)[-1])


def pull(service: Service, request: Request) -> Reply:
    body = PullRequest.parse(splice.parse(request.body))
    return _pulled(service, request, body)


def _pulled(service: Service, request: Request, body: PullRequest) -> Reply:
    pulling = service.pull(body, trusted=is_local(request))
    if body.stream:
        return ndjson(pulling.watch(request.disconnected))
    last: dict[str, Any] = {}
    with request.blocking():
        for event in pulling.watch(request.disconnected):
            last = event
    return dump(last)


def cancel_pull(service: Service, request: Request) -> Reply:
    body = wire.read(wire.CancelPullBody, splice.parse(request.body))
    name, _ = names.with_revision(model_of(body))
    ended = service.pulls.cancel(name.lower(), unless_watched=body.unless_watched)
    return dump({"cancelled": ended, "model": name})


def share(service: Service, request: Request) -> Reply:
    return hub_share.answer(service.home, request)


def generate(service: Service, request: Request) -> Reply:
    model, keep_alive = wire.generate_body(splice.parse(request.body))
    name = service.model(model).name
    service.load(name, keep_alive)
    return dump(
        {
            "model": name,
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "response": "",
            "done": True,
            "done_reason": "unload" if keep_alive == 0 else "load",
        }
    )


def models(service: Service, request: Request) -> Reply:
    return dump(service.registry())


def pull_model(service: Service, request: Request) -> Reply:
    body = wire.read(wire.LicensedPullBody, splice.parse(request.body))
    value = {"model": body.name, "accept_license": body.accept_license, "stream": False}
    return _pulled(service, request, PullRequest.parse(value))


def delete_model(service: Service, request: Request) -> Reply:
    return dump(service.delete(request.path.removeprefix("/v1/models/")))


def forecast(service: Service, request: Request) -> Reply | Later:
    """One JSON answer, or NDJSON: progress lines and the answer on the last one."""
    if (request.headers.get("content-type") or "").partition(";")[0].strip().lower() == NDJSON:
        return forecast_bulk(service, request)
    running = _started(service, request)
    if running.request.stream is False:
        return _whole(request, running)
    return Reply(content_type=NDJSON, stream=_lines(request, running))


def forecast_v1(service: Service, request: Request) -> Later:
    return _whole(request, _started(service, request))


def _started(service: Service, request: Request) -> Running:
    running = service.forecasting.start(request.body, request_id=request.id, client=request)
    asked = running.request
    request.facts.update(
        model=asked.model,
        series=len(asked.series),
        points=sum(one.length for one in asked.series),
        horizon=asked.horizon,
    )
    return running


def _answered(request: Request, running: Running) -> Answer:
    answer = running.answer()
    request.facts.update(queue_ms=round(answer.queue_ms, 1), run_ms=round(answer.run_ms, 1))
    return answer


def _whole(request: Request, running: Running) -> Later:
    """One answer, for which no thread waits."""

    def finish() -> Reply:
        answer = _answered(request, running)
        headers = (
            ("X-Tollama-Queue-Ms", f"{answer.queue_ms:.1f}"),
            ("X-Tollama-Run-Ms", f"{answer.run_ms:.1f}"),
        )
        return Reply(body=answer.body, headers=headers)

    later = Later(finish, gone=running.cancel, deadline=running.deadline)
    request.body = b""  # it has been handed on, and hundreds may wait
    running.call.notify(later.done)
    return later


def _lines(request: Request, running: Running) -> Iterator[bytes]:
    try:
        if running.loading:
            yield b'{"status":"loading model"}\n'
        else:
            running.look(HOLD_S)
        yield b'{"status":"running forecast"}\n'
        if running.request.options.get("stream_series"):
            for item in running.forecasts():
                yield b'{"forecast":' + protocol.dumps(item) + b"}\n"
        yield b'{"done":true,"response":' + _answered(request, running).body + b"}\n"
    finally:
        running.cancel()


def forecast_bulk(service: Service, request: Request) -> Reply:
    lines = request.lines(MAX_BULK_LINE)
    stream = bulk.start(service.forecasting, lines, request_id=request.id, client=request)
    return Reply(content_type=NDJSON, stream=stream)


def backtest(service: Service, request: Request) -> Reply:
    body = backtests.parse(request.body)
    run = backtests.Backtest(service.forecasting, body, request_id=request.id, client=request).run()
    if body.stream:
        return ndjson({"done": True, **event} if "response" in event else event for event in run)
    last: dict[str, Any] = {}
    for event in run:
        last = event
    return dump(last["response"])


def find_anomalies(service: Service, request: Request) -> Reply:
    body, series = anomalies.parse(request.body)
    return dump(
        anomalies.run(service.forecasting, body, series, request_id=request.id, client=request)
    )


def embed(service: Service, request: Request) -> Reply:
    running = service.forecasting.embed(request.body, request_id=request.id, client=request)
    return Reply(body=running)


def openapi(service: Service, request: Request) -> Reply:
    return dump(document(ROUTES, __version__))


ROUTES: tuple[Route, ...] = (
    Route("GET", "/", root, "That the daemon runs, or its page", "open", plain=True),
    Route("GET", "/web/{path}", page_file, "A file of the page", "open"),
    Route("GET", "/api/version", version, "Version of the daemon", "open", answer=wire.Version),
    Route("GET", "/v1/health", alive, "Health", "open", answer=wire.Status),
    Route("GET", "/health/live", alive, "Whether the process answers", "open", answer=wire.Status),
    Route("GET", "/health/ready", ready, "Whether requests would be served", "open", answer=wire.Status),
    Route("GET", "/api/tags", tags, "Installed and built-in models"),
    Route("GET", "/api/ps", ps, "Loaded models"),
    Route("GET", "/api/info", info, "Diagnostics"),
    Route("GET", "/metrics", scrape, "Counts and gauges for Prometheus", plain=True),
    Route("GET", "/openapi.json", openapi, "This description"),
    Route("POST", "/api/show", show, "One model", body=wire.ShowBody),
    Route("POST", "/api/pull", pull, "Download a model", "admin", body=PullRequest),
    Route("DELETE", "/api/pull", cancel_pull, "End a pull", "admin", body=wire.CancelPullBody),
    Route("GET", "/hub/{path}", share, "This machine's models, as a hub for others"),
    Route("DELETE", "/api/delete", delete, "Remove a model", "admin", wire.DeleteBody, wire.Deleted),
    Route("POST", "/api/create", create, "Make a preset", "admin", presets.CreateBody, wire.Status),
    Route("POST", "/api/copy", copy, "Copy a model", "admin", wire.CopyBody, wire.Status),
    Route("POST", "/api/generate", generate, "Load or unload a model", "forecast", wire.ModelBody),
    Route(
        "POST", "/api/forecast", forecast, "Forecast", "forecast", schemas.ForecastRequest,
        wire.ForecastAnswer, stream_body=True,
    ),
    Route(
        "POST", "/v1/forecast", forecast_v1, "Forecast, always one answer", "forecast",
        schemas.ForecastRequest, wire.ForecastAnswer,
    ),
    Route(
        "POST", "/api/backtest", backtest, "Compare models on rolling origins", "forecast",
        backtests.BacktestBody,
    ),
    Route(
        "POST", "/api/anomalies", find_anomalies, "Values outside their forecast", "forecast",
        anomalies.AnomaliesBody,
    ),
    Route("POST", "/api/embed", embed, "Embeddings of series", "forecast", wire.EmbedBody),
    Route("GET", "/v1/models", models, "Available and installed models"),
    Route(
        "POST", "/v1/models/pull", pull_model, "Download a model", "admin", wire.LicensedPullBody
    ),
    Route("DELETE", "/v1/models/{name}", delete_model, "Remove a model", "admin", None, wire.Deleted),
    *compat.ROUTES,
)  # fmt: skip


class Resolved(NamedTuple):
    """A route bound to the service, as the HTTP front calls it."""

    handler: Callable[[Request], Reply | Later]
    stream_body: bool
    encodings: tuple[str, ...]
    max_body: int | None


class Router:
    """Finds the route of a request; built once from the table."""

    def __init__(
        self,
        service: Service,
        access: Access | None = None,
        clients: Clients | None = None,
        routes: tuple[Route, ...] = ROUTES,
    ) -> None:
        self._exact: dict[str, dict[str, Resolved]] = {}
        self._prefixes: list[tuple[str, dict[str, Resolved]]] = []
        prefixes: dict[str, dict[str, Resolved]] = {}
        for route in routes:
            head, brace, _ = route.path.partition("{")
            table = (
                prefixes.setdefault(head, {}) if brace else self._exact.setdefault(route.path, {})
            )
            table[route.method] = Resolved(
                _bind(route, service, access, clients),
                route.stream_body,
                route.encodings,
                route.max_body,
            )
        self._prefixes = sorted(prefixes.items(), key=lambda item: -len(item[0]))

    def resolve(self, method: str, path: str) -> Resolved:
        """The route of a method and path; raises NotFound or MethodNotAllowed."""
        methods = self._exact.get(path)
        if methods is None:
            methods = next(
                (
                    t
                    for head, t in self._prefixes
                    if path.startswith(head) and len(path) > len(head)
                ),
                None,
            )
        if methods is None:
            raise NotFound(f"no such path: {path[:100]}")
        found = methods.get("GET" if method == "HEAD" else method)
        if found is None:
            allowed = sorted(methods) + (["HEAD"] if "GET" in methods else [])
            raise MethodNotAllowed(
                f"{path[:100]} takes {', '.join(allowed)}, not {method[:20]}",
                detail=", ".join(allowed),
            )
        return found


def _bind(
    route: Route, service: Service, access: Access | None, clients: Clients | None
) -> Callable[[Request], Reply | Later]:
    handle, scope = route.handle, route.scope
    # Probes of health are never counted, nor is a page that is being loaded.
    if access is None or scope == "open":
        return lambda request: handle(service, request)

    def checked(request: Request) -> Reply | Later:
        access.check(request, scope)
        return handle(service, request)

    def limited(request: Request) -> Reply | Later:
        level, client = access.find(request)
        assert clients is not None
        clients.enter(client)
        try:
            access.demand(request, scope, level)
            reply = handle(service, request)
        except BaseException:
            clients.leave(client)
            raise
        return clients.until_sent(client, reply)

    return checked if clients is None else limited
