"""cli/service.py and service_units.py: what a service manager gets to read, and where it goes."""

from __future__ import annotations

import configparser
import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from tollama.cli import main, service, service_units
from tollama.cli.service_units import Spec
from tollama.core.errors import InvalidRequest

TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
PLAIN = Spec(["/usr/bin/python3", "-I", "/opt/t.pyz", "serve"], None, {}, False, None)
AWKWARD = Spec(
    ["/usr/bin/python3", '/opt/my files/100%/a"b\\$c.pyz', "serve"],
    "/opt/my dir",
    {"TOLLAMA_ORIGINS": 'http://a http://b "%h" $HOME', "TOLLAMA_LOG_LEVEL": "debug"},
    True,
    None,
)


def unit(text: str) -> configparser.ConfigParser:
    """A unit's sections; of keys that are there several times, the last."""
    found = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    found.optionxform = str
    found.read_string(text)
    return found


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's home; the commands of service managers are not there."""
    for name in [name for name in os.environ if name.startswith(("TOLLAMA_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def run(*args: str) -> int:
    return main.main(["service", *args])


# systemd


def test_a_system_unit_is_hardened_and_keeps_its_state(capsys):
    found = unit(service_units.systemd(PLAIN))
    body = found["Service"]
    assert body["ExecStart"] == "/usr/bin/python3 -I /opt/t.pyz serve"
    assert body["Environment"] == "TOLLAMA_HOME=/var/lib/tollama"
    assert body["StateDirectory"] == "tollama"
    assert body["ProtectSystem"] == "strict"
    assert body["CapabilityBoundingSet"] == ""
    assert body["KillMode"] == "mixed"
    assert body["OOMPolicy"] == "continue"
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "ProtectHome"):
        assert body[name] == "yes"
    assert found["Install"]["WantedBy"] == "multi-user.target"


def test_a_user_unit_asks_for_nothing_that_a_user_manager_may_not_do():
    found = unit(service_units.systemd(PLAIN._replace(user=True)))
    body = found["Service"]
    assert found["Install"]["WantedBy"] == "default.target"
    assert body["NoNewPrivileges"] == "yes"
    assert "Environment" not in body
    assert not {"DynamicUser", "User", "StateDirectory", "ProtectSystem", "PrivateTmp"} & set(body)


def test_a_unit_may_run_as_an_account_with_a_home_of_its_own():
    text = service_units.systemd(
        PLAIN._replace(account="fc", environment={"TOLLAMA_HOME": "/srv/models"})
    )
    body = unit(text)["Service"]
    assert body["User"] == "fc"
    assert body["ReadWritePaths"] == "/srv/models"
    assert "DynamicUser" not in body


def test_words_that_systemd_would_change_are_escaped():
    body = unit(service_units.systemd(AWKWARD))["Service"]
    assert body["ExecStart"] == ('/usr/bin/python3 "/opt/my files/100%%/a\\"b\\\\$$c.pyz" serve')
    assert body["WorkingDirectory"] == "/opt/my dir"
    text = service_units.systemd(AWKWARD)
    assert 'Environment="TOLLAMA_ORIGINS=http://a http://b \\"%%h\\" $HOME"\n' in text
    assert "Environment=TOLLAMA_LOG_LEVEL=debug\n" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("user", [False, True])
def test_systemd_accepts_the_unit(tmp_path, user):
    # Only programs that exist are accepted.
    spec = PLAIN._replace(command=[sys.executable, "serve"], user=user)
    path = tmp_path / "tollama.service"
    path.write_text(service_units.systemd(spec))
    command = ["systemd-analyze", "verify", *(["--user"] if user else []), str(path)]
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if "tollama.service" in line]
    assert (done.returncode, complaints) == (0, []), done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_little_exposure(tmp_path):
    path = tmp_path / "tollama.service"
    path.write_text(service_units.systemd(PLAIN))
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze is too old")
    assert done.returncode == 0, done.stdout[-400:] + done.stderr  # 2.0 of 10 at most


# launchd and Windows


def test_a_property_list_says_it_all():
    found = plistlib.loads(service_units.launchd(AWKWARD, "/log").encode())
    assert found["ProgramArguments"] == AWKWARD.command
    assert found["EnvironmentVariables"] == AWKWARD.environment
    assert found["WorkingDirectory"] == AWKWARD.directory
    assert found["RunAtLoad"] is True
    assert found["KeepAlive"] == {"SuccessfulExit": False}
    assert found["StandardErrorPath"] == "/log"
    assert "UserName" not in found
    as_other = plistlib.loads(service_units.launchd(PLAIN._replace(account="fc"), "/log").encode())
    assert as_other["UserName"] == "fc"
    assert "EnvironmentVariables" not in as_other


def test_a_task_says_it_all():
    spec = Spec(
        ["C:\\Program Files\\Python\\python.exe", "-I", "C:\\a & b\\t.pyz", "serve"],
        None,
        {},
        True,
        "PC\\me",
    )
    task = ElementTree.fromstring(service_units.windows(spec))
    action = task.find(f"{TASK}Actions/{TASK}Exec")
    assert action.findtext(f"{TASK}Command") == spec.command[0]
    assert action.findtext(f"{TASK}Arguments") == '-I "C:\\a & b\\t.pyz" serve'
    assert task.findtext(f"{TASK}Triggers/{TASK}LogonTrigger/{TASK}UserId") == "PC\\me"
    assert task.findtext(f"{TASK}Settings/{TASK}ExecutionTimeLimit") == "PT0S"


def test_a_system_task_starts_with_the_machine_as_a_small_account():
    task = ElementTree.fromstring(service_units.windows(PLAIN))
    assert task.find(f"{TASK}Triggers/{TASK}BootTrigger") is not None
    who = task.findtext(f"{TASK}Principals/{TASK}Principal/{TASK}UserId")
    assert who == "S-1-5-19"


# The command


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("systemd", ".config/systemd/user/tollama.service"),
        ("launchd", "Library/LaunchAgents/tollama.daemon.plist"),
        ("windows", "tollama/tollama-task.xml"),
    ],
)
def test_install_writes_the_file_and_says_what_starts_it(home, capsys, kind, place, monkeypatch):
    monkeypatch.setenv("LOCALAPPDATA", str(home))
    assert run("install", "--user", "--kind", kind) == 0
    said = capsys.readouterr()
    starts = {"systemd": "systemctl --user enable", "launchd": "launchctl bootstrap gui/"}
    assert starts.get(kind, "schtasks /Create") in said.out
    assert str(home / place) in said.err
    run("print", "--user", "--kind", kind)
    printed = capsys.readouterr().out
    data = (home / place).read_bytes()
    if kind == "windows":
        assert data.startswith((b"\xff\xfe", b"\xfe\xff"))
        assert ElementTree.fromstring(data) is not None
        assert data.decode("utf-16").endswith(printed)
    else:
        assert data.decode() == printed
    assert sorted(path.name for path in (home / place).parent.iterdir()) == [Path(place).name]


def test_a_file_that_is_there_stays_unless_forced(home, capsys):
    assert run("install", "--user", "--kind", "systemd") == 0
    path = home / ".config/systemd/user/tollama.service"
    path.write_text("mine\n")
    assert run("install", "--user", "--kind", "systemd") == 2
    assert "--force" in capsys.readouterr().err
    assert run("remove", "--user", "--kind", "systemd") == 2
    assert "was not written by tollama" in capsys.readouterr().err
    assert path.read_text() == "mine\n"
    assert run("install", "--user", "--kind", "systemd", "--force") == 0
    assert run("remove", "--user", "--kind", "systemd") == 0
    assert not path.exists()
    assert run("remove", "--user", "--kind", "systemd") == 3


def test_now_fails_where_no_manager_runs_and_says_which_command(home, capsys):
    assert run("install", "--user", "--kind", "systemd", "--now") == 1
    assert "systemctl --user daemon-reload: no such file" in capsys.readouterr().err


def test_now_starts_it_and_remove_stops_it(home, capsys):
    log = home / "calls"
    tool = home / "systemctl"
    tool.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\n')
    tool.chmod(0o755)
    assert run("install", "--user", "--kind", "systemd", "--now") == 0
    assert log.read_text().splitlines() == [
        "--user daemon-reload", "--user enable --now tollama",
    ]  # fmt: skip
    assert run("remove", "--user", "--kind", "systemd") == 0
    assert log.read_text().splitlines()[2:] == ["--user disable --now tollama"]


def test_nothing_is_started_unless_asked(home):
    tool = home / "systemctl"
    tool.write_text(f'#!/bin/sh\ntouch "{home}/called"\n')
    tool.chmod(0o755)
    assert run("install", "--user", "--kind", "systemd") == 0
    assert not (home / "called").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write there")
def test_without_permission_it_says_sudo_or_user(home, capsys):
    assert run("install", "--kind", "systemd") in (1, 2)
    assert "--user" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("TOLLAMA_MAX_QUEUE=x", "TOLLAMA_MAX_QUEUE: expected an integer"),
        ("TOLLAMA_HOSTS=1", "TOLLAMA_HOSTS is no setting"),
        ("TOLLAMA_API_KEYS=abcdefgh", "a secret"),
        ("TOLLAMA_HF_TOKEN=hf_abc", "a secret"),
        ("TOLLAMA_HOST", "expected NAME=VALUE"),
        ("A B=1", "expected NAME=VALUE"),
        ("A=1\nExecStart=/bin/sh", "expected NAME=VALUE"),
    ],
)
def test_settings_are_checked_before_anything_is_written(home, capsys, given, said):
    assert run("install", "--user", "--kind", "systemd", "--env", given) == 2
    assert said in capsys.readouterr().err
    assert not (home / ".config").exists()


def test_settings_and_the_callers_home_get_into_the_service(home, capsys, monkeypatch):
    monkeypatch.setenv("TOLLAMA_HOME", str(home / "store"))
    given = ("--env", "TOLLAMA_HOST=:8000", "--env", "HF_HUB_OFFLINE=1")
    assert run("print", "--user", "--kind", "launchd", *given) == 0
    found = plistlib.loads(capsys.readouterr().out.encode())
    assert found["EnvironmentVariables"] == {
        "TOLLAMA_HOST": ":8000",
        "HF_HUB_OFFLINE": "1",
        "TOLLAMA_HOME": str(home / "store"),
    }


def test_a_windows_task_has_no_environment(home, capsys):
    assert run("print", "--kind", "windows", "--env", "TOLLAMA_HOST=:8000") == 2
    assert "setx TOLLAMA_HOST" in capsys.readouterr().err


def test_a_system_service_needs_files_that_its_account_sees(tmp_path):
    shut = tmp_path / "tollama.pyz"
    shut.touch(mode=0o600)
    spec = PLAIN._replace(command=["/usr/bin/env", str(shut)])
    if not str(tmp_path).startswith(service.HIDDEN):
        assert "chmod 755" in service.unreadable(spec)
    hidden = PLAIN._replace(command=["/usr/bin/env", "/home/me/tollama.pyz", "serve"])
    assert "--user" in service.unreadable(hidden)
    assert "--user" in service.unreadable(PLAIN._replace(directory="/home/me/src"))


def test_a_home_elsewhere_needs_an_account_that_owns_it(tmp_path):
    args = SimpleNamespace(run_as=None, user=False, env=[f"TOLLAMA_HOME={tmp_path}"])
    with pytest.raises(InvalidRequest, match="--run-as its owner"):
        service.described("systemd", args)
    args.run_as = "fc"
    assert service.described("systemd", args).environment == {"TOLLAMA_HOME": str(tmp_path)}


def test_the_service_runs_what_was_called(monkeypatch, tmp_path):
    command, folder = service.program()  # python -m pytest: the package in its checkout
    assert command == [sys.executable, "-m", "tollama", "serve"]
    assert (Path(folder) / "tollama" / "__main__.py").is_file()
    for name, more in (("tollama", ["serve"]), ("tollamad", [])):
        script = tmp_path / name
        script.touch()
        monkeypatch.setattr(sys, "argv", [str(script)])
        assert service.program() == ([str(script), *more], None)
