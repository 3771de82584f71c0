"""The structure of the house: who may import whom, and that the core needs nothing but Python."""

import ast
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "models", "daemon", "cli")
# The hub's child is the one place that uses the vendored client.
OUTSIDE = {"tollama/models/hub_wire.py", "tollama/models/hub_trouble.py"}
OPTIONAL = {
    "tollama/daemon/compat/zstd.py": {"compression", "zstandard"},
    "tollama/cli/sources.py": {"pyarrow"},
    "tollama/client.py": {"matplotlib"},
    "tollama/frames.py": {"pandas", "polars", "pyarrow"},
}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "tollama").rglob("*.py")
    if "_vendor" not in path.parts
)


def imports(path):
    """Every module that a file imports, anywhere in it, by its absolute name."""
    package = path.removesuffix(".py").removesuffix("/__init__").split("/")
    if not path.endswith("__init__.py"):
        package = package[:-1]
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
            yield base
            if base.startswith("tollama"):
                yield from (f"{base}.{alias.name}" for alias in node.names)


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "tollama" and parts[1] in ROOMS else None


@pytest.mark.parametrize("path", FILES)
def test_a_module_imports_only_from_its_own_room_and_rooms_above(path):
    here = room(path.removesuffix(".py").replace("/", "."))
    allowed = {
        None: ROOMS if path == "tollama/__main__.py" else ("core",),
        **{name: ROOMS[: index + 1] for index, name in enumerate(ROOMS)},
    }[here]
    found = {room(module) for module in imports(path)} - {None}
    assert found <= set(allowed), f"{path} imports from {sorted(found - set(allowed))}"


@pytest.mark.parametrize("path", FILES)
def test_the_core_needs_only_the_standard_library(path):
    if path in OUTSIDE:
        return
    tops = {module.partition(".")[0] for module in imports(path)} - {"tollama", "__future__"}
    assert tops - OPTIONAL.get(path, set()) <= set(sys.stdlib_module_names), path


@pytest.mark.parametrize("path", sorted((ROOT / "runners").glob("*/runner.json")))
def test_a_runner_imports_the_core_alone(path):
    module = json.loads(path.read_text())["module"]
    for file in sorted((path.parent / module).rglob("*.py")):
        found = set(imports(file.relative_to(ROOT).as_posix()))
        rooms = {room(name) for name in found} - {None}
        assert rooms <= {"core"}, f"{file} imports from {rooms}"


def test_no_module_name_says_nothing():
    empty = {"utils", "helpers", "base", "manager", "common", "misc"}
    assert not [path for path in FILES if Path(path).stem in empty]
