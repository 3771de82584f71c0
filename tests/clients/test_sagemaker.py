"""boto3's sagemaker-runtime, unpatched, against the daemon."""

from __future__ import annotations

import json

import pytest

boto3 = pytest.importorskip("boto3")
botocore = pytest.importorskip("botocore.exceptions")

# botocore uses what Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore")


def runtime(url, key="any"):
    from botocore.config import Config

    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key="any",
        config=Config(retries={"max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def client(daemon):
    return runtime(daemon.url)


def invoke(client, body, *, name="auto", **more):
    more.setdefault("ContentType", "application/json")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.invoke_endpoint(EndpointName=name, Body=data, **more)
    return answer["Body"].read()


def predictions(client, body, **more):
    return json.loads(invoke(client, body, **more))["predictions"]


def test_a_series_equals_the_native_forecast(client, daemon, passengers):
    _, values = passengers
    [found] = predictions(
        client,
        {
            "inputs": [{"target": values, "item_id": "air", "start": "1949-01-01"}],
            "parameters": {"prediction_length": 12, "freq": "MS"},
        },
    )
    native = daemon.forecast(values, 12, quantiles=[0.1, 0.5, 0.9])
    assert found.pop("item_id") == "air" and found.pop("start").startswith("1961-01-01")
    assert found == {"mean": native["mean"], **native["quantiles"]}


def test_last_year_repeats(client, passengers):
    _, values = passengers
    [found] = predictions(
        client,
        {
            "inputs": [{"target": values[:132], "start": "1949-01-01"}],
            "parameters": {"prediction_length": 12, "freq": "MS"},
        },
        name="seasonal-naive",
    )
    assert found["mean"] == values[120:132]


def test_defaults_are_those_of_the_endpoint(client):
    found = predictions(client, {"inputs": [{"target": [1, 2, 3, 4, 5]}] * 2})
    assert len(found) == 2
    assert all(set(one) == {"mean", "0.1", "0.5", "0.9"} for one in found)
    assert all(len(values) == 1 for values in found[0].values())


def test_asked_quantiles_are_the_keys(client):
    [found] = predictions(
        client,
        {
            "inputs": [{"target": [1, 2, 3, 4, 5, None, 7]}],
            "parameters": {"quantile_levels": [0.95, 0.025], "prediction_length": 3},
        },
    )
    assert set(found) == {"mean", "0.025", "0.95"}
    assert all(low < high for low, high in zip(found["0.025"], found["0.95"], strict=True))


def test_several_dimensions(client, daemon):
    daemon.call("POST", "/api/pull", {"model": "mock", "stream": False})
    target = [[1, 2, 3, 4, 5], [10, 20, 30, 40, 50]]
    [found] = predictions(
        client,
        {"inputs": [{"target": target}], "parameters": {"prediction_length": 2}},
        name="mock",
    )
    assert found["mean"] == [[5, 5], [50, 50]] and found["0.9"] == [[5, 5], [50, 50]]
    with pytest.raises(client.exceptions.ClientError) as error:
        predictions(client, {"inputs": [{"target": target}]})
    assert error.value.response["Error"]["Code"] == "ValidationError"
    assert "one target" in error.value.response["Error"]["Message"]


def test_covariates_are_taken(client):
    body = {
        "inputs": [
            {
                "target": [1, 2, 3, 4, 5, 6],
                "past_covariates": {"price": [1, 1, 2, 2, 1, 1], "kind": list("ababab")},
                "future_covariates": {"price": [2, 2]},
            }
        ],
        "parameters": {"prediction_length": 2},
    }
    found = json.loads(invoke(client, body))
    plain = predictions(
        client,
        {"inputs": [{"target": [1, 2, 3, 4, 5, 6]}], "parameters": {"prediction_length": 2}},
    )
    assert found["predictions"] == plain
    assert any("price" in text for text in found["warnings"])


def test_json_lines(client):
    lines = [{"inputs": [{"target": [k] * 6}]} for k in range(3)]
    body = "\n".join(map(json.dumps, lines)).encode()
    found = invoke(client, body, ContentType="application/jsonlines").splitlines()
    assert [json.loads(line)["predictions"][0]["mean"] for line in found] == [[0], [1], [2]]


def test_names_are_decoded_and_a_target_model_wins(client, daemon, passengers):
    daemon.call("POST", "/api/copy", {"source": "naive", "destination": "my.model_1"})
    body = {"inputs": [{"target": passengers[1]}]}
    [found] = predictions(client, body, name="my.model_1")
    assert found["mean"] == [432]
    [found] = predictions(client, body, name="anything", TargetModel="naive")
    assert found["mean"] == [432]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "inputs: this field is required"),
        ({"inputs": []}, "at least one"),
        ({"inputs": [{"target": [1, 2, 3, 4]}]}, "at least 5 observations"),
        ({"inputs": [{"target": ["a"] * 5}]}, "target"),
        ({"inputs": [{"target": [1] * 5, "item_id": "x"}] * 2}, "inputs[1].item_id"),
        (
            {"inputs": [{"target": [1] * 5}], "parameters": {"freq": "D"}},
            "inputs[0].start: this field is required",
        ),
        (
            {"inputs": [{"target": [1] * 5}], "parameters": {"quantile_levels": [2]}},
            "parameters.quantile_levels[0]",
        ),
        (
            {"inputs": [{"target": [1] * 5}], "parameters": {"prediction_length": 0}},
            "parameters.prediction_length",
        ),
        (
            {"inputs": [{"target": [1] * 5, "future_covariates": {"x": [1]}}]},
            "past_covariates",
        ),
        (b"{", "not valid JSON"),
    ],
)
def test_bad_requests_are_validation_errors(client, body, text):
    with pytest.raises(client.exceptions.ClientError) as error:
        invoke(client, body)
    found = error.value.response
    assert found["Error"]["Code"] == "ValidationError"
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert text in found["Error"]["Message"], found["Error"]["Message"]


def test_an_unknown_endpoint_is_a_validation_error(client):
    with pytest.raises(client.exceptions.ClientError) as error:
        invoke(client, {"inputs": [{"target": [1] * 5}]}, name="nowhere")
    assert error.value.response["Error"]["Code"] == "ValidationError"
    assert "nowhere" in error.value.response["Error"]["Message"]


def test_a_model_that_fails_is_a_model_error(start, tmp_path):
    folder = tmp_path / "runners" / "broken"
    package = folder / "tollama_broken"
    package.mkdir(parents=True)
    (folder / "runner.json").write_text(
        json.dumps(
            {
                "family": "broken",
                "protocol": 1,
                "module": "tollama_broken",
                "batch": {"max_series": 8},
                "models": [{"name": "broken", "source": {"type": "builtin"}}],
            }
        )
    )
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "from tollama.core.runner_sdk import Runner, serve\n"
        "class Broken(Runner):\n"
        "    name = 'broken'\n"
        "    def load(self, *, model, path, options):\n"
        "        return {}\n"
        "    def forecast(self, request):\n"
        "        raise ValueError('the weights are upside down')\n"
        "serve(Broken())\n"
    )
    client = runtime(start(TOLLAMA_RUNNERS=str(tmp_path / "runners")).url)
    with pytest.raises(client.exceptions.ModelError) as error:
        invoke(client, {"inputs": [{"target": [1] * 5}]}, name="broken")
    found = error.value.response
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert found["OriginalStatusCode"] == 502
    assert "upside down" in found["OriginalMessage"]


def test_the_access_key_is_the_api_key(start):
    url = start(TOLLAMA_API_KEYS="forecast:secret-key").url
    body = {"inputs": [{"target": [1, 2, 3, 4, 5]}]}
    assert predictions(runtime(url, "secret-key"), body)
    with pytest.raises(botocore.ClientError) as error:
        predictions(runtime(url, "wrong-key"), body)
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401


def test_a_container_answers_ping_and_invocations(daemon, passengers):
    assert daemon.call("GET", "/ping") is None
    body = {"inputs": [{"target": passengers[1]}], "parameters": {"prediction_length": 2}}
    [found] = daemon.call("POST", "/invocations", body)["predictions"]
    assert found["mean"] == daemon.forecast(passengers[1], 2, freq=None)["mean"]
    named = daemon.call("POST", "/invocations", body, **{"X-Amzn-SageMaker-Target-Model": "naive"})
    assert named["predictions"][0]["mean"] == [432, 432]


def test_unknown_paths_answer_as_sagemaker(daemon):
    found = daemon.call("POST", "/endpoints/auto/nowhere", {}, status=400)
    assert "no such path" in found["Message"]
    assert "takes POST" in daemon.call("GET", "/invocations", status=400)["Message"]
