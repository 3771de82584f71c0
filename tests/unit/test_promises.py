"""Promises of SECURITY.md that are properties of the source: what is never called anywhere."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    path
    for top in ("tollama", "runners")
    for path in sorted((ROOT / top).rglob("*.py"))
    if not {"_vendor", "tests"} & set(path.relative_to(ROOT).parts)
]
# Code from data, in each of its forms.
MODULES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal", "code"}
CALLS = {
    *("eval", "exec", "compile", "os.system", "os.popen", "torch.load", "numpy.load", "np.load"),
    *("yaml.load", "extractall", "shutil.unpack_archive", "tempfile.mktemp"),
}
ALLOWED = {
    # Compiles and keeps the code of this very file, owned by this user.
    ("tollama/_bytecode.py", "marshal"),
}


def dotted(node):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""


def found(path):
    """What a file does that could run code from data."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield node.module
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in CALLS or name.rpartition(".")[2] == "extractall":
                yield name
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", None)
                if (
                    keyword.arg in ("shell", "trust_remote_code", "allow_pickle")
                    and value is not False
                ):
                    yield f"{keyword.arg}="


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_code_is_made_from_data(path):
    name = path.relative_to(ROOT).as_posix()
    assert {(name, what) for what in found(path)} <= ALLOWED


def test_the_check_sees_what_it_is_there_for(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import pickle\nfrom marshal import loads\neval(x)\nsubprocess.run(a, shell=True)\n"
        "tar.extractall()\nload(p, trust_remote_code=flag)\ntorch.load(f)\n"
    )
    assert sorted(found(bad)) == [
        *("eval", "marshal", "pickle", "shell=", "tar.extractall", "torch.load"),
        "trust_remote_code=",
    ]


def test_secrets_are_compared_in_constant_time():
    source = (ROOT / "tollama/daemon/access.py").read_text()
    tree = ast.parse(source)
    names = [dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "hmac.compare_digest" in names
