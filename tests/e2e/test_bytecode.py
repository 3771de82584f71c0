"""Compiled code of the built file is kept between starts, and trusted only when it should be."""

import os
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def copied(pyz, tmp_path):
    """The .pyz in a folder of its own, and a way to run it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    file = shutil.copy(pyz, folder / "tollama.pyz")

    def run(*flags):
        env = {**os.environ, "TOLLAMA_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [sys.executable, "-I", "-S", *flags, file, "show", "auto", "--parameters"],
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    return folder, run


def kept(folder):
    return sorted((folder / "__pycache__").glob("*.bin"))


def test_the_first_start_keeps_what_it_compiled(copied):
    folder, run = copied
    run()
    (file,) = kept(folder)
    before = file.read_bytes()
    run()
    assert file.read_bytes() == before
    assert list((folder / "__pycache__").iterdir()) == [file]


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_damaged_code_is_made_anew(copied, damage):
    folder, run = copied
    run()
    (file,) = kept(folder)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    run()
    assert file.stat().st_size == len(whole)


def test_code_that_others_may_write_is_not_used(copied):
    folder, run = copied
    run()
    (file,) = kept(folder)
    file.write_bytes(b"not marshal")
    file.chmod(0o666)
    run()
    assert file.stat().st_mode & 0o022 == 0


def test_code_of_another_file_is_not_used(copied):
    folder, run = copied
    run()
    (file,) = kept(folder)
    before = file.read_bytes()
    os.utime(folder / "tollama.pyz", ns=(1, 1))
    run()
    assert file.read_bytes() != before


def test_nothing_is_kept_when_python_was_told_so(copied):
    folder, run = copied
    run("-B")
    assert not (folder / "__pycache__").exists()


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_a_folder_that_cannot_be_written_is_no_failure(copied, tmp_path):
    folder, run = copied
    # A file where the folder would be: that stops root too.
    (folder / "__pycache__").write_text("")
    run()
    assert list((tmp_path / "home" / "cache").glob("*.bin"))
