"""Reading safetensors files, sound and damaged."""

from __future__ import annotations

import json

import pytest

np = pytest.importorskip("numpy")

from tollama_numpy import safetensors  # noqa: E402
from tollama_numpy.safetensors import BadCheckpoint  # noqa: E402

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def written(path, header, data=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return str(path)


def test_read_gives_float32_views_of_the_file(tmp_path):
    values = np.array([1.5, -2.0], "<f4")
    header = {"__metadata__": {"format": "pt"}, "a": F32}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    [(name, tensor)] = safetensors.read(written(tmp_path / "m", text, values.tobytes())).items()
    assert (name, tensor.tolist(), tensor.dtype) == ("a", [1.5, -2.0], np.float32)
    assert not tensor.flags.owndata
    assert not tensor.flags.writeable


@pytest.mark.parametrize("pad", range(4))
def test_read_takes_data_at_any_alignment(tmp_path, pad):
    text = json.dumps({"a": F32}).encode()
    text += b" " * (-len(text) % 8 + pad)
    path = written(tmp_path / "m", text, np.array([3, 4], "<f4").tobytes())
    tensor = safetensors.read(path)["a"]
    assert tensor.tolist() == [3.0, 4.0]
    assert tensor.flags.aligned


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("F16", np.array([1.5, -2.0], "<f2").tobytes()),
        ("BF16", np.array([0x3FC0, 0xC000], "<u2").tobytes()),
    ],
)
def test_read_widens_half_precision(tmp_path, dtype, data):
    header = {"a": {"dtype": dtype, "shape": [2, 1], "data_offsets": [0, 4]}}
    tensor = safetensors.read(written(tmp_path / "m", header, data))["a"]
    assert tensor.tolist() == [[1.5], [-2.0]]
    assert tensor.dtype == np.float32


def test_write_float16_reads_back(tmp_path):
    tensors = {"a": np.array([[0.5, 2.0]], np.float32), "b": np.zeros(0, np.float32)}
    path = str(tmp_path / "m")
    safetensors.write_float16(path, tensors)
    found = safetensors.read(path)
    assert found["a"].tolist() == [[0.5, 2.0]]
    assert found["b"].shape == (0,)


def test_write_float16_refuses_what_does_not_fit(tmp_path):
    with pytest.raises(BadCheckpoint, match="a: expected weights up to 65504, got 100000"):
        safetensors.write_float16(str(tmp_path / "m"), {"a": np.array([1e5], np.float32)})


TWICE = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],'
DAMAGED = {
    "not JSON": (b"{", "not JSON"),
    "not an object": (b"[]", "an object"),
    "an entry that is no object": ({"a": 1}, "a: expected an object"),
    "a name twice": (TWICE + b'"data_offsets":[4,8]}}', "every name once"),
    "an unknown type": ({"a": {**F32, "dtype": "I8"}}, "element type of F32, F16, BF16, got 'I8'"),
    "no type": ({"a": {"shape": [2], "data_offsets": [0, 8]}}, "element type"),
    "a negative shape": ({"a": {**F32, "shape": [-2]}}, "a shape and two offsets"),
    "a shape of floats": ({"a": {**F32, "shape": [2.0]}}, "a shape and two offsets"),
    "one offset": ({"a": {**F32, "data_offsets": [8]}}, "a shape and two offsets"),
    "a shape of another size": ({"a": {**F32, "shape": [3]}}, "8 bytes do not hold"),
    "offsets backwards": ({"a": {**F32, "data_offsets": [8, 0]}}, "do not hold"),
    "a huge shape": ({"a": {**F32, "shape": [1 << 62, 1 << 62]}}, "do not hold"),
    "offsets beyond the file": ({"a": {**F32, "data_offsets": [8, 16]}}, "cut short"),
    "an overlap": ({"a": F32, "b": {**F32, "shape": [1], "data_offsets": [4, 8]}}, "b overlaps"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_read_refuses_a_damaged_header(tmp_path, what):
    header, message = DAMAGED[what]
    with pytest.raises(BadCheckpoint, match=message):
        safetensors.read(written(tmp_path / "m", header))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "got 0 bytes"),
        (b"abc", "got 3 bytes"),
        (b"\xff" * 16, "found one of 18446744073709551615 bytes"),
        ((1 << 20).to_bytes(8, "little") + b"{}", "found one of 1048576 bytes"),
    ],
)
def test_read_refuses_a_file_without_a_header(tmp_path, data, message):
    path = tmp_path / "m"
    path.write_bytes(data)
    with pytest.raises(BadCheckpoint, match=message):
        safetensors.read(str(path))


def test_read_names_a_missing_file(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"m\.safetensors: cannot be read: No such file"):
        safetensors.read(str(tmp_path / "m.safetensors"))
