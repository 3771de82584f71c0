"""Docs that cannot drift: pages are held against the tables of the program."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

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


def test_the_readme_names_every_folder_and_page():
    text = (ROOT / "README.md").read_text()
    table = text.partition("## What is where")[2].partition("## ")[0]
    named = re.findall(r"^\| `([^`]+)` \|", table, re.M)
    assert not [path for path in named if not (ROOT / path).exists()]
    folders = [*ROOT.glob("tollama/*"), *ROOT.glob("runners/*")]
    folders = [
        folder for folder in folders if list(folder.glob("*.py")) or folder.match("runners/*")
    ]
    wanted = [str(f.relative_to(ROOT)) + "/" for f in folders if f.is_dir() and f.name[0] != "_"]
    assert set(wanted) <= set(named)
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in text, page.name


def test_every_page_is_in_the_site():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    listed = re.findall(r": ([\w-]+\.md)$", nav, re.M)
    assert sorted(listed) == sorted(["index.md", *(p.name for p in (ROOT / "docs").glob("*.md"))])


def test_the_site_builds(tmp_path):
    pytest.importorskip("material", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for page in tmp_path.glob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)', page.read_text()
        )
        assert not loaded, f"{page.name} fetches {loaded}"


def test_the_recording_is_whole():
    root = ElementTree.parse(ROOT / "docs" / "terminal.svg").getroot()
    shown = " ".join(root.itertext())
    for command, _, _ in ast.literal_eval(
        re.search(r"^SCENES = (\(.*?^\))", (ROOT / "docs" / "record.py").read_text(), re.M | re.S)[
            1
        ]
    ):
        assert command in shown, "run: make build && python docs/record.py"
    ids = {element.get("id") for element in root.iter()}
    for use in root.iter("{http://www.w3.org/2000/svg}use"):
        assert use.get("href").removeprefix("#") in ids


def test_the_recorder_draws_letters_and_shapes():
    pyte = pytest.importorskip("pyte", reason="the extra `docs` is not installed")
    spec = importlib.util.spec_from_file_location("record", ROOT / "docs" / "record.py")
    record = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(record)
    screen = pyte.Screen(12, 2)
    pyte.Stream(screen).feed("a & \x1b[38;2;1;2;3m⠁█\x1b[0m\x1b[1mb")
    first, second = record.rows(screen)
    assert ">a &amp;</text>" in first and 'font-weight="bold">b</text>' in first
    assert first.count("M") == 2 and 'fill="#010203"' in first
    assert second == ""
