"""Fuzzing by mutation: bounded and the same in every run of the tests, longer by `make fuzz`.

    FUZZ_SECONDS=60 pytest tests/fuzz      each target for so long, with new inputs

A target takes bytes. Its inputs are what lies in corpus/<target>/, then mutations of those and of
pieces that mean something to the format. What fails in a long run is kept in the corpus.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

CORPUS = Path(__file__).with_name("corpus")
SECONDS = float(os.environ.get("FUZZ_SECONDS") or 0)

# What has broken parsers of numbers, text and JSON before.
COMMON = [
    b"", b"\0", b"\n", b"\r\n", b"\r", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe",
    b"-0",
    b"1e999", b"-1", b"NaN", b"Infinity", b"9" * 30, b"0.1", b"1e-400", b"null", b"true", b"[]",
    b"{}", b'""', b'"\\ud800"', b"[" * 50, b'{"a":' * 50, b"\xe2\x80\xa8", b"%00", b"../", b"/",
    b"\\", b":", b",", b";", b"\t", b'"', b"'", b"=", b"#", b" ", b"\x1b[31m", b"9" * 5000,
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes], tokens: list[bytes]) -> bytes:
    """One of the seeds with a few pieces cut, doubled, replaced or taken from elsewhere."""
    data = draw(st.sampled_from(seeds))
    pieces = st.one_of(st.sampled_from(tokens + COMMON), st.binary(max_size=8))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from((0, 1, 1, 2, 4, 16, 64))))
        act = draw(st.sampled_from(("put", "put", "cut", "double", "graft")))
        if act == "put":
            data = data[:at] + draw(pieces) + data[end:]
        elif act == "cut":
            data = data[:at] + data[end:]
        elif act == "double":
            data = data[:end] + data[at:]
        else:
            other = draw(st.sampled_from(seeds))
            start = draw(st.integers(0, len(other)))
            data = data[:at] + other[start : start + 64] + data[end:]
    return data


def seeds_of(name: str) -> list[bytes]:
    """The corpus of a target."""
    found = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    assert found, f"no corpus for {name}"
    return found


def once(
    run: Callable[..., None], inputs: st.SearchStrategy[Any], number: int | None, count: int
) -> None:
    """So many examples, the same ones each time or those of a seed."""

    @settings(
        max_examples=count,
        derandomize=number is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def example(data: Any) -> None:
        run(data)

    (example if number is None else seed(number)(example))()


def rounds() -> Iterator[int]:
    """A seed each until FUZZ_SECONDS are over."""
    end, number = time.monotonic() + SECONDS, time.time_ns()
    while time.monotonic() < end:
        number += 1
        yield number


def explore(
    name: str,
    target: Callable[[bytes], object],
    *,
    tokens: tuple[bytes, ...] = (),
    examples: int = 200,
    made: st.SearchStrategy[bytes] | None = None,
) -> None:
    """Run a target over its corpus, then over mutations of it."""
    seeds = seeds_of(name)
    for data in seeds:
        target(data)
    inputs = mutated(seeds, list(tokens))
    if made is not None:
        inputs = st.one_of(inputs, made)

    def run(data: bytes) -> None:
        try:
            target(data)
        except BaseException:
            if SECONDS:
                kept = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
                kept.write_bytes(data)
            raise

    if not SECONDS:
        once(run, inputs, None, examples)
        return
    for number in rounds():
        once(run, inputs, number, 300)
