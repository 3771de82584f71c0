"""Unix sockets: who may connect, what is done with a file that lies there, and the way out."""

from __future__ import annotations

import os
import socket
import stat

import pytest
from http_probe import PATIENCE, Wire, serving, until

from tollama import Client
from tollama.core.errors import DaemonUnreachable


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a short name: paths of sockets have 107 bytes
    return "t.sock"


def connected(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    sock.connect(path)
    return Wire(sock)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_file_has_the_mode_that_was_asked_for(path, mode):
    with serving(host=None, unix_socket=path, unix_mode=mode):
        assert stat.S_IMODE(os.stat(path).st_mode) == mode


def test_only_its_owner_may_connect_by_default(path):
    with serving(host=None, unix_socket=path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_peer_counts_as_loopback_and_any_host_will_do(path):
    with serving(host=None, unix_socket=path), connected(path) as wire:
        wire.send("GET / HTTP/1.1\r\nHost: anything.example\r\n\r\n")
        facts = wire.answer().json
        assert facts["is_loopback"] and facts["client"] == "unix"


def test_a_page_is_refused_there_too(path):
    with serving(host=None, unix_socket=path), connected(path) as wire:
        assert wire.get("/", "Origin: https://evil.example").status == 403


def test_a_socket_that_is_served_is_not_taken(path):
    with serving(host=None, unix_socket=path) as first:
        with pytest.raises(OSError, match="another server listens"):
            serving(host=None, unix_socket=path).__enter__()
        with connected(path) as wire:
            assert wire.get().status == 200
        assert os.path.exists(path) and not first.draining


def test_a_server_with_a_full_backlog_is_alive(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(path)
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(path)
        with pytest.raises(OSError, match="another server listens"):
            serving(host=None, unix_socket=path).__enter__()
        for one in waiting:
            one.close()


def test_a_socket_of_a_dead_daemon_is_replaced_and_removed_at_the_end(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(path)
    assert os.path.exists(path)
    with serving(host=None, unix_socket=path), connected(path) as wire:
        assert wire.get().status == 200
    assert not os.path.exists(path)


def test_a_socket_of_another_daemon_is_left_alone_at_the_end(path):
    with serving(host=None, unix_socket=path):
        os.unlink(path)
        with serving(host=None, unix_socket=path) as second:
            os.rename(path, "other.sock")
            os.link("other.sock", path)
            assert second is not None
        assert not os.path.exists(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as third:
            third.bind(path)
    assert os.path.exists(path)


@pytest.mark.parametrize("kind", ["file", "folder", "link to a file"])
def test_what_is_no_socket_is_not_removed(path, kind):
    if kind == "file":
        open(path, "w").close()
    elif kind == "folder":
        os.mkdir(path)
    else:
        open("target", "w").close()
        os.symlink("target", path)
    with pytest.raises(OSError, match="expected a socket or nothing"):
        serving(host=None, unix_socket=path).__enter__()
    assert os.path.lexists(path)


def test_a_path_that_cannot_be_a_socket_is_an_error(path):
    for wrong in ("x" * 200, "no/such/folder.sock"):
        with pytest.raises(OSError):
            serving(host=None, unix_socket=wrong).__enter__()


def test_beside_a_port_both_answer(path):
    with serving(unix_socket=path) as server, connected(path) as there, Wire(server) as here:
        assert there.get().json["client"] == "unix"
        assert here.get().json["client"] == "127.0.0.1"
    until(lambda: not os.path.exists(path))


def test_the_python_client_speaks_to_it(path, monkeypatch):
    with serving(host=None, unix_socket=path) as server:
        with pytest.raises(KeyError):  # the echo of this server has no version
            Client(f"unix://{os.path.abspath(path)}")._http.call("GET", "/")["version"]
        monkeypatch.setenv("TOLLAMA_HOST", f"unix://{os.path.abspath(path)}")
        assert Client()._http.call("GET", "/")["client"] == "unix"
        assert len(server.records) == 2
    with pytest.raises(DaemonUnreachable, match=r"t\.sock"):
        Client(retries=0).version()
