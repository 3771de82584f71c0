"""The command line of the built file, with and without a daemon, as a user types it."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

AIR = "examples/air_passengers.csv"


def test_run_prints_json_when_piped_and_says_where_it_worked(tollama):
    found = tollama("run", "auto", AIR, "--horizon", "12")
    answer = json.loads(found.stdout)
    (forecast,) = answer["forecasts"]
    assert forecast["start_timestamp"] == "1961-01-01"
    assert list(forecast["quantiles"]) == ["0.025", "0.1", "0.9", "0.975"]
    assert "forecasting in this process" in found.stderr


def test_a_checkout_gives_the_same_answer_as_the_file(tollama, tmp_path):
    packed = tollama("run", "auto", AIR, "--horizon", "12").stdout
    env = {**os.environ, "TOLLAMA_HOME": str(tmp_path / "other")}
    plain = subprocess.run(
        [sys.executable, "-m", "tollama", "run", "auto", AIR, "--horizon", "12"],
        cwd=os.getcwd(),
        env=env,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(plain) == json.loads(packed)


def test_the_daemon_gives_the_same_answer_as_this_process(daemon, tollama):
    there = daemon.run("run", "theta", AIR, "--horizon", "6")
    here = tollama("run", "theta", AIR, "--horizon", "6")
    assert json.loads(there.stdout) == json.loads(here.stdout)
    assert "in this process" not in there.stderr


def test_the_seed_lifecycle_of_mock(daemon):
    assert daemon.run("pull", "mock").returncode == 0
    assert json.loads(daemon.run("show", "mock").stdout)["family"] == "mock"
    found = daemon.run("run", "mock", "--input", "examples/request.json", "--no-stream")
    request = json.loads(Path("examples/request.json").read_text())
    answer = json.loads(found.stdout)
    assert len(answer["forecasts"]) == len(request["series"])
    assert "mock" in {m["name"] for m in json.loads(daemon.run("ps").stdout)["models"]}
    daemon.run("rm", "mock")
    assert daemon.run("show", "mock", check=3).stderr.startswith("error: model 'mock' is not")


def test_run_pulls_a_missing_registry_model_first(tollama):
    found = tollama("run", "mock", AIR, "--horizon", "2")
    assert json.loads(found.stdout)["forecasts"][0]["mean"] == [432, 432]


@pytest.mark.parametrize(
    ("form", "start"), [("csv", "id,timestamp,mean,0.025"), ("jsonl", '{"id"'), ("table", "")]
)
def test_output_forms(tollama, form, start):
    found = tollama("run", "naive", AIR, "--horizon", "2", "--format", form)
    assert found.stdout.startswith(start)
    assert "432" in found.stdout


def test_output_goes_to_a_file_in_the_form_of_its_ending(tollama, tmp_path):
    target = tmp_path / "out.csv"
    tollama("run", "naive", "examples/retail.csv", "--horizon", "2", "-o", str(target))
    lines = target.read_text().splitlines()
    assert lines[0].startswith("id,timestamp,mean")
    assert not list(tmp_path.glob("out.csv.*"))


def test_a_dash_and_devices_are_written_to_and_not_replaced(tollama, tmp_path):
    args = ["run", "naive", AIR, "--horizon", "1", "--format", "csv"]
    assert tollama(*args, "-o", "-").stdout.startswith("id,timestamp,mean")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    tollama(*args, "-o", str(pipe))
    reader.join(20)
    assert got[0].startswith("id,timestamp,mean")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "real.csv")
    tollama(*args, "-o", str(link))
    assert link.is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("id,timestamp,mean")


def test_standard_input_and_json_lines(tollama):
    lines = '{"id":"x","target":[1,2,3]}\n{"id":"y","target":[4,5,6]}\n'
    found = tollama("run", "naive", "-", "--horizon", "1", stdin=lines)
    assert [f["mean"] for f in json.loads(found.stdout)["forecasts"]] == [[3], [6]]


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["lst"], 2, "did you mean 'list'?"),
        (["run", "auto", "nowhere.csv"], 3, "nowhere.csv"),
        (["run", "auto", AIR, "--horizon", "0"], 2, "horizon: expected an integer >= 1, got 0"),
        (["run", "nothing-known", AIR], 3, "not in the registry"),
        (["run", "auto", AIR, "--quantiles", "1.5"], 2, "quantiles[0]"),
        (["run", "auto", AIR, "--input", "x.json"], 2, "got both"),
        (["config", "set", "pull.nothing", "1"], 2, "known keys: pull.hf_home"),
        (["config", "set", "pull.offline", "maybe"], 2, "expected true or false"),
        (["ps", "--base-url", "http://127.0.0.1:1"], 4, "tollama serve"),
        (["show", "nothing"], 3, "nothing"),
        (["serve", "--port", "99999"], 2, "expected a port"),
        (["run", "auto", AIR, "--horizn", "3"], 2, "did you mean --horizon?"),
        (["run", "auto", AIR, "--horizon", "x"], 2, "error: run: --horizon: expected an integer"),
        (["run", "auto", AIR, "--format", "xml"], 2, "expected one of table, json, csv, jsonl"),
        (["list", "--timeout", "0"], 2, "expected seconds above zero, got '0'"),
        (["config"], 2, "error: config: the following arguments are required: action"),
        (["run", "auto", AIR, "-o", "nowhere/x.csv"], 2, "--output: expected a file in a folder"),
        (["run", "auto", AIR, "-o", "examples"], 2, "--output: expected a file, got a folder"),
        (["rm", "auto"], 2, "built in"),
    ],
)
def test_mistakes_have_their_exit_code_and_say_what_is_wrong(tollama, args, code, text):
    found = tollama(*args, check=code)
    assert text in found.stderr
    assert "Traceback" not in found.stderr
    assert "usage:" not in found.stderr


@pytest.mark.parametrize(
    "command", ["run", "serve", "list", "show", "pull", "ps", "stop", "rm", "cp", "config", "info"]
)
def test_help_has_examples_in_both_forms(tollama, command):
    one = tollama("help", command).stdout
    assert one == tollama(command, "--help").stdout
    assert "examples:" in one


def test_config_is_kept_private_and_typed(tollama, tmp_path):
    tollama("config", "set", "pull.https_proxy", "http://user:opensesame@proxy:3128")
    tollama("config", "set", "pull.offline", "true")
    file = tmp_path / "home" / "config.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["pull"]["offline"] is True
    listed = tollama("config", "list", "--format", "table").stdout
    assert "opensesame" not in listed
    assert tollama("config", "get", "pull.offline").stdout == "true\n"
    tollama("config", "unset", "pull.offline")
    assert tollama("config", "get", "pull.offline").stdout == "false\n"


def test_info_works_without_a_daemon_and_on_a_broken_config(tollama, tmp_path):
    found = json.loads(tollama("info", "--json").stdout)
    assert found["daemon"] is None
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "config.json").write_text("{")
    found = json.loads(tollama("info", "--json").stdout)
    assert "config.json" in found["config_error"]
    assert "Runner families" in tollama("info").stdout


def test_secrets_appear_nowhere(start, tmp_path):
    daemon = start(
        TOLLAMA_HF_TOKEN="hf_SECRETTOKENVALUE", HTTPS_PROXY="http://user:opensesame@127.0.0.1:9"
    )
    outputs = [daemon.request("GET", "/api/info")[2].decode()]
    for args in (["info", "--json"], ["info", "--verbose"], ["config", "list"]):
        found = daemon.run(*args, TOLLAMA_HF_TOKEN="hf_SECRETTOKENVALUE")
        outputs += [found.stdout, found.stderr]
    found = daemon.run("pull", "chronos2", "--token", "hf_OTHERSECRET", check=None)
    outputs += [found.stdout, found.stderr]
    daemon.stop()
    outputs += daemon.log
    outputs += [
        path.read_text(errors="replace") for path in daemon.home.rglob("*") if path.is_file()
    ]
    text = "\n".join(outputs)
    for secret in ("SECRETTOKENVALUE", "OTHERSECRET", "opensesame"):
        assert secret not in text
    assert '"TOLLAMA_HF_TOKEN_present":true' in text.replace(" ", "")


@pytest.mark.parametrize("ending", ["", "/", "/api", "/api/"])
def test_a_base_address_may_end_as_ollama_writes_it(daemon, tollama, ending):
    assert "auto" in tollama("list", "--base-url", daemon.url + ending).stdout


def test_a_daemon_that_says_nothing_is_given_up(tollama):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = tollama("list", "--base-url", url, "--timeout", "0.2", check=5)
    assert "did not answer within 0.2 s (--timeout)" in found.stderr


def test_loopback_is_never_called_through_a_proxy(daemon):
    found = daemon.run("list", HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9")
    assert "auto" in found.stdout


def test_two_files_of_bulk_output_are_equal_after_an_interruption(tollama, tmp_path):
    rows = ["id,timestamp,value"]
    for name in range(300):
        rows += [f"s{name:03},2024-{month:02}-01,{name + month}" for month in range(1, 13)]
    data = tmp_path / "big.csv"
    data.write_text("\n".join(rows) + "\n")
    whole = tmp_path / "whole.csv"
    args = ["run", "naive", str(data), "--horizon", "2"]
    tollama(*args, "-o", str(whole))
    assert len(whole.read_text().splitlines()) == 601
    # What a killed run leaves: 100 series that are safe, and the beginning of one that is not.
    broken = tmp_path / "broken.csv"
    kept = "".join(whole.read_text().splitlines(keepends=True)[:201])
    tollama(*args, "-o", str(broken))
    notes = {"size": len(kept.encode()), "done": 100, "failed": 0}
    (tmp_path / "broken.csv.part").write_text(kept + "s100,2025-0")
    stat_of = data.stat()
    request = {"model": "naive", "quantiles": [0.025, 0.1, 0.9, 0.975], "horizon": 2}
    made = {
        "request": request,
        "form": "csv",
        "source": [str(data), stat_of.st_size, stat_of.st_mtime_ns],
    }
    (tmp_path / "broken.csv.part.json").write_text(json.dumps({**notes, "made_from": made}))
    broken.unlink()
    found = tollama(*args, "-o", str(broken))
    assert "going on after 100 series" in found.stderr
    assert broken.read_text() == whole.read_text()


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "table"])
def test_data_are_utf8_in_a_locale_that_is_not(tollama, form):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = ("run", "naive", "examples/retail.csv", "--horizon", "1", "--format", form)
    assert "Évora" in tollama(*command, **ascii_only, check=0).stdout
