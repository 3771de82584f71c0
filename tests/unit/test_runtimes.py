"""Runtimes installed from a wheelhouse of tiny wheels, and which interpreter runs a family."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import pytest

from tollama.core.errors import (
    CorruptDownload,
    InvalidRequest,
    NotFound,
    RunnerError,
    RuntimeMissing,
    TollamaError,
)
from tollama.models import families, locks, runtimes

ROOT = Path(__file__).parents[2]


def make_wheel(folder, name, version, code):
    """A pure wheel of one module; returns its SHA-256."""
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


SELFTEST = """
    import json, os, sys
    import fakelib, fakedep
    print("a stray print")
    gate = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "gate")
    if os.path.exists(gate):
        open(gate + ".reached", "w").close()
        import time
        time.sleep(600)
    if fakelib.VALUE < 0:
        raise SystemExit("fakelib forecasts nonsense")
    import tollama
    core = os.path.dirname(os.path.dirname(tollama.__file__))
    print(json.dumps({"value": fakelib.VALUE, "core": core}))
"""


class Bench:
    """A home with a family `fake` whose packages lie in a wheelhouse."""

    def __init__(self, base):
        self.home = base / "home"
        self.wheelhouse = base / "wheels"
        self.folder = self.home / "runners" / "fake"
        package = self.folder / "tollama_fake"
        package.mkdir(parents=True)
        self.wheelhouse.mkdir()
        self.target = locks.interpreter(sys.executable).target
        (package / "__init__.py").touch()
        (package / "selftest.py").write_text(textwrap.dedent(SELFTEST))
        (self.folder / "requirements.txt").write_text("fakelib\n")
        spec = {
            "family": "fake",
            "protocol": 1,
            "module": "tollama_fake",
            "requirements": "requirements.txt",
            "probe": ["fakelib"],
            "models": [],
        }
        (self.folder / "runner.json").write_text(json.dumps(spec))
        self.offer("1.0", 1)

    def offer(self, version, value):
        """Put a release of fakelib into the wheelhouse and lock it."""
        digest = make_wheel(self.wheelhouse, "fakelib", version, f"VALUE = {value}\n")
        other = make_wheel(self.wheelhouse, "fakedep", "2.0", "")
        self.lock(
            f"fakelib=={version} --hash=sha256:{digest}\nfakedep==2.0 --hash=sha256:{other}\n"
        )

    def lock(self, text, build="default"):
        (self.folder / "locks").mkdir(exist_ok=True)
        (self.folder / "locks" / f"{self.target}-{build}.txt").write_text(text)

    @property
    def family(self):
        return families.find(str(self.home), {})[0]["fake"]

    def install(self, **options):
        self.events = []
        return runtimes.install(
            self.family,
            str(self.home),
            wheelhouse=str(self.wheelhouse),
            on_event=self.events.append,
            **options,
        )

    def installed(self):
        return runtimes.installed(str(self.home), "fake")

    def folders(self):
        base = self.home / "runtimes" / "fake"
        return sorted(path.name for path in base.iterdir() if path.is_dir())


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_install_makes_a_venv_of_the_locked_packages(bench):
    runtime = bench.install()
    assert runtime == bench.installed() == runtimes.list_installed(str(bench.home))[0]
    assert runtime.packages == {"fakelib": "1.0", "fakedep": "2.0"}
    assert runtime.proof == {"value": 1, "core": str(ROOT)}
    code = "import fakelib, sys; print(fakelib.VALUE, sys.prefix)"
    out = subprocess.run(
        [runtime.python, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["1", runtime.path]
    assert runtimes.resolve_python(bench.family, {}, str(bench.home)) == runtime.python
    assert runtimes.size(runtime) > 0
    statuses = [event["status"] for event in bench.events]
    assert statuses[-1] == "success"
    packages = [event["package"] for event in bench.events if "package" in event]
    assert packages == ["fakelib", "fakedep"]


def test_install_again_replaces_the_old_one(bench):
    first = bench.install()
    bench.offer("1.1", 2)
    second = bench.install()
    assert second.proof["value"] == 2
    assert bench.folders() == [second.id]
    assert not os.path.exists(first.path)


def test_failed_proof_leaves_the_old_runtime_in_use(bench):
    first = bench.install()
    bench.offer("1.1", -1)
    with pytest.raises(RunnerError, match="fakelib forecasts nonsense"):
        bench.install()
    assert bench.installed() == first
    assert bench.folders() == [first.id]


def test_wrong_file_is_refused(bench):
    bench.lock(f"fakelib==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(CorruptDownload, match="fakelib"):
        bench.install()
    assert bench.installed() is None
    assert bench.folders() == []


def test_pins_without_a_hash_are_installed_by_their_exact_version(bench):
    bench.lock("fakelib==1.0\nfakedep==2.0\n")
    assert bench.install().packages["fakelib"] == "1.0"


def test_constraint_overrides_a_pin_and_says_so(bench, tmp_path):
    make_wheel(bench.wheelhouse, "fakelib", "1.5", "VALUE = 5\n")
    file = tmp_path / "constraints.txt"
    file.write_text("fakelib==1.5\n")
    assert bench.install(constraint=str(file)).proof["value"] == 5
    warnings = [event["message"] for event in bench.events if event["status"] == "warning"]
    assert warnings == ["constraint: fakelib 1.5 in place of the tested 1.0"]


def test_wheelhouse_that_lacks_a_wheel_names_it(bench):
    (bench.wheelhouse / "fakedep-2.0-py3-none-any.whl").unlink()
    with pytest.raises(NotFound, match=r"fakedep==2\.0"):
        bench.install()


def test_cpu_build_is_taken_where_there_is_no_gpu_and_it_can_be_had(bench, monkeypatch):
    monkeypatch.setattr(runtimes.gpus, "detect", lambda: ())
    bench.lock("fakelib==1.0\nfakedep==2.0\n", build="cpu")
    assert bench.install().build == "cpu"
    assert any("no NVIDIA GPU" in event.get("reason", "") for event in bench.events)


def test_default_build_stands_in_for_a_cpu_build_that_cannot_be_had(bench, monkeypatch):
    monkeypatch.setattr(runtimes.gpus, "detect", lambda: ())
    bench.lock("fakelib==9.0\nfakedep==2.0\n", build="cpu")
    assert bench.install().build == "default"
    assert any("computes on the CPU too" in event.get("reason", "") for event in bench.events)
    with pytest.raises(NotFound, match="leave out --cpu"):
        bench.install(cpu=True)


@pytest.mark.parametrize("option", ["wheelhouse", "constraint"])
def test_missing_folder_or_file_is_named(bench, option):
    with pytest.raises(InvalidRequest, match="/nowhere"):
        runtimes.install(bench.family, str(bench.home), **{option: "/nowhere"})


def test_family_without_requirements_needs_no_runtime(bench):
    with pytest.raises(InvalidRequest, match="needs no runtime"):
        runtimes.install(bench.family._replace(requirements=None), str(bench.home))


def test_other_python_without_a_lock_is_refused_with_the_way_out(bench):
    (bench.folder / "locks" / f"{bench.target}-default.txt").rename(
        bench.folder / "locks" / f"{bench.target.rpartition('-')[0]}-cp319-default.txt"
    )
    with pytest.raises(NotFound, match=r"3\.19.*TOLLAMA_PYTHON_FAKE"):
        bench.install()


INSTALL = """
import sys
sys.path.insert(0, sys.argv[1])
from tollama.models import families, runtimes
home, wheelhouse = sys.argv[2:4]
runtimes.install(families.find(home, {})[0]["fake"], home, wheelhouse=wheelhouse)
"""


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_killed_installation_leaves_the_old_runtime_and_its_debris_goes_next_time(bench):
    first = bench.install()
    bench.offer("1.1", 2)
    gate = bench.folder / "gate"
    gate.touch()
    child = subprocess.Popen(
        [sys.executable, "-c", INSTALL, str(ROOT), str(bench.home), str(bench.wheelhouse)]
    )
    wait_for((bench.folder / "gate.reached").exists)
    assert len(bench.folders()) == 2
    with pytest.raises(TollamaError, match="another process"):
        bench.install()
    child.kill()
    child.wait()
    assert bench.installed() == first
    assert runtimes.resolve_python(bench.family, {}, str(bench.home)) == first.python
    gate.unlink()
    second = bench.install()
    # The proof of the killed installation ends with its parent; once it has, nothing is in the way.
    assert second.proof["value"] == 2
    wait_for(lambda: not _left_over(bench, second))


def _left_over(bench, runtime):
    from tollama.models import runtime_install

    runtime_install.clear_debris(str(bench.home), "fake")
    return [name for name in bench.folders() if name != runtime.id]


def test_runtime_that_still_runs_is_cleared_later(bench):
    first = bench.install()
    child = subprocess.Popen([first.python, "-c", "input()"], stdin=subprocess.PIPE)
    bench.offer("1.1", 2)
    second = bench.install()
    assert first.id in bench.folders()
    child.communicate(b"\n")
    bench.offer("1.2", 3)
    third = bench.install()
    assert bench.folders() == [third.id]
    assert second.id != third.id


def test_remove_takes_it_away(bench):
    runtime = bench.install()
    assert runtimes.remove("fake", str(bench.home)) == runtime
    assert bench.installed() is None
    assert not os.path.exists(runtime.path)
    with pytest.raises(NotFound, match="installed: none"):
        runtimes.remove("fake", str(bench.home))


@pytest.mark.parametrize("identity", ["", "nothing", "../fake"])
def test_broken_pointer_is_no_runtime(bench, identity):
    runtime = bench.install()
    pointer = bench.home / "runtimes" / "fake" / "current"
    pointer.write_text(identity)
    assert bench.installed() is None
    pointer.write_text(runtime.id + "\n")
    assert bench.installed() == runtime


def test_resolve_prefers_the_named_interpreter(bench, tmp_path):
    runtime = bench.install()
    named = {"TOLLAMA_PYTHON_FAKE": runtime.python}
    runtimes.remove("fake", str(bench.home))
    with pytest.raises(RuntimeMissing, match="TOLLAMA_PYTHON_FAKE"):
        runtimes.resolve_python(bench.family, named, str(bench.home))
    other = bench.install()
    named = {"TOLLAMA_PYTHON_FAKE": other.python}
    assert runtimes.resolve_python(bench.family, named, str(tmp_path)) == other.python
    named = {"TOLLAMA_PYTHON_FAKE": sys.executable}
    with pytest.raises(RuntimeMissing, match="lacks packages"):
        runtimes.resolve_python(bench.family, named, str(bench.home))


def test_resolve_takes_the_own_interpreter_when_it_has_the_packages(bench):
    family = bench.family._replace(probe=("json", "zipfile"))
    assert runtimes.resolve_python(family, {}, str(bench.home)) == sys.executable


def test_resolve_names_the_command_that_installs(bench):
    with pytest.raises(RuntimeMissing, match="tollama runtime install fake"):
        runtimes.resolve_python(bench.family, {}, str(bench.home))


def test_resolve_names_a_runtime_whose_python_is_gone(bench):
    runtime = bench.install()
    os.unlink(runtime.python)
    with pytest.raises(RuntimeMissing, match="is gone"):
        runtimes.resolve_python(bench.family, {}, str(bench.home))


def test_download_fetches_the_wheels_for_another_machine(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(bench.wheelhouse))
    text = (bench.folder / "locks" / f"{bench.target}-default.txt").read_text()
    (bench.folder / "locks" / "linux-aarch64-cp319-default.txt").write_text(text)
    dest = tmp_path / "kit"
    names = runtimes.download(bench.family, str(dest), "3.19", "linux-aarch64")
    assert names == ["fakedep-2.0-py3-none-any.whl", "fakelib-1.0-py3-none-any.whl"]
    record = json.loads((dest / "wheels.json").read_text())
    assert record["target"] == "linux-aarch64-cp319"
    with pytest.raises(NotFound, match="no tested lock for win32"):
        runtimes.download(bench.family, str(dest), "3.19", "win32-amd64")
