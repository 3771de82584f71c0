from __future__ import annotations

from pathlib import Path

import pytest

from tollama.daemon.budget import cpu_budget

V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"


def host(root: Path, *, cgroup: str, mounts: str, files: dict[str, str]) -> str:
    proc = root / "proc/self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(cgroup)
    (proc / "mountinfo").write_text(mounts)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("files", "affinity", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, 8, 8),
        ({"cpu.max": "200000 100000\n"}, 8, 2),
        ({"cpu.max": "150000 100000\n"}, 8, 2),
        ({"cpu.max": "10000 100000\n"}, 8, 1),
        ({"cpu.max": "800000 100000\n"}, 2, 2),
        ({"a/b/cpu.max": "300000 100000\n"}, 8, 3),
        ({"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "max 100000\n"}, 8, 1),
        ({"a/cpu.max": "max 100000\n", "a/b/cpu.max": "50000 100000\n"}, 8, 1),
        ({"cpu.max": "rubbish\n"}, 8, 8),
        ({"cpu.max": ""}, 8, 8),
        ({}, 5, 5),
    ],
)
def test_budget_honours_a_v2_quota(
    tmp_path: Path, files: dict[str, str], affinity: int, expected: int
) -> None:
    root = host(tmp_path, cgroup="0::/a/b\n", mounts=V2_MOUNT, files=files)
    assert cpu_budget(root, affinity) == expected


@pytest.mark.parametrize(
    ("quota", "expected"), [("-1\n", 6), ("250000\n", 3), ("100000\n", 1), ("0\n", 6)]
)
def test_budget_honours_a_v1_quota(tmp_path: Path, quota: str, expected: int) -> None:
    files = {
        "cpu,cpuacct/job/cpu.cfs_quota_us": quota,
        "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
    }
    cgroup = "9:name=systemd:/\n4:cpu,cpuacct:/job\n0::/\n"
    root = host(tmp_path, cgroup=cgroup, mounts=V1_MOUNT, files=files)
    assert cpu_budget(root, 6) == expected


def test_budget_finds_the_group_of_a_container_without_its_own_namespace(tmp_path: Path) -> None:
    mounts = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
    root = host(
        tmp_path,
        cgroup="0::/docker/abc\n",
        mounts=mounts,
        files={"cpu.max": "200000 100000\n", "docker/abc/cpu.max": "100000 100000\n"},
    )
    assert cpu_budget(root, 8) == 2


def test_budget_stays_inside_the_mounted_tree(tmp_path: Path) -> None:
    files = {"cpu.max": "400000 100000\n"}
    root = host(tmp_path, cgroup="0::/../../other\n", mounts=V2_MOUNT, files=files)
    assert cpu_budget(root, 8) == 4


def test_budget_reads_a_mount_point_with_a_space(tmp_path: Path) -> None:
    mounts = "30 23 0:26 / /sys/fs/cgroup/my\\040group rw - cgroup2 cgroup2 rw\n"
    files = {"my group/cpu.max": "100000 100000\n"}
    root = host(tmp_path, cgroup="0::/\n", mounts=mounts, files=files)
    assert cpu_budget(root, 8) == 1


def test_budget_of_a_machine_without_cgroups_is_the_affinity(tmp_path: Path) -> None:
    assert cpu_budget(str(tmp_path), 7) == 7
    assert cpu_budget(str(tmp_path), 0) == 1


def test_budget_of_this_machine_is_at_least_one() -> None:
    assert cpu_budget() >= 1
