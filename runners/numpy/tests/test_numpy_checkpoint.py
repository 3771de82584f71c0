"""Checkpoints that the family does not compute are refused by what is different in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")

from tollama_numpy import checkpoint  # noqa: E402
from tollama_numpy.checkpoint import BadCheckpoint, UnsupportedCheckpoint  # noqa: E402
from tollama_numpy.chronos2 import Chronos2  # noqa: E402
from tollama_numpy.chronos_bolt import ChronosBolt  # noqa: E402

GOLDEN = Path(__file__).parent / "golden"
CLASSES = {"chronos2": Chronos2, "bolt": ChronosBolt}


def changed(tmp_path, name, **settings):
    """A copy of a golden checkpoint with other settings (under chronos_config for tuples)."""
    folder = tmp_path / name
    folder.mkdir()
    for file in ("config.json", "model.safetensors"):
        shutil.copy(GOLDEN / name / file, folder)
    config = json.loads((folder / "config.json").read_text())
    for key, value in settings.items():
        place = config
        if key.startswith("chronos_config__"):
            place, key = config["chronos_config"], key.removeprefix("chronos_config__")
        if value is None:
            place.pop(key)
        else:
            place[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


UNSUPPORTED = [
    ("chronos2", {"feed_forward_proj": "gated-gelu"}, "feed_forward_proj"),
    ("chronos2", {"dense_act_fn": "gelu"}, "dense_act_fn: .* 'relu' alone, got 'gelu'"),
    ("chronos2", {"is_gated_act": True}, "is_gated_act"),
    ("chronos2", {"quantization_config": {"bits": 4}}, "quantization_config"),
    ("chronos2", {"rope_scaling": {"type": "yarn"}}, "rope_scaling"),
    ("chronos2", {"chronos_config__input_patch_stride": 8}, "chronos_config.input_patch_stride"),
    ("chronos2", {"chronos_config__output_patch_size": 32}, "chronos_config.output_patch_size"),
    ("chronos2", {"chronos_config__use_reg_token": False}, "chronos_config.use_reg_token"),
    ("chronos2", {"chronos_config__use_magic": 1}, "chronos_config.use_magic: not known"),
    ("chronos2", {"num_layers": 1}, r"encoder\.block\.1\..* and 12 more: not known"),
    ("bolt", {"feed_forward_proj": "gated-gelu"}, "feed_forward_proj"),
    ("bolt", {"decoder_start_token_id": 1}, "decoder_start_token_id"),
    ("bolt", {"chronos_config__input_patch_stride": 8}, "chronos_config.input_patch_stride"),
    ("bolt", {"chronos_config__use_arcsinh": True}, "chronos_config.use_arcsinh: not known"),
]
DAMAGED = [
    ("chronos2", {"chronos_config": None}, "chronos_config: this setting is required"),
    ("chronos2", {"d_model": 32}, r"shared\.weight: expected shape \(2, 32\), got \(2, 16\)"),
    ("chronos2", {"num_layers": 3}, r"encoder\.block\.2\..*: this tensor is missing"),
    ("chronos2", {"num_heads": "2"}, "num_heads: expected a int, got '2'"),
    ("chronos2", {"num_heads": 0}, "num_heads: expected at least 1, got 0"),
    ("chronos2", {"num_heads": True}, "num_heads: expected a int, got True"),
    ("chronos2", {"chronos_config__quantiles": [0.1, 0.9]}, "chronos_config.quantiles"),
    ("chronos2", {"chronos_config__quantiles": None}, "chronos_config.quantiles"),
    ("bolt", {"chronos_config__prediction_length": None}, "prediction_length: this setting is"),
]


@pytest.mark.parametrize(("name", "settings", "message"), UNSUPPORTED)
def test_load_refuses_what_it_does_not_compute(tmp_path, name, settings, message):
    folder = changed(tmp_path, name, **settings)
    with pytest.raises(UnsupportedCheckpoint, match=message):
        CLASSES[name].from_directory(str(folder))


@pytest.mark.parametrize(("name", "settings", "message"), DAMAGED)
def test_load_names_what_does_not_fit(tmp_path, name, settings, message):
    folder = changed(tmp_path, name, **settings)
    with pytest.raises(BadCheckpoint, match=message) as caught:
        CLASSES[name].from_directory(str(folder))
    assert not isinstance(caught.value, UnsupportedCheckpoint)


@pytest.mark.parametrize(
    ("file", "present", "message"),
    [
        ("model.safetensors.index.json", False, "weights in several files are not supported"),
        ("pytorch_model.bin", False, "pickled weights are not supported"),
        ("adapter_config.json", True, "adapters are not supported"),
    ],
)
def test_load_refuses_other_files(tmp_path, file, present, message):
    folder = changed(tmp_path, "chronos2")
    (folder / file).write_text("{}")
    if not present:
        (folder / "model.safetensors").unlink()
    with pytest.raises(UnsupportedCheckpoint, match=message):
        Chronos2.from_directory(str(folder))


def test_load_ignores_a_stale_index_beside_the_weights(tmp_path):
    folder = changed(tmp_path, "chronos2")
    (folder / "model.safetensors.index.json").write_text("{}")
    assert Chronos2.from_directory(str(folder)).parameters > 0


def test_parameters_are_those_of_the_file():
    weights = (GOLDEN / "chronos2" / "model.safetensors").stat().st_size
    found = Chronos2.from_directory(str(GOLDEN / "chronos2")).parameters
    assert 0 <= weights - 4 * found < 8192  # the header


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ("{}", "architectures: expected one name, got None"),
        ('{"architectures": ["A", "B"]}', "architectures: expected one name"),
    ],
)
def test_architecture_names_a_bad_config(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadCheckpoint, match=message):
        checkpoint.architecture(str(tmp_path))


def test_architecture_names_a_missing_config(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"config\.json: cannot be read: No such file"):
        checkpoint.architecture(str(tmp_path))
