"""Presets: bodies of /api/create, and the models that they make."""

import pytest

from tollama.core.errors import InvalidRequest, ModelNotFound
from tollama.daemon import presets
from tollama.daemon.service import Service


@pytest.fixture
def service(tmp_path):
    made = Service(home=str(tmp_path / "home"), environ={})
    yield made
    made.close()


def create(service, body):
    parsed, wanted = presets.parse(body)
    return list(presets.create(service, parsed.model, wanted))


def test_a_preset_is_a_model_with_a_digest_of_its_own(service):
    body = {"model": "Weekly", "from": "auto", "parameters": {"horizon": 7}}
    last = create(service, body)[-1]
    assert last["status"] == "success"
    model = service.model("weekly")
    assert model.name == "Weekly" and model.base == "auto"
    assert model.defaults == {"horizon": 7} and model.digest == last["digest"]
    body["parameters"] = {"horizon": 8}
    assert create(service, body)[-1]["digest"] != last["digest"]
    shown = service.show("weekly")
    assert shown["parameters"] == "horizon 8" and shown["preset"] == {"horizon": 8}
    assert shown["modelfile"] == "FROM auto\nPARAMETER horizon 8\n"


def test_a_modelfile_is_the_same_as_its_fields(service):
    one = {
        "model": "one", "from": "theta", "parameters": {"horizon": 2, "quantiles": [0.5]},
        "description": "two steps", "license": ["MIT", "ISC"],
    }  # fmt: skip
    create(service, one)
    create(service, {"name": "two", "modelfile": service.show("one")["modelfile"]})
    assert service.model("two").defaults == service.model("one").defaults
    assert service.show("two")["license"] == "MIT\nISC"
    assert service.show("two")["description"] == "two steps"


def test_a_preset_of_a_preset_inherits(service):
    create(service, {"model": "one", "from": "auto", "parameters": {"horizon": 2, "tz": "UTC"}})
    create(service, {"model": "two", "from": "one", "parameters": {"horizon": 3}})
    assert service.model("two").defaults == {"horizon": 3, "options": {"tz": "UTC"}}
    assert service.show("two")["modelfile"].startswith("FROM one\n")
    service.copy("two", "three")
    assert service.model("three").defaults == service.model("two").defaults


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"from": "auto"}, "model: this field is required"),
        ({"model": "x"}, "from: this field is required"),
        ({"model": "x", "from": "../y"}, "from"),
        ({"model": "x", "from": "auto", "parameters": []}, "parameters: expected an object"),
        ({"model": "x", "from": "auto", "parameters": {"horizon": "7"}}, "parameters.horizon"),
        ({"model": "x", "from": "auto", "parameters": {"temperature": 1}}, "temperature"),
        ({"model": "x", "from": "auto", "system": "be kind"}, "system: means nothing"),
        ({"model": "x", "from": "a", "modelfile": "FROM b"}, "from: expected the same"),
        ({"model": "auto", "from": "theta"}, "built-in"),
        ({"model": "x", "from": "auto", "license": 5}, "license"),
    ],
)
def test_bad_bodies_are_refused(service, body, message):
    with pytest.raises(InvalidRequest) as error:
        create(service, body)
    assert message in error.value.message
    with pytest.raises(ModelNotFound):
        service.model("x")


def test_a_source_that_is_not_here_is_not_found(service):
    with pytest.raises(ModelNotFound):
        create(service, {"model": "x", "from": "chronos2"})
