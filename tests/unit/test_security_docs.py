"""SECURITY.md: every promise has a test, and every test that it names is there."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("## Requirements")[2].splitlines()
    if line.startswith("| ") and not re.match(r"\| (\||attack \|)", line)
]
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)


@functools.cache
def names_in(path):
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].partition(":")[0])
def test_every_row_names_a_test(row):
    assert len(row) == 3 and re.search(r"`[\w/]+\.py::test_\w+`", row[2]), row


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_a_named_test_is_there(path, name):
    assert (ROOT / path).is_file(), path
    assert name.startswith("test_") and name in names_in(path)


def test_all_requirements_are_there_in_order():
    found = [row[0] for row in ROWS if re.fullmatch(r"R\d+", row[0])]
    assert found == [f"R{number}" for number in range(1, 20)]


def test_every_setting_and_flag_in_the_guide_exists():
    from tollama.core.config import SETTINGS

    guide = (ROOT / "docs" / "security.md").read_text()
    known = {setting.name for setting in SETTINGS} | {"TOLLAMA_API_KEY"}
    assert set(re.findall(r"TOLLAMA_[A-Z_]+", guide)) <= known
    cli = (ROOT / "docs" / "cli.md").read_text()
    for flag in set(re.findall(r"--[a-z][a-z-]+", guide)):
        assert flag in cli, flag
