"""The bytes of a kit, held against Python's own tar reader, and what kit.json may say."""

from __future__ import annotations

import copy
import io
import json
import tarfile

import pytest

from tollama.core.errors import InvalidRequest
from tollama.models import kit_format
from tollama.models.kit_format import Contents, Entry, Wheels

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, (1 << 33) - 1, 1 << 33, 123 << 30])
def test_header_is_one_that_tar_programs_read(size):
    block = kit_format.header("models/m/model.safetensors", size)
    assert len(block) == 512
    assert kit_format.size_in(block) == size
    info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    assert (info.name, info.size, info.mode) == ("models/m/model.safetensors", size, 0o644)
    assert (info.type, info.uid, info.gid, info.mtime) == (tarfile.REGTYPE, 0, 0, kit_format.DATE)


def test_total_counts_every_byte():
    out = io.BytesIO()
    entries = [Entry("x", 700, A), Entry("y", 0, B), Entry("z", 512, C)]
    for name, size in [("kit.json", 5), *((e.name, e.size) for e in entries), ("sha256", 65)]:
        out.write(kit_format.header(name, size) + b"x" * size)
        out.write(b"\0" * kit_format.padding(size))
    out.write(kit_format.END)
    assert kit_format.total(5, entries, None) == len(out.getvalue())
    assert kit_format.total(5, entries, 300) == len(out.getvalue()) + 1024
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        assert archive.getnames() == ["kit.json", "x", "y", "z", "sha256"]


@pytest.mark.parametrize(
    ("wanted", "plain"),
    [
        ("models/chronos2/model.safetensors", True),
        ("wheels/torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", True),
        ("models/" + "x" * 92, True),
        ("models/" + "x" * 93, False),
        ("models/m/modèle.json", False),
        ("models/m/a b.json", False),
        ("../x", False),
        ("/x", False),
        ("a//b", False),
        ("a/.hidden", False),
        ("kit.json", False),
        ("SHA256", False),
    ],
)
def test_entry_name_is_what_people_expect_or_the_hash(wanted, plain):
    assert kit_format.entry_name(wanted, A) == (wanted if plain else f"blobs/{A}")


def contents():
    files = [{"path": "config.json", "size": 2, "sha256": A}]
    model = {
        "name": "m",
        "base": "m",
        "family": "torch",
        "source": {"type": "huggingface", "repo_id": "o/m", "revision": "main"},
        "resolved": {"commit_sha": "0" * 40},
        "license": {"type": "MIT"},
        "files": files,
    }
    wheels = Wheels("torch", "linux-x86_64-cp311", "cpu", [{"file": "a-1-py3-none-any.whl",
                                                            "size": 3, "sha256": B}])  # fmt: skip
    entries = [
        Entry("README.txt", 9, "d" * 64),
        Entry("tollama.pyz", 4, C),
        Entry("wheels/a-1-py3-none-any.whl", 3, B),
        Entry("models/m/config.json", 2, A),
    ]
    return Contents("1.0", [model], [wheels], entries[1], entries)


def test_index_round_trips():
    data = kit_format.write_index(contents())
    assert kit_format.read_index(data) == contents()
    assert kit_format.write_index(kit_format.read_index(data)) == data


def test_portable_manifest_says_nothing_of_the_machine():
    manifest = {
        "name": "m",
        "resolved": {"commit_sha": "1" * 40, "snapshot_path": "/home/me/x"},
        "pulled_at": "2026-01-01T00:00:00Z",
        "installed_at": "2026-01-01T00:00:00Z",
        "preset": {"horizon": 3},
    }
    assert kit_format.portable(manifest) == {
        "name": "m",
        "resolved": {"commit_sha": "1" * 40},
        "preset": {"horizon": 3},
    }


PATHS = [
    "../../etc/passwd", "/etc/passwd", "a/../../b", "..", ".", "", "a//b", "a\\b", "C:/x", "a\0b",
    "con", "NUL.json", "x" * 600, "a\nb", "dir/", "./a", ".parts/x", "aux/x", "a.", "a ",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_index_refuses_paths_that_leave_the_folder(path):
    value = json.loads(kit_format.write_index(contents()))
    value["models"][0]["files"][0]["path"] = path
    with pytest.raises(InvalidRequest, match=r"models\[0\].files\[0\].path"):
        kit_format.read_index(json.dumps(value).encode())


def edits():
    def edit(path, value):
        def apply(index):
            *way, last = path
            for key in way:
                index = index[key]
            index[last] = value

        return apply

    def remove(path):
        def apply(index):
            *way, last = path
            for key in way:
                index = index[key]
            del index[last]

        return apply

    def twice(name):
        def apply(index):
            index[name].append(copy.deepcopy(index[name][0]))

        return apply

    model = ["models", 0]
    wheel = ["runtimes", 0, "files", 0]
    return {
        "form": (edit(["kit"], 2), "form 2"),
        "unknown field": (edit(["hooks"], []), "hooks: unknown field"),
        "name leaves": (edit([*model, "name"], "../x"), r"models\[0\].name"),
        "family leaves": (edit([*model, "family"], "a/b"), r"models\[0\].family"),
        "snapshot path": (edit([*model, "resolved", "snapshot_path"], "/etc"), "resolved"),
        "no source": (remove([*model, "source"]), "source"),
        "short hash": (edit([*model, "files", 0, "sha256"], "a" * 63), "64 hex digits"),
        "upper hash": (edit([*model, "files", 0, "sha256"], "A" * 64), "64 hex digits"),
        "long hash": (edit([*model, "files", 0, "sha256"], "a" * 65), "64 hex digits"),
        "negative size": (edit(["entries", 0, "size"], -1), ">= 0"),
        "true size": (edit(["entries", 0, "size"], True), "integer"),
        "huge size": (edit(["entries", 0, "size"], 1 << 60), "<="),
        "file without entry": (edit([*model, "files", 0, "size"], 3), "is missing"),
        "entry of nothing": (edit(["entries", 2, "sha256"], "e" * 64), "is missing"),
        "hidden entry": (
            lambda index: index["entries"].append({"name": "x", "size": 1, "sha256": "e" * 64}),
            "'x' belongs to nothing",
        ),
        "entry twice": (twice("entries"), "comes twice"),
        "model twice": (twice("models"), "models: one comes twice"),
        "runtime twice": (twice("runtimes"), "runtimes: one comes twice"),
        "entry absolute": (edit(["entries", 0, "name"], "/README.txt"), "plain relative name"),
        "entry up": (edit(["entries", 0, "name"], "../README.txt"), "plain relative name"),
        "wheel up": (edit([*wheel, "file"], "../a-1-py3-none-any.whl"), "name of a wheel"),
        "wheel of another kind": (edit([*wheel, "file"], "setup.py"), "name of a wheel"),
        "wheels no list": (edit(["runtimes", 0, "files"], {"a": 1}), "expected a list"),
        "pyz of nowhere": (edit(["pyz"], "other.pyz"), "not among the entries"),
        "surrogate": (edit([*model, "architecture"], "\ud800"), "not JSON"),
        "models no list": (edit(["models"], "m"), "expected a list"),
        "preset no object": (edit([*model, "preset"], [1]), "expected an object"),
    }


@pytest.mark.parametrize("name", edits())
def test_index_refuses(name):
    apply, message = edits()[name]
    value = json.loads(kit_format.write_index(contents()))
    apply(value)
    with pytest.raises(InvalidRequest, match=message):
        kit_format.read_index(json.dumps(value).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'{"kit": 1}', b"[" * 200_000, b'{"kit":1,"entries":NaN}', b"\xff"],
)
def test_index_refuses_what_is_no_index(data):
    with pytest.raises(InvalidRequest):
        kit_format.read_index(data)


def test_index_refuses_one_name_for_two_files():
    value = json.loads(kit_format.write_index(contents()))
    for paths in (["a.json", "A.json"], ["a", "a/b"], ["x", "x"]):
        value["models"][0]["files"] = [{"path": p, "size": 2, "sha256": A} for p in paths]
        with pytest.raises(InvalidRequest, match="two files would have one name"):
            kit_format.read_index(json.dumps(value).encode())
