from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollama.core.errors import ProtocolError
from tollama.core.lines import Lines


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), max_size=40))
def test_lines_are_the_same_however_the_stream_is_cut(data: bytes, cuts: list[int]) -> None:
    lines = Lines(1000)
    found: list[bytes] = []
    at = 0
    for cut in cuts:
        if data[at : at + cut]:
            found += lines.feed(data[at : at + cut])
        at += cut
    if data[at:]:
        found += lines.feed(data[at:])
    found += lines.feed(b"\n")
    assert b"\n".join(found) == data


def test_lines_refuses_a_line_over_the_limit() -> None:
    lines = Lines(10)
    assert lines.feed(b"123456") == []
    with pytest.raises(ProtocolError, match="over 10 bytes"):
        lines.feed(b"78901")


def test_lines_counts_only_the_unfinished_line() -> None:
    lines = Lines(10)
    for _ in range(100):
        assert lines.feed(b"12345\n67890") == [b"12345"]
        assert lines.feed(b"\n") == [b"67890"]
