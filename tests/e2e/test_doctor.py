"""`tollama doctor` on healthy and on broken machines: everything it looks at, broken for real."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from certificate import make
from fake_hub import FakeHub

from tollama.models.runtimes import CURRENT, RECORD

QUICK = ("doctor", "--quick", "--format", "json")
OFFLINE = (*QUICK, "--offline")


def findings(done):
    """Each check's worst finding."""
    order = ("ok", "note", "warning", "problem")
    rows = json.loads(done.stdout)["findings"]
    rows.sort(key=lambda row: order.index(row["level"]))
    return {one["check"]: one for one in rows}


def test_a_healthy_machine_has_no_problems(tollama):
    found = tollama("doctor", "--offline", "--format", "json", TOLLAMA_HOST="127.0.0.1:0")
    looks = findings(found)
    assert json.loads(found.stdout)["problems"] == 0
    for name in ("python", "home", "settings", "stats", "port"):
        assert looks[name]["level"] == "ok", name
    assert looks["disk"]["level"] in ("ok", "warning")
    assert looks["daemon"]["level"] == looks["gpu"]["level"] == "note" or looks["gpu"]
    assert "hub" not in looks


def test_settings_that_cannot_be_read_come_with_what_to_do(tollama, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.json").write_text("{")
    found = tollama(
        "doctor", "--offline", "--format", "json", check=1,
        TOLLAMA_MAX_QUEUE="many", TOLLAMA_CA_BUNDLE="/nowhere.pem", TOLLAMA_MODELS="x",
    )  # fmt: skip
    rows = json.loads(found.stdout)["findings"]
    texts = " ".join(row["text"] + row["fix"] for row in rows)
    assert "TOLLAMA_MAX_QUEUE: expected an integer" in texts
    assert "config.json" in texts
    assert "TOLLAMA_MODELS is not a setting" in texts
    assert json.loads(found.stdout)["problems"] >= 2


def test_it_prints_a_line_a_finding_with_its_fix_below(tollama, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    found = tollama("doctor", "--offline", "--quick", "--format", "table", check=1)
    assert f" XX  home         {home} may be written by others\n" in found.stdout
    assert f"-> chmod go-w {home}\n" in found.stdout
    assert found.stdout.endswith("1 problem(s) found\n")


@pytest.mark.parametrize("name, level", [("api_keys", "problem"), ("config.json", "warning")])
def test_private_files_that_others_may_read(tollama, tmp_path, name, level):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / name).write_text("" if name == "api_keys" else "{}")
    (home / name).chmod(0o644)
    looks = findings(tollama(*OFFLINE, check=None))
    assert looks["home"]["level"] == level
    assert looks["home"]["fix"] == f"chmod 600 {home / name}"


def test_a_home_that_is_a_file_or_below_one(tollama, tmp_path):
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        looks = findings(tollama(*OFFLINE, check=1, TOLLAMA_HOME=str(home)))
        assert looks["home"]["level"] == "problem" and "not a folder" in looks["home"]["text"]


def test_a_home_that_cannot_be_written(tollama, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    # To root every folder is open but those of the kernel.
    home = "/proc/tollama" if os.geteuid() == 0 else str(locked / "home")
    looks = findings(tollama(*OFFLINE, check=1, TOLLAMA_HOME=home))
    assert looks["home"]["level"] == "problem" and "chown" in looks["home"]["fix"]


def test_a_disk_that_is_nearly_full(tollama, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        looks = findings(tollama(*OFFLINE, TOLLAMA_HOME=str(small)))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert looks["disk"]["level"] == "warning" and "tollama rm" in looks["disk"]["fix"]


def test_the_daemon_is_recognised(daemon):
    looks = findings(daemon.run("doctor", "--offline", "--quick", "--format", "json"))
    assert looks["daemon"]["level"] == "ok"


class Stranger(http.server.BaseHTTPRequestHandler):
    answer = b"<html>"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[1]", b""])
def test_something_else_on_the_port(tollama, answer):
    handler = type("Handler", (Stranger,), {"answer": answer})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"127.0.0.1:{server.server_address[1]}"
        looks = findings(tollama(*OFFLINE, check=1, TOLLAMA_HOST=where))
        server.shutdown()
    assert looks["daemon"]["level"] == "problem"
    assert "--port" in looks["daemon"]["fix"]


def test_a_port_that_cannot_be_listened_on(tollama):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        looks = findings(tollama(*OFFLINE, check=1, TOLLAMA_HOST=where))
    assert looks["port"]["level"] == "problem" and "in use" in looks["port"]["text"]
    looks = findings(tollama(*OFFLINE, check=0, TOLLAMA_HOST="unix:///tmp/none.sock"))
    assert looks["daemon"]["level"] == "note"
    found = tollama(*OFFLINE, check=1, TOLLAMA_HOST="unix:///nowhere/none.sock")
    assert findings(found)["port"]["level"] == "problem"


def test_a_public_address_without_keys_or_tls(tollama):
    looks = findings(tollama(*OFFLINE, TOLLAMA_HOST="0.0.0.0:0"))
    assert looks["access"]["level"] == "warning" and "tollama keys add" in looks["access"]["fix"]
    public = {"TOLLAMA_HOST": "0.0.0.0:0", "TOLLAMA_API_KEYS": "admin:some-long-key"}
    looks = findings(tollama(*OFFLINE, **public))
    assert "without TLS" in looks["access"]["text"]


def ended(pair):
    """The same certificate, but of some time ago (openssl's command refuses to make one)."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization

    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    given = x509.load_pem_x509_certificate(pair.cert.read_bytes())
    made = (
        x509.CertificateBuilder()
        .subject_name(given.subject)
        .issuer_name(given.issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1))
        .not_valid_after(datetime(2020, 2, 1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def test_certificates_that_cannot_be_used_or_have_ended(tollama, tmp_path):
    soon = make(tmp_path, "soon")
    old = soon._replace(cert=tmp_path / "old.pem")
    old.cert.write_bytes(ended(soon))
    other = make(tmp_path, "other")
    for cert, key, level, text in (
        (soon.cert, soon.key, "warning", "ends in"),
        (old.cert, old.key, "problem", "in force from"),
    ):
        there = {"TOLLAMA_TLS_CERT": str(cert), "TOLLAMA_TLS_KEY": str(key)}
        looks = findings(tollama(*OFFLINE, check=None, TOLLAMA_HOST="127.0.0.1:0", **there))
        assert looks["tls"]["level"] == level and text in looks["tls"]["text"]
    there = {"TOLLAMA_TLS_CERT": str(soon.cert), "TOLLAMA_TLS_KEY": str(other.key)}
    looks = findings(tollama(*OFFLINE, check=1, **there))
    assert "key values mismatch" in looks["serving"]["text"]


def test_an_interpreter_that_is_named_and_does_not_do(tollama, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    for python in (str(broken), "/nowhere/python"):
        looks = findings(tollama(*OFFLINE, check=1, TOLLAMA_PYTHON_TORCH=python))
        assert looks["torch"]["level"] == "problem" and python in looks["torch"]["text"]
        assert "unset TOLLAMA_PYTHON_TORCH" in looks["torch"]["fix"]


def test_a_runtime_whose_python_is_gone(tollama, tmp_path):
    runtime = tmp_path / "home" / "runtimes" / "torch" / "some"
    runtime.mkdir(parents=True)
    record = dict.fromkeys(("version", "target", "build", "installed_at"), "x") | {"packages": []}
    (runtime / RECORD).write_text(json.dumps(record))
    (runtime.parent / CURRENT).write_text("some")
    looks = findings(tollama(*OFFLINE, check=1))
    assert looks["torch"]["level"] == "problem"
    assert looks["torch"]["fix"] == "tollama runtime install torch"


def test_a_runtime_that_does_not_forecast(tollama, tmp_path):
    """Its modules are found, and break when they are loaded."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    (packages,) = (tmp_path / "v").glob("lib/python*/site-packages")
    for name in ("torch", "chronos"):
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text("raise ImportError('libcudart is missing')")
    named = {"TOLLAMA_PYTHON_TORCH": str(tmp_path / "v" / "bin" / "python")}
    found = tollama("doctor", "--offline", "--format", "json", check=1, **named)
    torch = findings(found)["torch"]
    assert torch["level"] == "problem" and "libcudart" in torch["text"], torch


def test_a_python_without_ssl(pyz, tmp_path):
    script = (
        "import runpy, sys; sys.modules['_ssl'] = None; sys.argv[:] = sys.argv[1:]; "
        "sys.path.insert(0, sys.argv[0]); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    environ = {**os.environ, "TOLLAMA_HOME": str(tmp_path / "home"), "TOLLAMA_HOST": "127.0.0.1:0"}
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(pyz), *OFFLINE],
        env=environ, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert found.returncode == 1, found.stderr
    looks = findings(found)
    assert looks["python"]["level"] == "problem" and "no ssl" in looks["python"]["text"]


def test_a_driver_that_is_broken_or_too_old(tollama, tmp_path):
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    for script, text in (
        ("exit 9", "names no GPU"),
        ("echo 'NVIDIA A100, 8.0, 470.1, 40960 MiB'", "older than"),
        ("echo 'Tesla K80, 3.7, 580.1, 11441 MiB'", "compute capability 3.7"),
    ):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        path = f"{program.parent}:{os.environ['PATH']}"
        looks = findings(tollama(*OFFLINE, PATH=path))
        assert looks["gpu"]["level"] == "warning" and text in looks["gpu"]["text"]


def test_a_proxy_that_is_not_there_or_no_address(tollama):
    for proxy in ("http://127.0.0.1:9", "http://name.invalid:3128", "http://127.0.0.1:99999"):
        found = tollama(*OFFLINE, check=1, HTTPS_PROXY=proxy)
        looks = findings(found)
        assert looks["proxy"]["level"] == "problem", proxy
    found = tollama(*OFFLINE, check=1, HTTPS_PROXY="http://me:secretword@127.0.0.1:9")
    assert "secretword" not in found.stdout


def test_a_bundle_of_certificates_that_is_none(tollama, tmp_path):
    (tmp_path / "text.pem").write_text("hello")
    for bundle in ("/nowhere.pem", str(tmp_path / "text.pem")):
        looks = findings(tollama(*OFFLINE, check=1, TOLLAMA_CA_BUNDLE=bundle))
        assert looks["tls"]["level"] == "problem" and bundle in looks["tls"]["text"]


def test_a_hub_that_is_not_there_is_a_warning_with_the_way_out(tollama):
    found = tollama(*QUICK, HF_ENDPOINT="http://127.0.0.1:9")
    assert findings(found)["hub"]["level"] == "warning"
    assert "air-gap" in findings(found)["hub"]["fix"]


@pytest.mark.parametrize("seconds", [0, 3 * 3600, -86400])
def test_a_clock_that_differs_from_the_hubs(tollama, seconds):
    from email.utils import formatdate

    with FakeHub() as hub:
        hub.add("amazon/chronos-2", {"config.json": b"{}"})
        handler = hub._server.RequestHandlerClass
        handler.date_time_string = lambda self, *given: formatdate(
            time.time() - seconds, usegmt=True
        )
        looks = findings(tollama(*QUICK, check=None, HF_ENDPOINT=hub.url))
    assert looks["hub"]["level"] == "ok"
    assert looks["clock"]["level"] == ("problem" if seconds else "ok")
    if seconds:
        assert ("ahead of" if seconds > 0 else "behind") in looks["clock"]["text"]
        assert "timedatectl" in looks["clock"]["fix"]


def test_a_hub_that_is_not_allowed_is_not_asked(tollama):
    with FakeHub() as hub:
        found = tollama(*QUICK, HF_ENDPOINT=hub.url, TOLLAMA_ALLOWED_HUBS="hub.corp")
        assert findings(found)["hub"]["level"] == "note"
        assert not hub.requests


def test_a_folder_of_runners_that_is_broken(tollama, tmp_path):
    family = Path(tmp_path, "more", "broken")
    family.mkdir(parents=True)
    (family / "runner.json").write_text("{")
    found = tollama(*OFFLINE, check=1, TOLLAMA_RUNNERS=str(tmp_path / "more"))
    assert findings(found)["families"]["level"] == "problem"
