"""models/pulls.py and daemon/pulling.py: what a pull will do, and who watches it."""

import json
import threading

import pytest

from tollama.core import tokens
from tollama.core.errors import (
    Cancelled,
    HubError,
    InvalidRequest,
    LicenseRequired,
    ModelNotFound,
    NotFound,
    TollamaError,
    Unavailable,
)
from tollama.daemon.pulling import Pulls
from tollama.models import families, hub_child, pulls, store
from tollama.models.hub_listing import Remote

KNOWN, _ = families.find("/nowhere")


def request(**fields):
    return pulls.PullRequest.parse({"model": "chronos2", **fields})


def plan(tmp_path, environ=None, **fields):
    return pulls.plan(request(**fields), KNOWN, home=str(tmp_path), environ=environ or {})


# -- the request ----------------------------------------------------------------------------------


def test_a_request_names_its_model_and_revision_in_either_way():
    assert request(model="chronos2@v1").revision == "v1"
    assert request(revision="v1").revision == "v1"
    assert request(model="chronos2@v1", revision="v1").revision == "v1"
    assert pulls.PullRequest.parse({"name": "mock:latest"}).name == "mock"
    assert request(something_of_ollama=1, insecure=True).given == {"insecure": True}
    with pytest.raises(InvalidRequest, match="revision: expected 'v1'"):
        request(model="chronos2@v1", revision="v2")


def test_all_bad_fields_are_reported_together():
    with pytest.raises(InvalidRequest) as caught:
        request(max_workers=0, offline=1, token="a b", endpoint="x", hf_home="here")
    fields = {problem["loc"][1] for problem in caught.value.detail}
    assert fields == {"max_workers", "offline", "token", "endpoint", "hf_home"}
    assert "a b" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("host", "http://host:11435"),
        ("http://host", "http://host:11435"),
        ("https://host:8443/", "https://host:8443"),
        ("10.0.0.7:9", "http://10.0.0.7:9"),
        ("http://[::1]:9/path", "http://[::1]:9/path"),
    ],
)
def test_the_address_of_another_tollama_may_be_short(text, address):
    assert request(**{"from": text}).peer == address


@pytest.mark.parametrize("text", ["ftp://x", "http://", "http://h:99999", "a b", "u:p@host:1"])
def test_a_bad_address_of_another_tollama_is_refused(text):
    with pytest.raises(InvalidRequest, match="from: expected the address"):
        request(**{"from": text})


def test_from_and_endpoint_exclude_each_other():
    with pytest.raises(InvalidRequest, match="got both"):
        request(**{"from": "host", "endpoint": "http://x"})


# -- the plan -------------------------------------------------------------------------------------


def test_each_setting_comes_from_the_first_that_says_it():
    stored = {"pull.endpoint": "http://config", "pull.max_workers": 2, "pull.insecure": True}
    environ = {"HF_ENDPOINT": "http://env", "HF_HUB_OFFLINE": "1"}
    found = pulls.settings({"insecure": False}, stored, environ)
    assert found["endpoint"] == ("http://env", "env")
    assert found["max_workers"] == (2, "config")
    assert found["insecure"] == (False, "request")
    assert found["local_files_only"] == (True, "env")
    assert found["limit_rate"] == (None, "default")
    assert set(found) == set(pulls.FIELDS)


def test_paths_of_settings_are_made_whole(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pulls.settings({}, {}, {"HF_HOME": "~/hf"})["hf_home"][0] == str(tmp_path / "hf")


def test_a_plan_says_where_from_and_where_to(tmp_path):
    found = plan(tmp_path, revision="v1")
    assert (found.name, found.repo_id) == ("chronos2", "amazon/chronos-2")
    assert found.source["revision"] == "v1"
    assert found.dest == str(tmp_path / "models" / "chronos2" / "snapshot")
    own = plan(tmp_path, model="hf.co/Org/Repo")
    assert (own.family, own.repo_id, own.source["revision"]) == (None, "Org/Repo", "main")
    with pytest.raises(ModelNotFound, match=r"did you mean.*hf\.co/ORG/REPO"):
        plan(tmp_path, model="chronos9")
    with pytest.raises(InvalidRequest, match="no revisions"):
        plan(tmp_path, model="mock", revision="v1")


def test_another_tollama_is_reached_without_proxies_and_without_the_hubs_token(tmp_path):
    environ = {
        "HTTPS_PROXY": "http://p",
        "HTTP_PROXY": "http://p",
        "TOLLAMA_HF_TOKEN": "hf_secret1",
    }
    found = plan(tmp_path, environ, **{"from": "host"})
    assert found.settings["endpoint"] == "http://host:11435/hub"
    assert found.settings["http_proxy"] is found.settings["https_proxy"] is found.token is None
    environ["TOLLAMA_HF_TOKEN"] = "hf_secret1,host:11435=tk-key"
    assert plan(tmp_path, environ, **{"from": "host"}).token == "tk-key"
    assert plan(tmp_path, environ).token == "hf_secret1"
    assert plan(tmp_path, environ, **{"from": "host", "token": "mine"}).token == "mine"
    mine = plan(tmp_path, **{"from": "host", "model": "mine"})
    assert (mine.source["type"], mine.repo_id, mine.family) == ("tollama", "mine", None)


def test_a_licence_that_was_accepted_stays_so(tmp_path):
    offer = KNOWN["torch"].models["chronos2"]
    strict = offer._replace(license={"type": "custom", "needs_acceptance": True})
    known = {"torch": KNOWN["torch"]._replace(models={"chronos2": strict})}

    def planned(**fields):
        return pulls.plan(request(**fields), known, home=str(tmp_path), environ={})

    with pytest.raises(LicenseRequired, match="--accept-license"):
        planned()
    accepted = planned(accept_license=True)
    assert accepted.license["accepted"] is True
    manifest = {**pulls.local_manifest(accepted), "family": "torch"}
    store.write(str(tmp_path), manifest)
    assert planned().license["accepted"] is True


def test_pulls_are_one_when_they_ask_for_the_same(tmp_path):
    first = plan(tmp_path).identity
    assert first == plan(tmp_path, max_workers=1, limit_rate=5).identity
    for other in ({"revision": "v1"}, {"token": "x"}, {"endpoint": "http://m"}, {"offline": True}):
        assert plan(tmp_path, **other).identity != first


def test_tokens_belong_to_hosts():
    text = "hf_plain, hub.corp=aaa mirror:8080=bbb,[::1]:9=ccc"
    assert tokens.for_address(text, "https://hub.corp/path") == "aaa"
    assert tokens.for_address(text, "https://hub.corp:444") == "aaa"
    assert tokens.for_address(text, "http://user@MIRROR:8080/x") == "bbb"
    assert tokens.for_address(text, "http://mirror:81") == "hf_plain"
    assert tokens.for_address(text, "http://[::1]:9/hub", named=True) == "ccc"
    assert tokens.for_address(text, "http://other", named=True) is None
    assert tokens.for_address("padded==", "http://other") == "padded=="
    assert tokens.for_address(None, "http://other") is None
    assert tokens.secrets(text) == ["hf_plain", "aaa", "bbb", "ccc"]


# -- what a repository is -------------------------------------------------------------------------


def test_a_repository_is_recognised_by_its_config(tmp_path):
    chronos = {"architectures": ["T5ForConditionalGeneration"], "chronos_config": {}}
    assert families.recognise(KNOWN, chronos)[1] == ["torch"]
    del chronos["chronos_config"]
    assert families.recognise(KNOWN, chronos) == ("T5ForConditionalGeneration", [])
    for nothing in (None, [], {}, {"architectures": []}, {"architectures": [7]}):
        assert families.recognise(KNOWN, nothing) == (None, [])
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Chronos2Model"]}))
    assert pulls.architecture_of(str(tmp_path)) == "Chronos2Model"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(HubError, match="cannot be read"):
        pulls.architecture_of(str(tmp_path))


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["model.safetensors", "model.fp16.safetensors"], ["model.safetensors"]),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
             "model.safetensors.index.json", "consolidated.safetensors"],
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
             "model.safetensors.index.json"],
        ),
        (["own.safetensors", "weights.bin"], ["own.safetensors"]),
        (["odd-1.safetensors", "model.safetensors.index.json"],
         ["odd-1.safetensors", "model.safetensors.index.json"]),
    ],
)  # fmt: skip
def test_weights_that_no_model_is_loaded_from_stay_on_the_hub(names, taken):
    listed = [Remote(name, 1, "0" * 64, None) for name in ["config.json", *names]]
    found = {file.path for file in hub_child.wanted(listed, None, "org/x")}
    assert found == {"config.json", *taken}


# -- watching -------------------------------------------------------------------------------------


class Held:
    """Work that says "begun" and ends when it may."""

    def __init__(self):
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.runs = 0

    def __call__(self, on_event, cancelled):
        self.runs += 1
        on_event({"status": "begun"})
        self.begun.set()
        while not self.may_end.wait(0.01):
            if cancelled.is_set():
                return
        on_event({"status": "success"})


@pytest.fixture
def held():
    work = Held()
    yield work
    work.may_end.set()


def test_pulls_of_the_same_join_and_others_wait(held):
    active, second = Pulls(), Held()
    one = active.join("m", held, same="a")
    assert active.join("m", held, same="a") is one
    two = active.join("m", second, same="b")
    held.begun.wait(10)
    assert not second.begun.is_set()
    assert active.active() == ["m"]
    held.may_end.set()
    second.may_end.set()
    assert [e["status"] for e in one.watch()] == ["begun", "success"]
    waited = [e["status"] for e in two.watch()]
    assert waited == ["waiting for another pull of this model", "begun", "success"]
    assert held.runs == second.runs == 1
    active.wait("m", 10)
    assert active.active() == []


def test_progress_replaces_progress_and_late_watchers_see_every_step():
    pulls_ = Pulls()

    def work(on_event, cancelled):
        on_event({"status": "first"})
        for done in range(1000):
            on_event({"status": "downloading", "completed": done})
        on_event({"status": "success"})

    pulling = pulls_.join("m", work)
    list(pulling.watch())
    late = list(pulling.watch())
    assert [e["status"] for e in late] == ["first", "downloading", "success"]
    assert late[1]["completed"] == 999


def test_cancel_ends_a_pull_with_an_error_for_its_watchers(held):
    active = Pulls()
    pulling = active.join("m", held)
    held.begun.wait(10)
    assert active.cancel("m") is True
    with pytest.raises(Cancelled, match="kept"):
        list(pulling.watch())
    with pytest.raises(NotFound):
        active.cancel("m")


def test_cancel_unless_watched_leaves_a_watched_pull_alone(held):
    active = Pulls()
    pulling = active.join("m", held)
    gone = threading.Event()
    watch = pulling.watch(gone.is_set)
    assert next(watch)["status"] == "begun"
    assert active.cancel("m", unless_watched=True) is False
    gone.set()
    assert active.cancel("m", unless_watched=True) is True
    watch.close()


def test_a_watcher_that_has_gone_is_let_go(held):
    pulling = Pulls().join("m", held)
    assert [e["status"] for e in pulling.watch(lambda: True)][:1] in ([], ["begun"])


def test_a_failure_reaches_every_watcher_without_the_secret():
    def fail(on_event, cancelled):
        raise HubError("no entry with s3cret")

    def defect(on_event, cancelled):
        raise KeyError("s3cret")

    for work, kind in ((fail, HubError), (defect, TollamaError)):
        pulling = Pulls().join("m", work, secret="s3cret")
        for _ in range(2):
            with pytest.raises(kind) as caught:
                list(pulling.watch())
            assert "s3cret" not in caught.value.message


def test_close_ends_all_pulls_and_takes_no_more(held):
    active = Pulls()
    pulling = active.join("m", held)
    held.begun.wait(10)
    active.close(10)
    assert pulling.done
    with pytest.raises(Unavailable):
        active.join("n", held)
