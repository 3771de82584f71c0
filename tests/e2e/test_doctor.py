"""`tollama doctor` on healthy and on broken machines."""

import json


def findings(done):
    return {one["check"]: one for one in json.loads(done.stdout)["findings"]}


def test_a_healthy_machine_has_no_problems(tollama):
    found = tollama("doctor", "--offline", "--format", "json")
    looks = findings(found)
    assert json.loads(found.stdout)["problems"] == 0
    assert looks["stats"]["level"] == "ok"
    assert looks["settings"]["level"] == "ok"
    assert "hub" not in looks


def test_problems_come_with_what_to_do(tollama, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.json").write_text("{")
    found = tollama(
        "doctor", "--offline", "--format", "json", check=1,
        TOLLAMA_MAX_QUEUE="many", TOLLAMA_CA_BUNDLE="/nowhere.pem", TOLLAMA_MODELS="x",
    )  # fmt: skip
    rows = json.loads(found.stdout)["findings"]
    texts = " ".join(row["text"] + row["fix"] for row in rows)
    assert "TOLLAMA_MAX_QUEUE: expected an integer" in texts
    assert "config.json" in texts
    assert "TOLLAMA_MODELS is not a setting" in texts
    assert json.loads(found.stdout)["problems"] >= 2


def test_the_daemon_is_recognised(daemon):
    looks = findings(daemon.run("doctor", "--offline", "--quick", "--format", "json"))
    assert looks["daemon"]["level"] == "ok"


def test_a_hub_that_is_not_there_is_a_warning_with_the_way_out(tollama):
    found = tollama("doctor", "--quick", "--format", "json", HF_ENDPOINT="http://127.0.0.1:9")
    assert findings(found)["hub"]["level"] == "warning"
    assert "air-gap" in findings(found)["hub"]["fix"]
