import json
import os

import pytest

from tollama.core import config
from tollama.core.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:1234", ("0.0.0.0", 1234)),
        ("localhost", ("localhost", 11435)),
        (":8000", ("127.0.0.1", 8000)),
        ("[::1]:80", ("::1", 80)),
        ("::1", ("::1", 11435)),
        ("http://h:1/", ("h", 1)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
    ],
)
def test_an_address_is_read_in_all_its_forms(text, address):
    assert config.get("TOLLAMA_HOST", {"TOLLAMA_HOST": text}) == address


def test_a_unix_socket_is_an_address():
    assert config.parse_host("unix:///run/t.sock") == ("unix:///run/t.sock", 0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("HuggingFace.co/Amazon/", "https://huggingface.co/amazon"),
        ("hf.co/amazon", "https://huggingface.co/amazon"),
        ("hf.co", "https://huggingface.co"),
        ("hf.company", "https://hf.company"),
        ("http://HOST:11435", "http://host:11435"),
        ("mirror/path/org/repo", "https://mirror/path/org/repo"),
    ],
)
def test_a_hub_is_an_address(text, address):
    assert config.get("TOLLAMA_ALLOWED_HUBS", {"TOLLAMA_ALLOWED_HUBS": text}) == (address,)


@pytest.mark.parametrize(
    ("text", "limit"), [("60/m", (60, 60.0)), ("5/s", (5, 1.0)), (" 1000/H ", (1000, 3600.0))]
)
def test_a_rate_is_requests_and_their_time(text, limit):
    assert config.get("TOLLAMA_RATE_LIMIT", {"TOLLAMA_RATE_LIMIT": text}) == limit


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TOLLAMA_HOST", "h:port"),
        ("TOLLAMA_HOST", "h:70000"),
        ("TOLLAMA_HOST", "user@h"),
        ("TOLLAMA_MAX_BODY", "lots"),
        ("TOLLAMA_MAX_QUEUE", "0"),
        ("TOLLAMA_KEEP_ALIVE", "soon"),
        ("TOLLAMA_REQUEST_TIMEOUT", "-1"),
        ("TOLLAMA_LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_variable_is_an_error_that_names_it(name, text):
    with pytest.raises(InvalidRequest, match=f"^{name}: expected .*got "):
        config.get(name, {name: text})


def test_an_empty_variable_counts_as_not_set():
    assert config.get("TOLLAMA_KEEP_ALIVE", {"TOLLAMA_KEEP_ALIVE": ""}) == 300.0


@pytest.mark.parametrize(
    ("text", "size"), [("64M", 64 << 20), ("64MiB", 64 << 20), ("1G", 1 << 30), ("123", 123)]
)
def test_sizes_have_units(text, size):
    assert config.get("TOLLAMA_MAX_BODY", {"TOLLAMA_MAX_BODY": text}) == size


def write(home, value):
    home.mkdir(exist_ok=True)
    (home / "config.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return str(home)


def test_a_config_file_is_read_by_dotted_keys(tmp_path):
    home = write(tmp_path / "h", {"version": 1, "pull": {"offline": True, "max_workers": 2}})
    assert config.read(home) == {"pull.offline": True, "pull.max_workers": 2}


def test_no_config_file_is_an_empty_config(tmp_path):
    assert config.read(str(tmp_path)) == {}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        {"version": 2},
        {"pull": {"ofline": True}},
        {"pull": {"offline": "yes"}},
        {"pull": {"max_workers": "4"}},
        {"pull": {"max_workers": 0}},
        {"pull": 1},
        {"puls": {"x": 1}},
    ],
)
def test_a_bad_config_file_is_an_error_with_its_path(tmp_path, content):
    home = write(tmp_path / "h", content)
    with pytest.raises(config.ConfigUnreadable, match=r"config\.json"):
        config.read(home)


def test_an_unknown_key_is_answered_with_the_known_ones():
    with pytest.raises(InvalidRequest, match=r"did you mean pull\.offline.*pull\.hf_home"):
        config.parse_key("pull.ofline", "true")


def test_precedence_is_env_then_config_then_default():
    stored = {"pull.https_proxy": "http://config:1", "pull.max_workers": 2}
    found = config.effective(stored, {"HTTPS_PROXY": "http://env:1"})
    assert found["pull.https_proxy"] == ("http://env:1", "env")
    assert found["pull.max_workers"] == (2, "config")
    assert found["pull.offline"] == (False, "default")


def test_what_is_written_reads_back(tmp_path):
    values = {"pull.offline": True, "pull.hf_home": "/x", "daemon.host": ":1"}
    home = write(tmp_path / "h", config.to_file(values))
    assert config.read(home) == values


def test_home_is_absolute_and_follows_the_variable(tmp_path):
    assert config.home({"TOLLAMA_HOME": str(tmp_path)}) == str(tmp_path)
    assert os.path.isabs(config.home({}))
