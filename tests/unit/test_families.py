import json

import pytest

from tollama.models import families

SPEC = {
    "family": "mine",
    "protocol": 1,
    "module": "mine",
    "models": [{"name": "Mine", "source": {"type": "builtin"}}],
}


def put(home, name, content):
    folder = home / "runners" / name
    folder.mkdir(parents=True)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "runner.json").write_bytes(data)


def test_a_folder_with_a_runner_json_is_a_family(tmp_path):
    put(tmp_path, "mine", SPEC)
    found, warnings = families.find(str(tmp_path), {})
    assert not warnings
    assert {"mock", "stats", "mine"} <= set(found)
    assert [offer.name for offer in families.offers(found, "MINE")] == ["Mine"]


def test_ones_own_family_replaces_the_packed_one_of_the_same_name(tmp_path):
    put(tmp_path, "other", {**SPEC, "family": "mock"})
    found, _ = families.find(str(tmp_path), {})
    assert list(found["mock"].models) == ["Mine"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        [],
        {**SPEC, "protocol": 99},
        {**SPEC, "models": [{"name": "../x"}]},
        {"family": "mine"},
    ],
)
def test_a_runner_json_that_cannot_be_used_is_a_warning_and_the_others_stay(tmp_path, content):
    put(tmp_path, "mine", content)
    found, warnings = families.find(str(tmp_path), {})
    assert len(warnings) == 1
    assert str(tmp_path / "runners" / "mine" / "runner.json") in warnings[0]
    assert "mine" not in found
    assert {"mock", "stats"} <= set(found)


def test_a_folder_of_families_that_is_not_there_is_said(tmp_path):
    _, warnings = families.find(str(tmp_path), {"TOLLAMA_RUNNERS": "/nowhere"})
    assert warnings == ["TOLLAMA_RUNNERS: expected a folder, got '/nowhere'"]
