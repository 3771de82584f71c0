"""What comes out of a kit: models and runtimes, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sys
import zipfile

import pytest
from checkpoints import install_checkpoint, install_mock, make_checkpoint, quiet, tree

from tollama.cli.main import main
from tollama.core.errors import CorruptDownload, DiskFull
from tollama.models import (
    blobs,
    families,
    kit_check,
    kit_export,
    kit_import,
    locks,
    runtimes,
    store,
)


@pytest.fixture
def here(tmp_path):
    """A home with three models."""
    home = tmp_path / "here"
    install_checkpoint(home, make_checkpoint(tmp_path / "one"), "one")
    install_checkpoint(home, make_checkpoint(tmp_path / "two", seed=2, size=100_000), "Two")
    install_mock(home)
    return home


@pytest.fixture
def kit(here, tmp_path):
    models = [store.get(str(here), name) for name in ("mock", "one", "two")]
    path = str(tmp_path / "kit.tollama")
    kit_export.export(path, models, report=quiet)
    return path


@pytest.fixture
def there(tmp_path):
    """The home of the tests, empty."""
    return tmp_path / "home"


def names(home):
    return [model.name for model in store.listed(str(home))[0]]


def test_models_arrive_as_they_were(here, there, kit, capsys):
    assert main(["import", kit]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in answer["models"]] == ["mock", "one", "Two"]
    assert names(there) == ["mock", "one", "Two"]
    for name in ("mock", "one", "two"):
        old, new = store.get(str(here), name), store.get(str(there), name)
        assert new.digest == old.digest
        local = {"resolved", "pulled_at", "installed_at"}
        kept = {k: v for k, v in old.manifest.items() if k not in local}
        assert {k: v for k, v in new.manifest.items() if k not in local} == kept
        if old.snapshot:
            assert tree(new.snapshot) == tree(old.snapshot)
            assert new.snapshot == str(there / "models" / name / "snapshot")
    assert main(["verify"]) == 0
    assert sorted(os.listdir(there / "models")) == ["mock", "one", "two"]


def test_only_the_models_asked_for(there, kit, capsys):
    assert main(["import", kit, "--models", "TWO,mock"]) == 0
    assert names(there) == ["mock", "Two"]
    capsys.readouterr()
    assert main(["import", kit, "--models", "three"]) == 3
    assert "it has: mock, one, Two" in capsys.readouterr().err
    assert main(["import", kit, "--runtimes"]) == 2
    assert "no such part" in capsys.readouterr().err
    assert main(["import", kit, "--runtimes", "--no-runtimes"]) == 2


def test_a_model_is_replaced_as_a_whole(here, there, kit, tmp_path):
    other = make_checkpoint(tmp_path / "other", seed=9)
    (other / "generation_config.json").write_text("{}")
    install_checkpoint(there, other, "one")
    (there / "models" / "one" / "snapshot" / "stray").write_text("x")
    assert main(["import", kit]) == 0
    new = store.get(str(there), "one")
    assert tree(new.snapshot) == tree(store.get(str(here), "one").snapshot)
    assert main(["import", kit]) == 0


def test_a_file_of_two_models_is_written_for_both(here, there, tmp_path):
    one = store.get(str(here), "one")
    copy = store.copy(str(here), one.manifest, "copy", one.snapshot)
    kit_export.export(str(tmp_path / "kit"), [one, copy], report=quiet)
    assert main(["import", str(tmp_path / "kit")]) == 0
    for name in ("one", "copy"):
        assert tree(store.get(str(there), name).snapshot) == tree(one.snapshot)


def test_a_model_may_not_take_the_place_of_a_built_in_one(here, there, tmp_path, capsys):
    one = store.get(str(here), "one")
    false = one._replace(manifest={**one.manifest, "name": "Auto"})
    kit_export.export(str(tmp_path / "kit"), [false, one], report=quiet)
    assert main(["import", str(tmp_path / "kit")]) == 2
    assert "has the name of a built-in one" in capsys.readouterr().err
    assert not there.exists()
    assert main(["import", str(tmp_path / "kit"), "--models", "one"]) == 0


def test_a_kit_that_changes_while_it_is_read_installs_nothing(there, kit):
    known, _ = families.find(str(there), {})
    with kit_check.open_kit(kit) as found:
        with open(kit, "r+b") as file:
            file.seek(-5000, os.SEEK_END)
            file.write(b"x")
        chosen = kit_import.Chosen(kit_import.models_of(found, None, known), [])
        with pytest.raises(CorruptDownload, match="changed while it was read"):
            kit_import.install(
                found, str(there), chosen, known, report=quiet, on_event=lambda event: None
            )
    assert names(there) == []
    assert os.listdir(there / "models") == []


def test_a_full_disk_is_known_before_anything_is_written(there, kit, monkeypatch, capsys):
    monkeypatch.setattr(blobs, "RESERVE", 1 << 60)
    assert main(["import", kit]) == DiskFull.exit_code
    assert "importing kit.tollama needs 103.2 kB, the disk has" in capsys.readouterr().err
    assert not there.exists()


def test_a_home_that_cannot_be_written_is_said_as_such(there, kit, capsys):
    there.mkdir()
    (there / "models").touch()
    assert main(["import", kit]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: cannot make the folder") and err.count("\n") == 1


# -- runtimes -------------------------------------------------------------------------------------


def make_wheel(folder, name, version, code):
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        rows.append(f"{path},sha256={digest.decode()},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""])
    file = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return hashlib.sha256(file.read_bytes()).hexdigest()


TARGET = locks.interpreter(sys.executable).target


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A family `fake` on both sides, and a folder as `runtime download fake` leaves it."""
    family = tmp_path / "families" / "fake"
    (family / "tollama_fake").mkdir(parents=True)
    (family / "tollama_fake" / "__init__.py").touch()
    (family / "requirements.txt").write_text("fakelib\n")
    spec = {"family": "fake", "protocol": 1, "module": "tollama_fake", "probe": ["fakelib"],
            "requirements": "requirements.txt", "models": []}  # fmt: skip
    (family / "runner.json").write_text(json.dumps(spec))
    folder = tmp_path / "wheels"
    folder.mkdir()
    digest = make_wheel(folder, "fakelib", "1.0", "VALUE = 1\n")
    (family / "locks").mkdir()
    lock = family / "locks" / f"{TARGET}-default.txt"
    lock.write_text(f"fakelib==1.0 --hash=sha256:{digest}\n")
    (pip,) = [w for w in locks.interpreter(sys.executable).wheels if "pip-" in w][-1:] or [None]
    if pip is None:
        pytest.skip("this Python carries no wheel of pip")
    shutil.copy(pip, folder)
    write_about(folder, TARGET)
    monkeypatch.setenv("TOLLAMA_RUNNERS", str(tmp_path / "families"))
    return folder


def write_about(folder, target, family="fake"):
    names = sorted(file for file in os.listdir(folder) if file.endswith(".whl"))
    about = {"family": family, "target": target, "build": "default", "files": names}
    (folder / "wheels.json").write_text(json.dumps(about))


def test_a_runtime_is_installed_from_the_wheels_in_the_kit(fake, there, tmp_path, capsys):
    kit = str(tmp_path / "runtime.tollama")
    assert main(["export", "--wheelhouse", str(fake), "-o", kit]) == 0
    capsys.readouterr()
    shutil.rmtree(fake)
    assert main(["import", kit]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["runtimes"][0]["family"] == "fake"
    runtime = runtimes.installed(str(there), "fake")
    assert runtime.packages == {"fakelib": "1.0"}
    assert "imported runtime 'fake' (default)" in err
    # All wheels are gone again, and a second import has nothing to do.
    assert os.listdir(there / "models") == []
    assert main(["import", kit, "--runtimes"]) == 0
    assert "is installed already" in capsys.readouterr().err
    assert runtimes.installed(str(there), "fake").id == runtime.id


def test_a_runtime_for_another_machine_is_left_out_with_a_note(fake, here, tmp_path, capsys):
    write_about(fake, "linux-riscv64-cp311")
    models = [store.get(str(here), "mock")]
    kit = str(tmp_path / "kit")
    kit_export.export(kit, models, runtimes=[kit_export.wheels_in(str(fake))], report=quiet)
    assert main(["import", kit]) == 0
    out, err = capsys.readouterr()
    note = "runtime 'fake' is for Python 3.11 on linux-riscv64, and no such Python was found here"
    assert json.loads(out)["notes"] == [f"{note}; name one with --python"]
    assert f"note: {note}" in err
    assert main(["import", kit, "--runtimes"]) == 3
    assert note in capsys.readouterr().err
    assert main(["import", kit, "--no-runtimes"]) == 0


def test_a_runtime_of_an_unknown_family_names_the_pyz_of_the_kit(fake, there, tmp_path, capsys):
    write_about(fake, TARGET, family="other")
    kit = str(tmp_path / "kit")
    kit_export.export(kit, [], runtimes=[kit_export.wheels_in(str(fake))], report=quiet)
    assert main(["import", kit]) == 3
    assert "no such family; use the tollama.pyz of the kit: tar -xf" in capsys.readouterr().err
    assert not there.exists()


def test_wheels_of_another_version_are_refused_before_they_run(fake, here, there, tmp_path, capsys):
    kit = str(tmp_path / "kit")
    models = [store.get(str(here), "mock")]
    kit_export.export(kit, models, runtimes=[kit_export.wheels_in(str(fake))], report=quiet)
    lock = tmp_path / "families" / "fake" / "locks" / f"{TARGET}-default.txt"
    lock.write_text(f"fakelib==2.0 --hash=sha256:{'0' * 64}\n")
    assert main(["import", kit]) == 2
    assert "not those that this tollama wants" in capsys.readouterr().err
    assert names(there) == ["mock"]
    assert runtimes.installed(str(there), "fake") is None


def test_inspect_lists_what_is_inside(fake, here, tmp_path, capsys):
    kit = str(tmp_path / "kit")
    models = [store.get(str(here), "one")]
    written = kit_export.export(
        kit, models, runtimes=[kit_export.wheels_in(str(fake))], pyz=__file__, report=quiet
    )
    assert main(["inspect", kit]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["sha256"] == written.sha256
    assert answer["models"][0]["digest"] == models[0].digest
    assert answer["models"][0]["files"] == models[0].manifest["files"]
    assert answer["runtimes"][0]["target"] == TARGET
    assert answer["pyz"]["size"] == os.path.getsize(__file__)
    assert sum(entry["size"] for entry in answer["entries"]) < answer["size"]
    assert main(["inspect", kit, "--format", "table"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["PART", "NAME", "FOR", "SIZE", "ID"]
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["model", "runtime", "program"]
    assert f"sha256  {written.sha256}" in out and "signed  nobody" in out
