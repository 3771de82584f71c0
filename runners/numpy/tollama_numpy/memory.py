"""How much memory this process may still take, so that a forecast is refused and not killed.

Linux only: the machine's available memory and the limits of the control groups around the process.
"""

from __future__ import annotations

import os


def available() -> int | None:
    """Bytes, or None where nothing says."""
    found = [_machine(), *_control_groups()]
    known = [value for value in found if value is not None]
    return min(known) if known else None


def _machine() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _control_groups() -> list[int]:
    """What each group's limit leaves, caches that can be dropped counted as free."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            path = next(line[3:].strip() for line in file if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    left = []
    while True:
        folder = "/sys/fs/cgroup" + path.rstrip("/")
        limit, used = _number(f"{folder}/memory.max"), _number(f"{folder}/memory.current")
        if limit is not None and used is not None:
            left.append(limit - used + _file_pages(f"{folder}/memory.stat"))
        if path in ("", "/"):
            return left
        path = os.path.dirname(path)


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):  # "max" is no limit
        return None


def _file_pages(path: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("file "))
    except (OSError, ValueError, StopIteration):
        return 0
