"""Docs that cannot drift: pages are held against the tables of the program."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tollama.daemon.routes import ROUTES

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("name", ["cli.md", "configuration.md", "api.md", "models.md", "tollama.1"])
def test_a_generated_page_is_what_the_tables_say(name):
    assert (ROOT / "docs" / name).read_text() == generate.pages()[name], (
        "run: python docs/generate.py"
    )


def test_the_manual_page_is_good_roff():
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    command = ["mandoc", "-Tlint", str(ROOT / "docs" / "tollama.1")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.stdout == ""


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
def test_every_route_is_documented(route):
    assert f"`{route.method} {route.path}`" in (ROOT / "docs" / "api.md").read_text()


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_path_in_the_readme_exists():
    table = (ROOT / "README.md").read_text().partition("## What is where")[2].partition("## ")[0]
    for path in re.findall(r"^\| `([^`]+)` \|", table, re.M):
        assert (ROOT / path).exists(), path
