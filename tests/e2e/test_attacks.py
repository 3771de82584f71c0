"""Known attacks on daemons of this kind, each tried on a real one."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import re
import socket
import stat
import threading
from pathlib import Path

import pytest
from http_probe import until

SECRETS = {
    "TOLLAMA_HF_TOKEN": "hf_childmustnotsee1",
    "HF_TOKEN": "hf_childmustnotsee2",
    "AWS_SECRET_ACCESS_KEY": "childmustnotsee3",
    "OPENAI_API_KEY": "childmustnotsee4",
    "HTTPS_PROXY": "http://me:childmustnotsee5@127.0.0.1:9",
    "PYTHONPATH": "/tmp/childmustnotsee6",
    "LD_PRELOAD": "",
}


def raw(daemon, data, *, size=1 << 20):
    """Bytes out, what comes back until the end."""
    with socket.create_connection((daemon.host, daemon.port), timeout=20) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        found = b""
        while len(found) < size and (part := sock.recv(65536)):
            found += part
        return found


# -- paths ---------------------------------------------------------------------------------------

BAD_NAMES = ("../../etc/passwd", "/etc/passwd", "..", "a/../../b", "\\\\host\\share", "nul", "x\0y",
             "....//etc", "file:///etc/passwd", "~/.ssh/id_rsa", "a" * 5000)  # fmt: skip


def test_a_name_is_never_a_path_and_says_nothing_of_the_disk(daemon):
    """The same status for a file that exists and for one that does not; no path in any error."""
    asks = (
        ("POST", "/api/show", lambda n: {"model": n}),
        ("DELETE", "/api/delete", lambda n: {"model": n}),
        ("POST", "/api/copy", lambda n: {"source": n, "destination": "x"}),
        ("POST", "/api/copy", lambda n: {"source": "naive", "destination": n}),
        ("POST", "/api/pull", lambda n: {"model": n, "stream": False}),
        ("POST", "/api/create", lambda n: {"model": "x", "from": n}),
        ("POST", "/v1/forecast", lambda n: {"model": n, "horizon": 1, "series": [{"target": [1]}]}),
    )
    for method, path, made in asks:
        for name in BAD_NAMES:
            status, _, data = daemon.request(method, path, made(name))
            assert status == 400, (path, name, data)
            assert str(daemon.home).encode() not in data
        there = daemon.request(method, path, made("/etc/passwd"))
        absent = daemon.request(method, path, made("/etc/passwx"))
        assert there[0] == absent[0]
        assert there[2].replace(b"passwd", b"") == absent[2].replace(b"passwx", b"")


@pytest.mark.parametrize(
    "target",
    ["/web/../../../etc/passwd", "/web/%2e%2e/%2e%2e/etc/passwd", "/web//etc/passwd",
     "/hub/../../etc/passwd", "/hub/api/models/..%2f..%2fetc/passwd", "/web/..%5c..%5cetc%5cpasswd",
     "/hub/org/tiny/resolve/main/../../../../etc/passwd", "/v1/models/../../etc/passwd",
     "/hub/org/tiny/resolve/main/%2fetc%2fpasswd", "/web/app.js%00.png"],
)  # fmt: skip
def test_a_path_of_a_url_stays_where_it_belongs(daemon, target):
    for method in ("GET", "DELETE"):
        answer = raw(daemon, f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert answer.split(b" ")[1] in (b"400", b"404", b"405"), answer[:200]
        assert b"root:" not in answer and str(daemon.home).encode() not in answer


# -- secrets -------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_runner_sees_no_secret_and_no_connection(start):
    daemon = start(**SECRETS)
    daemon.json(
        "POST", "/v1/forecast", {"model": "naive", "horizon": 1, "series": [{"target": [1]}]}
    )
    runner = next(one for one in daemon.json("GET", "/api/info")["runners"] if one["running"])
    pid = runner["pid"]
    environ = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"childmustnotsee" not in environ
    assert b"HF_HUB_OFFLINE=1" in environ
    for fd in os.listdir(f"/proc/{pid}/fd"):
        if int(fd) > 2:
            assert not os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:"), fd
    assert os.getsid(pid) == pid != os.getsid(daemon.process.pid)
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max core file size +0 ", limits)
    assert b"childmustnotsee" not in daemon.request("GET", "/api/info")[2]


def test_what_is_private_is_for_its_owner_only(start, tmp_path):
    before = os.umask(0)
    try:
        daemon = start()
        daemon.json("POST", "/api/pull", {"model": "mock", "stream": False})
        daemon.run("config", "set", "pull.max_workers", "2")
    finally:
        os.umask(before)
    home = tmp_path / "home"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "config.json").stat().st_mode) == 0o600


def test_a_request_cannot_forge_a_line_of_the_log(start):
    daemon = start()
    fake = "2026-01-01T00:00:00Z error msg=forged"
    for data in (
        f"GET /a%0a{fake.replace(' ', '%20')} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"GET /x HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: a\t{fake} status=200\r\n\r\n",
        "GET /x\x1b[2J HTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"GET /x HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: a\n{fake}\r\n\r\n",
        f'GET /status=200"level=error HTTP/1.1\r\nHost: x\r\nX-Request-ID: {"i" * 9000}\r\n\r\n',
    ):
        raw(daemon, data.encode("latin-1"))
    until(lambda: len([line for line in daemon.log if "status=" in line]) >= 5, "five lines")
    for line in daemon.log:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (info|warning|error) ", line), line
        assert not line.startswith(fake)
        assert line.isprintable() and len(line) < 2000


# -- bombs ---------------------------------------------------------------------------------------


def test_compressed_bodies_are_not_unpacked(daemon):
    bomb = gzip.compress(b"[" + b"0," * 10_000_000 + b"0]")
    for coding in ("gzip", "deflate", "br", "gzip, gzip"):
        status, _, data = daemon.request("POST", "/v1/forecast", bomb, Content_Encoding=coding)
        assert status == 415, (coding, data)


DEEP = b'{"model":"naive","horizon":1,"series":' + b"[" * 200_000


@pytest.mark.parametrize(
    "data",
    [DEEP, b'{"a":' * 100_000, b"[" * 5_000_000,
     b'{"model":"naive","horizon":' + b"9" * 5000 + b"}",
     b'{"model":"naive","horizon":1e999,"series":[]}',
     b'{"model":"naive","horizon":true,"series":[{"target":[true]}]}',
     '{"model":"naive"}'.encode("utf-16"), b'\xef\xbb\xbf{"model":"naive"}',
     b'{"model":"naive","horizon":-1,"series":[{"target":[-0.0,1e-400]}]}'],
    ids=["list", "object", "open", "digits", "infinite", "bools", "utf-16", "bom", "minus"],
)  # fmt: skip
def test_json_that_breaks_parsers_is_a_400(daemon, data):
    status, _, answer = daemon.request("POST", "/v1/forecast", data)
    assert status == 400, answer[:300]
    assert daemon.request("GET", "/health/ready")[0] == 200


def test_a_small_request_cannot_ask_for_a_huge_answer(daemon):
    body = {"model": "naive", "horizon": 100_000, "quantiles": [n / 1000 for n in range(1, 1000)],
            "series": [{"target": [1]}] * 100}  # fmt: skip
    status, _, data = daemon.request("POST", "/v1/forecast", body)
    assert status == 400 and b"values" in data


class Liar(http.server.BaseHTTPRequestHandler):
    """A hub that answers what `answer` says, for ever."""

    answer = b""
    headers_too = ()
    endless = False

    def do_GET(self):
        self.send_response(200)
        for name, value in self.headers_too:
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(self.answer)
            while self.endless:
                self.wfile.write(self.answer)
        except OSError:
            pass

    def log_message(self, *args):
        pass


@pytest.mark.parametrize(
    "answer, headers, endless, text",
    [
        (b'[{"x": "' + b"a" * 65536, (), True, "more than"),
        (gzip.compress(b"0" * 50_000_000), (("Content-Encoding", "gzip"),), False, "not JSON"),
        (b"[" * 100_000, (), False, "not JSON"),
        (b'{"sha": "' + b"f" * 40 + b'", "siblings": [{"rfilename": "../../x"}]}', (), False, ""),
        (b'{"sha": "../../../etc", "siblings": []}', (), False, ""),
        (b'{"sha": 5, "siblings": {"a": 1}}', (), False, ""),
        (b"null", (), False, ""),
    ],
    ids=["endless", "gzip bomb", "deep", "traversal", "commit", "types", "null"],
)
def test_a_hub_that_lies_harms_nobody(start, tmp_path, answer, headers, endless, text):
    handler = type(
        "Handler", (Liar,), {"answer": answer, "headers_too": headers, "endless": endless}
    )
    daemon = start()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        body = {"model": "hf.co/org/tiny", "stream": False,
                "endpoint": f"http://127.0.0.1:{server.server_address[1]}"}  # fmt: skip
        status, _, data = daemon.request("POST", "/api/pull", body)
        server.shutdown()
    assert status in (400, 404, 502), data
    assert text in json.loads(data)["error"]
    assert not list((tmp_path / "home").rglob("x")) and not (tmp_path / "x").exists()


# -- files of a user's own -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fifo", "device", "socket", "folder"])
def test_a_checkpoint_of_special_files_is_refused(tollama, tmp_path, kind):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["ChronosBoltModelForForecasting"]}')
    weights = folder / "model.safetensors"
    if kind == "fifo":
        os.mkfifo(weights)
    elif kind == "device":
        weights.symlink_to("/dev/zero")
    elif kind == "folder":
        weights.mkdir()
    else:
        here = os.getcwd()
        os.chdir(folder)
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind("model.safetensors")
        finally:
            os.chdir(here)
    found = tollama("pull", "mine", "--from-dir", str(folder), check=None)
    assert found.returncode in (1, 2, 4), found.stderr
    assert found.stderr.startswith("error: ") and "Traceback" not in found.stderr
    assert not (tmp_path / "home" / "models" / "mine" / "manifest.json").exists()


MANIFESTS = [b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"name": 5}',
             b'{"name": "x", "family": "../..", "source": {}, "resolved": {}, "license": {}}',
             b'{"name": "x", "family": "stats", "source": [], "resolved": 1, "files": "no"}',
             b'{"name": "x", "family": "stats", "source": {"type": "huggingface"}, "resolved": '
             b'{"snapshot_path": "/etc"}, "license": {}, "size_bytes": -1, "files": [{"path": '
             b'"passwd", "size": 1, "sha256": "x"}]}']  # fmt: skip


@pytest.mark.parametrize("manifest", MANIFESTS, ids=range(len(MANIFESTS)))
def test_a_manifest_of_nonsense_never_breaks_the_daemon(start, tmp_path, manifest):
    folder = tmp_path / "home" / "models" / "x"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(manifest)
    daemon = start()
    for method, path, body in (
        ("GET", "/api/tags", None), ("GET", "/api/info", None), ("GET", "/v1/models", None),
        ("GET", "/api/ps", None), ("GET", "/metrics", None), ("GET", "/health/ready", None),
    ):  # fmt: skip
        assert daemon.request(method, path, body)[0] == 200, path
    series = {"model": "x", "horizon": 1, "series": [{"target": [1]}]}
    for method, path, body in (
        ("POST", "/api/show", {"model": "x"}),
        ("POST", "/v1/forecast", series),
        ("GET", "/hub/x/resolve/main/passwd", None),
    ):
        status, _, data = daemon.request(method, path, body)
        assert b"root:" not in data and b"Traceback" not in data and b"internal error" not in data
        assert status < 500 or b"remove the model with: tollama rm x" in data, (path, data)
    assert daemon.request("DELETE", "/api/delete", {"model": "x"})[0] in (200, 404)
    assert not folder.exists() and os.path.exists("/etc/passwd")
