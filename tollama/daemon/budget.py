"""How many CPUs this process may really use: affinity and the cgroup quota, not the host's cores.

A container with `--cpus 2` on a host of 64 cores must not start 64 threads. Covered: affinity,
cgroup v2 `cpu.max`, cgroup v1 `cpu.cfs_quota_us`, quotas of every ancestor. Not covered: CPU shares
and weights, which only matter under contention."""

from __future__ import annotations

import math
import os
import re


def cpu_budget(root: str = "/", affinity: int | None = None) -> int:
    """Whole CPUs to plan with, at least 1: the smallest of affinity and quotas, rounded up.

    `root` is where proc and sys are looked for.
    """
    cpus = float(_affinity() if affinity is None else affinity)
    for quota in _quotas(root):
        cpus = min(cpus, quota)
    return max(1, math.ceil(cpus))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: str) -> list[float]:
    """The quotas in CPUs of this process's cgroups and of all their ancestors."""
    groups = _groups(root)
    found: list[float] = []
    for kind, base, mount in _mounts(root):
        path = groups.get(kind)
        if path is None:
            continue
        read = _quota_v2 if kind == "cgroup2" else _quota_v1
        folder = os.path.join(root, mount.lstrip("/"))
        for part in ["", *_below(path, base)]:
            folder = os.path.join(folder, part)
            quota = read(folder)
            if quota is not None:
                found.append(quota)
    return found


def _groups(root: str) -> dict[str, str]:
    """The path of this process's group in the v2 tree and in the v1 cpu tree."""
    found: dict[str, str] = {}
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            found["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            found["cgroup"] = path
    return found


def _mounts(root: str) -> list[tuple[str, str, str]]:
    """(kind, root inside the tree, mount point) of the cgroup mounts that may limit CPU."""
    found: list[tuple[str, str, str]] = []
    for line in _read(os.path.join(root, "proc/self/mountinfo")).splitlines():
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2" or (kinds[0] == "cgroup" and "cpu" in kinds[2].split(",")):
            found.append((kinds[0], _plain(fields[3]), _plain(fields[4])))
    return found


def _below(path: str, base: str) -> list[str]:
    """The parts of a group's path below the mounted root; none when it lies outside (`/../x`)."""
    parts = [part for part in path.split("/") if part]
    inside = [part for part in base.split("/") if part]
    if ".." in parts or parts[: len(inside)] != inside:
        return []
    return parts[len(inside) :]


def _quota_v2(folder: str) -> float | None:
    quota, _, period = _read(os.path.join(folder, "cpu.max")).strip().partition(" ")
    return _ratio(quota, period)


def _quota_v1(folder: str) -> float | None:
    return _ratio(
        _read(os.path.join(folder, "cpu.cfs_quota_us")).strip(),
        _read(os.path.join(folder, "cpu.cfs_period_us")).strip(),
    )


def _ratio(quota: str, period: str) -> float | None:
    # "max" and -1 mean that there is no limit.
    if not (quota.isdigit() and period.isdigit()) or int(quota) == 0 or int(period) == 0:
        return None
    return int(quota) / int(period)


def _plain(text: str) -> str:
    """A path of mountinfo, where spaces and the like are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
