"""Who may do what to a daemon, as SECURITY.md promises it: each test starts a real one."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat

import pytest
from certificate import make
from fake_hub import FakeHub
from http_probe import until

from tollama import Client
from tollama.core.errors import DaemonUnreachable, TollamaError

FORECAST = {"model": "naive", "horizon": 2, "series": [{"target": [1, 2, 3]}], "stream": False}
ADMIN = (
    ("POST", "/api/pull", {"model": "mock", "stream": False}),
    ("DELETE", "/api/pull", {"model": "mock"}),
    ("DELETE", "/api/delete", {"model": "mock"}),
    ("POST", "/api/copy", {"source": "naive", "destination": "mine"}),
    ("POST", "/api/create", {"model": "mine", "from": "naive"}),
    ("POST", "/v1/models/pull", {"name": "mock"}),
    ("DELETE", "/v1/models/mock", None),
)
FILES = {
    "config.json": json.dumps({"architectures": ["Chronos2Model"]}).encode(),
    "model.safetensors": bytes(range(256)) * 40,
}


def statuses(daemon, **headers):
    """What a caller may do: read, forecast, delete."""
    asks = (
        ("GET", "/api/tags", None),
        ("POST", "/v1/forecast", {k: v for k, v in FORECAST.items() if k != "stream"}),
        ("DELETE", "/api/delete", {"model": "mock"}),
    )
    return [daemon.request(method, path, body, **headers)[0] for method, path, body in asks]


# -- keys ----------------------------------------------------------------------------------------


def test_scopes_include_those_before_them(start):
    daemon = start(
        TOLLAMA_API_KEYS="read:read-key-1, forecast:forecast-1, admin:admin-key-1, plain-key-1"
    )
    assert statuses(daemon) == [401, 401, 401]
    assert daemon.request("GET", "/api/tags")[1]["WWW-Authenticate"] == "Bearer"
    assert statuses(daemon, Authorization="Bearer wrong-key-1") == [401, 401, 401]
    assert statuses(daemon, Authorization="Bearer read-key-1") == [200, 403, 403]
    assert statuses(daemon, Authorization="bearer forecast-1") == [200, 200, 403]
    assert statuses(daemon, X_API_Key="admin-key-1") == [200, 200, 404]
    assert statuses(daemon, X_API_Key="plain-key-1") == [200, 200, 404]
    assert statuses(daemon, Authorization="Bearer \xe9\xff-not-ascii") == [401, 401, 401]
    assert statuses(daemon, Authorization="Bearer ") == [401, 401, 401]
    assert daemon.request("GET", "/health/live")[0] == 200
    assert daemon.request("GET", "/api/version")[0] == 200


def test_a_key_is_made_used_and_taken_back_while_the_daemon_runs(start, tollama, tmp_path):
    daemon = start()
    assert statuses(daemon) == [200, 200, 404]
    made = daemon.run("keys", "add", "--scope", "forecast", "--name", "my dashboard")
    key = made.stdout.strip()
    assert key.startswith("tk-") and key not in made.stderr
    file = tmp_path / "home" / "api_keys"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in file.read_text() and "sha256:" in file.read_text()
    until(lambda: statuses(daemon) == [401, 401, 401], "the new key is asked for")
    assert statuses(daemon, X_API_Key=key) == [200, 200, 403]
    assert daemon.run("list", TOLLAMA_API_KEY=key).stdout
    refused = daemon.run("list", check=2)
    assert "TOLLAMA_API_KEY" in refused.stderr
    rows = json.loads(daemon.run("keys", "list").stdout)["keys"]
    assert [(row["scope"], row["note"][:12]) for row in rows] == [("forecast", "my dashboard")]
    admin = daemon.run("keys", "add", "--scope", "admin").stdout.strip()
    until(lambda: statuses(daemon, X_API_Key=admin) == [200, 200, 404], "a second key")
    for row in json.loads(daemon.run("keys", "list").stdout)["keys"]:
        daemon.run("keys", "remove", row["id"])
    # Without any key left a daemon that asked for keys stays closed.
    until(lambda: statuses(daemon, X_API_Key=admin) == [401, 401, 401], "the keys are gone")
    assert statuses(daemon) == [401, 401, 401]
    assert daemon.run("keys", "remove", "12345678", check=3).stderr
    assert daemon.run("keys", "remove", check=2).stderr
    assert not any(secret in "\n".join(daemon.log) for secret in (key, admin))


def test_a_file_of_keys_that_others_may_read_is_refused(start, tollama, tmp_path):
    (tmp_path / "home").mkdir()
    file = tmp_path / "home" / "api_keys"
    file.write_text("admin:some-secret-key\n")
    file.chmod(0o644)
    found = tollama("serve", "--port", "0", check=2)
    assert "chmod 600" in found.stderr and "some-secret-key" not in found.stderr
    file.chmod(0o600)
    daemon = start()
    assert statuses(daemon) == [401, 401, 401]
    file.write_text("admin:another-secret-key\n")
    file.chmod(0o666)

    def warned():
        return statuses(daemon) and any("stay in use" in line for line in daemon.log)

    until(warned, "a warning")
    assert statuses(daemon, X_API_Key="some-secret-key") == [200, 200, 404]
    assert statuses(daemon, X_API_Key="another-secret-key") == [401, 401, 401]


@pytest.mark.parametrize("text", ["short", "read:sha256:12", "admin:sha256:" + "z" * 64])
def test_keys_that_cannot_be_meant_are_refused_at_start(tollama, text):
    assert (
        "TOLLAMA_API_KEYS" in tollama("serve", "--port", "0", check=2, TOLLAMA_API_KEYS=text).stderr
    )


def test_a_caller_that_came_through_a_proxy_is_not_on_this_machine(start):
    daemon = start()
    for header in ("X_Forwarded_For", "Forwarded"):
        assert statuses(daemon, **{header: "203.0.113.9"}) == [200, 200, 403]
    status, _, data = daemon.request("POST", "/api/pull", {"model": "mock"}, X_Forwarded_For="::1")
    assert status == 403 and b"loopback only" in data


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # nothing is sent
            return sock.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def test_a_public_bind_without_keys_lets_others_read_and_forecast_only(start):
    address = own_address()
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    daemon = start(None, "--host", "0.0.0.0", "--port", "0")
    daemon.host = "127.0.0.1"
    assert statuses(daemon) == [200, 200, 404]
    assert any("without API keys" in line for line in daemon.log)
    daemon.host = address
    assert statuses(daemon) == [200, 200, 403]
    for method, path, body in ADMIN:
        assert daemon.request(method, path, body)[0] == 403, path


# -- read-only -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_read_only_daemon_serves_and_changes_nothing(start, tmp_path, how):
    home = tmp_path / "home"
    if how == "flag":
        daemon = start(home, "--port", "0", "--read-only", TOLLAMA_API_KEYS="admin:admin-key-1")
    else:
        daemon = start(home, TOLLAMA_READ_ONLY="1", TOLLAMA_API_KEYS="admin:admin-key-1")
    before = sorted(path.relative_to(home) for path in home.rglob("*"))
    for method, path, body in ADMIN:
        status, _, data = daemon.request(method, path, body, X_API_Key="admin-key-1")
        assert (status, json.loads(data)["code"]) == (403, "read_only"), path
        assert daemon.request(method, path, body)[0] == 401
    status, _, data = daemon.request("POST", "/api/forecast", FORECAST, X_API_Key="admin-key-1")
    assert status == 200
    info = json.loads(daemon.request("GET", "/api/info", X_API_Key="admin-key-1")[2])
    assert info["settings"]["TOLLAMA_READ_ONLY"] is True and info["daemon"]["read_only"] is True
    assert "Read-only" in daemon.run("info", TOLLAMA_API_KEY="admin-key-1").stdout
    found = daemon.run("pull", "mock", check=2, TOLLAMA_API_KEY="admin-key-1")
    assert "read-only" in found.stderr
    assert sorted(path.relative_to(home) for path in home.rglob("*")) == before


# -- limits of a client --------------------------------------------------------------------------


def test_a_client_over_its_rate_is_told_when_to_come_back(start):
    daemon = start(TOLLAMA_RATE_LIMIT="3/h", TOLLAMA_API_KEYS="read:first-key-1,read:second-key")
    ask = ("GET", "/api/tags", None)
    got = [daemon.request(*ask, X_API_Key="first-key-1") for _ in range(5)]
    assert [status for status, _, _ in got] == [200, 200, 200, 429, 429]
    assert json.loads(got[3][2])["code"] == "rate_limited"
    assert 1000 < int(got[3][1]["Retry-After"]) <= 1200
    assert daemon.request(*ask, X_API_Key="second-key")[0] == 200
    # Who guesses keys is counted by address.
    guesses = [daemon.request(*ask, X_API_Key=f"guess-{n}-key")[0] for n in range(5)]
    assert guesses == [401, 401, 401, 429, 429]
    assert [daemon.request("GET", "/health/live")[0] for _ in range(10)] == [200] * 10


def test_a_client_has_so_many_requests_at_once(start):
    daemon = start(TOLLAMA_MAX_PER_CLIENT="1")
    lines = json.dumps({k: v for k, v in FORECAST.items() if k not in ("series", "stream")})
    chunk = (lines + "\n").encode()
    streams = []

    def taken() -> bool:
        # A stream that arrives while the question below is answered is itself one too many.
        streams.append(http.client.HTTPConnection(daemon.host, daemon.port, timeout=30))
        streams[-1].putrequest("POST", "/api/forecast")
        streams[-1].putheader("Content-Type", "application/x-ndjson")
        streams[-1].putheader("Transfer-Encoding", "chunked")
        streams[-1].endheaders()
        streams[-1].send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        return any(daemon.request("GET", "/api/tags")[0] == 429 for _ in range(20))

    until(taken, "a stream takes the place")
    watching = streams.pop()
    for refused in streams:
        refused.close()
    watching.send(b"0\r\n\r\n")
    watching.getresponse().read()
    watching.close()
    until(lambda: daemon.request("GET", "/api/tags")[0] == 200, "the place is free again")


@pytest.mark.parametrize(
    "name, value",
    [("RATE_LIMIT", "5"), ("RATE_LIMIT", "0/s"), ("RATE_LIMIT", "-1/s"), ("RATE_LIMIT", "5/day"),
     ("MAX_PER_CLIENT", "-1"), ("ALLOWED_HUBS", "https://"), ("ALLOWED_HUBS", "ftp://x"),
     ("ALLOWED_HUBS", "*"), ("SOCKET_MODE", "rw"), ("READ_ONLY", "maybe"), ("TLS_KEY", "k.pem"),
     ("TLS_CERT", "/nowhere/cert.pem"), ("HOST", "unix:relative")],
)  # fmt: skip
def test_a_setting_that_cannot_be_read_ends_the_start(tollama, name, value):
    found = tollama("serve", check=2, **{"TOLLAMA_HOST": "127.0.0.1:0", f"TOLLAMA_{name}": value})
    assert f"TOLLAMA_{name}" in found.stderr


# -- hubs ----------------------------------------------------------------------------------------


@pytest.fixture
def hub():
    with FakeHub() as running:
        running.add("org/tiny", FILES)
        running.add("other/tiny", FILES)
        yield running


def pulled(daemon, name, **fields):
    headers = fields.pop("headers", {})
    body = {"model": name, "stream": False, **fields}
    status, _, data = daemon.request("POST", "/api/pull", body, **headers)
    return status, json.loads(data).get("error", "")


def test_only_hubs_and_organisations_on_the_list_are_pulled_from(start, hub):
    address = f"http://127.0.0.1:{hub.port}"
    daemon = start(HF_ENDPOINT=hub.url, TOLLAMA_ALLOWED_HUBS=f"huggingface.co/amazon {address}/org")
    assert pulled(daemon, "hf.co/org/tiny")[0] == 200
    seen = len(hub.requests)
    for endpoint, name in (
        (None, "hf.co/other/tiny"),
        (f"http://localhost:{hub.port}", "hf.co/org/tiny"),
        (f"http://127.0.0.1:{hub.port}/org/..", "hf.co/other/tiny"),
        (f"http://127.0.0.1:{hub.port}/org/%2e%2e", "hf.co/other/tiny"),
        (f"http://127.0.0.1:{hub.port}/org/x?", "hf.co/other/tiny"),
        (f"http://127.0.0.1:{hub.port}@localhost:{hub.port}/org", "hf.co/org/tiny"),
        ("http://huggingface.co", "hf.co/amazon/chronos-2"),
        ("https://huggingface.co.evil.example", "hf.co/amazon/chronos-2"),
        ("https://huggingface.co", "hf.co/amazonas/chronos-2"),
    ):
        fields = {} if endpoint is None else {"endpoint": endpoint}
        status, error = pulled(daemon, name, **fields)
        assert status == 403 and "TOLLAMA_ALLOWED_HUBS" in error, (endpoint, name, error)
    assert pulled(daemon, "hf.co/org/tiny", **{"from": f"127.0.0.1:{hub.port}"})[0] == 403
    assert len(hub.requests) == seen
    # Names of the registry come from somewhere too; mock has no files.
    assert pulled(daemon, "mock")[0] == 200


def test_a_redirect_never_leads_to_the_addresses_of_a_clouds_credentials(start, hub):
    hub.redirect_to = "http://169.254.169.254/latest/meta-data"
    daemon = start(HF_ENDPOINT=hub.url)
    status, error = pulled(daemon, "hf.co/org/tiny")
    assert status == 403 and "private network" in error


def test_a_caller_from_elsewhere_names_no_address_inside_and_no_path(start, hub, tmp_path):
    daemon = start(TOLLAMA_API_KEYS="admin:admin-key-1")
    here = {"X_API_Key": "admin-key-1"}
    elsewhere = {**here, "X_Forwarded_For": "203.0.113.9"}
    for fields in (
        {"endpoint": hub.url},
        {"from": f"127.0.0.1:{hub.port}"},
        {"endpoint": f"http://localhost:{hub.port}"},
        {"endpoint": f"http://[::ffff:127.0.0.1]:{hub.port}"},
        {"endpoint": "http://169.254.169.254"},
        {"http_proxy": hub.url, "endpoint": "http://hub.example"},
    ):
        status, error = pulled(daemon, "hf.co/org/tiny", headers=elsewhere, **fields)
        assert status == 403 and "private network" in error, (fields, status, error)
    assert not hub.requests
    for fields in ({"hf_home": str(tmp_path)}, {"ca_bundle": "/etc/shadow"}):
        status, error = pulled(daemon, "hf.co/org/tiny", headers=elsewhere, **fields)
        assert status == 403 and "on it" in error
    assert pulled(daemon, "hf.co/org/tiny", headers=here, endpoint=hub.url)[0] == 200


def test_a_configured_hub_inside_may_be_used_from_elsewhere(start, hub):
    daemon = start(HF_ENDPOINT=hub.url, TOLLAMA_API_KEYS="admin:admin-key-1")
    headers = {"X_API_Key": "admin-key-1", "X_Forwarded_For": "203.0.113.9"}
    assert pulled(daemon, "hf.co/org/tiny", headers=headers) == (200, "")


# -- https ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make(tmp_path_factory.mktemp("tls"))


def test_https_from_the_command_line_to_the_answer(start, pair, tollama, monkeypatch):
    daemon = start(None, "--port", "0", "--tls-cert", str(pair.cert), "--tls-key", str(pair.key))
    assert daemon.ready_line.split()[-1].startswith("https://127.0.0.1:")
    there = ("--base-url", daemon.url)
    series = json.dumps({**FORECAST, "quantiles": [0.1, 0.9]})
    found = tollama(
        "run", "naive", "--input", "-", *there, "--ca-bundle", str(pair.cert), stdin=series
    )
    assert json.loads(found.stdout)["forecasts"][0]["mean"] == [3.0, 3.0]
    for name in ("TOLLAMA_CA_BUNDLE", "SSL_CERT_FILE"):
        assert tollama("ps", *there, **{name: str(pair.cert)}).stdout
    named = daemon.url.replace("127.0.0.1", "localhost")
    assert tollama("ps", "--base-url", named, SSL_CERT_FILE=str(pair.cert)).stdout
    refused = tollama("list", *there, check=4)
    assert "is not trusted" in refused.stderr and "--ca-bundle" in refused.stderr
    assert "start one" not in refused.stderr
    missing = tollama("list", *there, "--ca-bundle", "/nowhere.pem", check=2)
    assert "/nowhere.pem" in missing.stderr
    plain = tollama("list", "--base-url", daemon.url.replace("https", "http"), check=2)
    assert "https://" in plain.stderr
    # A client.
    monkeypatch.setenv("SSL_CERT_FILE", str(pair.cert))
    assert Client(daemon.url).forecast([1.0, 2.0], horizon=1, model="naive").mean == [2.0]
    assert Client(daemon.url, ca_bundle=str(pair.cert)).version()
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(DaemonUnreachable, match="not trusted"):
        Client(daemon.url, retries=0).version()
    with pytest.raises(TollamaError, match="https"):
        Client(daemon.url.replace("https", "http")).version()


def test_https_streams_and_large_bodies(start, pair):
    daemon = start(TOLLAMA_TLS_CERT=str(pair.cert), TOLLAMA_TLS_KEY=str(pair.key))
    client = Client(daemon.url, ca_bundle=str(pair.cert))
    many = [{"id": str(n), "target": [float(n)] * 500} for n in range(2000)]
    forecast = client._http.call(
        "POST", "/v1/forecast", {"model": "naive", "horizon": 3, "series": many}
    )
    assert [one["mean"][0] for one in forecast["forecasts"]] == [float(n) for n in range(2000)]
    lines = list(
        client._http.stream(
            "/api/forecast",
            {
                "model": "naive",
                "horizon": 3,
                "series": many[:50],
                "options": {"stream_series": True},
            },
        )
    )
    assert sum("forecast" in line for line in lines) == 50 and lines[-1]["done"]


def test_a_name_that_the_certificate_lacks_is_not_trusted(start, pair, tollama):
    daemon = start(TOLLAMA_TLS_CERT=str(pair.cert), TOLLAMA_TLS_KEY=str(pair.key))
    url = daemon.url.replace("127.0.0.1", "127.0.0.2")
    found = tollama("list", "--base-url", url, "--ca-bundle", str(pair.cert), check=4)
    assert "not trusted" in found.stderr or "refused" in found.stderr


# -- sockets -------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path_factory):
    """A folder with a short name: paths of sockets have 107 bytes."""
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="t", dir="/tmp")
    yield f"{folder}/t.sock"
    shutil.rmtree(folder)


def test_a_daemon_on_a_socket_serves_the_command_line_and_clients(start, place, tollama, tmp_path):
    daemon = start(None, "--socket", place)
    assert daemon.url == f"unix://{place}"
    assert stat.S_IMODE(os.stat(place).st_mode) == 0o600
    there = {"TOLLAMA_HOST": f"unix://{place}"}
    assert tollama("pull", "mock", "--no-stream", **there).returncode == 0
    found = tollama("run", "naive", "--input", "-", stdin=json.dumps(FORECAST), **there)
    assert json.loads(found.stdout)["forecasts"][0]["mean"] == [3.0, 3.0]
    assert "in this process" not in found.stderr
    assert tollama("list", "--base-url", f"unix://{place}").stdout
    assert Client(f"unix://{place}").forecast([1.0, 2.0], horizon=1, model="naive").mean == [2.0]
    info = json.loads(tollama("info", "--json", **there).stdout)
    assert info["daemon"]["host_binding"] == f"unix://{place}"
    second = tollama("serve", "--socket", place, check=1)
    assert "another server listens there" in second.stderr
    assert daemon.stop() == 0
    assert not os.path.exists(place)
    gone = tollama("ps", check=4, **there)
    assert f"no daemon at unix://{place}" in gone.stderr


def test_a_socket_that_a_killed_daemon_left_is_taken_over(start, place, tmp_path):
    first = start(None, "--socket", place)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(20)
    assert os.path.exists(place)
    start(tmp_path / "two", "--socket", place)
    assert Client(f"unix://{place}").version()


def test_the_address_may_be_a_socket_for_both_ends(start, place, tollama):
    daemon = start(None, "--log-level", "info", TOLLAMA_HOST=f"unix://{place}",
                   TOLLAMA_SOCKET_MODE="0660")  # fmt: skip
    assert daemon.url == f"unix://{place}"
    assert stat.S_IMODE(os.stat(place).st_mode) == 0o660
    assert tollama("ps", TOLLAMA_HOST=f"unix://{place}").stdout


@pytest.mark.parametrize("address", ["unix:x.sock", "unix://x.sock", "unix:///", "unix://"])
def test_an_address_of_a_socket_is_a_whole_path(tollama, address):
    for found in (
        tollama("serve", check=2, TOLLAMA_HOST=address),
        tollama("list", check=2, TOLLAMA_HOST=address),
        tollama("list", "--base-url", address, check=2),
    ):
        assert "unix:///PATH" in found.stderr
    with pytest.raises(TollamaError, match="unix:///PATH"):
        Client(address.replace("///", "//"))


def test_a_socket_and_a_port_side_by_side(start, place):
    daemon = start(None, "--socket", place, "--port", "0")
    assert f"unix://{place} and http://" in daemon.ready_line
    assert daemon.request("GET", "/api/version")[0] == 200
    assert Client(f"unix://{place}").version()


# -- pages ---------------------------------------------------------------------------------------


def test_a_page_of_an_allowed_origin_may_ask_and_no_other(start):
    daemon = start(TOLLAMA_ORIGINS="https://app.example,https://*.corp.example")
    for origin, fine in (
        ("https://app.example", True),
        ("https://a.corp.example", True),
        ("https://app.example.evil.example", False),
        ("http://app.example", False),
        ("https://app.example:444", False),
        ("https://evil/x.corp.example", False),
        ("null", False),
    ):
        asked = {
            "Origin": origin,
            "Access_Control_Request_Method": "POST",
            "Access_Control_Request_Headers": "content-type, authorization",
        }
        status, headers, _ = daemon.request("OPTIONS", "/api/forecast", None, **asked)
        assert status == (204 if fine else 403), origin
        found = headers["Access-Control-Allow-Origin"]
        assert found == (origin if fine else None)
        if fine:
            assert "POST" in headers["Access-Control-Allow-Methods"]
            assert headers["Access-Control-Allow-Headers"] == "content-type, authorization"
            assert headers["Access-Control-Allow-Credentials"] is None
        json_type = {"Origin": origin, "Content_Type": "application/json"}
        status, headers, _ = daemon.request("POST", "/api/forecast", FORECAST, **json_type)
        assert status == (200 if fine else 403)
        assert headers["Access-Control-Allow-Origin"] == (origin if fine else None)
        assert ("Vary" in headers) == fine


def test_a_form_of_an_allowed_page_does_not_reach_a_handler(start):
    daemon = start(TOLLAMA_ORIGINS="*")
    form = {"Origin": "https://any.example", "Content_Type": "text/plain"}
    assert daemon.request("DELETE", "/api/delete", {"model": "mock"}, **form)[0] == 415


# -- the log -------------------------------------------------------------------------------------


def test_the_json_log_has_one_object_a_line_and_neither_bodies_nor_secrets(start, hub):
    secrets = ("hf_verysecrettoken", "tk-verysecretkey", "tq-secretquery", "bob:hunter2")
    daemon = start(TOLLAMA_LOG_FORMAT="json", TOLLAMA_API_KEYS="admin:tk-verysecretkey")
    key = {"Authorization": "Bearer tk-verysecretkey"}
    marked = {
        "model": "naive",
        "horizon": 2,
        "series": [{"id": "privateid", "target": [987654.25]}],
    }
    daemon.request("POST", "/v1/forecast", marked, X_Request_ID="my-id-1", **key)
    daemon.request("GET", "/api/tags?token=tq-secretquery", **key)
    daemon.request("GET", "/api/x%0d%0alevel=error%22}", **key)
    daemon.request("GET", "/api/tags", X_Request_ID='a"b{"level":"fake"}', **key)
    pulled(daemon, "hf.co/org/tiny", token="hf_verysecrettoken", endpoint=hub.url, headers=key)
    pulled(daemon, "hf.co/org/tiny", endpoint="http://bob:hunter2@127.0.0.1:9", headers=key)
    until(lambda: len([line for line in daemon.log if '"path"' in line]) >= 6, "six requests")
    daemon.stop()
    rows = [json.loads(line) for line in daemon.log]
    assert all({"time", "level"} <= set(row) for row in rows)
    assert [row["model"] for row in rows if row.get("id") == "my-id-1"] == ["naive"]
    text = "\n".join(daemon.log)
    for secret in (*secrets, "hunter2", "privateid", "987654"):
        assert secret not in text, secret
    assert {row["level"] for row in rows} <= {"info", "error", "warning"}
