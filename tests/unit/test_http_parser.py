"""daemon/http_parser.py: heads, framing and chunked bodies, by table and by fuzzing."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tollama.core.errors import BadHttp, TollamaError, TooLarge
from tollama.daemon.http_parser import (
    CHUNKED,
    Chunked,
    Headers,
    framing,
    parse_head,
    tokens,
)


def head(*lines: str, first: str = "GET / HTTP/1.1") -> bytes:
    return "\r\n".join((first, *lines)).encode("latin-1")


def refused(block: bytes) -> int:
    with pytest.raises(BadHttp) as caught:
        framing(parse_head(block))
    return caught.value.status


def test_head_is_split_into_its_parts() -> None:
    found = parse_head(head("Host: a", "X-One:\t1 \t", "Empty:", first="PUT /a?b=%20 HTTP/1.0"))
    assert found == ("PUT", "/a?b=%20", 0, {"host": "a", "x-one": "1", "empty": ""})


def test_headers_are_found_in_any_case() -> None:
    headers = Headers({"content-type": "a"})
    assert headers["Content-Type"] == headers.get("CONTENT-TYPE") == "a"
    assert "Content-type" in headers
    assert "x" not in headers
    assert 7 not in headers
    assert headers.get("x", "default") == "default"


def test_repeated_headers_are_joined() -> None:
    found = parse_head(head("Accept: a", "accept: b", "Cookie: c", "Cookie: d")).headers
    assert found == {"accept": "a, b", "cookie": "c; d"}


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET / / HTTP/1.1",
        b"GET\t/\tHTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1.1x",
        b"GET / HTTP/1.",
        b"G(T / HTTP/1.1",
        b"G" * 33 + b" / HTTP/1.1",
        b"GET a HTTP/1.1",
        b"GET http://a/ HTTP/1.1",
        b"GET * HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1",
        b"GET /# HTTP/1.1",
        b"GET /\xe4 HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01",
        head("Host : a"),
        head(" Host: a"),
        head("Host: a", " folded"),
        head("Host: a", "\tfolded"),
        head(": a"),
        head("no colon"),
        head("A: b\rC: d"),
        head("A: b\nC: d"),
        head("A: b\n"),
        head("A: b\r"),
        head("A: b\x00"),
        head("A: b\x7f"),
        head("A: b\x0b"),
        head("A\u00e9: b"),
        head("Host: a", "host: a"),
        head("Content-Length: 1", "Content-Length: 1"),
        head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        head("Authorization: a", "Authorization: b"),
        head("Content-Type: a", "Content-Type: b"),
        head("Origin: a", "Origin: b"),
    ],
)
def test_head_with_two_readings_is_refused(block: bytes) -> None:
    assert refused(block) == 400


@pytest.mark.parametrize("version", ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3.0"])
def test_other_versions_are_505(version: str) -> None:
    assert refused(head(first=f"GET / {version}")) == 505


def test_http2_preface_is_505() -> None:
    assert refused(b"PRI * HTTP/2.0") == 505


def test_limits_have_their_statuses() -> None:
    many = head(*(f"X-{n}: a" for n in range(65)))
    assert refused(many) == 431
    assert refused(head(first=f"GET /{'a' * 8192} HTTP/1.1")) == 414
    assert len(parse_head(head(*(f"X-{n}: a" for n in range(64)))).headers) == 64


@pytest.mark.parametrize(
    ("block", "length"),
    [
        (head(), 0),
        (head("Content-Length: 0", first="POST / HTTP/1.1"), 0),
        (head("Content-Length: 12", first="POST / HTTP/1.0"), 12),
        (head("Content-Length: 7", first="DELETE / HTTP/1.1"), 7),
        (head("Transfer-Encoding: Chunked", first="POST / HTTP/1.1"), CHUNKED),
    ],
)
def test_framing_of_a_body(block: bytes, length: int) -> None:
    assert framing(parse_head(block)) == length


@pytest.mark.parametrize(
    ("lines", "first", "status"),
    [
        (["Content-Length: 1", "Transfer-Encoding: chunked"], "POST / HTTP/1.1", 400),
        (["Transfer-Encoding: chunked"], "POST / HTTP/1.0", 400),
        (["Transfer-Encoding: gzip, chunked"], "POST / HTTP/1.1", 501),
        (["Transfer-Encoding: identity"], "POST / HTTP/1.1", 501),
        (["Transfer-Encoding: xchunked"], "POST / HTTP/1.1", 501),
        (["Content-Length: +1"], "POST / HTTP/1.1", 400),
        (["Content-Length: -1"], "POST / HTTP/1.1", 400),
        (["Content-Length: 1_0"], "POST / HTTP/1.1", 400),
        (["Content-Length: 0x1"], "POST / HTTP/1.1", 400),
        (["Content-Length: 1, 1"], "POST / HTTP/1.1", 400),
        (["Content-Length: \u00b2"], "POST / HTTP/1.1", 400),
        (["Content-Length: 1 1"], "POST / HTTP/1.1", 400),
        (["Content-Length:"], "POST / HTTP/1.1", 400),
        (["Content-Length: " + "9" * 19], "POST / HTTP/1.1", 400),
        ([], "POST / HTTP/1.1", 411),
        ([], "PUT / HTTP/1.1", 411),
        ([], "PATCH / HTTP/1.0", 411),
    ],
)
def test_framing_that_is_not_plain_is_refused(lines: list[str], first: str, status: int) -> None:
    assert refused(head(*lines, first=first)) == status


def test_tokens_of_a_list_header() -> None:
    assert list(tokens(" Keep-Alive ,, CLOSE\t,")) == ["keep-alive", "close"]


WORDS = st.sampled_from(
    [b"GET", b"POST", b" ", b"/", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r", b"\n", b":", b"\t",
     b"Host", b"Content-Length", b"Transfer-Encoding", b"chunked", b"5", b"\x00", b"\xff", b"a"]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=400), st.lists(WORDS, max_size=40).map(b"".join)))
@example(b"GET / HTTP/1.1\r\n\r\n")
def test_any_bytes_are_a_head_or_a_bad_request(block: bytes) -> None:
    try:
        found = parse_head(block)
        length = framing(found)
    except BadHttp as error:
        assert error.status in (400, 411, 414, 431, 501, 505)
        return
    assert re.fullmatch(r"[!-~]+", found.target)
    assert length >= CHUNKED
    # Nothing of what was accepted can end a line where it is written out again.
    for name, value in found.headers.items():
        assert not re.search(r"[\r\n\x00]", name + value)
    again = [f"{found.method} {found.target} HTTP/1.{found.minor}"]
    again += [f"{name}: {value}" for name, value in found.headers.items()]
    assert parse_head("\r\n".join(again).encode("latin-1")) == found


def decode(data: bytes, cuts: list[int], limit: int | None = None) -> tuple[bytes, bytes]:
    decoder = Chunked(limit)
    out = b""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for begin, end in itertools.pairwise(edges):
        if decoder.done:
            return out, decoder.rest + data[begin:]
        out += decoder.feed(data[begin:end])
    assert decoder.done
    return out, decoder.rest


@pytest.mark.parametrize(
    ("data", "body", "rest"),
    [
        (b"0\r\n\r\n", b"", b""),
        (b"3\r\nabc\r\n0\r\n\r\nGET", b"abc", b"GET"),
        (b"A\r\n0123456789\r\n000\r\n\r\n", b"0123456789", b""),
        (b"1;name=value\r\na\r\n0;x\r\n\r\n", b"a", b""),
        (b"1\r\n\n\r\n0\r\nX-Sum: 1\r\nX-Two: 2\r\n\r\nrest", b"\n", b"rest"),
    ],
)
def test_chunked_body_is_decoded_however_it_is_cut(data: bytes, body: bytes, rest: bytes) -> None:
    assert decode(data, []) == (body, rest)
    assert decode(data, list(range(len(data)))) == (body, rest)


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\na\r\n",
        b" 1\r\na\r\n",
        b"1\na\n0\n\n" + b" " * 300,
        b"1;a\nb\r\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\na0\r\n\r\n",
        b"1" * 16 + b"\r\n",
        b"1;" + b"a" * 300,
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nbad name: a\r\n\r\n",
        b"0\r\n: a\r\n\r\n",
        b"0\r\nA: \x00\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 4000 + b"\r\n",
        b"0\r\nA: " + b"b" * 9000,
    ],
)
def test_chunked_body_that_is_not_plain_is_refused(data: bytes) -> None:
    with pytest.raises(BadHttp):
        decode(data, [])
    with pytest.raises(BadHttp):
        decode(data, list(range(0, len(data), 7)))


def test_chunked_body_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge):
        Chunked(10).feed(b"B\r\n")
    with pytest.raises(TooLarge):
        decode(b"5\r\nabcde\r\n6\r\nabcdef\r\n0\r\n\r\n", [], 10)
    assert decode(b"5\r\nabcde\r\n5\r\nabcde\r\n0\r\n\r\n", [], 10) == (b"abcdeabcde", b"")


@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=6),
    st.binary(max_size=20),
    st.lists(st.integers(0, 500), max_size=10),
)
def test_chunked_round_trip(chunks: list[bytes], rest: bytes, cuts: list[int]) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n" + rest
    assert decode(data, cuts) == (b"".join(chunks), rest)


@given(st.binary(max_size=120), st.lists(st.integers(0, 120), max_size=8))
def test_any_bytes_are_a_chunked_body_or_an_error(data: bytes, cuts: list[int]) -> None:
    def outcome(where: list[int]) -> object:
        decoder = Chunked(64)
        out = b""
        edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in where)})
        try:
            for begin, end in itertools.pairwise(edges):
                if decoder.done:
                    break
                out += decoder.feed(data[begin:end])
        except TollamaError as error:
            return type(error)
        return out, decoder.done

    assert outcome(cuts) == outcome([])
