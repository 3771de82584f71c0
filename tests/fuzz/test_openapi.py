"""/openapi.json as a promise: whatever a schema allows, and much that it does not, gets an answer
in the contract's shape from a real daemon.

`make fuzz` runs schemathesis over the same description when it is installed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from fuzz.daemons import DELIBERATE, Daemon, keeps_to_the_contract
from fuzz.harness import SECONDS, once, rounds
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# Where a name leads out of the sandbox, or a number would wait for its own sake.
LEFT_OUT = {"hf_home", "ca_bundle", "stall_timeout", "endpoint", "from"}
MODELS = ["naive", "seasonal-naive", "mock", "auto", "no-such", "hf.co/org/name", "naive:latest"]
PATHS = [
    "naive",
    "x",
    "a/b",
    "%2e%2e",
    "..%2f..",
    "api/models/mock/revision/main",
    "app.js",
    "\u00e9",
]
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([10**30, 0.5, -1e308, 1e-320]),
    st.text(max_size=4), st.just([]), st.just({}), st.just([[None]]), st.just("\ud800"),
)  # fmt: skip


def values(schema: dict, schemas: dict, depth: int = 0) -> st.SearchStrategy:
    """Values that a schema allows; one in a few is odd, since the daemon must refuse well too."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return values(schemas[name], schemas, depth)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return st.one_of(*(values(one, schemas, depth) for one in options))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        required = set(schema.get("required") or ())
        fields = {}
        for name, one in schema["properties"].items():
            if name not in LEFT_OUT:
                fields[name] = field(name, one, schemas, depth)
        return st.fixed_dictionaries(
            {name: made for name, made in fields.items() if name in required},
            optional={name: made for name, made in fields.items() if name not in required},
        )
    if kind == "object":
        inner = schema.get("additionalProperties")
        inner = values(inner, schemas, depth + 1) if isinstance(inner, dict) else ODD
        return st.dictionaries(st.sampled_from(["a", "promo", "season_length"]), inner, max_size=2)
    if kind == "array":
        inner = values(schema.get("items") or {}, schemas, depth + 1)
        return st.lists(inner, max_size=5)
    plain = {
        "string": st.sampled_from(["naive", "D", "MS", "2024-01-01", "", "x", "5m", "0.1"]),
        "integer": st.integers(0, 12),
        "number": st.sampled_from([0, 1, 0.5, 0.9, -2.5, 100, 1e10]),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return plain.get(kind, ODD)


def field(name: str, schema: dict, schemas: dict, depth: int) -> st.SearchStrategy:
    """A field of a body: mostly as its schema says, sometimes with a value that makes sense."""
    good = values(schema, schemas, depth)
    if name in ("model", "name", "source", "unique_id"):
        good = st.one_of(st.sampled_from(MODELS), good)
    if name in ("target", "y", "actuals"):
        good = st.one_of(st.lists(st.integers(0, 9), min_size=1, max_size=9), good)
    if name == "timeout":
        good = st.sampled_from([1, 5, 0.001])
    return st.integers(0, 11).flatmap(lambda n: ODD if n == 0 else good)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    running = Daemon(tmp_path_factory.mktemp("openapi") / "home", TOLLAMA_REQUEST_TIMEOUT="10")
    running.ask("POST", "/api/pull", b'{"model":"mock","stream":false}')
    yield running
    running.stop()


def test_every_route_keeps_to_the_contract_whatever_it_is_sent(daemon):
    document = json.loads(daemon.ask("GET", "/openapi.json").body)
    schemas = document["components"]["schemas"]
    operations = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            body = ODD if schema is None else st.one_of(values(schema, schemas), ODD)
            operations.append((method.upper(), path, body if method != "get" else st.none()))
    assert len(operations) > 30

    def run(data: st.DataObject) -> None:
        method, path, body = data.draw(st.sampled_from(operations))
        if "{" in path:
            head, _, rest = path.partition("{")
            path = head + data.draw(st.sampled_from(PATHS)) + rest.partition("}")[2]
            path = path.encode().decode("latin-1")
        value = data.draw(body)
        sent = b"" if method == "GET" else json.dumps(value).encode()
        answer = daemon.ask(method, path, sent, "application/json" if sent else "")
        keeps_to_the_contract(answer, nixtla=path.startswith(("/v2/", "/validate")))

    once(run, st.data(), None, 250)
    for number in rounds():
        once(run, st.data(), number, 300)
    daemon.alive()


@pytest.mark.skipif(not SECONDS, reason="make fuzz runs it")
@pytest.mark.timeout(900)
def test_schemathesis_finds_no_defect(daemon, tmp_path):
    command = shutil.which("schemathesis") or os.path.join(os.path.dirname(sys.executable), "st")
    if not os.path.exists(command):
        pytest.skip("schemathesis is not installed")
    fine = ["2xx", "3xx", "4xx", *map(str, sorted(DELIBERATE))]
    config = tmp_path / "schemathesis.toml"
    config.write_text(f"[checks.not_a_server_error]\nexpected-statuses = {json.dumps(fine)}\n")
    address = f"http://127.0.0.1:{daemon.address[1]}"
    done = subprocess.run(
        [
            command, "--config-file", str(config), "run", f"{address}/openapi.json", "--checks",
            "not_a_server_error",
            "--exclude-path-regex", "pull|generate", "--max-examples", "30", "--phases", "fuzzing",
            "--seed", "1",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-1000:]
    daemon.alive()
