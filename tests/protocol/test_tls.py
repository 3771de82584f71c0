"""https over real sockets: handshakes that stall, lie or are many; large and streamed bodies;
certificates that change."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import threading

import pytest
from certificate import make, openssl
from http_probe import PATIENCE, Route, Wire, serving, until

from tollama.core.errors import InvalidRequest
from tollama.daemon.http import Reply
from tollama.daemon.tls import Context

HELLO_BEGUN = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def context(pair):
    return Context.of(str(pair.cert), str(pair.key), lambda text, level: None)


@pytest.fixture(scope="module")
def client(pair):
    return ssl.create_default_context(cafile=str(pair.cert))


def connected(server, client, name="localhost"):
    sock = socket.create_connection(server.address, timeout=PATIENCE)
    return Wire(client.wrap_socket(sock, server_hostname=name))


def test_a_hundred_half_handshakes_hold_nobody_up_and_are_cut_off(context, client):
    with serving(ssl_context=context, limits={"headers_s": 1.0}) as server:
        stalled = [Wire(server).send(HELLO_BEGUN[: 1 + n % len(HELLO_BEGUN)]) for n in range(100)]
        until(lambda: len(server.loop.connections) >= 100)
        for _ in range(20):
            with connected(server, client) as wire:
                assert wire.get().status == 200
        for wire in stalled:
            assert wire.closed()
            wire.sock.close()
        until(lambda: not server.loop.connections)


def test_a_handshake_that_dribbles_ends_at_its_total_deadline(context):
    with serving(ssl_context=context, limits={"headers_s": 0.5}) as server, Wire(server) as wire:
        ended = threading.Event()

        def dribble():
            with contextlib.suppress(OSError):
                for byte in HELLO_BEGUN + bytes(500):
                    if ended.wait(0.05):
                        return
                    wire.send(bytes([byte]))

        feeder = threading.Thread(target=dribble)
        feeder.start()
        assert wire.closed()
        ended.set()
        feeder.join()


def test_a_head_that_dribbles_after_the_handshake_is_cut_off_too(context, client):
    limits = {"headers_s": 0.5}
    with serving(ssl_context=context, limits=limits) as server, connected(server, client) as wire:
        wire.send("GET / HTTP/1.1\r\nHo")
        assert wire.answer().status == 408


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 300, b"\x16\x03\x01\xff\xff" + b"\x41" * 1000, b"SSH-2.0-x\r\n", os.urandom(4096)],
    ids=["zeros", "long record", "ssh", "random"],
)
def test_garbage_instead_of_a_handshake_is_closed(context, client, garbage):
    with serving(ssl_context=context, limits={"headers_s": 1.0}) as server:
        for _ in range(25):
            with Wire(server) as wire, contextlib.suppress(OSError):
                wire.send(garbage)
                wire.rest()
        until(lambda: not server.loop.connections)
        with connected(server, client) as wire:
            assert wire.get().status == 200


def test_plain_http_is_told_to_use_https(context):
    with serving(ssl_context=context) as server, Wire(server) as wire:
        wire.send(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + "x" * 5000
        )
        answer = wire.answer()
        assert answer.status == 400
        assert "https://" in answer.json["error"]
        assert answer.headers["connection"] == "close"
    assert [record["status"] for record in server.records] == [400]


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls_12_and_13_are_spoken(context, pair, version):
    client = ssl.create_default_context(cafile=str(pair.cert))
    client.minimum_version = client.maximum_version = ssl.TLSVersion[version]
    with serving(ssl_context=context) as server, connected(server, client) as wire:
        assert wire.get().status == 200
        assert wire.sock.version() == version.replace("_", ".")


def test_large_bodies_and_streams_keep_the_connection(context, client):
    def lines(request):
        return Reply(stream=(line[::-1] + b"\n" for line in request.lines(10**7)))

    routes = {("POST", "/lines"): Route(lines, stream_body=True)}
    body = os.urandom(20_000_000)
    rows = [b"%d" % n * 1000 for n in range(1000)]
    with serving(routes, ssl_context=context) as server, connected(server, client) as wire:
        for _ in range(2):
            assert wire.post(body).body == body
        answer = wire.post(b"\n".join(rows), "Content-Type: application/x-ndjson", target="/lines")
        assert answer.body.split() == [row[::-1] for row in rows]
        assert [wire.get().status for _ in range(50)] == [200] * 50


def test_many_clients_at_once_are_all_served(context, client):
    found = []

    def ask(server):
        with connected(server, client) as wire:
            found.extend(wire.get().status for _ in range(5))

    with serving(ssl_context=context) as server:
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert found == [200] * 320


def test_a_client_that_is_cut_off_without_good_bye_is_survived(context, client):
    with serving(ssl_context=context) as server:
        for _ in range(20):
            wire = connected(server, client)
            wire.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\nhalf")
            wire.reset()
        until(lambda: not server.loop.connections)


def served_name(server):
    with socket.create_connection(server.address, timeout=PATIENCE) as sock:
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        plain.check_hostname = False
        plain.verify_mode = ssl.CERT_NONE
        with plain.wrap_socket(sock) as wrapped:
            return b"renewed" in wrapped.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_served_without_a_restart(pair, tmp_path):
    said = []
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(pair.cert, cert)
    shutil.copy(pair.key, key)
    key.chmod(0o600)
    new = make(tmp_path, "renewed")
    context = Context.of(str(cert), str(key), lambda text, level: said.append((level, text)))
    with serving(ssl_context=context) as server:
        assert not served_name(server)
        # Between the two renames the pair does not fit: the old one goes on.
        os.replace(new.cert, cert)
        assert not served_name(server)
        assert [level for level, _ in said] == ["warning"]
        os.replace(new.key, key)
        assert served_name(server)
        assert said[-1] == ("info", "the TLS certificate was read again")
        cert.unlink()
        assert served_name(server)


def test_files_that_cannot_be_used_are_named(pair, tmp_path):
    other = make(tmp_path, "other")
    locked = tmp_path / "locked.key"
    openssl("rsa", "-aes256", "-passout", "pass:word", "-in", str(pair.key), "-out", str(locked))
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for cert, key, text in (
        (tmp_path / "none.pem", None, "TOLLAMA_TLS_CERT: .*none.pem: no such file"),
        (pair.cert, tmp_path / "none.key", "TOLLAMA_TLS_KEY: .*none.key: no such file"),
        (pair.cert, other.key, "key values mismatch"),
        (pair.cert, locked, "unencrypted key"),
        (pair.cert, None, "unencrypted key"),
        (empty, pair.key, "TOLLAMA_TLS_CERT"),
    ):
        with pytest.raises(InvalidRequest, match=text):
            Context.of(str(cert), str(key) if key else None, lambda text, level: None)


def test_one_file_may_hold_both_and_a_key_for_everybody_is_a_warning(pair, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
    both.chmod(0o644)
    said = []
    Context.of(str(both), None, lambda text, level: said.append((level, text)))
    assert said[0][0] == "warning" and "chmod 600" in said[0][1]


def slowly(server, client):
    """A connection that takes little at a time."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(PATIENCE)
    sock.connect(server.address)
    return Wire(client.wrap_socket(sock, server_hostname="localhost"))


def test_a_slow_reader_of_a_large_answer_gets_it_all(context, client):
    body = os.urandom(8_000_000)
    routes = {("GET", "/big"): Route(lambda request: Reply(body=body))}
    with serving(routes, ssl_context=context) as server, slowly(server, client) as wire:
        wire.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with connected(server, client) as other:
            assert [other.get().status for _ in range(20)] == [200] * 20
        assert wire.answer().body == body
        assert wire.get().status == 200


def test_a_client_that_does_not_read_is_cut_off(context, client):
    routes = {("GET", "/big"): Route(lambda request: Reply(body=bytes(30_000_000)))}
    limits = {"send_s": 0.3, "rate": 1 << 30}
    with serving(routes, ssl_context=context, limits=limits) as server:
        wire = slowly(server, client)
        wire.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: server.records)
        assert "did not read" in server.records[0]["error"]
        until(lambda: not server.loop.connections)
        wire.sock.close()


def test_a_body_is_waited_for_or_refused_before_it_is_sent(context, client):
    head = "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
    with serving(ssl_context=context, limits={"max_body": 10}) as server:
        with connected(server, client) as wire:
            wire.send(head + "4\r\n\r\n")
            assert wire.answer().status == 100
            assert wire.send("body").answer().body == b"body"
        with connected(server, client) as wire:
            wire.send(head + "11\r\n\r\n")
            assert wire.answer().status == 413
