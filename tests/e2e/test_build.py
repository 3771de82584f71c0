"""build_zipapp.py and what it makes: reproducible, small, complete, usable on every interpreter."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fake_hub import FakeHub

ROOT = Path(__file__).resolve().parents[2]
VENDOR = "tollama/_vendor/"
PAGE = "tollama/daemon/web/"
FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 4000}

PULL = """
import json, sys
pyz, endpoint, dest = sys.argv[1:]
sys.path.insert(0, pyz)
from tollama.models.hub import PullSpec, pull
if __name__ == "__main__":
    spec = PullSpec("org/tiny", endpoint=endpoint, dest=dest)
    print(json.dumps(pull(spec, on_event=lambda event: None)._asdict()))
"""


def interpreters():
    """Commands that start other interpreters of this machine, by their version."""
    found = {}
    for minor in range(6, 15):
        path = shutil.which(f"python3.{minor}")
        if path is None:
            continue
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found[minor] = path
    return found


INTERPRETERS = interpreters()


def build(output, *, hash_seed, cwd, options=()):
    environ = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, str(ROOT / "build_zipapp.py"), "--no-selftest", *options]
    subprocess.run(
        [*command, "--output", str(output)], env=environ, cwd=cwd, check=True, capture_output=True
    )
    return output.read_bytes()


@pytest.fixture(scope="module")
def archive(pyz):
    with zipfile.ZipFile(pyz) as opened:
        yield opened


@pytest.fixture
def vendored(archive):
    """The versions of what is packed; tests that need the hub client are left out without it."""
    versions = json.loads(archive.read("tollama/_build.json"))["vendored"]
    if not versions:
        pytest.skip("this .pyz was built without the hub client")
    return versions


def test_two_builds_are_byte_identical(pyz, tmp_path):
    first = build(tmp_path / "first.pyz", hash_seed=1, cwd=ROOT)
    second = build(tmp_path / "another-name.pyz", hash_seed=2, cwd=tmp_path)
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()


def test_core_stays_small(pyz, tmp_path):
    core = tmp_path / "core.pyz"
    size = len(build(core, hash_seed=0, cwd=ROOT, options=["--no-vendor"]))
    with zipfile.ZipFile(core) as opened:
        page = sum(i.compress_size for i in opened.infolist() if i.filename.startswith(PAGE))
    assert size - page <= 500_000  # the page has a limit of its own: tests/browser
    assert pyz.stat().st_size <= 2_500_000


def test_archive_holds_sources_and_nothing_compiled(archive):
    names = archive.namelist()
    assert names == sorted(names) and len(set(names)) == len(names)
    assert not [n for n in names if n.endswith((".so", ".pyd", ".dll", ".dylib"))]
    assert not [n for n in names if "/tests/" in n or "__pycache__" in n]
    assert {"__main__.py", "LICENSE", "tollama/__init__.py", "runners/stats/runner.json"} <= {
        *names
    }


def test_compiled_modules_match_their_sources(archive):
    compiled = [name for name in archive.namelist() if name.endswith(".pyc")]
    assert "tollama/__main__.pyc" in compiled
    for name in compiled:
        data = archive.read(name)
        assert data[4:8] == b"\1\0\0\0", f"{name} is not checked by hash"
        assert data[8:16] == importlib.util.source_hash(archive.read(name[:-1])), name


def test_vendored_packages_are_the_pinned_ones_with_their_licences(archive, vendored):
    spec = importlib.util.spec_from_file_location("build_zipapp", ROOT / "build_zipapp.py")
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    table = builder.read_pins()
    pins = dict(pin["requirement"].split("==") for pin in table["wheels"])
    pins |= {pin["package"]: pin["version"] for pin in table["page"] if pin["package"] in vendored}
    assert vendored == pins
    names = archive.namelist()
    for name, version in pins.items():
        folder = f"{VENDOR}licenses/{name}-{version}/"
        assert [n for n in names if n.lower().startswith(folder)], f"no licence of {name}"


def test_vendored_client_needs_nothing_of_the_machine(pyz, vendored):
    code = (
        "import sys; pyz = sys.argv[1]; sys.path[:0] = [pyz + '/tollama/_vendor', pyz];"
        "import tollama.models.hub_wire, tollama.models.download;"
        "print([m.__file__ for m in sys.modules.values() if 'site-packages' in "
        "(getattr(m, '__file__', None) or '')])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(pyz)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("minor", range(10, 14))
def test_pull_from_the_archive_alone(pyz, vendored, tmp_path, minor):
    python = sys.executable if sys.version_info[1] == minor else INTERPRETERS.get(minor)
    if python is None:
        pytest.skip(f"no Python 3.{minor} here")
    with FakeHub() as hub:
        commit = hub.add("org/tiny", FILES)
        done = subprocess.run(
            [python, "-I", "-S", "-c", PULL, str(pyz), hub.url, str(tmp_path / "s")],
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["commit_sha"] == commit
    assert (tmp_path / "s" / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_core_without_client_says_how_to_get_it(tmp_path):
    core = tmp_path / "core.pyz"
    build(core, hash_seed=0, cwd=ROOT, options=["--no-vendor"])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PULL, str(core), "http://127.0.0.1:9", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=100,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode
    if "huggingface_hub, which this installation lacks" not in done.stderr:
        assert "HubUnreachable" in done.stderr  # this interpreter has it installed: it was used


@pytest.mark.parametrize("minor", range(6, 10))
def test_old_interpreters_are_told_what_is_needed(pyz, minor):
    if minor not in INTERPRETERS:
        pytest.skip(f"no Python 3.{minor} here")
    done = subprocess.run(
        [INTERPRETERS[minor], str(pyz), "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip().startswith("tollama needs Python 3.10 or newer, this is 3.")
    assert len(done.stderr.strip().splitlines()) == 1
