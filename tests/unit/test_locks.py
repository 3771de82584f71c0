"""Locks: exact pins by family, target and build."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tollama.core.errors import InvalidRequest, NotFound, RuntimeMissing
from tollama.models import families, locks

ROOT = Path(__file__).parents[2]
DIGEST = "a" * 64


def lock(text):
    return locks.parse(text, family="fake", target="linux-x86_64-cp311", build="default")


def test_parse_reads_pins_and_the_pip_that_installs_them():
    found = lock(
        f"# a comment\n# bootstrap: pip==25.0 --hash=sha256:{DIGEST}\n\n"
        f"torch==2.13.0+cpu\nPyYAML==6.0 --hash=sha256:{DIGEST}\n"
    )
    assert [pin.line for pin in found.pins] == [
        "torch==2.13.0+cpu",
        f"PyYAML==6.0 --hash=sha256:{DIGEST}",
    ]
    assert found.bootstrap.version == "25.0"


@pytest.mark.parametrize(
    "line", ["torch>=2", "torch", "a==1 b==2", "-r x.txt", "a==1 --hash=md5:0"]
)
def test_parse_refuses_what_is_not_an_exact_pin(line):
    with pytest.raises(InvalidRequest, match="line 2"):
        lock(f"# x\n{line}\n")


def test_override_replaces_pins_and_drops_their_hashes(tmp_path):
    file = tmp_path / "constraints.txt"
    file.write_text("py_yaml == 7.0  # ours\nother==1\nnumpy<3\n")
    found, changes = locks.override(lock(f"Py-YAML==6.0 --hash=sha256:{DIGEST}\n"), str(file))
    assert [pin.line for pin in found.pins] == ["Py-YAML==7.0"]
    assert changes == ["Py-YAML 7.0 in place of the tested 6.0"]


def test_absent_compares_names_as_indexes_do(tmp_path):
    for name in ("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", "py_yaml-6.0-py3-none-any.whl"):
        (tmp_path / name).touch()
    found = lock("torch==2.13.0+cpu\nPy.YAML==6.0\nnumpy==2.0\n")
    assert [pin.name for pin in locks.absent(found, str(tmp_path))] == ["numpy"]


@pytest.mark.parametrize(
    ("version", "platform", "target"),
    [
        ("3.11", "linux-x86_64", "linux-x86_64-cp311"),
        ("3.12.4", "manylinux_x86_64", "linux-x86_64-cp312"),
        ("3.11", "manylinux_2_28_x86_64", "linux-x86_64-cp311"),
        ("3.11", "manylinux2014_aarch64", "linux-aarch64-cp311"),
        ("3.11", "linux_musl-x86_64", "linux_musl-x86_64-cp311"),
        ("3.13", "linux_x86_64", "linux-x86_64-cp313"),
        ("3.10", "darwin-arm64", "darwin-arm64-cp310"),
        ("3.10", "macos-arm64", "darwin-arm64-cp310"),
        ("3.12", "macosx_14_0_arm64", "darwin-arm64-cp312"),
        ("3.11", "windows-x86_64", "win32-amd64-cp311"),
        ("3.11", "win_amd64", "win32-amd64-cp311"),
    ],
)
def test_named_target_reads_what_people_write(version, platform, target):
    assert locks.named_target(version, platform) == target


def test_named_target_refuses_other_versions():
    with pytest.raises(InvalidRequest, match=r"3\.11"):
        locks.named_target("python3", "linux-x86_64")


def test_interpreter_tells_what_an_installation_needs():
    facts = locks.interpreter(sys.executable)
    assert facts.minor == sys.version_info[:2]
    assert facts.target.endswith(f"cp{sys.version_info[0]}{sys.version_info[1]}")
    assert facts.venv


def test_interpreter_that_does_not_start_is_named(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no luck >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(RuntimeMissing, match="no luck"):
        locks.interpreter(str(broken))


def test_find_names_the_versions_that_have_a_lock(tmp_path):
    known, _ = families.find(str(tmp_path), {})
    with pytest.raises(NotFound, match=r"3\.10, 3\.11, 3\.12, 3\.13.*TOLLAMA_PYTHON_TORCH"):
        locks.find(known["torch"], "linux-x86_64-cp39", "cpu")


@pytest.mark.parametrize("family", ["torch", "numpy"])
@pytest.mark.parametrize("minor", [10, 11, 12, 13])
@pytest.mark.parametrize(
    "platform", ["linux-x86_64", "linux-aarch64", "darwin-arm64", "win32-amd64"]
)
def test_shipped_locks_pin_everything_that_the_family_requires(tmp_path, family, platform, minor):
    known, _ = families.find(str(tmp_path), {})
    required = {
        locks.normal(line.partition("=")[0].partition(">")[0])
        for line in (ROOT / "runners" / family / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    special = family == "torch" and platform.startswith("linux")
    for build in ("cpu", "default") if special else ("default",):
        found = locks.find(known[family], f"{platform}-cp3{minor}", build)
        assert found.build == build
        assert required <= {pin.name for pin in found.pins}
        unhashed = [pin.line for pin in found.pins if pin.digest is None]
        assert unhashed == (["torch==2.13.0+cpu"] if build == "cpu" else [])
        assert found.bootstrap.name == "pip"


def test_cpu_lock_is_the_default_one_without_cuda(tmp_path):
    known, _ = families.find(str(tmp_path), {})
    cpu = {p.name: p.version for p in locks.find(known["torch"], "linux-x86_64-cp311", "cpu").pins}
    full = {
        p.name: p.version for p in locks.find(known["torch"], "linux-x86_64-cp311", "default").pins
    }
    assert not any(name.startswith("nvidia") for name in cpu)
    del cpu["torch"]
    assert cpu.items() <= full.items()
