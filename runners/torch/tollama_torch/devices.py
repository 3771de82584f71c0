"""Which device and number format a model runs in, and what its memory allows.

`device` is auto, cpu, cuda, cuda:N or mps; one that was named and is not there is an error, never a
silent CPU. `dtype` is float32 (the default: the library's own numbers), bfloat16, or auto, which is
bfloat16 where the hardware multiplies it natively.

Not covered: several GPUs for one model.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import NamedTuple

import torch

from tollama.core import fields
from tollama.core.errors import Loc, OutOfMemory, RunnerError, Unsupported

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Placement(NamedTuple):
    """Where a model runs; `warnings` say what the user did not ask for in so many words."""

    device: torch.device
    dtype: torch.dtype
    warnings: tuple[str, ...] = ()

    @property
    def device_name(self) -> str:
        return str(self.device)

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


def device_option(value: object, loc: Loc) -> str:
    """A reader of the option `device`."""
    text = fields.string(value, loc)
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", text):
        raise fields.fail(loc, f"expected auto, cpu, cuda, cuda:N or mps, got {fields.shown(text)}")
    return text


dtype_option = fields.choice("auto", *DTYPES)


def place(device: str | None, dtype: str | None) -> Placement:
    """The placement for `device` and `dtype`; raises Unsupported for a device that is absent."""
    found, warnings = _device(device or "auto")
    return Placement(found, _dtype(dtype or "float32", found), tuple(warnings))


def _device(name: str) -> tuple[torch.device, list[str]]:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0), []
        if torch.backends.mps.is_available():
            return torch.device("mps"), []
        if shutil.which("nvidia-smi"):
            return torch.device("cpu"), [
                f"this machine has an NVIDIA driver but torch {torch.__version__} cannot use it: "
                "running on the CPU; `tollama runtime install torch` picks the fitting build"
            ]
        return torch.device("cpu"), []
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(name.partition(":")[2] or 0)
        if index >= count:
            raise _absent(name, f"torch {torch.__version__} sees {count} CUDA devices")
        return torch.device("cuda", index), []
    if name == "mps" and not torch.backends.mps.is_available():
        raise _absent(name, f"torch {torch.__version__} sees no Metal device")
    return torch.device(name), []


def _absent(name: str, finding: str) -> Unsupported:
    return Unsupported.of(
        [(("options", "device"), f"{name} was asked for but {finding}; use auto or cpu")]
    )


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        return DTYPES[name]
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        # Without the matrix unit, bfloat16 on a CPU is up to 30 times slower than float32.
        native = device.type == "cpu" and _cpu_multiplies_bfloat16()
    return torch.bfloat16 if native else torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        found = getattr(torch.cpu, probe, None)
        if found is not None and found():
            return True
    return False


def use_threads(count: int) -> None:
    """Let torch compute with `count` threads from now on."""
    if count > 0 and torch.get_num_threads() != count:
        torch.set_num_threads(count)


def video_memory(device: torch.device) -> int:
    """Bytes of the device's memory that this process holds; 0 on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    return 0


def free_memory(device: torch.device) -> int:
    """Bytes that a computation may still take on the device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + idle)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 30


def release(device: torch.device) -> None:
    """Give cached device memory back to the system."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch or Python means that memory ran out."""
    if isinstance(error, (MemoryError, OutOfMemory, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        phrase in text
        for phrase in ("out of memory", "can't allocate memory", "cannot allocate memory")
    )


def wrong_build(error: BaseException, device: torch.device) -> RunnerError | None:
    """The error for a kernel that the GPU cannot run, with its cure; None for other failures."""
    text = str(error)
    if "no kernel image" not in text and "not compatible with the current PyTorch" not in text:
        return None
    major, minor = torch.cuda.get_device_capability(device)
    return RunnerError(
        f"torch {torch.__version__} has no kernels for this GPU (compute capability "
        f"{major}.{minor}); reinstall with `tollama runtime install torch`, or use device cpu"
    )
