"""models/blobs.py: safe names, hashes, digests, the two places, what disk errors say."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest

from tollama.core.errors import DiskFull, HubError, TollamaError
from tollama.models.blobs import (
    Hashes,
    Place,
    check_space,
    digest_of,
    disk_error,
    problem_on_disk,
    safe_name,
    size_text,
)


@pytest.mark.parametrize(
    "name", ["config.json", "a/b/c.safetensors", "model-00001-of-00002.safetensors", "ü.json", ".x"]
)
def test_safe_name_passes_ordinary_paths(name):
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "/etc/passwd", "..", "../x", "a/../x", "a//b", "a/", "./a", "a/.", "a\\..\\x"),
        *("C:x", "c:/x", "a\0b", "a\nb", "con", "a/NUL.json", "aux.txt", "x.", "x ", "a*b", "a?b"),
        *(".parts", ".parts/x", "a" * 256, "a/" * 300 + "b", "\ud800", 7, None, ["a"]),
    ],
)
def test_safe_name_refuses_what_could_leave_the_folder(name):
    with pytest.raises(HubError, match="refused"):
        safe_name(name)


def test_hashes_are_those_of_sha256sum_and_git(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"hello\n")
    hashes = Hashes(git_size=6)
    assert hashes.read(str(path)) == 6
    assert hashes.sha256() == hashlib.sha256(b"hello\n").hexdigest()
    assert hashes.blob_id() == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object


def test_hashes_of_a_prefix(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(3_000_000))
    hashes = Hashes()
    assert hashes.read(str(path), 1_500_001) == 1_500_001
    assert hashes.sha256() == hashlib.sha256(bytes(1_500_001)).hexdigest()


def test_digest_of_files_ignores_order_and_sees_every_change():
    one = {"path": "a", "size": 1, "sha256": "1" * 64}
    two = {"path": "b", "size": 1, "sha256": "2" * 64}
    assert digest_of([one, two]) == digest_of([two, one])
    assert digest_of([one, two]) != digest_of([one, {**two, "path": "c"}])
    assert digest_of([one, two]) != digest_of([one, {**two, "sha256": "3" * 64}])


def test_problem_on_disk_is_specific(tmp_path):
    path = tmp_path / "x"
    assert problem_on_disk(str(path), 1, None) == "missing"
    path.write_bytes(b"abc")
    good = hashlib.sha256(b"abc").hexdigest()
    assert problem_on_disk(str(path), 3, good) is None
    assert problem_on_disk(str(path), 4, good) == "3 bytes, expected 4"
    assert problem_on_disk(str(path), 3, "0" * 64) == f"sha256 is {good}, expected {'0' * 64}"


def test_cache_place_has_the_layout_of_other_tools(tmp_path):
    place = Place(dest=None, hf_home=str(tmp_path), repo_id="org/name")
    place.use_commit("a" * 40)
    place.prepare()
    with open(place.part("f" * 64, "sub/x.json"), "wb") as stream:
        stream.write(b"{}")
    place.finish("sub/x.json", "f" * 64)
    place.link("sub/x.json", "f" * 64)
    place.link("sub/x.json", "f" * 64)  # a second time changes nothing
    place.note_ref("main", "a" * 40)
    repo = tmp_path / "hub" / "models--org--name"
    assert os.readlink(repo / "snapshots" / ("a" * 40) / "sub" / "x.json") == "/".join(
        ["..", "..", "..", "blobs", "f" * 64]
    )
    assert place.commit_of("main") == "a" * 40
    assert place.commit_of("other") is None
    assert place.commit_of("../../etc") is None


def test_folder_place_drops_files_of_other_commits(tmp_path):
    place = Place(dest=str(tmp_path / "s"), hf_home=None, repo_id="org/name")
    place.prepare()
    (tmp_path / "s" / "old.safetensors").write_text("old")
    (tmp_path / "s" / "config.json").write_text("{}")
    place.tidy({"config.json"})
    assert sorted(os.listdir(tmp_path / "s")) == ["config.json"]


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.ENOSPC, DiskFull, "make room"),
        (errno.EDQUOT, DiskFull, "make room"),
        (errno.EROFS, TollamaError, "TOLLAMA_HOME"),
        (errno.EACCES, TollamaError, "TOLLAMA_HOME"),
    ],
)
def test_disk_errors_say_what_to_do(number, kind, text):
    error = disk_error(OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert text in error.message


def test_check_space_names_both_sizes(tmp_path):
    check_space(str(tmp_path), 1)
    with pytest.raises(DiskFull, match=r"needs 1000\.0 PB.*free"):
        check_space(str(tmp_path), 10**18)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (478_000_000, "478.0 MB"),
        (1e13, "10.0 TB"),
    ],
)
def test_size_text(size, text):
    assert size_text(size) == text
