"""The family behind the real daemon: many clients at once get the library's own numbers."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("chronos")

import numpy as np

from tollama.models import store

ROOT = Path(__file__).parents[3]
REQUESTS, CLIENTS = 500, 32


class Daemon:
    """`tollama serve` on a free port, with models made from checkpoints."""

    def __init__(self, home, models):
        for name, path in models.items():
            staging = home / "models" / f".staging-{name}"
            staging.mkdir(parents=True)
            if path is not None:
                shutil.copytree(path, staging / "snapshot")
            kind = "local" if path is None else "huggingface"
            manifest = {"name": name, "family": "torch", "source": {"type": kind, "repo_id": "a/b"}}
            store.install(str(home), manifest, str(staging))
        environ = {
            **os.environ,
            "TOLLAMA_HOME": str(home),
            "TOLLAMA_HOST": "127.0.0.1:0",
            "TOLLAMA_PYTHON_TORCH": sys.executable,
            "TOLLAMA_FAMILY_CHRONOS2": "torch",
            "TOLLAMA_FAMILY_CHRONOS_BOLT_TINY": "torch",
            "PYTHONPATH": str(ROOT),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tollama", "serve"],
            env=environ,
            cwd=home,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        assert " listening on " in line
        self.port = int(line.rpartition(":")[2])

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def post(self, path, body, connection=None):
        connection = connection or self.connection()
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def get(self, path):
        connection = self.connection()
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def daemon(checkpoints, tmp_path_factory):
    models = {
        "chronos2": checkpoints("chronos2-hot"),
        "chronos-bolt-tiny": checkpoints("bolt-hot"),
        "fracast": None,
    }
    daemon = Daemon(tmp_path_factory.mktemp("home"), models)
    yield daemon
    daemon.stop()


def equality():
    import importlib.util

    path = Path(__file__).parent / "test_torch_equality.py"
    spec = importlib.util.spec_from_file_location("torch_equality", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_many_clients_at_once_get_the_librarys_own_numbers(daemon, library):
    same = equality()
    rng = random.Random(2024)
    requests = [same.chronos2_request(rng) for _ in range(REQUESTS)]
    for request in requests:
        request["model"] = "chronos2"
    answers = [None] * REQUESTS
    todo = iter(range(REQUESTS))
    lock = threading.Lock()

    def client():
        connection = daemon.connection()
        while True:
            with lock:
                index = next(todo, None)
            if index is None:
                return
            answers[index] = daemon.post("/v1/forecast", requests[index], connection)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipeline = library("chronos2-hot")
    shared = 0
    for request, (status, answer) in zip(requests, answers, strict=True):
        assert status == 200, answer
        shared += answer["usage"]["batch_rows"] > sum(
            len(one["target"]) if isinstance(one["target"][0], list) else 1
            for one in request["series"]
        )
        expected = same.library_answer(pipeline, request)
        same.assert_same(_read(answer), expected, request)
    assert shared > REQUESTS / 4  # requests met in batches, or the test proves nothing


def _read(answer):
    from types import SimpleNamespace

    forecasts = [
        SimpleNamespace(
            mean=one["mean"],
            quantiles=one["quantiles"] and {float(k): v for k, v in one["quantiles"].items()},
        )
        for one in answer["forecasts"]
    ]
    return SimpleNamespace(forecasts=forecasts)


BOLT = "chronos-bolt-tiny"
WALK = [10 + (k % 7) + k / 50 for k in range(60)]


def test_loaded_models_say_where_they_run(daemon):
    for model in ("chronos2", "chronos-bolt-tiny", "fracast"):
        body = {"model": model, "horizon": 5, "series": [{"target": WALK}]}
        status, answer = daemon.post("/v1/forecast", body)
        assert status == 200, answer
        assert answer["usage"]["device"] == "cpu"
    loaded = {model["name"]: model for model in daemon.get("/api/ps")["models"]}
    assert set(loaded) == {"chronos2", "chronos-bolt-tiny", "fracast"}
    for model in loaded.values():
        assert (model["device"], model["dtype"], model["size_vram"]) == ("cpu", "float32", 0)


def test_series_stream_as_they_are_ready(daemon):
    series = [{"target": [k + value for value in WALK * 10]} for k in range(800)]
    body = {
        "model": "chronos2",
        "horizon": 16,
        "series": series,
        "stream": True,
        "options": {"stream_series": True},
    }
    connection = daemon.connection()
    connection.request("POST", "/api/forecast", json.dumps(body))
    answer = connection.getresponse()
    lines = []
    first_at = None
    while line := answer.readline():
        lines.append(json.loads(line))
        if first_at is None and "forecast" in lines[-1]:
            first_at = len(lines)
    assert first_at is not None and first_at <= 3
    assert sum("forecast" in line for line in lines) == 800
    assert lines[-1]["done"] is True


@pytest.mark.parametrize(
    ("fields", "status", "code", "text"),
    [
        (
            {"series": [{"target": WALK}, {"target": [1.0, 1e39]}]},
            400,
            "invalid_request",
            "float32",
        ),
        ({"options": {"device": "cuda:31"}}, 400, "unsupported", "was asked for but"),
        ({"options": {"cross_lerning": True}}, 400, "invalid_request", "did you mean"),
        (
            {"model": "chronos-bolt-tiny", "series": [{"target": [WALK, WALK]}]},
            400,
            "unsupported",
            "",
        ),
    ],
)
def test_bad_requests_are_refused_with_their_path(daemon, fields, status, code, text):
    body = {"model": "chronos2", "horizon": 2, "series": [{"target": WALK}], **fields}
    found, answer = daemon.post("/v1/forecast", body)
    assert (found, answer["code"]) == (status, code)
    assert text in answer["error"]


def test_embeddings_are_answered(daemon):
    status, answer = daemon.post(
        "/api/embed", {"model": "chronos2", "series": [{"target": WALK}, {"target": WALK[:20]}]}
    )
    assert status == 200, answer
    assert np.array(answer["embeddings"]).shape == (2, 16)
