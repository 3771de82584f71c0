"""Ollama's own client, unpatched, against the daemon."""

from __future__ import annotations

import asyncio

import pytest

ollama = pytest.importorskip("ollama")


@pytest.fixture(scope="module")
def client(daemon):
    with ollama.Client(daemon.url) as opened:
        yield opened


def names(answer):
    return [model.model for model in answer.models]


def test_list_and_show(client, daemon):
    models = {model.model: model for model in client.list().models}
    tags = daemon.call("GET", "/api/tags")["models"]
    assert list(models) == [item["name"] for item in tags]
    assert len(models["auto"].digest) == 64 and models["auto"].details.family == "stats"
    shown = client.show("auto")
    assert shown.modelinfo["general.architecture"] == "stats"
    assert "forecast" in shown.capabilities and shown.modelfile == "FROM auto\n"


def test_load_ps_and_unload(client):
    assert client.generate("theta").done_reason == "load"
    [loaded] = [model for model in client.ps().models if model.model == "theta"]
    first = loaded.expires_at
    assert loaded.size > 1_000_000 and first is not None
    assert client.generate("theta", keep_alive="30m").done_reason == "load"
    [loaded] = [model for model in client.ps().models if model.model == "theta"]
    assert loaded.expires_at > first
    assert client.generate("theta", keep_alive=0).done_reason == "unload"
    assert "theta" not in names(client.ps())


def test_pull_whole_and_streamed(client):
    last = client.pull("mock")
    assert last.status == "success" and len(last.digest) == 64
    statuses = [event.status for event in client.pull("mock", stream=True)]
    assert statuses[0] == "pulling manifest" and statuses[-1] == "success"
    assert "mock" in names(client.list())


def test_copy_and_delete(client):
    client.pull("mock")
    assert client.copy("mock", "Twin").status == "success"
    assert "Twin" in names(client.list())
    assert client.delete("twin").status == "success"
    assert "Twin" not in names(client.list())


def test_create_makes_a_preset(client, daemon, passengers):
    last = client.create(
        "monthly",
        from_="seasonal-naive",
        parameters={"horizon": 3, "quantiles": [0.9, 0.1], "season_length": 12},
        license=["MIT", "or not"],
    )
    assert last.status == "success"
    _, values = passengers
    body = {"model": "monthly", "series": [{"target": values}]}
    [found] = daemon.call("POST", "/v1/forecast", body)["forecasts"]
    assert found["mean"] == values[-12:-9] and list(found["quantiles"]) == ["0.1", "0.9"]
    shown = client.show("monthly")
    assert shown.license == "MIT\nor not"
    assert shown.modelfile.splitlines()[:4] == [
        "FROM seasonal-naive",
        "PARAMETER horizon 3",
        "PARAMETER quantiles 0.1 0.9",
        "PARAMETER season_length 12",
    ]
    events = [event.status for event in client.create("again", from_="monthly", stream=True)]
    assert events[-1] == "success"
    assert client.show("again").parameters == shown.parameters
    for name in ("monthly", "again"):
        client.delete(name)


@pytest.mark.parametrize(
    ("call", "status", "text"),
    [
        (lambda c: c.show("nowhere"), 404, "nowhere"),
        (lambda c: c.show("../x"), 400, "expected a name"),
        (lambda c: c.delete("nowhere"), 404, "not installed"),
        (lambda c: c.delete("auto"), 400, "built in"),
        (lambda c: c.copy("nowhere", "x"), 404, "nowhere"),
        (lambda c: c.pull("nowhere"), 404, "not in the registry"),
        (lambda c: list(c.pull("nowhere", stream=True)), 404, "not in the registry"),
        (lambda c: c.create("x", from_="nowhere"), 404, "nowhere"),
        (lambda c: c.create("x", from_="auto", parameters={"horizon": 0}), 400, "horizon"),
        (lambda c: c.create("x", from_="auto", parameters={"horizn": 1}), 400, "did you mean"),
        (lambda c: c.create("x", from_="auto", system="be kind"), 400, "system"),
        (lambda c: c.generate("auto", prompt="hello"), 400, "generates no text"),
        (lambda c: c.generate("nowhere"), 404, "nowhere"),
        (lambda c: c.chat("auto", messages=[{"role": "user", "content": "x"}]), 404, "/api/chat"),
    ],
)
def test_errors_become_response_errors(client, call, status, text):
    with pytest.raises(ollama.ResponseError) as error:
        call(client)
    assert error.value.status_code == status and text in error.value.error


def test_a_failure_inside_a_stream_is_raised(start):
    # A hub that does not exist: the pull has begun, its answer's status has been sent.
    with ollama.Client(start(HF_ENDPOINT="http://127.0.0.1:9").url) as client:
        seen = []
        with pytest.raises(ollama.ResponseError) as error:
            for event in client.pull("chronos-bolt-tiny", stream=True):
                seen.append(event.status)
        assert seen and error.value.status_code == -1
        with pytest.raises(ollama.ResponseError) as error:
            client.pull("chronos-bolt-tiny")
        assert error.value.status_code == 502


def test_async_client(daemon):
    async def work():
        async with ollama.AsyncClient(daemon.url) as client:
            listed, shown = await asyncio.gather(client.list(), client.show("auto"))
            statuses = [event.status async for event in await client.pull("mock", stream=True)]
            with pytest.raises(ollama.ResponseError) as error:
                await client.show("nowhere")
            return names(listed), shown.modelfile, statuses, error.value.status_code

    listed, modelfile, statuses, status = asyncio.run(work())
    assert "auto" in listed and modelfile == "FROM auto\n"
    assert statuses[-1] == "success" and status == 404


def test_a_key_is_sent_as_ollama_sends_it(start, monkeypatch):
    daemon = start(TOLLAMA_API_KEYS="read:secret-key")
    monkeypatch.setenv("OLLAMA_API_KEY", "secret-key")
    with ollama.Client(daemon.url) as client:
        assert client.list().models
    monkeypatch.setenv("OLLAMA_API_KEY", "wrong")
    with ollama.Client(daemon.url) as client, pytest.raises(ollama.ResponseError) as error:
        client.list()
    assert error.value.status_code == 401
