"""Chronos without torch, as a user meets it: the built file, tiny weights, an interpreter's NumPy.

Not covered: equality with the library (runners/numpy/tests).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import tree

np = pytest.importorskip("numpy")

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "runners" / "numpy" / "tests" / "golden"
CASE = json.loads((GOLDEN / "chronos2" / "requests.json").read_text())[0]
SERIES = [{"target": one["target"]} for one in CASE["inputs"]]
REQUEST = {"model": "chronos2", "horizon": CASE["horizon"], "series": SERIES}

# A family of one's own that takes the same checkpoints and has other answers.
OTHER = {
    "family": "other",
    "protocol": 1,
    "module": "tollama_mock",
    "batch": {"max_series": 16},
    "architectures": ["Chronos2Model"],
}


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
    return {**kept, "TOLLAMA_HOME": str(home), **more}


class Machine:
    """A home and an interpreter that runs the .pyz on it."""

    def __init__(self, home: Path, pyz: Path, *python: str) -> None:
        self.home, self.pyz = home, pyz
        self.python = python or (sys.executable,)

    def run(self, *args: str, stdin: str | None = None, check: int = 0, **environ: str):
        done = subprocess.run(
            [*self.python, str(self.pyz), *args],
            env=environment(self.home, **environ),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == check, (args, done.stdout[-500:], done.stderr[-1500:])
        return done

    def forecast(self, model: str = "chronos2") -> dict:
        """The answer to the golden request, computed by the command itself."""
        body = json.dumps({**REQUEST, "model": model})
        done = self.run("run", model, "--input", "-", "--no-stream", stdin=body)
        return json.loads(done.stdout)


def off(answer: dict) -> float:
    """How far an answer is from the library's, as a share of the peak."""
    expected = np.load(GOLDEN / "chronos2" / "answers.npz")
    worst = 0.0
    for index, forecast in enumerate(answer["forecasts"]):
        raw = expected[f"{CASE['name']}/{index}"][0]
        median = raw[len(raw) // 2]
        worst = max(worst, np.abs(np.array(forecast["mean"]) - median).max() / np.abs(raw).max())
    return float(worst)


@pytest.fixture
def host(pyz, tmp_path):
    """A data host: Python with NumPy, `chronos2` from a folder, no runtime."""
    machine = Machine(tmp_path / "home", pyz)
    machine.run("pull", "chronos2", "--from-dir", str(GOLDEN / "chronos2"))
    return machine


@pytest.fixture
def other(host):
    """A second family for the same weights."""
    folder = host.home / "runners" / "other"
    shutil.copytree(ROOT / "runners" / "mock" / "tollama_mock", folder / "tollama_mock")
    (folder / "runner.json").write_text(json.dumps(OTHER))
    return "other"


def test_an_interpreter_with_numpy_needs_no_runtime(host):
    answer = host.forecast()
    assert answer["usage"]["family"] == "numpy"
    assert off(answer) < 1e-4
    assert json.loads(host.run("runtime", "list").stdout)["runtimes"] == []
    shown = json.loads(host.run("show", "chronos2").stdout)
    assert shown["runs_on"] == "numpy"


def test_a_file_is_forecast_with_covariates_and_quantiles(host, tmp_path):
    rows = [f"2024-01-{day:02},{day % 7},{day % 2}" for day in range(1, 29)]
    rows += [f"2024-01-{day:02},,{day % 2}" for day in (29, 30, 31)]
    data = tmp_path / "data.csv"
    data.write_text("\n".join(["date,sales,promo", *rows]) + "\n")
    done = host.run(
        "run", "chronos2", str(data), "--horizon", "3", "--target", "sales",
        "--covariates", "promo", "--quantiles", "0.1,0.5,0.9", "--format", "json",
    )  # fmt: skip
    [forecast] = json.loads(done.stdout)["forecasts"]
    assert forecast["start_timestamp"] == "2024-01-29"
    assert forecast["quantiles"]["0.1"] < forecast["quantiles"]["0.9"]
    done = host.run("run", "chronos2", str(data), "--horizon", "3", "--target", "sales")
    assert json.loads(done.stdout)["forecasts"][0]["mean"] != forecast["mean"]


def test_half_the_space_is_a_model_of_its_own(host):
    done = host.run("create", "half", "--from", "chronos2", "--dtype", "float16")
    assert "created 'half'" in done.stderr
    sizes = {
        name: (host.home / "models" / name / "snapshot" / "model.safetensors").stat().st_size
        for name in ("chronos2", "half")
    }
    assert sizes["half"] < 0.6 * sizes["chronos2"]
    full, half = host.forecast(), host.forecast("half")
    assert 0 < off(half) < 0.05
    assert half["model"] == "half" and full["usage"]["family"] == half["usage"]["family"]
    shown = {name: json.loads(host.run("show", name).stdout) for name in sizes}
    assert shown["half"]["digest"] != shown["chronos2"]["digest"]
    assert shown["half"]["details"]["quantization_level"] == "F16"
    assert shown["half"]["details"]["families"] == ["numpy", "torch"]
    assert shown["half"]["forecast_capabilities"] == shown["chronos2"]["forecast_capabilities"]
    # It does not need its source, and travels.
    host.run("rm", "chronos2")
    host.run("verify", "half")
    host.run("export", "half", "-o", str(host.home / "kit.tollama"), "--no-pyz")
    there = Machine(host.home.parent / "there", host.pyz)
    there.run("import", str(host.home / "kit.tollama"))
    assert there.forecast("half")["forecasts"] == half["forecasts"]
    assert tree(there.home / "models/half/snapshot") == tree(host.home / "models/half/snapshot")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--dtype", "float16"), "--from MODEL"),
        (("--from", "chronos2", "-f", "x"), "got both"),
        (("--from", "auto", "--dtype", "float16"), "not installed"),
    ],
)
def test_what_create_cannot_do_is_refused(host, args, message):
    done = host.run("create", "half", *args, check=3 if "auto" in args else 2)
    assert message in done.stderr


def test_two_families_are_compared(host, other):
    done = host.run("verify", "chronos2", "--against", other, check=5)
    assert "numpy and other are" in done.stderr
    [found] = json.loads(done.stdout)["models"]
    assert found["against"]["families"] == ["numpy", "other"]
    assert max(case["difference"] for case in found["against"]["cases"]) > 0.01
    done = host.run("verify", "chronos2", "--against", "stats", check=2)
    assert "expected one of numpy, torch, other" in done.stderr
    done = host.run("verify", "--against", other, check=2)
    assert "expected the name of a model" in done.stderr


def test_a_family_agrees_with_itself_under_another_name(host, other):
    folder = host.home / "runners" / other
    shutil.copytree(ROOT / "runners" / "numpy" / "tollama_numpy", folder / "tollama_numpy")
    spec = {**OTHER, "module": "tollama_numpy", "probe": ["numpy"]}
    (folder / "runner.json").write_text(json.dumps(spec))
    done = host.run("verify", "chronos2", "--against", other)
    assert "alike: at most 0.0e+00" in done.stderr


def test_the_daemon_runs_the_family_that_is_asked_for(host, other, start):
    daemon = start(host.home)
    seen = {}
    for family in (None, other):
        options = {"family": family} if family else {}
        answer = daemon.json("POST", "/v1/forecast", {**REQUEST, "options": options})
        seen[family] = answer["forecasts"][0]["mean"]
    assert len(set(seen[other])) == 1 < len(set(seen[None]))
    loaded = daemon.json("GET", "/api/ps")["models"]
    assert sorted((one["name"], one["family"]) for one in loaded) == [
        ("chronos2", "numpy"),
        ("chronos2", "other"),
    ]
    assert all(one["digest"] and one["size"] for one in loaded)
    assert {tuple(one["details"]["families"]) for one in loaded} == {("numpy", "torch")}
    daemon.json("POST", "/api/generate", {"model": "chronos2", "keep_alive": 0})
    assert daemon.json("GET", "/api/ps")["models"] == []
    body = {**REQUEST, "options": {"family": "stats"}}
    refused = daemon.json("POST", "/v1/forecast", body, status=400)
    assert "options.family: expected one of numpy, torch, other" in refused["error"]


def test_the_environment_chooses_the_family(host, other, start):
    daemon = start(host.home, TOLLAMA_FAMILY_CHRONOS2=other)
    answer = daemon.json("POST", "/v1/forecast", REQUEST)
    assert len(set(answer["forecasts"][0]["mean"])) == 1
    [loaded] = daemon.json("GET", "/api/ps")["models"]
    assert loaded["family"] == other
    assert daemon.json("POST", "/api/show", {"model": "chronos2"})["runs_on"] == other
    body = {**REQUEST, "options": {"family": "numpy"}}
    assert daemon.json("POST", "/v1/forecast", body)["usage"]["family"] == "numpy"


# Runtimes and kits, which need wheels


def lacks_numpy(python: str) -> bool:
    """Whether an interpreter is one that tollama runs on, without NumPy."""
    code = (
        "import importlib.util, sys\n"
        "sys.exit(sys.version_info < (3, 10) or importlib.util.find_spec('numpy') is not None)"
    )
    return subprocess.run([python, "-I", "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def bare() -> str:
    """An interpreter without NumPy."""
    named = [shutil.which(f"python3.{minor}") for minor in (10, 11, 12, 13)]
    around = Path(sys.base_prefix).parent.glob("3.1[0-3]*/bin/python3")
    own = getattr(sys, "_base_executable", None)
    for python in filter(None, [own, *named, *map(str, sorted(around))]):
        if lacks_numpy(python):
            return python
    pytest.skip("there is no interpreter without NumPy")


@pytest.fixture(scope="module")
def wheels(pyz, bare, tmp_path_factory) -> Path:
    """A folder with the wheels of the runtime, fetched from pip's index."""
    base = tmp_path_factory.mktemp("wheels")
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    version = subprocess.check_output([bare, "-I", "-c", code], text=True).strip()
    done = subprocess.run(
        [
            sys.executable, str(pyz), "runtime", "download", "numpy",
            "--python-version", version, "-o", str(base / "wheels"),
        ],
        env=environment(base / "home"),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )  # fmt: skip
    if done.returncode in (3, 4):
        pytest.skip(f"wheels cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return base / "wheels"


def test_a_bare_interpreter_installs_the_runtime_from_wheels(pyz, tmp_path, bare, wheels):
    host = Machine(tmp_path / "home", pyz, bare, "-I", "-S")
    host.run("pull", "chronos2", "--from-dir", str(GOLDEN / "chronos2"))
    body = json.dumps(REQUEST)
    done = host.run("run", "chronos2", "--input", "-", stdin=body, check=3)
    assert "tollama runtime install numpy" in done.stderr
    assert json.loads(host.run("show", "chronos2").stdout)["runs_on"] is None
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0"}
    host.run("runtime", "install", "numpy", "--wheelhouse", str(wheels), **unreachable)
    assert off(host.forecast()) < 1e-4
    [runtime] = json.loads(host.run("runtime", "list").stdout)["runtimes"]
    assert runtime["family"] == "numpy"


def test_a_kit_carries_numpy_to_a_bare_host(host, tmp_path, bare, wheels):
    kit = tmp_path / "kit.tollama"
    host.run("export", "chronos2", "--wheelhouse", str(wheels), "-o", str(kit))
    there = Machine(tmp_path / "there", host.pyz, bare, "-I", "-S")
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0:
        there.python = ("unshare", "-n", *there.python)
    there.run("import", str(kit), PIP_INDEX_URL="http://127.0.0.1:1/simple", PIP_RETRIES="0")
    answer = there.forecast()
    assert answer["usage"]["family"] == "numpy"
    assert off(answer) < 1e-4
