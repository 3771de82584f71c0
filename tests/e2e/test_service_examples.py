"""examples/service/: what can be tried of it here is tried, on the built file's daemon."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tollama.core import config
from tollama.daemon.routes import ROUTES

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "examples" / "service"
SERIES = [{"id": "a", "freq": "MS", "start": "2024-01-01", "target": [1, 2, 3, 4, 5, 6, 7, 8]}]
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
CADDY = shutil.which("caddy")
PATHS = {route.path for route in ROUTES if route.method == "GET"}
KNOWN = {setting.name for setting in config.SETTINGS}


@pytest.mark.parametrize("path", sorted(FILES.iterdir()), ids=lambda path: path.name)
def test_a_setting_that_an_example_names_exists(path):
    named = set(re.findall(r"\bTOLLAMA_[A-Z_]+\b", path.read_text()))
    # Kubernetes' own, named in a comment.
    assert named - {"TOLLAMA_PORT"} <= KNOWN


def test_every_example_is_in_the_page_on_deploying():
    page = (ROOT / "docs" / "deploy.md").read_text()
    for path in FILES.iterdir():
        assert f"`examples/service/{path.name}`" in page or path.name == "README.md", path.name


# Metrics


@pytest.fixture
def samples(daemon):
    """{sample name: its labels} of a daemon that has worked."""
    body = {"model": "seasonal-naive", "horizon": 3, "series": SERIES}
    daemon.json("POST", "/v1/forecast", body)
    text = daemon.request("GET", "/metrics")[2].decode()
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def expressions() -> list[str]:
    """Every expression of the dashboard and of the alerts."""
    board = json.loads((FILES / "grafana.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    found += [
        one["query"].removeprefix("label_values(").removesuffix(")")
        for one in board["templating"]["list"]
        if one["type"] == "query"
    ]
    rules = yaml.safe_load((FILES / "alerts.yml").read_text())
    return found + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_metrics_and_labels_that_are_there(samples, expression):
    named = re.findall(r"\b((?:tollama|process)_\w+|up)\b(?:\{([^}]*)\})?", expression)
    assert named, expression
    labels = {"instance", "job"}
    for name, selector in named:
        own = samples.get(name, set()) if name != "up" else set()
        assert name == "up" or name in samples, name
        assert set(re.findall(r"(\w+)\s*[=!]~?", selector)) <= own | labels, (name, selector)
    everything = labels.union(*(samples.get(name, set()) for name, _ in named))
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {one.strip() for one in group.split(",")} <= everything, group


def test_every_metric_of_models_is_on_the_dashboard(samples):
    board = (FILES / "grafana.json").read_text()
    for name in samples:
        if name.startswith("tollama_model_"):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in board, name


def test_panels_do_not_lie_on_each_other():
    board = json.loads((FILES / "grafana.json").read_text())
    seen = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert x < 24
                assert (x, y) not in seen, panel["title"]
                seen.add((x, y))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_prometheus_scrapes_the_port_of_the_daemon():
    found = yaml.safe_load((FILES / "prometheus.yml").read_text())
    [job] = found["scrape_configs"]
    assert job["job_name"] == "tollama"  # what the alerts and the dashboard ask for
    assert job["static_configs"][0]["targets"] == [f"127.0.0.1:{config.DEFAULT_PORT}"]
    assert found["rule_files"] == ["alerts.yml"]


# Containers


def dockerfile() -> dict[str, list[str]]:
    """The instructions by name, lines joined."""
    found: dict[str, list[str]] = {}
    text = re.sub(r"^#.*\n", "", (FILES / "Dockerfile").read_text(), flags=re.M)
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name:
            found.setdefault(name, []).append(" ".join(rest.split()))
    return found


def test_what_the_image_runs_serves_and_is_found_healthy(pyz, tmp_path):
    found = dockerfile()
    [copied] = found["COPY"]
    assert shlex.split(copied)[-2:] == ["tollama.pyz", "/opt/tollama/tollama.pyz"]
    environ = dict(part.split("=", 1) for part in shlex.split(found["ENV"][0]))
    assert set(environ) <= KNOWN
    assert found["USER"] == ["11435"]
    assert found["VOLUME"] == [environ["TOLLAMA_HOME"]]
    command = [*json.loads(found["ENTRYPOINT"][0]), *json.loads(found["CMD"][0])]
    command = [word.replace("/opt/tollama/tollama.pyz", str(pyz)) for word in command]
    check = json.loads(found["HEALTHCHECK"][0].partition("CMD ")[2])
    assert command[0] == check[0] == "python3"
    command[0] = check[0] = sys.executable

    environ.update(TOLLAMA_HOME=str(tmp_path), TOLLAMA_HOST="0.0.0.0:0")
    served = subprocess.Popen(
        command, env=environ, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        port = served.stdout.readline().strip().rpartition(":")[2]
        here = [word.replace(":11435/", f":{port}/") for word in check]
        assert here != check
        assert subprocess.run(here, env={}, timeout=60).returncode == 0
    finally:
        served.terminate()
        assert served.wait(20) == 0
        served.stdout.close()
    gone = subprocess.run(here, env={}, timeout=60, capture_output=True)
    assert gone.returncode == 1


def test_compose_builds_the_image_that_is_here():
    [tollama] = yaml.safe_load((FILES / "compose.yaml").read_text())["services"].values()
    context = (FILES / tollama["build"]["context"]).resolve()
    assert context == ROOT / "dist"
    assert (context / tollama["build"]["dockerfile"]).resolve() == FILES / "Dockerfile"
    volume = tollama["volumes"][0]
    assert volume == f"models:{dockerfile()['VOLUME'][0]}"


def test_kubernetes_objects_fit_each_other_and_the_daemon():
    objects = {
        one["kind"]: one for one in yaml.safe_load_all((FILES / "kubernetes.yaml").read_text())
    }
    assert all(
        one["metadata"].get("namespace") == objects["Namespace"]["metadata"]["name"]
        for kind, one in objects.items()
        if kind != "Namespace"
    )
    spec = objects["Deployment"]["spec"]
    assert spec["replicas"] > 1
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"].items() <= labels.items()
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    assert container["ports"][0]["containerPort"] == config.DEFAULT_PORT
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in PATHS
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    environ = {one["name"]: one for one in container["env"]}
    assert set(environ) <= KNOWN
    for name, one in environ.items():
        if "value" in one:
            config.get(name, {name: one["value"]})
    reference = environ["TOLLAMA_API_KEYS"]["valueFrom"]["secretKeyRef"]
    assert reference["name"] == objects["Secret"]["metadata"]["name"]
    keys = objects["Secret"]["stringData"][reference["key"]]
    assert len(config.get("TOLLAMA_API_KEYS", {"TOLLAMA_API_KEYS": keys})) == 3
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    [mount] = [one for one in container["volumeMounts"] if one["name"] in claims]
    assert mount["mountPath"] == environ["TOLLAMA_HOME"]["value"]
    assert claims[mount["name"]] == objects["PersistentVolumeClaim"]["metadata"]["name"]


# Reverse proxies


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


SITE = "forecast.example.com"


@pytest.fixture(params=["nginx", "caddy"])
def proxied(request, start, tmp_path):
    """A daemon with a key behind a proxy with the example's configuration: (ports, TLS context)."""
    program = {"nginx": NGINX, "caddy": CADDY}[request.param]
    if program is None or shutil.which("openssl") is None:
        pytest.skip(f"needs {request.param} and openssl")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={SITE}"),
            *("-addext", f"subjectAltName=DNS:{SITE}"),
            *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    daemon = start(
        TOLLAMA_ALLOWED_HOSTS=SITE, TOLLAMA_ORIGINS=f"https://{SITE}", TOLLAMA_API_KEYS="k" * 12
    )
    ports = free_port(), free_port()
    configure = {"nginx": nginx_at, "caddy": caddy_at}[request.param]
    command = configure(tmp_path, program, f"{daemon.host}:{daemon.port}", *ports)
    env = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    proxy = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    try:
        for port in ports:
            until = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=5).close()
                    break
                except OSError:
                    assert proxy.poll() is None and time.monotonic() < until
                    time.sleep(0.01)  # between two looks
        yield *ports, context
    finally:
        proxy.terminate()
        proxy.wait(20)


def changed(text: str, *pairs: tuple[str, str]) -> str:
    """A configuration with what is of another machine replaced."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def checked(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def nginx_at(folder: Path, program: str, daemon: str, port: int, plain: int) -> list[str]:
    """The command that runs nginx with the example in a folder."""
    text = changed(
        (FILES / "nginx.conf").read_text(),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("listen 80", f"listen 127.0.0.1:{plain}"),
        ("127.0.0.1:11435;", f"{daemon};"),
        (f"/etc/ssl/{SITE}.pem", f"{folder}/cert.pem"),
        (f"/etc/ssl/{SITE}.key", f"{folder}/key.pem"),
    )
    (folder / "site.conf").write_text(text)
    temp = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;"
        f"events {{}} http {{ access_log off; {temp} include {folder}/site.conf; }}"
    )
    options = ["-p", str(folder), "-c", str(folder / "nginx.conf")]
    checked(program, "-t", *options)
    return [program, *options]


def caddy_is_old(program: str) -> bool:
    """Whether a Caddy cannot answer over HTTP/1.1 while it still reads."""
    said = subprocess.run([program, "version"], capture_output=True, text=True, timeout=60).stdout
    return tuple(map(int, re.search(r"(\d+)\.(\d+)", said).groups())) < (2, 8)


def caddy_at(folder: Path, program: str, daemon: str, port: int, plain: int) -> list[str]:
    """The command that runs Caddy with the example in a folder."""
    tls = f"tls {folder}/cert.pem {folder}/key.pem"
    text = changed(
        (FILES / "Caddyfile").read_text(),
        (f"\n{SITE} {{", f"\n{SITE} {{\n{tls}"),
        ("reverse_proxy 127.0.0.1:11435", f"reverse_proxy {daemon}"),
        ("\n{\n", f"\n{{\nadmin off\nhttp_port {plain}\nhttps_port {port}\n"),
    )
    if caddy_is_old(program):
        text = changed(text, ("enable_full_duplex", ""))
    (folder / "Caddyfile").write_text(text)
    options = ["--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    checked(program, "validate", *options)
    return [program, "run", *options]


def connect(proxied) -> http.client.HTTPSConnection:
    port, _, context = proxied
    made = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
    raw = socket.create_connection(("127.0.0.1", port), timeout=60)
    made.sock = context.wrap_socket(raw, server_hostname=SITE)
    return made


def ask(proxied, method: str, path: str, body: bytes | None = None, **headers: str):
    connection = connect(proxied)
    try:
        names = {"Host": SITE, **headers}
        connection.request(method, path, body, names)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


KEY = {"Authorization": "Bearer " + "k" * 12}


def test_through_a_proxy_a_key_is_needed_and_the_page_works(proxied):
    status, _, body = ask(proxied, "GET", "/", Accept="text/html")
    assert (status, b"<!doctype html>" in body[:200].lower()) == (200, True)
    assert ask(proxied, "GET", "/api/tags")[0] == 401
    status, headers, _ = ask(proxied, "GET", "/api/tags", Origin=f"https://{SITE}", **KEY)
    assert status == 200
    assert headers["X-Request-ID"]
    assert ask(proxied, "GET", "/api/tags", Origin="https://elsewhere.example", **KEY)[0] == 403
    assert ask(proxied, "GET", "/metrics", **KEY)[0] == 404


def test_a_proxy_sends_plain_http_to_https(proxied):
    connection = http.client.HTTPConnection("127.0.0.1", proxied[1], timeout=60)
    connection.request("GET", "/api/version", headers={"Host": SITE})
    answer = connection.getresponse()
    assert answer.status in (301, 308)
    where = answer.headers["Location"]
    assert where in (f"https://{SITE}/api/version", f"https://{SITE}:{proxied[0]}/api/version")
    connection.close()


def test_through_a_proxy_an_answer_comes_while_the_body_is_still_being_sent(proxied, request):
    if request.node.callspec.params["proxied"] == "caddy" and caddy_is_old(CADDY):
        pytest.skip("needs Caddy 2.8")
    with contextlib.closing(connect(proxied)) as connection:
        connection.putrequest("POST", "/api/forecast", skip_host=True)
        for name, value in {
            "Host": SITE,
            "Content-Type": "application/x-ndjson",
            "Transfer-Encoding": "chunked",
            **KEY,
        }.items():
            connection.putheader(name, value)
        connection.endheaders()

        def send(value: dict) -> None:
            line = json.dumps(value).encode() + b"\n"
            connection.send(b"%x\r\n%s\r\n" % (len(line), line))

        send({"model": "seasonal-naive", "horizon": 2})
        # Enough that the first slice is full and runs; the rest of the body is not sent yet.
        for number in range(600):
            send({"id": f"s{number}", "target": [1, 2, 3, 4]})
        answer = connection.getresponse()
        first = json.loads(answer.readline())
        assert first["forecast"]["id"] == "s0"
        send({"id": "last", "target": [5, 6, 7, 8]})
        connection.send(b"0\r\n\r\n")
        lines = [json.loads(line) for line in answer]
        assert lines[-2]["forecast"]["id"] == "last"
        assert (lines[-1]["series"], lines[-1]["failed"]) == (601, 0)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_prometheus_accepts_its_configuration():
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"],
        cwd=FILES, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path):
    rules = [
        {"record": f"panel:{number}", "expr": one.replace("$__rate_interval", "5m")}
        for number, one in enumerate(expressions())
        if not re.fullmatch(r"\w+, \w+", one)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
