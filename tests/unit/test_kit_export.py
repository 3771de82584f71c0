"""What is packed, that it is always the same bytes, and that nothing damaged is packed."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import tarfile

import pytest
from checkpoints import install_checkpoint, install_mock, make_checkpoint, quiet

from tollama.cli.main import main
from tollama.core.errors import CorruptDownload, DiskFull, InvalidRequest, ModelNotFound
from tollama.models import blobs, families, kit_check, kit_export, kit_format, store


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    install_checkpoint(home, make_checkpoint(tmp_path / "one"), "one")
    install_checkpoint(home, make_checkpoint(tmp_path / "two", seed=2), "Two")
    install_mock(home)
    return home


def export(home, path, *names, **options):
    known, _ = families.find(str(home), {})
    models = kit_export.models(str(home), names, known)
    return kit_export.export(str(path), models, report=quiet, **options)


def test_equal_contents_give_equal_bytes(home, tmp_path):
    one = export(home, tmp_path / "a", "one", "two", "mock")
    other = export(home, tmp_path / "b", "mock", "TWO", "one", "mock:latest")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert one.sha256 == other.sha256 == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    assert one.size == os.path.getsize(tmp_path / "a")


def test_a_kit_does_not_tell_when_or_where_it_was_made(home, tmp_path):
    manifest = store.get(str(home), "one").manifest
    first = export(home, tmp_path / "a", "one")
    store.write(str(home), {**manifest, "pulled_at": "2001-01-01T00:00:00Z"})
    assert export(home, tmp_path / "b", "one").sha256 == first.sha256
    assert str(tmp_path).encode() not in (tmp_path / "a").read_bytes()


def test_a_kit_is_a_tar_archive_with_names_for_people(home, tmp_path):
    pyz = tmp_path / "any.pyz"
    pyz.write_bytes(b"#!/usr/bin/env python3\nprogram")
    export(home, tmp_path / "kit", "one", "two", pyz=str(pyz))
    with tarfile.open(tmp_path / "kit") as archive:
        assert archive.getnames() == [
            "kit.json", "README.txt", "tollama.pyz", "models/one/config.json",
            "models/one/model.safetensors", "models/two/model.safetensors", "sha256",
        ]  # fmt: skip
        assert archive.extractfile("tollama.pyz").read() == pyz.read_bytes()
        readme = archive.extractfile("README.txt").read().decode()
    assert "tar -xf KIT tollama.pyz" in readme
    assert "python3 tollama.pyz import KIT" in readme


def test_equal_files_are_carried_once(home, tmp_path):
    manifest = store.get(str(home), "one").manifest
    store.copy(str(home), manifest, "copy", store.get(str(home), "one").snapshot)
    written = export(home, tmp_path / "kit", "one", "copy", "two")
    # config.json is the same in all three.
    assert len(written.contents.entries) == 1 + 3
    with kit_check.open_kit(str(tmp_path / "kit")) as kit:
        assert [model["name"] for model in kit.contents.models] == ["copy", "one", "Two"]


@pytest.mark.parametrize("harm", ["change", "shorten", "lengthen", "remove"])
def test_a_damaged_model_is_not_exported(home, tmp_path, harm):
    file = home / "models" / "one" / "snapshot" / "model.safetensors"
    data = file.read_bytes()
    if harm == "remove":
        file.unlink()
    else:
        changed = {"change": b"x" + data[1:], "shorten": data[:-1], "lengthen": data + b"x"}
        file.write_bytes(changed[harm])
    (tmp_path / "out").mkdir()
    with pytest.raises(CorruptDownload, match=r"model 'one': model.safetensors is missing or dam"):
        export(home, tmp_path / "out" / "kit", "one")
    assert os.listdir(tmp_path / "out") == []


def test_an_older_kit_stays_when_the_new_one_fails(home, tmp_path):
    first = export(home, tmp_path / "kit", "two")
    (home / "models" / "one" / "snapshot" / "config.json").unlink()
    with pytest.raises(CorruptDownload):
        export(home, tmp_path / "kit", "one")
    assert hashlib.sha256((tmp_path / "kit").read_bytes()).hexdigest() == first.sha256


def test_models_that_are_not_here_or_need_no_kit(home, tmp_path):
    with pytest.raises(ModelNotFound, match="tollama pull chronos2"):
        export(home, tmp_path / "kit", "chronos2")
    with pytest.raises(InvalidRequest, match="built in"):
        export(home, tmp_path / "kit", "theta")


def test_the_place_for_the_kit_is_looked_at_first(home, tmp_path, monkeypatch):
    with pytest.raises(InvalidRequest, match="is a folder"):
        export(home, tmp_path, "one")
    with pytest.raises(InvalidRequest, match="does not exist"):
        export(home, tmp_path / "no" / "kit", "one")
    monkeypatch.setattr(blobs, "RESERVE", 1 << 60)
    with pytest.raises(DiskFull, match="free: make room"):
        export(home, tmp_path / "kit", "one")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_said_as_such():
    with pytest.raises(OSError) as error, open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    assert error.value.errno == errno.ENOSPC
    assert isinstance(kit_export._translate(error.value, "kit"), DiskFull)


def test_wheels_are_carried_under_their_names(home, tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "numpy-2.0-cp311-cp311-manylinux_2_17_x86_64.whl").write_bytes(b"numpy")
    (folder / "pip-26.0-py3-none-any.whl").write_bytes(b"pip")
    names = sorted(os.listdir(folder))
    about = {"family": "numpy", "target": "linux-x86_64-cp311", "build": "default", "files": names}
    (folder / "wheels.json").write_text(json.dumps(about))
    written = export(home, tmp_path / "kit", runtimes=[kit_export.wheels_in(str(folder))])
    assert [entry.name for entry in written.contents.entries] == [
        "README.txt", *(f"wheels/{name}" for name in names),
    ]  # fmt: skip
    (wheels,) = written.contents.runtimes
    assert (wheels.family, wheels.target, wheels.build) == (
        "numpy", "linux-x86_64-cp311", "default",
    )  # fmt: skip
    assert [file["file"] for file in wheels.files] == names
    lines = kit_export.commands("k", written.contents._replace(pyz=written.contents.entries[0]))
    assert lines == ["tar -xf k tollama.pyz", "python3.11 tollama.pyz import k"]


def test_wheels_of_one_name_and_other_bytes_do_not_collide(home, tmp_path):
    runtimes = []
    for target, data in (("linux-x86_64-cp310", b"old"), ("linux-x86_64-cp311", b"new")):
        folder = tmp_path / target
        folder.mkdir()
        (folder / "a-1-py3-none-any.whl").write_bytes(data)
        about = {"family": "f", "target": target, "build": "default",
                 "files": ["a-1-py3-none-any.whl"]}  # fmt: skip
        (folder / "wheels.json").write_text(json.dumps(about))
        runtimes.append(kit_export.wheels_in(str(folder)))
    export(home, tmp_path / "kit", runtimes=runtimes)
    with kit_check.open_kit(str(tmp_path / "kit")) as kit:
        assert len(kit.contents.entries) == 3


def test_a_folder_that_is_no_wheelhouse_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="runtime download"):
        kit_export.wheels_in(str(tmp_path))
    (tmp_path / "wheels.json").write_text('{"family":"f","target":"t","build":"b","files":["x"]}')
    with pytest.raises(InvalidRequest, match="cannot be read"):
        kit_export.wheels_in(str(tmp_path))


def test_large_sizes_are_written_as_tar_programs_read_them(tmp_path):
    # A sparse file of 9 GiB, its header alone: the content would take a minute.
    header = kit_format.header("models/m/model.safetensors", 9 << 30)
    info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    assert info.size == 9 << 30
    assert tarfile.TarFile.fileobject is not None and io.BytesIO(header).read(8) == b"models/m"


def test_the_command_prints_what_to_type_on_the_other_side(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "one"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    sha256 = hashlib.sha256((tmp_path / "one.tollama").read_bytes()).hexdigest()
    assert answer["sha256"] == sha256
    assert answer["path"] == str(tmp_path / "one.tollama")
    assert f"sha256 {sha256}\n" in err
    assert f"  tollama import one.tollama --sha256 {sha256}\n" in err
    assert main(["export"]) == 2
    assert "expected a model" in capsys.readouterr().err
