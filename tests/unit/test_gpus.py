"""Which build of torch fits which GPU and driver."""

from __future__ import annotations

import pytest

from tollama.models import gpus

H100 = "NVIDIA H100 80GB HBM3, 9.0, 580.82.07, 81559 MiB"
T4 = "Tesla T4, 7.5, 535.183.01, 15360 MiB"
P100 = "Tesla P100-PCIE-16GB, 6.0, 580.65.06, 16384 MiB"


def test_parse_reads_every_gpu():
    found = gpus.parse(f"{H100}\n{T4}\n")
    assert found == [
        gpus.Gpu("NVIDIA H100 80GB HBM3", (9, 0), (580, 82), 81559),
        gpus.Gpu("Tesla T4", (7, 5), (535, 183), 15360),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "No devices were found",
        "name, compute_cap, driver_version, memory.total [MiB]",
        "GPU, [N/A], [N/A], [N/A]",
    ],
)
def test_parse_leaves_out_what_is_not_a_gpu(text):
    assert gpus.parse(text) == []


def test_parse_keeps_a_gpu_whose_memory_is_unknown():
    assert gpus.parse("NVIDIA GB10, 12.1, 580.95.05, [N/A]")[0].memory_mib == 0


@pytest.mark.parametrize(
    ("lines", "cpu", "build", "reason"),
    [
        ("", False, "cpu", "no NVIDIA GPU"),
        (H100, False, "default", "driver 580.82"),
        (H100, True, "cpu", "asked for"),
        (T4, False, "cpu", "older than 580"),
        (P100, False, "cpu", "compute capability 6.0"),
        (f"{P100}\n{H100}", False, "default", "H100"),
    ],
)
def test_choose_says_which_build_and_why(lines, cpu, build, reason):
    found = gpus.choose(gpus.parse(lines), cpu=cpu)
    assert found.name == build
    assert reason in found.reason
