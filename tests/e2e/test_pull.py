"""Pulling as users and clients do it: the built file, its daemon, and a hub on loopback."""

import http.client
import json
import os
import pty
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from fake_hub import FakeHub

GOLDEN = Path(__file__).resolve().parents[2] / "runners" / "numpy" / "tests" / "golden"
TOKEN = "hf_verysecrettoken123"
CONFIG = (GOLDEN / "chronos2" / "config.json").read_bytes()
TINY = {
    "config.json": CONFIG,
    "model.safetensors": (GOLDEN / "chronos2" / "model.safetensors").read_bytes(),
}
BIG = {"config.json": CONFIG, "model.safetensors": random.Random(5).randbytes(24_000_000)}


@pytest.fixture
def hub():
    with FakeHub() as server:
        server.commit = server.add("amazon/chronos-2", TINY)
        yield server


@pytest.fixture
def big(hub):
    """The hub with a model that takes a while, held after its first 6 MB."""
    hub.commit = hub.add("amazon/chronos-2", BIG)
    hub.pace = (6_000_000, threading.Event())
    yield hub
    hub.pace[1].set()


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)
    return found


def weights(home, name="chronos2"):
    return home / "models" / name / "snapshot" / "model.safetensors"


def received(home, name="chronos2"):
    """How many bytes of partial files lie there."""
    parts = home / "models" / name / "snapshot" / ".parts"
    return sum(p.stat().st_size for p in parts.glob("*.part")) if parts.is_dir() else 0


def stream(daemon, body):
    """A pull's answer that is still coming: (connection, response)."""
    connection = http.client.HTTPConnection(daemon.host, daemon.port, timeout=60)
    connection.request("POST", "/api/pull", json.dumps(body))
    return connection, connection.getresponse()


class Background:
    """A pull through the API on a thread: its lines when it has ended."""

    def __init__(self, daemon, body):
        self.lines = []
        self.thread = threading.Thread(target=self._run, args=(daemon, body))
        self.thread.start()

    def _run(self, daemon, body):
        connection, response = stream(daemon, body)
        for line in response:
            self.lines.append(json.loads(line))
        connection.close()

    def end(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.lines


# -- what a pull is -------------------------------------------------------------------------------


def test_a_pull_streams_its_steps_in_order_and_writes_the_manifest_last(start, hub, tmp_path):
    daemon = start(HF_ENDPOINT=hub.url)
    lines = daemon.lines("POST", "/api/pull", {"model": "chronos2", "insecure": True})
    steps = [line["status"] for line in lines if line["status"] != "downloading"]
    assert steps == [
        "pulling manifest", "resolving digest", "warning", "verifying sha256 digest",
        "writing manifest", "success",
    ]  # fmt: skip
    assert lines[1]["digest"] == hub.commit
    progress = [line for line in lines if line["status"] == "downloading"][-1]
    assert progress["completed_bytes"] == progress["total_bytes"] == progress["completed"]
    assert progress["files_completed"] == progress["files_total"] == 2
    assert progress["total"] == progress["total_bytes"]
    assert progress["digest"].startswith("sha256:")
    assert set(lines[-1]) == {"status", "model", "digest", "size"}
    manifest = json.loads((tmp_path / "home/models/chronos2/manifest.json").read_text())
    assert manifest["resolved"]["commit_sha"] == hub.commit
    assert manifest["source"]["repo_id"] == "amazon/chronos-2"
    assert [f["path"] for f in manifest["files"]] == ["config.json", "model.safetensors"]
    assert manifest["size_bytes"] == lines[-1]["size"] == sum(map(len, TINY.values()))
    tag = next(m for m in daemon.json("GET", "/api/tags")["models"] if m["name"] == "chronos2")
    assert tag["digest"] == lines[-1]["digest"]


def test_a_pull_without_stream_answers_once(start, hub):
    daemon = start(HF_ENDPOINT=hub.url)
    last = daemon.json("POST", "/api/pull", {"model": "chronos2", "stream": False})
    assert last["status"] == "success"
    assert daemon.json("POST", "/v1/models/pull", {"name": "chronos2"})["status"] == "success"


def test_the_command_line_pulls_without_a_daemon(tollama, hub, tmp_path):
    found = tollama("pull", "chronos2", "--endpoint", hub.url)
    assert json.loads(found.stdout)["status"] == "success"
    assert "writing manifest" in found.stderr
    assert weights(tmp_path / "home").read_bytes() == TINY["model.safetensors"]
    quiet = tollama("pull", "chronos2", "--no-stream", "--endpoint", hub.url)
    assert (json.loads(quiet.stdout)["status"], quiet.stderr) == ("success", "")


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("chronos-bolt-tiny", "amazon/chronos-bolt-tiny"),
        ("chronos-t5-small", "amazon/chronos-t5-small"),
        ("hf.co/org/own", "org/own"),
    ],
)
def test_any_registry_name_or_repository_can_be_pulled(tollama, hub, name, repo):
    hub.add(repo, TINY)
    last = json.loads(tollama("pull", name, HF_ENDPOINT=hub.url).stdout)
    assert last["model"] == name


def test_present_newer_forced_and_pinned(start, hub, tmp_path):
    daemon = start(HF_ENDPOINT=hub.url)
    old = hub.commit
    pull = {"model": "chronos2"}

    def statuses(**more):
        return [line["status"] for line in daemon.lines("POST", "/api/pull", {**pull, **more})]

    statuses()
    hub.requests.clear()
    assert statuses() == ["pulling manifest", "already present", "success"]
    assert not hub.bodies("model.safetensors")
    assert len(hub.requests) == 1  # it did ask for a newer commit
    assert "already present" not in statuses(force=True)
    assert not hub.bodies("model.safetensors")  # hashed again, not fetched again
    hub.add("amazon/chronos-2", {**TINY, "config.json": CONFIG + b"\n"})
    assert "writing manifest" in statuses()
    assert not hub.bodies("model.safetensors")
    assert "writing manifest" in statuses(revision=old)
    manifest = json.loads((tmp_path / "home/models/chronos2/manifest.json").read_text())
    assert (manifest["resolved"]["commit_sha"], manifest["source"]["revision"]) == (old, old)
    hub.requests.clear()
    assert statuses(model=f"chronos2@{old}") == ["pulling manifest", "already present", "success"]
    assert hub.requests == []  # a commit never changes


def test_a_file_lost_from_the_snapshot_is_fetched_again(start, hub, tmp_path):
    daemon = start(HF_ENDPOINT=hub.url)
    daemon.lines("POST", "/api/pull", {"model": "chronos2"})
    weights(tmp_path / "home").unlink()
    lines = daemon.lines("POST", "/api/pull", {"model": "chronos2"})
    assert "already present" not in [line["status"] for line in lines]
    assert weights(tmp_path / "home").read_bytes() == TINY["model.safetensors"]


def test_only_the_weights_that_a_model_is_loaded_from_are_taken(tollama, hub, tmp_path):
    extra = {"model.fp16.safetensors": b"x", "pytorch_model.bin": b"pickle", "run.py": b"evil()"}
    hub.add("org/own", {**TINY, **extra, "tokenizer.json": b"{}"})
    tollama("pull", "hf.co/org/own", HF_ENDPOINT=hub.url)
    snapshot = tmp_path / "home" / "models" / "hf.co--org--own" / "snapshot"
    found = sorted(p.name for p in snapshot.iterdir())
    assert found == ["config.json", "model.safetensors", "tokenizer.json"]


# -- what goes wrong ------------------------------------------------------------------------------


def test_failures_have_their_status_code_and_exit_code(start, hub):
    daemon = start(HF_ENDPOINT=hub.url)
    hub.add("org/pickle", {"config.json": CONFIG, "pytorch_model.bin": b"x"})
    hub.add("org/noconfig", {"model.safetensors": b"x"})
    llama = b'{"architectures":["LlamaForCausalLM"]}'
    hub.add("org/other", {"config.json": llama, "model.safetensors": b"x"})
    t5 = b'{"architectures":["T5ForConditionalGeneration"]}'
    hub.add("org/t5", {"config.json": t5, "model.safetensors": b"x"})
    hub.add("org/text", {"config.json": b"<html>", "model.safetensors": b"x"})
    cases = [
        ("hf.co/org/none", 404, "hub_not_found", 3, "no repository org/none"),
        ("chronos2@nope", 404, "hub_not_found", 3, "no revision 'nope'"),
        ("chronos3", 404, "model_not_found", 3, "did you mean"),
        ("hf.co/org", 400, "invalid_request", 2, "hf.co/ORG/REPO"),
        ("hf.co/org/pickle", 400, "unsupported", 2, "safetensors"),
        ("hf.co/org/noconfig", 404, "hub_not_found", 3, "no config.json"),
        ("hf.co/org/other", 400, "unsupported", 2, "LlamaForCausalLM"),
        ("hf.co/org/t5", 400, "unsupported", 2, "chronos_config"),
        ("hf.co/org/text", 502, "hub_error", 4, "not JSON"),
        ("mock@v1", 400, "invalid_request", 2, "no revisions"),
    ]
    for name, status, code, exit_code, text in cases:
        found = daemon.json("POST", "/api/pull", {"model": name, "stream": False}, status=status)
        assert found["code"] == code, name
        assert text in found["error"], name
        shown = daemon.run("pull", name, check=exit_code)
        assert text in shown.stderr, name
        assert "Traceback" not in shown.stderr
    assert not [m for m in daemon.json("GET", "/api/info")["models"]["installed"]]


def test_errors_come_in_the_order_of_the_contract(start, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.json").write_text("{broken")
    daemon = start(home)
    bad = {"model": "nothing-known", "max_workers": 0}
    assert daemon.json("POST", "/api/pull", bad, status=400)["code"] == "invalid_request"
    found = daemon.json("POST", "/api/pull", {"model": "nothing-known"}, status=500)
    assert str(home / "config.json") in found["error"]
    found = daemon.json(
        "POST", "/api/pull", {"model": "nothing-known", "no_config": True}, status=404
    )
    assert found["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("endpoint", "ftp://x"),
        ("endpoint", "nowhere"),
        ("hf_home", "relative/path"),
        ("token", "two words"),
        ("revision", "../x"),
        ("from", "ftp://x"),
        ("limit_rate", 0),
        ("stall_timeout", 0),
        ("max_workers", True),
        ("offline", "yes"),
    ],
)
def test_a_bad_field_is_refused_with_its_name(daemon, field, value):
    found = daemon.json("POST", "/api/pull", {"model": "chronos2", field: value}, status=400)
    assert found["detail"][0]["loc"] == ["body", field]
    assert "two words" not in found["error"]


def test_gated_private_and_wrong_tokens_say_what_to_do(start, hub):
    daemon = start(HF_ENDPOINT=hub.url)
    hub.gated = True
    found = daemon.json("POST", "/api/pull", {"model": "chronos2", "stream": False}, status=403)
    assert found["code"] == "hub_forbidden" and "accept its terms" in found["error"]
    hub.gated = False
    hub.token = f"Bearer {TOKEN}"
    found = daemon.json("POST", "/api/pull", {"model": "chronos2", "stream": False}, status=404)
    assert "TOLLAMA_HF_TOKEN" in found["error"]
    good = {"model": "chronos2", "stream": False, "token": TOKEN}
    assert daemon.json("POST", "/api/pull", good)["status"] == "success"
    # Everything is here, and yet a wrong token is an error.
    found = daemon.json("POST", "/api/pull", {**good, "token": "hf_wrongwrong"}, status=403)
    assert "hf_wrongwrong" not in json.dumps(found)
    wrong = daemon.run("pull", "chronos2", "--token", "hf_wrongwrong", check=4)
    assert "401" in wrong.stderr and "hf_wrongwrong" not in wrong.stderr


def test_a_licence_must_be_accepted_once(start, hub, tmp_path):
    home = tmp_path / "home"
    family = home / "runners" / "own"
    family.mkdir(parents=True)
    spec = {
        "family": "own", "protocol": 1, "module": "own", "architectures": ["Chronos2Model"],
        "models": [{
            "name": "strict", "license": {"type": "custom", "needs_acceptance": True},
            "source": {"type": "huggingface", "repo_id": "amazon/chronos-2", "revision": "main"},
        }],
    }  # fmt: skip
    (family / "runner.json").write_text(json.dumps(spec))
    daemon = start(home, HF_ENDPOINT=hub.url)
    found = daemon.json("POST", "/api/pull", {"model": "strict"}, status=409)
    assert found["code"] == "license_required" and "--accept-license" in found["error"]
    assert hub.requests == []
    assert "--accept-license" in daemon.run("pull", "strict", check=2).stderr
    daemon.run("pull", "strict", "--accept-license")
    hub.add("amazon/chronos-2", {**TINY, "config.json": CONFIG + b"\n"})
    daemon.run("pull", "strict")
    manifest = json.loads((home / "models" / "strict" / "manifest.json").read_text())
    assert manifest["license"] == {"type": "custom", "needs_acceptance": True, "accepted": True}


def test_a_disk_without_room_is_a_507(start, hub):
    hub.listed_size = {"model.safetensors": 10**18}
    daemon = start(HF_ENDPOINT=hub.url)
    found = daemon.json("POST", "/api/pull", {"model": "chronos2", "stream": False}, status=507)
    assert found["code"] == "disk_full" and "free" in found["error"]
    last = daemon.lines("POST", "/api/pull", {"model": "chronos2"})[-1]
    assert last["code"] == "disk_full"
    assert daemon.run("pull", "chronos2", check=1).returncode == 1


def test_a_dead_proxy_and_a_dead_hub_are_named(tollama):
    found = tollama("pull", "chronos2", "--endpoint", "http://127.0.0.1:9", check=4)
    assert "127.0.0.1 cannot be reached" in found.stderr
    proxied = tollama("pull", "chronos2", check=4, HTTPS_PROXY="http://me:secret@127.0.0.1:9")
    assert "--https-proxy" in proxied.stderr and "secret" not in proxied.stderr


# -- settings -------------------------------------------------------------------------------------


def test_every_setting_is_reported_with_its_source(tollama):
    tollama("config", "set", "pull.max_workers", "2")
    tollama("config", "set", "pull.https_proxy", "http://config:1")
    tollama("config", "set", "pull.http_proxy", "http://config:2")
    environ = {
        "HTTPS_PROXY": "http://env:1", "NO_PROXY": "corp", "HF_HOME": "/hf", "HF_HUB_OFFLINE": "1",
        "HF_ENDPOINT": "http://mirror/hf/", "TOLLAMA_CA_BUNDLE": "/ca.pem",
        "REQUESTS_CA_BUNDLE": "/other.pem", "HF_HUB_DOWNLOAD_TIMEOUT": "7",
    }  # fmt: skip
    found = json.loads(tollama("info", "--json", **environ).stdout)["pull_defaults"]
    assert {name: (one["value"], one["source"]) for name, one in found.items()} == {
        "hf_home": ("/hf", "env"), "offline": (True, "env"), "local_files_only": (True, "env"),
        "insecure": (False, "default"), "http_proxy": ("http://config:2", "config"),
        "https_proxy": ("http://env:1", "env"), "no_proxy": ("corp", "env"),
        "max_workers": (2, "config"), "endpoint": ("http://mirror/hf", "env"),
        "ca_bundle": ("/ca.pem", "env"), "limit_rate": (None, "default"),
        "stall_timeout": (7, "env"),
    }  # fmt: skip
    text = tollama("info", **environ).stdout
    assert "  offline: true (source=env)" in text
    assert "  insecure: false (source=default)" in text


def test_the_daemon_applies_config_and_the_request_wins(start, hub, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    dead = {"version": 1, "pull": {"endpoint": "http://127.0.0.1:9", "max_workers": 1}}
    (home / "config.json").write_text(json.dumps(dead))
    daemon = start(home)
    body = {"model": "chronos2", "stream": False}
    found = daemon.json("POST", "/api/pull", body, status=502)
    assert found["code"] == "hub_unreachable"
    # Read at every pull: the daemon need not start again.
    daemon.run("config", "set", "pull.endpoint", hub.url)
    assert daemon.json("POST", "/api/pull", body)["status"] == "success"
    body = {"model": "hf.co/amazon/chronos-2", "endpoint": "http://127.0.0.1:9", "stream": False}
    daemon.json("POST", "/api/pull", body, status=502)


def test_no_config_ignores_the_file(tollama, hub):
    tollama("config", "set", "pull.offline", "true")
    assert "offline" in tollama("pull", "chronos2", check=4, HF_ENDPOINT=hub.url).stderr
    tollama("pull", "chronos2", "--no-config", HF_ENDPOINT=hub.url)


class Counter:
    """A listener that counts who connects, and says nothing."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.count = 0
        self.thread = threading.Thread(target=self._accept)
        self.thread.start()
        return self

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.count += 1
            connection.close()

    def __exit__(self, *exc):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(10)


def test_offline_makes_no_connection_whoever_says_it(tollama, start, hub, tmp_path):
    tollama("pull", "chronos2", "--endpoint", hub.url)
    with Counter() as counter:
        watched = dict.fromkeys(("HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY"), counter.url)
        daemon = start(tmp_path / "home", **watched)
        for args, environ in (
            (["--offline"], {}),
            (["--local-files-only"], {}),
            ([], {"HF_HUB_OFFLINE": "1"}),
        ):
            for run in (tollama, daemon.run):
                found = run("pull", "chronos2", *args, **{**watched, **environ})
                assert "already present" in found.stderr
                found = run("pull", "chronos2", "--force", *args, **{**watched, **environ})
                missing = run("pull", "chronos-bolt-tiny", *args, check=4, **watched, **environ)
                assert "offline" in missing.stderr
                missing = run("pull", "hf.co/org/own", *args, check=4, **watched, **environ)
        daemon.run("config", "set", "pull.offline", "true")
        lines = daemon.lines("POST", "/api/pull", {"model": "chronos2"})
        assert lines[1]["status"] == "already present"
        found = daemon.json(
            "POST", "/api/pull", {"model": "chronos2@v2", "stream": False}, status=404
        )
        assert found["code"] == "offline_miss"
        assert counter.count == 0


def test_an_existing_cache_serves_a_pull_offline(tollama, hub, tmp_path):
    cache = tmp_path / "hf"
    tollama("pull", "chronos2", "--hf-home", str(cache), "--endpoint", hub.url)
    assert (cache / "hub" / "models--amazon--chronos-2" / "refs" / "main").exists()
    assert not weights(tmp_path / "home").exists()
    tollama("rm", "chronos2")
    tollama("pull", "chronos2", "--offline", HF_HOME=str(cache))
    shown = json.loads(tollama("show", "chronos2").stdout)
    assert shown["snapshot_path"].startswith(str(cache))


def test_a_token_belongs_to_its_host(tollama, hub):
    hub.token = f"Bearer {TOKEN}"
    where = hub.url.removeprefix("http://")
    pairs = f"huggingface.co=hf_another12345,{where}={TOKEN}"
    tollama("pull", "chronos2", HF_ENDPOINT=hub.url, TOLLAMA_HF_TOKEN=pairs)
    other = f"huggingface.co={TOKEN}"
    hub.requests.clear()
    tollama("pull", "hf.co/amazon/chronos-2", check=3, HF_ENDPOINT=hub.url, TOLLAMA_HF_TOKEN=other)
    assert not [r for r in hub.requests if "Authorization" in r.headers]


def test_a_token_is_nowhere_to_be_seen(start, big, tmp_path):
    big.token = f"Bearer {TOKEN}"
    big.redirects = False
    daemon = start(HF_ENDPOINT=big.url, TOLLAMA_LOG_LEVEL="debug")
    env = {"PATH": os.environ["PATH"], "TOLLAMA_HOME": str(daemon.home)}
    command = [sys.executable, "-I", "-S", str(daemon.pyz), "pull", "chronos2"]
    client = subprocess.Popen(
        [*command, "--token", TOKEN, "--base-url", daemon.url],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(lambda: received(daemon.home) > 1_000_000)
    seen = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                text = Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue
            seen += b"chronos2" in text
            assert TOKEN.encode() not in text, (pid, name)
    assert seen
    info = daemon.request("GET", "/api/info")[2] + daemon.request("GET", "/api/ps")[2]
    big.pace[1].set()
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0
    wrong = {"model": "chronos2", "token": "hf_wrongwrongwrong", "stream": False}
    refused = daemon.request("POST", "/api/pull", wrong)[2]
    assert daemon.stop() == 0
    everything = [info, out, err, refused, "\n".join(daemon.log).encode()]
    everything += [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    assert not [text for text in everything if TOKEN.encode() in text or b"wrongwrong" in text]


def test_the_shells_token_reaches_a_daemon_that_has_none(start, hub):
    hub.token = f"Bearer {TOKEN}"
    daemon = start(HF_ENDPOINT=hub.url)
    daemon.run("pull", "chronos2", TOLLAMA_HF_TOKEN=TOKEN)


# -- several clients ------------------------------------------------------------------------------


def test_two_pulls_join_and_another_model_goes_beside_them(start, big):
    daemon = start(HF_ENDPOINT=big.url)
    big.add("amazon/chronos-bolt-tiny", {"config.json": CONFIG, "model.safetensors": b"small"})
    one = Background(daemon, {"model": "chronos2"})
    wait_for(lambda: received(daemon.home) > 1_000_000)
    two = Background(daemon, {"model": "Chronos2:latest"})
    wait_for(lambda: any(line["status"] == "downloading" for line in two.lines))
    beside = daemon.lines("POST", "/api/pull", {"model": "chronos-bolt-tiny"})
    assert beside[-1]["status"] == "success"
    assert daemon.json("GET", "/api/info")["models"]["pulling"] == ["chronos2"]
    big.pace[1].set()
    assert one.end()[-1] == two.end()[-1]
    assert two.lines[0]["status"] == "pulling manifest"
    assert len([r for r in big.bodies("model.safetensors") if sum(r.sent) > 1e6]) == 1


def test_a_pull_of_another_revision_waits_for_the_first(start, big):
    daemon = start(HF_ENDPOINT=big.url)
    old = big.add("amazon/chronos-2", TINY, branch="old")
    one = Background(daemon, {"model": "chronos2"})
    wait_for(lambda: received(daemon.home) > 1_000_000)
    two = Background(daemon, {"model": "chronos2@old"})
    wait_for(lambda: two.lines)
    assert two.lines[0]["status"] == "waiting for another pull of this model"
    big.pace[1].set()
    assert one.end()[-1]["size"] == sum(map(len, BIG.values()))
    assert two.end()[-1]["size"] == sum(map(len, TINY.values()))
    shown = daemon.json("POST", "/api/show", {"model": "chronos2"})
    assert shown["resolved"]["commit_sha"] == old


def test_a_client_that_hangs_up_does_not_stop_a_pull(start, big):
    daemon = start(HF_ENDPOINT=big.url)
    connection, response = stream(daemon, {"model": "chronos2"})
    assert json.loads(response.readline())["status"] == "pulling manifest"
    wait_for(lambda: received(daemon.home) > 1_000_000)
    response.close()
    connection.close()
    big.pace[1].set()
    wait_for(lambda: (daemon.home / "models" / "chronos2" / "manifest.json").exists())
    assert weights(daemon.home).read_bytes() == BIG["model.safetensors"]


def test_delete_cancels_a_pull_and_the_next_one_goes_on(start, big):
    daemon = start(HF_ENDPOINT=big.url)
    one = Background(daemon, {"model": "chronos2"})
    wait_for(lambda: received(daemon.home) > 5_000_000)
    assert daemon.json("DELETE", "/api/pull", {"model": "chronos2"})["cancelled"] is True
    assert one.end()[-1]["code"] == "cancelled"
    big.pace[1].set()
    kept = received(daemon.home)
    assert kept > 5_000_000
    big.requests.clear()
    daemon.lines("POST", "/api/pull", {"model": "chronos2"})
    (body,) = big.bodies("model.safetensors")[-1:]
    assert body.start == kept - len(CONFIG) or body.start == kept
    assert weights(daemon.home).read_bytes() == BIG["model.safetensors"]
    daemon.json("DELETE", "/api/pull", {"model": "chronos2"}, status=404)


def test_rm_ends_a_pull_and_takes_its_parts_away(start, big):
    daemon = start(HF_ENDPOINT=big.url)
    one = Background(daemon, {"model": "chronos2"})
    wait_for(lambda: received(daemon.home) > 1_000_000)
    daemon.run("rm", "chronos2")
    assert one.end()[-1]["code"] == "cancelled"
    assert not (daemon.home / "models" / "chronos2").exists()
    daemon.run("rm", "chronos2", check=3)


# -- the end of processes -------------------------------------------------------------------------


def fetched(hub):
    """The ranges of the weights that were sent, as (start, bytes)."""
    return [(r.start or 0, sum(r.sent)) for r in hub.bodies("model.safetensors") if r.sent]


def test_a_killed_daemon_goes_on_where_it_was(start, big):
    first = start(HF_ENDPOINT=big.url)
    one = threading.Thread(target=lambda: _until_cut(first))
    one.start()
    wait_for(lambda: received(first.home) > 5_000_000)
    first.process.kill()
    first.process.wait(10)
    one.join(20)
    size = wait_for(lambda: _settled(first.home))
    big.pace[1].set()
    big.requests.clear()
    second = start(first.home, HF_ENDPOINT=big.url)
    assert received(first.home) == size  # a start prunes nothing
    assert second.lines("POST", "/api/pull", {"model": "chronos2"})[-1]["status"] == "success"
    assert weights(first.home).read_bytes() == BIG["model.safetensors"]
    ((begin, sent),) = fetched(big)
    assert begin > 5_000_000 and begin + sent == len(BIG["model.safetensors"])


def _until_cut(daemon):
    connection, response = stream(daemon, {"model": "chronos2"})
    with closing(connection), response, suppress(http.client.HTTPException, OSError):
        for _ in response:
            pass


def _settled(home):
    """The size of the parts once nobody writes to them any more."""
    before = received(home)
    time.sleep(0.3)
    return received(home) == before and before


def test_a_daemon_that_stops_ends_its_pulls_and_keeps_what_they_have(start, big):
    daemon = start(HF_ENDPOINT=big.url)
    one = Background(daemon, {"model": "chronos2"})
    wait_for(lambda: received(daemon.home) > 5_000_000)
    assert daemon.stop() == 0
    assert one.end()[-1]["code"] == "cancelled"
    assert received(daemon.home) > 5_000_000


def test_random_cuts_and_kills_end_byte_identical(start, hub, tmp_path):
    hub.add("amazon/chronos-2", BIG)
    draw = random.Random(11)
    hub.redirects = False
    home = tmp_path / "home"
    for _ in range(4):
        hub.cuts = [draw.randrange(1, 3_000_000) for _ in range(4)]
        daemon = start(home, HF_ENDPOINT=hub.url)
        client = threading.Thread(target=_until_cut, args=(daemon,))
        client.start()
        goal = received(home) + draw.randrange(1, 4_000_000)
        wait_for(lambda d=daemon, g=goal: received(d.home) > g or _installed(d.home))
        daemon.process.kill()
        client.join(20)
    # A kill after the last byte leaves no part, and no manifest either.
    wait_for(lambda: _settled(home) or not received(home))
    daemon = start(home, HF_ENDPOINT=hub.url)
    daemon.lines("POST", "/api/pull", {"model": "chronos2"})
    assert weights(home).read_bytes() == BIG["model.safetensors"]
    # Each range begins where the disk ended: what was lost in a kill is what sockets held.
    assert sum(sent for _, sent in fetched(hub)) < len(BIG["model.safetensors"]) + 4 * 8_000_000


def _installed(home):
    return (home / "models" / "chronos2" / "manifest.json").exists()


@pytest.mark.parametrize("with_daemon", [False, True])
def test_ctrl_c_ends_the_pull_and_leaves_a_clean_line(start, pyz, big, tmp_path, with_daemon):
    home = tmp_path / "home"
    environ = {"PATH": os.environ["PATH"], "TERM": "xterm", "TOLLAMA_HOME": str(home)}
    daemon = start(home, HF_ENDPOINT=big.url) if with_daemon else None
    if daemon:
        environ["TOLLAMA_HOST"] = daemon.url
    else:
        environ["HF_ENDPOINT"] = big.url
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(pyz), "pull", "chronos2"],
        env=environ, stdin=child, stdout=child, stderr=child, start_new_session=True,
    )  # fmt: skip
    os.close(child)
    text = bytearray()

    def read():
        try:
            while data := os.read(parent, 4096):
                text.extend(data)
        except OSError:
            return

    reader = threading.Thread(target=read)
    reader.start()
    wait_for(lambda: received(home) > 5_000_000 and b"downloading" in text)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    reader.join(10)
    os.close(parent)
    # Behind the bar an empty line, from which the ^C that terminals show is taken away.
    assert text.removesuffix(b"\r\x1b[K").endswith(b"\n")
    assert b"Traceback" not in text and b"error" not in text
    assert b"MB/s" in text or b"MB" in text
    if daemon:
        wait_for(lambda: not daemon.json("GET", "/api/info")["models"]["pulling"])
    assert wait_for(lambda: _settled(home)) > 5_000_000


def test_ctrl_c_of_one_client_leaves_the_others_pull_alone(start, big):
    daemon = start(HF_ENDPOINT=big.url)
    one = Background(daemon, {"model": "chronos2"})
    wait_for(lambda: received(daemon.home) > 1_000_000)
    environ = {"PATH": os.environ["PATH"], "TOLLAMA_HOME": str(daemon.home)}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(daemon.pyz), "pull", "chronos2"],
        env={**environ, "TOLLAMA_HOST": daemon.url}, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    process.communicate()
    big.pace[1].set()
    assert one.end()[-1]["status"] == "success"


# -- from machine to machine ----------------------------------------------------------------------


def test_a_model_comes_from_another_tollama(start, tollama, hub, tmp_path):
    hub.add("org/own", TINY)
    there = start(tmp_path / "there", HF_ENDPOINT=hub.url)
    for name in ("chronos2", "hf.co/org/own"):
        there.lines("POST", "/api/pull", {"model": name})
    shutil.copytree(there.home / "models/chronos2/snapshot", tmp_path / "mine")
    there.run("pull", "mine", "--from-dir", str(tmp_path / "mine"))
    hub.requests.clear()
    for name in ("chronos2", "hf.co/org/own", "mine"):
        last = json.loads(tollama("pull", name, "--from", there.url).stdout)
        assert last["model"] == name
        folder = name.replace("/", "--")
        assert weights(tmp_path / "home", folder).read_bytes() == TINY["model.safetensors"]
        assert "already present" in tollama("pull", name, "--from", there.url).stderr
    assert hub.requests == []
    manifest = json.loads((tmp_path / "home/models/chronos2/manifest.json").read_text())
    assert manifest["resolved"]["commit_sha"] == hub.commit
    missing = tollama("pull", "chronos-bolt-tiny", "--from", there.url, check=3)
    assert "no repository" in missing.stderr
    missing = tollama("pull", "chronos2@v2", "--from", there.url, check=3)
    assert "no revision 'v2'" in missing.stderr


def test_a_tollama_with_keys_wants_one(start, tollama, hub, tmp_path):
    there = start(tmp_path / "there", HF_ENDPOINT=hub.url, TOLLAMA_API_KEYS="read:tk-readonly1")
    tollama("pull", "chronos2", TOLLAMA_HOME=str(there.home), HF_ENDPOINT=hub.url)
    refused = tollama("pull", "chronos2", "--from", there.url, check=4, TOLLAMA_HF_TOKEN=TOKEN)
    assert "API key" in refused.stderr
    assert not [line for line in there.log if TOKEN in line]
    tollama("pull", "chronos2", "--from", there.url, "--token", "tk-readonly1")


def test_the_shared_models_speak_the_hubs_wire(start, hub, tmp_path):
    daemon = start(HF_ENDPOINT=hub.url)
    daemon.lines("POST", "/api/pull", {"model": "chronos2"})
    base = f"/hub/amazon/chronos-2/resolve/{hub.commit}"
    status, headers, body = daemon.request("HEAD", f"{base}/model.safetensors")
    assert (status, body) == (200, b"")
    assert headers["Content-Length"] == headers["X-Linked-Size"]
    assert headers["X-Repo-Commit"] == hub.commit
    whole = TINY["model.safetensors"]
    for asked, expected in (("bytes=100-", whole[100:]), ("bytes=5-9", whole[5:10]),
                            ("bytes=-7", whole[-7:])):  # fmt: skip
        status, part, body = daemon.request("GET", f"{base}/model.safetensors", Range=asked)
        assert (status, body) == (206, expected)
        assert part["Content-Range"].endswith(f"/{len(whole)}")
    status, _, body = daemon.request(
        "GET", f"{base}/model.safetensors", Range="bytes=5-", If_Range='"other"'
    )
    assert (status, body) == (200, whole)
    assert daemon.request("GET", f"{base}/config.json", Range="bytes=99999-")[0] == 416
    secret = daemon.home / "secret"
    secret.write_text("never")
    outside = ["../manifest.json", "..%2Fmanifest.json", "../../../secret", "%2e%2e/manifest.json"]
    for path in [*outside, "nothing", "/etc/passwd", ".parts"]:
        status, _, body = daemon.request("GET", f"{base}/{path}")
        assert status == 404 and b"never" not in body, path
    assert daemon.request("GET", "/hub/amazon/chronos-2/resolve/v9/config.json")[0] == 404
    assert daemon.request("GET", "/hub/nobody/none/resolve/main/config.json")[0] == 404
    assert daemon.request("GET", "/hub/x")[0] == 404
    assert daemon.request("POST", "/hub/x", {})[0] == 405


def test_other_tools_read_from_a_tollama(start, hub, tmp_path):
    library = pytest.importorskip("huggingface_hub")
    daemon = start(HF_ENDPOINT=hub.url)
    daemon.lines("POST", "/api/pull", {"model": "chronos2"})
    path = library.snapshot_download(
        "amazon/chronos-2", endpoint=f"{daemon.url}/hub", cache_dir=tmp_path / "cache"
    )
    assert (Path(path) / "model.safetensors").read_bytes() == TINY["model.safetensors"]


def test_a_lock_file_carries_a_machines_models(tollama, hub, tmp_path):
    old = hub.commit
    here = {"HF_ENDPOINT": hub.url}
    tollama("pull", "chronos2", **here)
    tollama("pull", "mock")
    lock = tmp_path / "models.lock"
    text = tollama("list", "--format", "lock").stdout
    lock.write_text(text)
    assert f"chronos2@{old} sha256:" in text and "\nmock\n" in text
    hub.add("amazon/chronos-2", {**TINY, "config.json": CONFIG + b"\n"})
    other = str(tmp_path / "other")
    tollama("pull", "-r", str(lock), **here, TOLLAMA_HOME=other)
    assert tollama("list", "--format", "lock", TOLLAMA_HOME=other).stdout == text
    digest = text.partition("sha256:")[2][:64]
    lock.write_text(text.replace(digest, "0" * 64))
    wrong = tollama("pull", "-r", str(lock), check=4, TOLLAMA_HOME=other, **here)
    assert "models.lock says sha256:0000" in wrong.stderr
    lock.write_text("chronos2 extra\n../x\n")
    bad = tollama("pull", "-r", str(lock), check=2)
    assert "models.lock:1" in bad.stderr and "models.lock:2" in bad.stderr
    tollama("pull", "-r", "-", stdin="mock # a comment\n")
    assert "expected a model, or -r FILE" in tollama("pull", check=2).stderr


# -- without a network ----------------------------------------------------------------------------


def test_a_pulled_model_runs_without_any_network(tollama, hub, tmp_path):
    pytest.importorskip("numpy")
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no network namespaces here")
    tollama("pull", "chronos2", HF_ENDPOINT=hub.url)
    environ = {
        "PATH": os.environ["PATH"], "TOLLAMA_HOME": str(tmp_path / "home"),
        "TOLLAMA_PYTHON_NUMPY": sys.executable, "TOLLAMA_FAMILY_CHRONOS2": "numpy",
    }  # fmt: skip
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-I", "-S", str(root / "dist" / "tollama.pyz"), "run", "chronos2",
               str(root / "examples" / "air_passengers.csv"), "--horizon", "3"]  # fmt: skip
    trace = tmp_path / "trace"
    if shutil.which("strace"):
        command = ["strace", "-f", "-e", "trace=connect", "-o", str(trace), *command]
    done = subprocess.run(
        ["unshare", "-rn", *command], env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["forecasts"][0]["mean"]) == 3
    if trace.exists():  # the command looks for a daemon on loopback; nobody looks for anything else
        calls = [line for line in trace.read_text().splitlines() if "AF_INET" in line]
        assert all("127.0.0.1" in line and "htons(11435)" in line for line in calls), calls
        assert calls
