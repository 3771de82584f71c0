import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollama.core import splice
from tollama.core.errors import InvalidRequest

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(
    st.sampled_from(["series", "model", "horizon", "x"]), values | st.lists(values, max_size=5)
)


@given(objects, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_split_reads_what_json_reads(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        return
    found = splice.split(body)
    assert found.value == json.loads(text)
    assert "\n" not in found.text
    assert json.loads(found.text) == json.loads(text)


@given(st.lists(values, min_size=1, max_size=8), st.data(), st.sampled_from([None, 2]))
def test_a_slice_has_only_its_items(items, data, indent):
    body = splice.split(json.dumps({"a": 1, "series": items, "z": [2]}, indent=indent).encode())
    first = data.draw(st.integers(0, len(items) - 1))
    last = data.draw(st.integers(first + 1, len(items)))
    sliced = json.loads(body.slice(first, last))
    assert sliced == {"a": 1, "series": json.loads(json.dumps(items))[first:last], "z": [2]}


def test_the_last_of_two_equal_keys_counts_in_the_value_and_in_slices():
    body = splice.split(b'{"series":[1,2],"series":[3,4]}')
    assert body.value == {"series": [3, 4]}
    assert json.loads(body.slice(1, 2)) == {"series": [4]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a"',
        b'{"a":1,}',
        b'{"a" 1}',
        b'{"series":[1 2]}',
        b'{"series":[1,]}',
        b'{"series":[1',
        b'{"a":1} x',
        b"{'a':1}",
        b'"\x01"',
        b"\xff",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"nope",
        b"[" * 100_000,
        b'{"series":[' + b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_malformed_bodies_are_refused_in_words(body):
    for read in (splice.split, splice.parse):
        with pytest.raises(InvalidRequest):
            read(body)


def test_values_that_are_no_objects_pass_through_to_the_schema():
    assert splice.split(b"[1]").value == [1]
    assert splice.split(b" null ").value is None


@pytest.mark.parametrize("seed", range(4))
def test_a_large_text_is_read_as_json_reads_it(monkeypatch, seed):
    """In steps of a few characters: the same values, and the same mistakes at the same places."""
    monkeypatch.setattr(splice, "STEP", 8)
    monkeypatch.setattr(splice, "LARGE", 0)
    rnd = random.Random(seed)

    def value(depth=0):
        kind = rnd.random()
        if depth < 4 and kind < 0.25:
            return {f"k{rnd.randrange(9)}": value(depth + 1) for _ in range(rnd.randrange(5))}
        if depth < 4 and kind < 0.45:
            return [value(depth + 1) for _ in range(rnd.randrange(6))]
        if kind < 0.6:
            return [rnd.choice([1, 2.5, -3, None, 1e9, True]) for _ in range(rnd.randrange(40))]
        return rnd.choice([1, None, True, "x", "a]b", "{,", 'q"u', 2.5, "é"])

    def outcome(read, text):
        try:
            return repr(read(text))
        except json.JSONDecodeError as error:
            return f"{error.msg.lower()} at character {error.pos}"
        except InvalidRequest as error:
            return error.message.removeprefix("the body is not valid JSON: ")

    for _ in range(2000):
        text = json.dumps(value(), ensure_ascii=False)
        if rnd.random() < 0.6:
            at, change = rnd.randrange(len(text)), rnd.random()
            mark = rnd.choice(',[]{}":1x ') if change < 0.6 else ""
            text = text[:at] + mark + text[at + (change < 0.8) :]
        if text.strip():
            wanted = outcome(json.loads, text)
            assert outcome(lambda t: splice.parse(t.encode()), text) == wanted, text
            assert outcome(lambda t: splice.split(t.encode()).value, text) == wanted, text


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.none()


def shape(value):
    """What is left of a value without the digits of its numbers."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return "number" if type(value) in (int, float) else value


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": st.text(), "target": st.lists(numbers)}, optional={"x": values}
        )
    ),
    st.lists(st.floats(0.01, 0.99)),
)
def test_what_is_skimmed_has_the_shape_of_what_is_read(series, quantiles):
    text = json.dumps({"quantiles": quantiles, "series": series, "z": 1.5})
    found, whole = splice.skim(text.encode()), splice.split(text.encode())
    assert shape(found.value) == shape(whole.value)
    assert found.value["quantiles"] == quantiles
    assert found.value["z"] == 1.5
    assert (found.text, found.items, found.array) == (whole.text, whole.items, whole.array)


@pytest.mark.parametrize(
    "number", ["1e999", "1.5E999", "-1e+999", "1" + "0" * 400 + ".0", "-" + "9" * 400 + ".5"]
)
def test_a_number_that_overflows_is_never_skimmed(number):
    body = splice.skim(b'{"series":[{"target":[1.5,%s]}]}' % number.encode())
    assert not body.skimmed
    assert not math.isfinite(body.value["series"][0]["target"][1])


def test_plain_numbers_are_skimmed_also_in_a_large_text():
    target = [0.25, -17.5, 3] * 40_000
    body = splice.skim(json.dumps({"series": [{"target": target}, {"target": [1.5]}]}).encode())
    assert body.skimmed
    assert len(body.text) > splice.LARGE
    assert [len(one["target"]) for one in body.value["series"]] == [120_000, 1]
    assert json.loads(body.slice(1, 2)) == {"series": [{"target": [1.5]}]}
