"""Modelfiles: text to preset, preset to text and back."""

import pytest

from tollama.core.errors import InvalidRequest
from tollama.daemon.catalogue import preset_lines
from tollama.models import modelfile

TEXT = '''
# four weeks of sales
FROM chronos2
PARAMETER horizon 28
parameter quantiles 0.9 0.1 0.5
PARAMETER context_length 2048
PARAMETER season_length 24 168
PARAMETER non_negative true
PARAMETER tz "Europe/Berlin"
DESCRIPTION weekly sales, by store
LICENSE """
Apache-2.0
  and more
"""
'''


def test_a_modelfile_is_a_source_and_a_preset():
    found = modelfile.parse(TEXT)
    assert found.source == "chronos2"
    assert found.preset == {
        "horizon": 28,
        "quantiles": [0.1, 0.5, 0.9],
        "options": {
            "context_length": 2048,
            "season_length": [24, 168],
            "non_negative": True,
            "tz": "Europe/Berlin",
        },
        "description": "weekly sales, by store",
        "license": "Apache-2.0\n  and more",
    }


def test_parameters_survive_being_written_and_read():
    options = {
        "whole": 5, "text_of_digits": "5", "fraction": 0.25, "small": 1e-7, "yes": True,
        "word": "mean", "spaced": "a b", "quoted": 'say "no"', "empty": "", "several": [1, 2.5],
    }  # fmt: skip
    preset = {"horizon": 3, "quantiles": [0.5], "options": options}
    lines = preset_lines(preset).splitlines()
    text = "FROM auto\n" + "\n".join(f"PARAMETER {line}" for line in lines)
    assert modelfile.parse(text).preset == preset


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "FROM MODEL, found none"),
        ("PARAMETER horizon 3", "FROM MODEL, found none"),
        ("FROM a\nFROM b", "line 2: expected FROM once"),
        ("FROM ../x", "line 1: model"),
        ("FROM a\nPARAMETER horizon", "line 2: expected PARAMETER NAME VALUE"),
        ("FROM a\nPARAMETER horizon x", "parameters.horizon: expected an integer"),
        ("FROM a\nPARAMETER horizon 2 3", "parameters.horizon: expected an integer"),
        ("FROM a\nPARAMETER quantiles 0.5 2", "parameters.quantiles[1]:"),
        ("FROM a\nPARAMETER non_negative perhaps", "parameters.non_negative:"),
        ("FROM a\nTEMPLATE x", "line 2: TEMPLATE means nothing"),
        ("FROM a\n\n\nFORM b", "line 4: expected one of FROM"),
        ('FROM a\nLICENSE """never closed', "line 2: expected a closing"),
        ('FROM a\nLICENSE """x""" y', "line 2: expected nothing after"),
    ],
)
def test_mistakes_name_the_line_or_the_parameter(text, message):
    with pytest.raises(InvalidRequest) as error:
        modelfile.parse(text)
    assert message in error.value.message


def test_all_bad_parameters_are_said_together():
    with pytest.raises(InvalidRequest) as error:
        modelfile.preset({"horizon": 0, "quantiles": [3], "covariates_mode": "x"})
    assert len(error.value.detail) == 3


def test_a_preset_of_a_preset_keeps_what_it_does_not_say():
    under = {"horizon": 3, "options": {"a": 1, "b": 2}, "description": "old"}
    over = {"quantiles": [0.5], "options": {"b": 3}}
    assert modelfile.merged(under, over) == {
        "horizon": 3, "quantiles": [0.5], "options": {"a": 1, "b": 3}, "description": "old",
    }  # fmt: skip
    assert modelfile.merged(None, {}) == {}


def test_unknown_options_are_refused_where_the_model_says_what_it_knows():
    preset = {"options": {"seson_length": 3}}
    with pytest.raises(InvalidRequest, match="did you mean 'season_length'"):
        modelfile.check_options(preset, ["context_length"])
    modelfile.check_options(preset, [])
    modelfile.check_options({"options": {"context_length": 3, "tz": "UTC"}}, ["context_length"])
