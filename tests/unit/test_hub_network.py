"""models/hub_wire.py through hub.pull: credentials, redirects, proxies, TLS, mirrors, offline."""

from __future__ import annotations

import http.server
import os
import select
import socket
import ssl
import subprocess
import threading
import time

import pytest
from fake_hub import FakeHub

from tollama.core import errors
from tollama.models.hub import PullSpec, check_head, pull, read_file

REPO = "org/tiny"
FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 2000}
TOKEN = "hf_verysecrettoken"


@pytest.fixture
def hub():
    with FakeHub() as server:
        server.commit = server.add(REPO, FILES)
        yield server


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or "CA_BUNDLE" in name or name == "SSL_CERT_FILE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def fetch(hub, dest, **fields):
    events = []
    given = {"repo_id": REPO, "endpoint": hub.url, "dest": str(dest), "tries": 3, **fields}
    return pull(PullSpec(**given), on_event=events.append)


def whole(dest):
    return (dest / "model.safetensors").read_bytes() == FILES["model.safetensors"]


# -- credentials ----------------------------------------------------------------------------


def test_token_goes_to_the_hub_and_to_no_other_host(hub, tmp_path):
    hub.token = f"Bearer {TOKEN}"
    fetch(hub, tmp_path / "s", token=TOKEN)
    assert whole(tmp_path / "s")
    by_host = {r.host.partition(":")[0]: [] for r in hub.requests}
    for request in hub.requests:
        by_host[request.host.partition(":")[0]].append(request.headers.get("Authorization"))
    assert set(by_host["127.0.0.1"]) == {hub.token}
    assert set(by_host["localhost"]) == {None}


def test_wrong_token_is_an_error_with_everything_on_disk(hub, tmp_path):
    hub.token = f"Bearer {TOKEN}"
    fetch(hub, tmp_path / "s", token=TOKEN)
    with pytest.raises(errors.HubForbidden, match="401") as caught:
        fetch(hub, tmp_path / "s", token="hf_wrongsecret")
    assert "hf_wrongsecret" not in caught.value.message
    fetch(hub, tmp_path / "cache", token=TOKEN, hf_home=str(tmp_path / "hf"))
    with pytest.raises(errors.HubForbidden):
        fetch(hub, tmp_path / "cache", token="hf_wrongsecret", hf_home=str(tmp_path / "hf"))


def test_private_repository_without_a_token_says_pass_one(hub, tmp_path):
    hub.token = f"Bearer {TOKEN}"
    with pytest.raises(errors.HubNotFound, match="TOLLAMA_HF_TOKEN"):
        fetch(hub, tmp_path / "s")


def test_gated_repository_says_accept_its_terms(hub, tmp_path):
    hub.gated = True
    with pytest.raises(errors.HubForbidden, match=rf"gated.*{hub.url}/{REPO}.*token"):
        fetch(hub, tmp_path / "s", token=TOKEN)


def test_missing_repository_and_revision_are_told_apart(hub, tmp_path):
    with pytest.raises(errors.HubNotFound, match="no repository org/none"):
        fetch(hub, tmp_path / "s", repo_id="org/none")
    with pytest.raises(errors.HubNotFound, match="no revision 'v9'"):
        fetch(hub, tmp_path / "s", revision="v9")
    with pytest.raises(errors.InvalidRequest, match="ORG/NAME"):
        fetch(hub, tmp_path / "s", repo_id="../../etc")


def test_credentials_in_the_endpoint_are_sent_as_basic(hub, tmp_path):
    hub.token = "Basic bWU6c2VjcmV0IQ=="  # me:secret!
    address = hub.url.replace("://", "://me:secret%21@")
    fetch(hub, tmp_path / "s", endpoint=address)
    assert whole(tmp_path / "s")
    hub.token = "Basic other"
    with pytest.raises(errors.HubForbidden) as caught:
        fetch(hub, tmp_path / "s", endpoint=address)
    assert "secret" not in caught.value.message


def test_netrc_gives_a_mirror_its_credentials(hub, tmp_path, monkeypatch):
    hub.token = "Basic bWU6c2VjcmV0IQ=="
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret!\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    fetch(hub, tmp_path / "s")
    assert whole(tmp_path / "s")


def test_token_is_not_where_others_can_see_it(hub, tmp_path):
    hub.token = f"Bearer {TOKEN}"
    hub.pace = (0, threading.Event())
    thread = threading.Thread(target=fetch, args=(hub, tmp_path / "s"), kwargs={"token": TOKEN})
    thread.start()
    end = time.monotonic() + 30
    while not hub.bodies("model.safetensors") and time.monotonic() < end:
        time.sleep(0.01)
    seen = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as stream:
                    seen.append(stream.read())
            except OSError:
                continue
    hub.pace[1].set()
    thread.join(30)
    assert not [text for text in seen if TOKEN.encode() in text]
    for folder, _, names in os.walk(tmp_path):
        for name in names:
            with open(os.path.join(folder, name), "rb") as stream:
                assert TOKEN.encode() not in stream.read()


def test_redirects_that_loop_or_leave_https_are_refused(hub, tmp_path):
    hub.redirect_to = "ftp://127.0.0.1"
    with pytest.raises(errors.HubError, match="ftp"):
        fetch(hub, tmp_path / "s")
    hub.redirect_to = f"{hub.url}/{REPO}/resolve/main"
    with pytest.raises(errors.HubError, match="redirects more than"):
        fetch(hub, tmp_path / "s")


# -- mirrors --------------------------------------------------------------------------------


def test_mirror_without_hub_headers_serves_a_pinned_revision(hub, tmp_path):
    hub.hub_headers = hub.listing_sha = hub.listing_hashes = hub.has_tree = False
    hub.redirects = False
    pulled = fetch(hub, tmp_path / "s", revision=hub.commit)
    assert pulled.commit_sha == hub.commit
    assert whole(tmp_path / "s")


def test_mirror_that_names_no_commit_asks_for_a_pinned_one(hub, tmp_path):
    hub.hub_headers = hub.listing_sha = False
    with pytest.raises(errors.HubError, match="NAME@COMMIT"):
        fetch(hub, tmp_path / "s")


def test_mirror_whose_listing_has_no_hashes_is_still_verified(hub, tmp_path):
    hub.listing_hashes = False
    hub.corrupt = {"model.safetensors": 2}
    with pytest.raises(errors.CorruptDownload):
        fetch(hub, tmp_path / "s")


def test_endpoint_under_a_path_works(hub, tmp_path):
    answer = hub._answer

    def prefixed(request):
        if request.path.startswith("/artifactory/api/hf"):
            request.path = request.path.removeprefix("/artifactory/api/hf")
            return answer(request)
        if request.path.startswith("/cdn/"):
            return answer(request)
        return hub._send(request, 404, b"")

    hub._answer = prefixed
    fetch(hub, tmp_path / "s", endpoint=f"{hub.url}/artifactory/api/hf/")
    assert whole(tmp_path / "s")


def test_answer_of_a_captive_portal_is_not_a_hub(hub, tmp_path):
    hub.statuses = [("/api/", 200, {"Content-Type": "text/html"})]
    with pytest.raises(errors.HubError, match="not JSON"):
        fetch(hub, tmp_path / "s")


# -- offline --------------------------------------------------------------------------------


class Counter:
    """A listener on loopback that counts who connects."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(0.05)
        self.count = 0
        self.port = self.socket.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def _accept(self):
        while not self._stop.is_set():
            try:
                connection, _ = self.socket.accept()
            except TimeoutError:
                continue
            self.count += 1
            connection.close()

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join(10)
        self.socket.close()


@pytest.mark.parametrize("switch", ["offline", "local_files_only"])
def test_offline_makes_no_connection(tmp_path, switch):
    with Counter() as counter:
        address = f"http://127.0.0.1:{counter.port}"
        fields = PullSpec(
            REPO, endpoint=address, http_proxy=address, https_proxy=address,
            dest=str(tmp_path / "s"), hf_home=str(tmp_path / "hf"), **{switch: True},
        )  # fmt: skip
        for call in (
            lambda: pull(fields, on_event=print),
            lambda: check_head(fields),
            lambda: read_file(fields, "config.json"),
        ):
            with pytest.raises(errors.OfflineMiss, match=r"offline.*import"):
                call()
        assert counter.count == 0


def test_cache_of_other_tools_is_shared_and_works_offline(hub, tmp_path):
    home = tmp_path / "hf"
    pulled = fetch(hub, tmp_path / "s", hf_home=str(home))
    repo = home / "hub" / "models--org--tiny"
    assert pulled.snapshot_path == str(repo / "snapshots" / hub.commit)
    assert (repo / "refs" / "main").read_text() == hub.commit
    assert os.readlink(repo / "snapshots" / hub.commit / "config.json").startswith("../../blobs/")
    assert not (tmp_path / "s").exists()
    hub.requests.clear()
    again = fetch(hub, tmp_path / "s", hf_home=str(home), offline=True)
    assert again == pulled
    assert hub.requests == []
    fetch(hub, tmp_path / "s", hf_home=str(home))
    assert not hub.bodies("model.safetensors")
    assert read_file(PullSpec(REPO, hf_home=str(home), offline=True), "config.json") == (
        hub.commit,
        "{}",
    )


def test_cache_written_by_huggingface_hub_is_found(hub, tmp_path):
    from huggingface_hub import snapshot_download

    home = tmp_path / "hf"
    path = snapshot_download(
        REPO, endpoint=hub.url, cache_dir=home / "hub", allow_patterns=["*.json", "*.safetensors"]
    )
    pulled = fetch(hub, tmp_path / "s", hf_home=str(home), offline=True)
    assert pulled.snapshot_path == path
    hub.requests.clear()
    assert fetch(hub, tmp_path / "s", hf_home=str(home)) == pulled
    assert not hub.bodies("model.safetensors")


def test_damaged_cache_is_not_used_offline(hub, tmp_path):
    home = tmp_path / "hf"
    pulled = fetch(hub, tmp_path / "s", hf_home=str(home))
    blob = os.path.realpath(os.path.join(pulled.snapshot_path, "model.safetensors"))
    with open(blob, "r+b") as stream:
        stream.write(b"damage")
    with pytest.raises(errors.OfflineMiss, match="damaged"):
        fetch(hub, tmp_path / "s", hf_home=str(home), offline=True)
    fetch(hub, tmp_path / "s", hf_home=str(home))
    fetch(hub, tmp_path / "s", hf_home=str(home), offline=True)


# -- proxies --------------------------------------------------------------------------------


class Proxy:
    """A forward proxy on loopback: absolute addresses and CONNECT."""

    def __init__(self, *, credentials=None):
        self.seen = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                proxy.seen.append(self.path)
                if proxy.refuses(self):
                    return
                host = self.path.split("/")[2]
                with socket.create_connection(host.split(":"), timeout=20) as upstream:
                    path = self.path.split(host, 1)[1]
                    head = f"{self.command} {path} HTTP/1.1\r\n"
                    kept = [f"{k}: {v}" for k, v in self.headers.items() if k != "Connection"]
                    upstream.sendall(
                        (head + "\r\n".join([*kept, "Connection: close"]) + "\r\n\r\n").encode()
                    )
                    while data := upstream.recv(65536):
                        self.connection.sendall(data)
                self.close_connection = True

            def do_CONNECT(self):
                proxy.seen.append(self.path)
                if proxy.refuses(self):
                    return
                host, _, port = self.path.rpartition(":")
                with socket.create_connection((host, int(port)), timeout=20) as upstream:
                    self.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    pair = [self.connection, upstream]
                    while True:
                        for ready in select.select(pair, [], [], 20)[0]:
                            data = ready.recv(65536)
                            if not data:
                                self.close_connection = True
                                return
                            pair[ready is self.connection].sendall(data)

            def log_message(self, *args):
                pass

        self.credentials = credentials
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def refuses(self, request):
        if self.credentials and request.headers.get("Proxy-Authorization") != self.credentials:
            request.send_response(407)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return True
        return False

    def __enter__(self):
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()


def test_http_proxy_carries_a_pull(hub, tmp_path):
    with Proxy(credentials="Basic dXNlcjpwdw==") as proxy:
        address = proxy.url.replace("://", "://user:pw@")
        fetch(hub, tmp_path / "s", http_proxy=address)
        assert whole(tmp_path / "s")
        assert len(proxy.seen) == len(hub.requests)


def test_no_proxy_goes_straight(hub, tmp_path):
    with Proxy() as proxy:
        fetch(hub, tmp_path / "s", http_proxy=proxy.url, no_proxy="127.0.0.1,localhost")
        assert proxy.seen == []


def test_pull_does_not_change_this_environment(hub, tmp_path):
    before = dict(os.environ)
    with Proxy() as proxy:
        fetch(hub, tmp_path / "s", http_proxy=proxy.url, hf_home=str(tmp_path / "hf"), token="x")
    assert dict(os.environ) == before


def test_dead_proxy_is_named_with_its_flags(hub, tmp_path):
    with pytest.raises(
        errors.HubUnreachable, match=r"proxy http://\*\*\*@127.0.0.1:9.*--http-proxy"
    ):
        fetch(hub, tmp_path / "s", http_proxy="http://user:secret@127.0.0.1:9")


def test_proxy_that_wants_credentials_says_so(hub, tmp_path):
    with Proxy(credentials="Basic x") as proxy:
        with pytest.raises(errors.HubUnreachable, match=r"407.*credentials"):
            fetch(hub, tmp_path / "s", http_proxy=proxy.url)
        with pytest.raises(errors.HubUnreachable, match=r"407.*credentials"):
            fetch(hub, tmp_path / "s", endpoint="https://127.0.0.1:1", https_proxy=proxy.url)


def test_unknown_host_blames_the_name(tmp_path):
    with pytest.raises(errors.HubUnreachable, match=r"hub\.invalid cannot be resolved"):
        pull(
            PullSpec(REPO, endpoint="http://hub.invalid", dest=str(tmp_path / "s")), on_event=print
        )


# -- TLS ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A private certificate authority and a server's key and certificate, made by openssl."""
    folder = tmp_path_factory.mktemp("ca")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    try:
        openssl(
            *(
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=our root",
            ),
            *("-keyout", "ca.key", "-out", "ca.pem"),
        )
    except FileNotFoundError:
        pytest.skip("no openssl command")
    openssl(
        *("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"),
        *("-keyout", "server.key", "-out", "server.csr"),
    )
    (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl(
        *("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2"),
        *("-CAcreateserial", "-extfile", "ext", "-out", "server.pem"),
    )
    return folder


@pytest.fixture
def tls_hub(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    with FakeHub(tls=context) as server:
        server.commit = server.add(REPO, FILES)
        yield server


def test_private_authority_is_refused_with_the_way_out(tls_hub, tmp_path):
    with pytest.raises(errors.HubUnreachable, match=r"not trusted.*--ca-bundle"):
        fetch(tls_hub, tmp_path / "s")


def test_ca_bundle_is_trusted(tls_hub, authority, tmp_path, monkeypatch):
    fetch(tls_hub, tmp_path / "s", ca_bundle=str(authority / "ca.pem"))
    assert whole(tmp_path / "s")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority / "ca.pem"))
    fetch(tls_hub, tmp_path / "again")


def test_bad_ca_bundle_is_named(tls_hub, tmp_path):
    with pytest.raises(errors.InvalidRequest, match=r"ca bundle '/nowhere\.pem'.*No such file"):
        fetch(tls_hub, tmp_path / "s", ca_bundle="/nowhere.pem")


def test_insecure_pulls_from_anybody(tls_hub, tmp_path):
    fetch(tls_hub, tmp_path / "s", insecure=True)
    assert whole(tmp_path / "s")


def test_https_proxy_carries_a_pull_by_connect(tls_hub, authority, tmp_path):
    with Proxy() as proxy:
        fetch(tls_hub, tmp_path / "s", https_proxy=proxy.url, ca_bundle=str(authority / "ca.pem"))
        assert whole(tmp_path / "s")
        assert f"127.0.0.1:{tls_hub.port}" in proxy.seen
