"""Compiled code of the .pyz, kept between starts: what __pycache__ is to a folder of modules.

zipimport compiles every module anew at each start unless a .pyc lies beside it, and .pyc files of
all modules for all interpreters would make the file three times as large. So the first start of an
interpreter keeps what it compiled, in one file beside the .pyz (`__pycache__/`) or, where that
cannot be written, under TOLLAMA_HOME/cache. The file names the .pyz by size and time, is replaced
whole, and is used only when it belongs to this user or to the .pyz's owner and nobody else may
write it. `python -B` keeps nothing.

Not covered: modules outside the .pyz, and correctness: without the file everything works, only
slower.
"""

from __future__ import annotations

import marshal
import os
import sys
import zipimport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAGIC = "tollama code 1"

_archive = ""
_identity: Any = ()
_places: list[str] = []
_code: dict[str, bytes] = {}
_new = 0


class Importer(zipimport.zipimporter):
    """zipimport, asking the kept code first."""

    def get_filename(self, fullname):  # type: ignore[no-untyped-def]
        """Where a module's source lies. zipimport compiles the module to answer this."""
        name = self.prefix + fullname.rpartition(".")[2]
        end = os.sep + "__init__.py" if self.is_package(fullname) else ".py"
        return os.path.join(self.archive, name + end)

    def get_code(self, fullname):  # type: ignore[no-untyped-def]
        """The code of a module, from memory or compiled now and remembered."""
        global _new
        key = self.prefix + fullname.rpartition(".")[2]
        kept = _code.get(key)
        if kept is not None:
            try:
                return marshal.loads(kept)
            except (EOFError, ValueError, TypeError):
                pass
        code = super().get_code(fullname)
        if "_vendor" not in key:
            _code[key] = marshal.dumps(code)
            _new += 1
        return code


def install(archive: str) -> None:
    """Make imports from this .pyz use kept code; does nothing for a folder."""
    global _archive, _identity
    try:
        if _archive or not os.path.isfile(archive):
            return
        stat = os.stat(archive)
    except OSError:
        return
    _archive = archive
    _identity = (MAGIC, sys.version, stat.st_size, stat.st_mtime_ns)
    name = f"{os.path.basename(archive)}.{sys.implementation.cache_tag}.bin"
    home = os.environ.get("TOLLAMA_HOME") or os.path.join(os.path.expanduser("~"), ".tollama")
    _places[:] = [
        os.path.join(os.path.dirname(archive), "__pycache__", name),
        os.path.join(home, "cache", name),
    ]
    for place in _places:
        if _read(place, stat.st_uid):
            break
    sys.path_hooks.insert(0, _hook)
    for entry in [p for p in sys.path_importer_cache if p.startswith(archive)]:
        del sys.path_importer_cache[entry]
    # Packages that are imported already look for their modules through the same hook.


def _hook(path: str) -> Importer:
    if not path.startswith(_archive):
        raise ImportError(path)
    return Importer(path)


def _read(place: str, owner: int) -> bool:
    try:
        with open(place, "rb") as stream:
            stat = os.fstat(stream.fileno())
            mine = not hasattr(os, "getuid") or stat.st_uid in (os.getuid(), owner)
            if not mine or stat.st_mode & 0o022:
                return False
            identity, code = marshal.load(stream)
    except (OSError, EOFError, ValueError, TypeError):
        return False
    if identity != _identity or not isinstance(code, dict):
        return False
    _code.update(code)
    return True


def save() -> None:
    """Keep what was compiled since the start; never fails, and does nothing when nothing was."""
    global _new
    if not _new or sys.dont_write_bytecode:
        return
    _new = 0
    for place in _places:
        # Another process may have kept other modules meanwhile.
        mine = dict(_code)
        try:
            _read(place, os.stat(_archive).st_uid)
            _code.update(mine)
            folder = os.path.dirname(place)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            temporary = f"{place}.{os.getpid()}.tmp"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            with os.fdopen(descriptor, "wb") as stream:
                marshal.dump((_identity, _code), stream)
            os.replace(temporary, place)
        except OSError:
            continue
        return
