"""Compressed bodies: our decoder against the reference one's output, and against garbage."""

import contextlib
import json
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollama.core.errors import BadHttp, TooLarge
from tollama.daemon.compat import zstd, zstd_frames
from tollama.daemon.http_parser import Headers

# A frame made by the reference compressor: "a" ten times, then "tollama " twenty times, level 19.
FRAME = bytes.fromhex("28b52ffd20aa9500005061746f6c6c616d612074020094975e01ae")
TEXT = b"a" * 10 + b"tollama " * 20


def compress(data, **more):
    zstandard = pytest.importorskip("zstandard")
    return zstandard.ZstdCompressor(**more).compress(data)


def numbers(count):
    draw = random.Random(count)
    return json.dumps([round(draw.gauss(100, 30), 3) for _ in range(count)]).encode()


SAMPLES = {
    "empty": b"",
    "one byte": b"a",
    "a run": b"a" * 300_000,
    "a pattern": b"abcabcab" * 30_000,
    "all bytes": bytes(range(256)) * 40,
    "noise": random.Random(1).randbytes(20_000),
    "numbers": numbers(30_000),
    "noise in runs": (b"x" * 50_000 + random.Random(2).randbytes(900)) * 4,
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("level", [-5, 1, 3, 19])
def test_what_the_reference_compresses_is_read_back(name, level):
    data = SAMPLES[name]
    packed = compress(data, level=level, write_checksum=True)
    assert zstd_frames.decompress(packed, 1 << 30) == data


@given(st.binary(max_size=3000), st.integers(1, 30), st.sampled_from([1, 9, 19]))
def test_any_bytes_are_read_back(data, times, level):
    packed = compress(data * times, level=level, write_content_size=level != 9)
    assert zstd_frames.decompress(packed, 1 << 30) == data * times


def test_several_frames_and_skippable_ones():
    one, two = compress(b"one "), compress(b"two", write_content_size=False)
    skipped = b"\x50\x2a\x4d\x18\x03\x00\x00\x00xyz"
    assert zstd_frames.decompress(one + skipped + two, 100) == b"one two"


@given(st.randoms(use_true_random=False))
def test_broken_frames_are_value_errors(draw):
    packed = bytearray(compress(SAMPLES["numbers"][:4000], level=draw.choice([1, 5, 19])))
    for _ in range(draw.randint(1, 4)):
        packed[draw.randrange(4, len(packed))] = draw.randrange(256)
    del packed[draw.randrange(4, len(packed)) :]
    with contextlib.suppress(ValueError):
        assert len(zstd_frames.decompress(bytes(packed), 1 << 20)) < 4 << 20


@pytest.mark.parametrize("data", [b"x", b"\x28\xb5\x2f\xfd", FRAME[:-3], b"{}", FRAME + b"?"])
def test_what_is_no_frame_is_a_value_error(data):
    with pytest.raises(ValueError):
        zstd_frames.decompress(data, 1000)


def test_a_small_body_cannot_become_a_huge_one():
    packed = compress(b"0" * (50 << 20), level=19)
    assert len(packed) < 10_000
    assert len(zstd_frames.decompress(packed, 1 << 20)) < 2 << 20


class Asked:
    def __init__(self, body, coding="zstd"):
        self.body = body
        self.headers = Headers()
        if coding:
            dict.__setitem__(self.headers, "content-encoding", coding)


@pytest.fixture(params=["as installed", "ours"])
def decoder(request, monkeypatch):
    if request.param == "ours":
        monkeypatch.setitem(sys.modules, "zstandard", None)
        monkeypatch.setitem(sys.modules, "compression", None)


def test_a_body_is_decoded_when_it_says_so(decoder):
    assert zstd.body_of(Asked(FRAME), 1000) == TEXT
    assert zstd.body_of(Asked(FRAME, None), 1000) == FRAME
    assert zstd.body_of(Asked(FRAME, "identity"), 1000) == FRAME


def test_a_body_over_the_limit_is_too_large(decoder):
    with pytest.raises(TooLarge, match="TOLLAMA_MAX_BODY"):
        zstd.body_of(Asked(FRAME), len(TEXT) - 1)
    assert zstd.body_of(Asked(FRAME), len(TEXT)) == TEXT


def test_a_body_that_is_not_zstd_is_bad_http(decoder):
    with pytest.raises(BadHttp) as error:
        zstd.body_of(Asked(b"{}"), 1000)
    assert error.value.status == 400
