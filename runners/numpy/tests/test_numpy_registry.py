"""runner.json and docs/models.md say what the code does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("numpy")

from tollama_numpy.family import ARCHITECTURES, NumpyRunner

FOLDER = Path(__file__).parents[1]
SPEC = json.loads((FOLDER / "runner.json").read_text())
TORCH = json.loads((FOLDER.parent / "torch" / "runner.json").read_text())
GOLDEN = {"Chronos2Model": "chronos2", "ChronosBoltModelForForecasting": "bolt"}


@pytest.mark.parametrize("model", SPEC["models"], ids=lambda model: model["name"])
def test_offers_agree_with_their_architecture(model):
    runner = NumpyRunner()
    path = str(FOLDER / "tests" / "golden" / GOLDEN[model["architecture"]])
    facts = runner.load(model=model["name"], path=path, options={})
    assert model["capabilities"] == runner.capabilities
    assert set(model["options"]) == set(runner.options)
    assert model["context_length"] == facts["context_length"]


@pytest.mark.parametrize("model", SPEC["models"], ids=lambda model: model["name"])
def test_offers_agree_with_those_of_torch(model):
    [other] = [one for one in TORCH["models"] if one["name"] == model["name"]]
    for name in set(model) - {"options", "description"}:
        assert model[name] == other[name], name
    assert set(model["options"]) == set(other["options"])


def test_architectures_are_those_that_the_code_knows():
    assert SPEC["architectures"] == list(ARCHITECTURES)


def test_every_option_is_documented():
    page = (FOLDER.parents[1] / "docs" / "models.md").read_text()
    for model in SPEC["models"]:
        for option, meaning in model["options"].items():
            assert f"| `{option}` | {meaning} |" in page
