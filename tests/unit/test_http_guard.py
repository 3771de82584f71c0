"""daemon/http_guard.py: which hosts and origins may ask."""

from __future__ import annotations

import socket

import pytest

from tollama.core.errors import BadHttp, Forbidden
from tollama.daemon.http_guard import Guard, cors, is_ip, is_loopback, preflight
from tollama.daemon.http_parser import Headers


def check(guard: Guard, *, minor: int = 1, trusted: bool = False, **headers: str) -> str | None:
    return guard.check(Headers(headers), minor=minor, trusted=trusted)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:11435",
        "localhost.",
        "a.b.localhost:1",
        "127.0.0.1:11435",
        "192.168.1.7",
        "[::1]:11435",
        "[fe80::1]",
        socket.gethostname(),
        "box.example:80",
    ],
)
def test_hosts_of_this_machine_are_allowed(host: str) -> None:
    guard = Guard(allowed_hosts=("Box.Example",))
    assert check(guard, host=host) is None
    assert check(guard, host=host) is None  # remembered


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.1", "0x7f.1"]
)
def test_other_hosts_are_forbidden(host: str) -> None:
    guard = Guard()
    for _ in range(2):
        with pytest.raises(Forbidden, match="TOLLAMA_ALLOWED_HOSTS"):
            check(guard, host=host)


@pytest.mark.parametrize(
    "host", ["", "a b", "a@localhost", "localhost/", "a:b", "[::1", "::1", "ä"]
)
def test_malformed_hosts_are_bad_requests(host: str) -> None:
    with pytest.raises(BadHttp):
        check(Guard(allowed_hosts=("*",)), host=host)


def test_host_may_be_missing_on_http_10_only() -> None:
    assert check(Guard(), minor=0) is None
    with pytest.raises(BadHttp):
        check(Guard())


def test_any_host_may_be_allowed() -> None:
    assert check(Guard(allowed_hosts=("*",)), host="anything.example") is None


def test_unix_socket_needs_no_known_host() -> None:
    guard = Guard()
    assert check(guard, host="docker", trusted=True) is None
    with pytest.raises(Forbidden):
        check(guard, host="docker")


def test_invented_hosts_are_not_remembered_without_bound() -> None:
    guard = Guard()
    for n in range(2000):
        check(guard, host=f"h{n}.localhost")
    assert len(guard._good_hosts) <= 256


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:3000", "localhost:11435"),
        ("http://127.0.0.1", "10.0.0.1"),
        ("https://[::1]:8080", "localhost"),
        ("http://app.localhost", "localhost"),
        ("http://10.0.0.1:11435", "10.0.0.1:11435"),
        ("http://10.0.0.1", "10.0.0.1:80"),
        ("http://10.0.0.1", "10.0.0.1"),
        ("https://good.example", "localhost"),
        ("https://a.pages.example", "localhost"),
        ("HTTPS://GOOD.EXAMPLE", "localhost"),
    ],
)
def test_origins_that_may_ask(origin: str, host: str) -> None:
    guard = Guard(origins=("https://good.example/", "https://*.pages.example"))
    assert check(guard, host=host, origin=origin) == origin


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "localhost"),
        ("", "localhost"),
        ("https://evil.example", "localhost"),
        ("http://good.example", "localhost"),
        ("https://good.example:8443", "localhost"),
        ("https://good.example.evil.example", "localhost"),
        ("https://localhost.evil.example", "localhost"),
        ("http://127.0.0.1.evil.example", "localhost"),
        ("http://10.0.0.2:11435", "10.0.0.1:11435"),
        ("https://10.0.0.1:11435", "10.0.0.1:11435"),
        ("https://evil.example/.pages.example", "localhost"),
        ("file://", "localhost"),
        ("chrome-extension://abc", "localhost"),
    ],
)
def test_origins_that_may_not_ask(origin: str, host: str) -> None:
    guard = Guard(origins=("https://good.example", "https://*.pages.example"))
    with pytest.raises(Forbidden, match="TOLLAMA_ORIGINS"):
        check(guard, host=host, origin=origin)


def test_every_origin_may_be_allowed() -> None:
    assert check(Guard(origins=("*",)), host="localhost", origin="null") == "null"


def test_tls_server_has_https_origins() -> None:
    guard = Guard(tls=True)
    assert check(guard, host="10.0.0.1", origin="https://10.0.0.1")
    with pytest.raises(Forbidden):
        check(guard, host="10.0.0.1", origin="http://10.0.0.1")


def test_addresses() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"]))
    assert not any(map(is_loopback, ["10.0.0.1", "128.0.0.1", "127.evil", "::2", ""]))
    assert is_ip("1.2.3.4")
    assert is_ip("[::]")
    assert not is_ip("1.2.3")


def test_preflight_repeats_only_header_names() -> None:
    asked = Headers({"access-control-request-headers": "Content-Type, x-a, b\tad, " + "c" * 99})
    answer = dict(preflight(asked, "GET, POST"))
    assert answer["Access-Control-Allow-Headers"] == "content-type, x-a"
    assert answer["Access-Control-Allow-Methods"] == "GET, POST"
    assert "Access-Control-Allow-Headers" not in dict(preflight(Headers(), "GET"))
    assert dict(cors("http://a"))["Access-Control-Allow-Origin"] == "http://a"
