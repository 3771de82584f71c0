"""What the build strips from modules: nothing that runs, and no line."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("build_zipapp", ROOT / "build_zipapp.py")
build_zipapp = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build_zipapp)


def without_docstrings(source):
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                first.value.value = ""
    return ast.dump(tree)


@pytest.mark.parametrize("top", ["tollama", "runners"])
def test_every_module_means_the_same_and_keeps_its_lines(top):
    for path in sorted((ROOT / top).rglob("*.py")):
        source = path.read_text()
        lean = build_zipapp.lean(source)
        assert without_docstrings(lean) == without_docstrings(source), path
        assert len(lean.splitlines()) == len(source.splitlines()), path


def test_comments_and_docstrings_go_and_strings_stay():
    source = (
        '"""Doc\nof two lines."""\n\nX = "# no comment"  # a comment\n\n\n'
        'def f():\n    """One line."""\n    # why\n    return X\n\n\n'
        'class C:\n    """Kept."""\n'
    )
    assert build_zipapp.lean(source) == (
        '""\n\n\nX = "# no comment"\n\n\n'
        'def f():\n    ""\n\n    return X\n\n\n'
        'class C:\n    """Kept."""\n'
    )
