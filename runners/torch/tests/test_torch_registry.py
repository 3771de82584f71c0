"""runner.json says what the code does."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

pytest.importorskip("chronos")

from tollama_torch.architecture import ARCHITECTURES, WITHOUT_WEIGHTS

SPEC = json.loads((Path(__file__).parents[1] / "runner.json").read_text())
CHECKPOINTS = {"chronos2": "chronos2-tiny", "bolt": "bolt-tiny", "t5": "t5-tiny"}


@pytest.mark.parametrize("model", SPEC["models"], ids=lambda model: model["name"])
def test_offers_agree_with_their_architecture(model, load):
    module, name = ARCHITECTURES.get(model.get("architecture"), WITHOUT_WEIGHTS)
    kind = getattr(importlib.import_module(module), name)
    assert model["capabilities"] == kind.capabilities
    assert set(model["options"]) == set(kind.options)
    checkpoint = next((c for part, c in CHECKPOINTS.items() if part in model["name"]), None)
    facts = load(checkpoint).facts
    assert model["context_length"] == facts["context_length"]
    assert model["max_horizon"] == facts["max_horizon"]


def test_architectures_are_those_that_the_code_knows():
    assert SPEC["architectures"] == list(ARCHITECTURES)


def test_every_option_is_documented():
    page = (Path(__file__).parents[3] / "docs" / "models.md").read_text()
    for model in SPEC["models"]:
        for option, meaning in model["options"].items():
            assert f"| `{option}` | {meaning} |" in page
