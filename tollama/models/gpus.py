"""The GPUs of this machine, and which build of torch fits them.

The driver decides which CUDA a build may use, the chip which kernels it needs: "is there a GPU" is
not the question. Everything but `detect` is a pure function.

Not covered: AMD and Intel GPUs, for which a runtime of one's own is named by TOLLAMA_PYTHON_TORCH.
"""

from __future__ import annotations

import functools
from collections import namedtuple

# What the default wheel of the locked torch wants: CUDA 13's driver, and a chip it has kernels for.
CUDA_DRIVER = (580, 0)
CUDA_CAPABILITY = (7, 5)
FIELDS = "name,compute_cap,driver_version,memory.total"


class Gpu(namedtuple("Gpu", "name capability driver memory_mib")):
    """One NVIDIA GPU: its compute capability and driver as (major, minor)."""

    __slots__ = ()


class Build(namedtuple("Build", "name reason")):
    """A build of the locked packages, `default` (with CUDA on Linux) or `cpu`, and why."""

    __slots__ = ()


def parse(text: str) -> list[Gpu]:
    """The GPUs in the output of nvidia-smi's query; lines that do not fit are left out."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 4:
            continue
        name, capability, driver, memory = parts
        chip, version = _pair(capability), _pair(driver)
        if chip is None or version is None:
            continue
        digits = memory.split(" ")[0]
        found.append(Gpu(name, chip, version, int(digits) if digits.isdigit() else 0))
    return found


def _pair(text: str) -> tuple[int, int] | None:
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0]
    if not (major.isascii() and major.isdigit()):
        return None
    return int(major), int(minor) if minor.isascii() and minor.isdigit() else 0


def choose(gpus: list[Gpu], *, cpu: bool = False) -> Build:
    """The build for these GPUs, the CPU's when none of them fits or `cpu` was asked for."""
    if cpu:
        return Build("cpu", "the CPU build was asked for")
    if not gpus:
        return Build("cpu", "no NVIDIA GPU was found")
    too_old = [gpu for gpu in gpus if gpu.capability < CUDA_CAPABILITY]
    fitting = [gpu for gpu in gpus if gpu not in too_old]
    if not fitting:
        gpu = too_old[0]
        return Build(
            "cpu",
            f"{gpu.name} has compute capability {_dotted(gpu.capability)}, the locked torch needs "
            f"{_dotted(CUDA_CAPABILITY)}",
        )
    gpu = fitting[0]
    if gpu.driver < CUDA_DRIVER:
        return Build(
            "cpu",
            f"the driver {_dotted(gpu.driver)} of {gpu.name} is older than {CUDA_DRIVER[0]}, which "
            "the locked torch needs; update the driver and install again",
        )
    return Build(
        "default",
        f"{gpu.name}, compute capability {_dotted(gpu.capability)}, driver {_dotted(gpu.driver)}",
    )


def _dotted(pair: tuple[int, int]) -> str:
    return ".".join(map(str, pair))


@functools.cache
def detect() -> tuple[Gpu, ...]:
    """This machine's NVIDIA GPUs as nvidia-smi tells, asked once a process."""
    import shutil
    import subprocess

    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        done = subprocess.run(
            [program, f"--query-gpu={FIELDS}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(parse(done.stdout)) if done.returncode == 0 else ()


def present() -> bool:
    """Whether there is a GPU that the locked torch can use."""
    return bool(choose(list(detect())).name == "default")
