"""Random-weight checkpoints that the real libraries load, made instead of downloaded.

    python make_checkpoints.py FOLDER [NAME ...]        # all the small ones without a name

Each checkpoint is a folder with config.json and model.safetensors, exactly as a hub serves it.

    chronos2-tiny   Chronos-2, 2 layers of 16: answers react to their input and stay near its scale
    chronos2-hot    the same with larger weights, non-zero biases and uneven norms: attention,
                    grouping and masks change the answer visibly, so that a wrong one shows
    chronos2-full   the published shape, 119,477,664 parameters: for benchmarks
    bolt-tiny       Chronos-Bolt, 2 layers of 16
    bolt-hot        the same with larger weights and non-zero biases
    bolt-base       the published shape of Chronos-Bolt base: for benchmarks
    t5-tiny         Chronos-T5, 1 layer of 16, 32 tokens

Not covered: pretrained weights (fracast carries its own) and adapters.
"""

from __future__ import annotations

import sys
from pathlib import Path

SMALL = ("chronos2-tiny", "chronos2-hot", "bolt-tiny", "bolt-hot", "t5-tiny")
CHRONOS2_LEVELS = [0.01, *(round(0.05 * k, 2) for k in range(1, 20)), 0.99]
BOLT_LEVELS = [round(0.1 * k, 1) for k in range(1, 10)]


def chronos2(*, width: int, head: int, hidden: int, layers: int, heads: int, spread: float):
    """A Chronos-2 model; `spread` scales the random weights."""
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    return Chronos2Model(
        Chronos2CoreConfig(
            d_model=width,
            d_kv=head,
            d_ff=hidden,
            num_layers=layers,
            num_heads=heads,
            initializer_factor=spread,
            reg_token_id=1,
            architectures=["Chronos2Model"],
            chronos_pipeline_class="Chronos2Pipeline",
            chronos_config={
                "context_length": 8192,
                "input_patch_size": 16,
                "input_patch_stride": 16,
                "output_patch_size": 16,
                "max_output_patches": 64,
                "quantiles": CHRONOS2_LEVELS,
                "time_encoding_scale": 8192,
                "use_arcsinh": True,
                "use_reg_token": True,
            },
        )
    )


def _t5_config(
    architecture: str,
    *,
    width: int,
    head: int,
    hidden: int,
    layers: int,
    heads: int,
    tokens: int,
    **extra,
):
    from transformers import T5Config

    return T5Config(
        d_model=width,
        d_kv=head,
        d_ff=hidden,
        num_layers=layers,
        num_decoder_layers=layers,
        num_heads=heads,
        vocab_size=tokens,
        initializer_factor=0.05,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        architectures=[architecture],
        **extra,
    )


def bolt(*, width: int, head: int, hidden: int, layers: int, heads: int):
    """A Chronos-Bolt model."""
    from chronos.chronos_bolt import ChronosBoltModelForForecasting

    return ChronosBoltModelForForecasting(
        _t5_config(
            "ChronosBoltModelForForecasting",
            width=width,
            head=head,
            hidden=hidden,
            layers=layers,
            heads=heads,
            tokens=2,
            reg_token_id=1,
            chronos_pipeline_class="ChronosBoltPipeline",
            chronos_config={
                "context_length": 2048,
                "prediction_length": 64,
                "input_patch_size": 16,
                "input_patch_stride": 16,
                "quantiles": BOLT_LEVELS,
                "use_reg_token": True,
            },
        )
    )


def t5(*, width: int, head: int, hidden: int, layers: int, heads: int, tokens: int):
    """A Chronos-T5 model, the sampling kind."""
    from transformers import GenerationConfig, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(
        _t5_config(
            "T5ForConditionalGeneration",
            width=width,
            head=head,
            hidden=hidden,
            layers=layers,
            heads=heads,
            tokens=tokens,
            chronos_config={
                "tokenizer_class": "MeanScaleUniformBins",
                "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
                "model_type": "seq2seq",
                "n_tokens": tokens,
                "n_special_tokens": 2,
                "pad_token_id": 0,
                "eos_token_id": 1,
                "use_eos_token": True,
                "context_length": 512,
                "prediction_length": 64,
                "num_samples": 20,
                "temperature": 1.0,
                "top_k": 50,
                "top_p": 1.0,
            },
        )
    )
    model.generation_config = GenerationConfig(
        decoder_start_token_id=0, eos_token_id=1, pad_token_id=0
    )
    return model


def heat(model, *, queries: float, others: float, output: float):
    """Makes attention matter: wider queries and keys, biases and norms away from 0 and 1."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith((".q.weight", ".k.weight")):
                weight.mul_(queries)
            elif name.endswith((".v.weight", ".o.weight")):
                weight.mul_(others)
            elif name.endswith(".bias"):
                weight.normal_(std=0.3)
            elif name.endswith("layer_norm.weight"):
                weight.copy_(1.0 + 0.3 * torch.randn_like(weight))
            if name.startswith(
                "output_patch_embedding."
            ):  # the answer goes through sinh or a scale
                weight.mul_(output)
    return model


_TINY = {"width": 16, "head": 8, "hidden": 32, "layers": 2, "heads": 2}
_BASE = {"width": 768, "head": 64, "hidden": 3072, "layers": 12, "heads": 12}

MAKERS = {
    "chronos2-tiny": lambda: chronos2(**_TINY, spread=0.2),
    "chronos2-hot": lambda: heat(
        chronos2(**_TINY, spread=0.4), queries=1.4, others=2.0, output=0.3
    ),
    "chronos2-full": lambda: chronos2(**_BASE, spread=0.05),
    "bolt-tiny": lambda: bolt(**_TINY),
    "bolt-hot": lambda: heat(bolt(**_TINY), queries=30.0, others=30.0, output=5.0),
    "bolt-base": lambda: bolt(**_BASE),
    "t5-tiny": lambda: t5(**{**_TINY, "layers": 1}, tokens=32),
}


def make(name: str, folder: Path) -> Path:
    """Writes the checkpoint `name` under `folder`, the same weights every time."""
    import torch

    path = Path(folder) / name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        MAKERS[name]().eval().save_pretrained(path)
    return path


def main(arguments: list[str]) -> int:
    if not arguments or not set(arguments[1:]) <= MAKERS.keys():
        print(__doc__, file=sys.stderr)
        return 2
    for name in arguments[1:] or SMALL:
        path = make(name, Path(arguments[0]))
        size = sum(file.stat().st_size for file in path.iterdir())
        print(f"{path}  {size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
