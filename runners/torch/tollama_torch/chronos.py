"""What the three Chronos architectures share: opening the library's pipeline without the network.

Not covered: adapters (peft) and S3 addresses, which the library could open.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Read by the libraries when they are imported: weights come from a folder, never from a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    from chronos import BaseChronosPipeline
    from transformers.utils import logging as transformers_logging

from tollama.core.errors import RunnerError
from tollama_torch import snapshot
from tollama_torch.devices import Placement

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


def open_pipeline(name: str, path: str, placement: Placement) -> Any:
    """The library's pipeline for the weights of the model `name`; RunnerError for damaged ones."""
    stored = snapshot.tensor_names(name, path)
    try:
        with quiet():
            pipeline = BaseChronosPipeline.from_pretrained(
                path,
                device_map=placement.device_name,
                dtype=placement.dtype,
                local_files_only=True,
                use_safetensors=True,
            )
    except Exception as error:
        if type(error).__module__.partition(".")[0] == "safetensors" or "size mismatch" in str(
            error
        ):
            raise snapshot.damaged(name, snapshot.SINGLE, f"cannot be read ({error})") from error
        raise
    absent = _absent_weights(pipeline.inner_model, stored)
    if absent:
        raise RunnerError(
            f"model {name!r}: its weights lack {len(absent)} tensors that config.json asks for "
            f"(first {absent[0]}); check it with `tollama verify {name}` and pull again"
        )
    pipeline.inner_model.eval()
    return pipeline


def _absent_weights(model: torch.nn.Module, stored: set[str]) -> list[str]:
    weights = model.state_dict()
    # A weight that is tied to another one needs no copy of its own in the file.
    shared = {tensor.data_ptr() for key, tensor in weights.items() if key in stored}
    return sorted(
        key
        for key, tensor in weights.items()
        if key not in stored and tensor.data_ptr() not in shared
    )


def count_parameters(model: torch.nn.Module) -> int:
    """The number of weights of a model."""
    return sum(weight.numel() for weight in model.parameters())


@contextmanager
def quiet() -> Iterator[None]:
    """Inference without gradients, and without warnings that the family says itself."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        yield
