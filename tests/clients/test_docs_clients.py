"""Every block of docs/clients.md is run, in order, against one daemon."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)
ADDRESS = "http://localhost:11435"
NEEDED = re.compile(r"^(?:import|from) (boto3|mcp|nixtla|ollama|pandas|utilsforecast)\b", re.M)


def test_every_client_has_a_block():
    clients = set(NEEDED.findall(PAGE)) | set(re.findall(r"^(?:from) (tollama)\b", PAGE, re.M))
    assert clients == {"boto3", "mcp", "nixtla", "ollama", "pandas", "tollama", "utilsforecast"}
    assert PAGE.count(ADDRESS) > len(BLOCKS) / 2


@pytest.fixture(scope="module")
def shell(daemon, tmp_path_factory):
    """An environment in which `tollama` is this one and its daemon is the tests'."""
    folder = tmp_path_factory.mktemp("shell")
    script = folder / "tollama"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tollama "$@"\n')
    script.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
    return {
        **kept,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder),
        "TOLLAMA_HOME": str(daemon.home),
        "TOLLAMA_HOST": daemon.url,
    }


@pytest.mark.parametrize(
    "number",
    range(len(BLOCKS)),
    ids=[f"{kind}-{number}" for number, (kind, _) in enumerate(BLOCKS)],
)
def test_a_block_runs(daemon, shell, number):
    kind, text = BLOCKS[number]
    if kind == "json":
        json.loads(text)
        return
    for name in NEEDED.findall(text):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    text = text.replace(ADDRESS, daemon.url)
    command = [sys.executable, "-c"] if kind == "python" else ["bash", "-euo", "pipefail", "-c"]
    done = subprocess.run(
        [*command, text], env=shell, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if "curl" in text:
        assert "error" not in json.loads(done.stdout) or json.loads(done.stdout)["error"] is None
