"""ROUTES of the dialects, and the handlers that take a request through one.

Not covered: what the dialects say (nixtla.py, sagemaker.py, kserve.py) and errors (errors.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from tollama.core import names, protocol, splice
from tollama.core.errors import InvalidRequest, NotFound, NotImplementedYet, QueueFull
from tollama.daemon.compat import (
    errors,
    kserve,
    nixtla,
    nixtla_explain,
    nixtla_paths,
    nixtla_series,
    nixtla_windows,
    sagemaker,
    zstd,
)
from tollama.daemon.compat.ask import Ask, alone
from tollama.daemon.compat.nixtla import Plan
from tollama.daemon.compat.nixtla_jobs import Job
from tollama.daemon.http_message import Reply, Request
from tollama.daemon.route import Route, dump
from tollama.daemon.service import Service

# Nixtla


def validate_api_key(service: Service, request: Request) -> Reply:
    return dump({"detail": "the key is valid"})


def usage(service: Service, request: Request) -> Reply:
    # Nothing is metered here: no limits, and nothing counted against them.
    return dump({"minute": {}, "month": {}})


def list_models(service: Service, request: Request) -> Reply:
    return dump(nixtla.models(service.tags()["models"]))


def model_params(service: Service, request: Request) -> Reply:
    name = request.query.get("model")
    if not name:
        raise nixtla.bad("this field is required", "model")
    return dump(nixtla.model_params(service.model(name)))


def task(name: str) -> Callable[[Service, Request], Reply]:
    """The handler of a task that answers at once."""

    def handle(service: Service, request: Request) -> Reply:
        with alone(request, len(request.body)):
            body = _body(service, request, name)
        _note(request, body)
        ask = Ask(service, request, request_id=request.id, size=len(request.body))
        return Reply(body=run(name, body, ask))

    handle.__name__ = name
    return handle


def submit(name: str) -> Callable[[Service, Request], Reply]:
    """The handler of a task that runs as a job."""

    def handle(service: Service, request: Request) -> Reply:
        nixtla.check_task(name)
        with alone(request, len(request.body)):
            body = _body(service, request, name)
        _note(request, body)
        timeout = _job_timeout(body)
        request_id, size = request.id, len(request.body)

        def work(job: Job) -> bytes:
            ask = Ask(service, job, request_id=request_id, timeout=timeout, size=size)
            return run(name, body, ask)

        try:
            job = service.jobs.submit(name, work)
        except QueueFull as error:
            reply = errors.nixtla_reply(error)
            return reply._replace(status=429)  # the one status after which it submits again
        return dump({"job_id": job.id, "status": job.status}, status=202)

    handle.__name__ = f"submit_{name}"
    return handle


def job_status(service: Service, request: Request) -> Reply:
    _, _, name, _, number = request.path.split("/", 4)
    return Reply(body=service.jobs.get(name, number).to_json())


def cancel_job(service: Service, request: Request) -> Reply:
    number, slash, verb = request.path.removeprefix("/v2/async/jobs/").partition("/")
    if not slash or verb != "cancel":
        raise NotFound(f"no such path: {request.path[:100]}")
    job = service.jobs.cancel(number)
    return dump({"job_id": job.id, "status": job.status})


def finetune(service: Service, request: Request) -> Reply:
    nixtla.check_task("finetune")
    raise AssertionError  # the line above raises


def finetuned_models(service: Service, request: Request) -> Reply:
    return dump({"finetuned_models": []})


def finetuned_model(service: Service, request: Request) -> Reply:
    name = request.path.removeprefix("/v2/finetuned_models/")
    raise NotFound(f"fine-tuned model {name[:60]!r} does not exist: tollama trains no models")


def execute_step(service: Service, request: Request) -> Reply:
    raise NotImplementedYet("execute_step: tollama runs no pipelines of Nixtla's")


# Bodies that carry start_datetime wherever the client's time column has dates.
DATED = ("forecast", "cross_validation", "anomaly_detection", "online_anomaly_detection")


def _body(service: Service, request: Request, task: str) -> Any:
    body = splice.parse(zstd.body_of(request, service.setting("TOLLAMA_MAX_BODY")))
    if task in DATED:
        version = request.headers.get("nixtla-client-version") or ""
        body = nixtla.without_false_freq(body, version)
    return body


def _note(request: Request, body: Any) -> None:
    """What the log says of a task, as of every forecast."""
    if not isinstance(body, dict):
        return
    series = body.get("series")
    if isinstance(body.get("model"), str):
        request.facts["model"] = body["model"]
    if isinstance(series, dict):
        for field, key in (("series", "sizes"), ("points", "y")):
            if isinstance(series.get(key), list):
                request.facts[field] = len(series[key])
    if isinstance(body.get("h"), int):
        request.facts["horizon"] = body["h"]


def _job_timeout(body: Any) -> float | None:
    options = body.get("job_options") if isinstance(body, dict) else None
    seconds = options.get("timeout_seconds") if isinstance(options, dict) else None
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or seconds <= 0:
        raise nixtla.bad("expected a number > 0", "job_options", "timeout_seconds")
    return float(seconds)


def run(name: str, body: Any, ask: Ask) -> bytes:
    """A task of nixtla's from its body to its answer."""
    with alone(ask.client, ask.size):
        if name == "explain":
            return protocol.dumps(nixtla_explain.explain(body))
        plan = _plan(ask.service, name, body)
    answers = _answers(ask, plan)
    found, warnings = nixtla_series.forecasts(plan.panel, len(plan.windows), answers)
    with alone(ask.client, ask.size):
        return protocol.dumps(plan.answer(found, warnings))


def _plan(service: Service, name: str, body: Any) -> Plan:
    if name == "anomaly_detection" and isinstance(body, dict) and "detection_size" in body:
        name = "online_anomaly_detection"  # jobs have the name that it will have in nixtla 1.0
    if name == "anomaly_detection":
        return nixtla_windows.anomaly_plan(body)
    if name == "online_anomaly_detection":
        return nixtla_windows.online_plan(body)
    if name == "simulate":
        return nixtla_paths.simulate_plan(body)
    uses = True
    if isinstance(body, dict) and body.get("feature_contributions") is True:
        uses = _uses_features(service, body.get("model"))
    if name == "historic_forecast" and isinstance(body, dict):
        body = {**body, "full_history": True}
    if name == "forecast":
        return nixtla.forecast_plan(body, uses_features=uses)
    return nixtla_windows.cross_validation_plan(body, uses_features=uses)


def _uses_features(service: Service, name: Any) -> bool:
    """Whether a model can use covariates; a model that we know nothing of might."""
    model = service.model(names.check(name))
    if model.offer is None:
        return True
    return any(model.offer.capabilities.get(k) for k in ("past_covariates", "future_covariates"))


def _answers(ask: Ask, plan: Plan) -> Iterator[tuple[list[int], Any]]:
    places: deque[list[int]] = deque()

    def native() -> Iterator[dict[str, Any]]:
        for part, one in plan.requests:
            places.append(part)
            yield one

    for value in ask.all(native()):
        yield places.popleft(), value


# SageMaker


def ping(service: Service, request: Request) -> Reply:
    service.ready()
    return Reply()


def invoke_endpoint(service: Service, request: Request) -> Reply:
    name = sagemaker.endpoint(request.raw_path)
    return _invoke(service, request, _target_model(request) or name)


def invoke(service: Service, request: Request) -> Reply:
    preloaded = service.setting("TOLLAMA_PRELOAD")
    return _invoke(
        service, request, _target_model(request) or (preloaded[0] if preloaded else "auto")
    )


def _target_model(request: Request) -> str | None:
    return request.headers.get("x-amzn-sagemaker-target-model")


def _invoke(service: Service, request: Request, model: str) -> Reply:
    bodies, lines = sagemaker.payloads(request)
    request.facts["model"] = model
    ask = Ask(service, request, request_id=request.id)
    requests = []
    for number, body in enumerate(bodies, 1):
        try:
            requests.append(sagemaker.to_request(names.check(model), body))
        except InvalidRequest as error:
            if lines:
                error.message = f"line {number}: {error.message}"
            raise
    answers = [
        protocol.dumps(sagemaker.from_response(body, value))
        for body, value in zip(bodies, ask.all(requests), strict=True)
    ]
    if not lines:
        return Reply(body=answers[0])
    return Reply(body=b"\n".join(answers) + b"\n", content_type="application/jsonlines")


# KServe


def timeseries_forecast(service: Service, request: Request) -> Reply:
    body = splice.parse(request.body)
    value = Ask(service, request, request_id=request.id).one(kserve.to_request(body))
    request.facts["model"] = value["model"]
    return dump(kserve.from_response(body, value, request.id))


def _nixtla_routes() -> Iterator[Route]:
    for name in nixtla.TASKS:
        path, text = f"/v2/{name}", f"Nixtla's {name.replace('_', ' ')}"
        if name != "historic_forecast":
            yield Route(
                "POST", f"{path}/async", submit(name), f"{text} as a job", "forecast",
                encodings=zstd.ENCODINGS,
            )  # fmt: skip
            yield Route("GET", f"{path}/jobs/{{job}}", job_status, f"A job of {name}", "forecast")
        yield Route("POST", path, task(name), text, "forecast", encodings=zstd.ENCODINGS)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/validate_api_key", validate_api_key, "Nixtla's check of a key"),
    Route("GET", "/usage", usage, "Nixtla's usage: nothing is metered"),
    Route("GET", "/model_params", model_params, "Nixtla's sizes of a model"),
    Route("GET", "/v2/models", list_models, "Nixtla's list of models"),
    *_nixtla_routes(),
    Route("POST", "/v2/async/jobs/{job}/cancel", cancel_job, "Cancel a job", "forecast"),
    *(
        Route(
            "POST", path, finetune, "Refused: no model is trained", "forecast",
            encodings=zstd.ENCODINGS,
        )
        for path in ("/v2/finetune", "/v2/finetune/async")
    ),
    Route("GET", "/v2/finetuned_models", finetuned_models, "None: no model is trained"),
    Route("GET", "/v2/finetuned_models/{id}", finetuned_model, "None: no model is trained"),
    Route("DELETE", "/v2/finetuned_models/{id}", finetuned_model, "None: no model is trained"),
    Route("POST", "/v2/execute_step/async", execute_step, "Refused: no pipelines", "forecast"),
    Route("GET", "/ping", ping, "SageMaker's health of a container", "open"),
    Route("POST", "/invocations", invoke, "SageMaker's call of a container", "forecast"),
    Route(
        "POST", "/endpoints/{name}/invocations", invoke_endpoint, "SageMaker's InvokeEndpoint",
        "forecast",
    ),
    Route("POST", "/v1/timeseries/forecast", timeseries_forecast, "KServe's forecast", "forecast"),
)  # fmt: skip
