"""`tollama service` of the built file, and the command line of the service it describes."""

import configparser
import json
import shlex
import subprocess
import sys
import urllib.request


def test_a_unit_runs_the_file_itself_by_its_whole_path(tollama, pyz, tmp_path):
    printed = tollama("service", "print", "--user", "--kind", "systemd").stdout
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    unit.read_string(printed)
    command = shlex.split(unit["Service"]["ExecStart"])
    assert command == [sys.executable, "-I", str(pyz), "serve"]

    env = {"TOLLAMA_HOME": str(tmp_path / "home"), "TOLLAMA_HOST": "127.0.0.1:0"}
    served = subprocess.Popen(
        command, env=env, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        url = served.stdout.readline().split()[-1]
        with urllib.request.urlopen(f"{url}/health/ready", timeout=60) as answer:
            assert json.load(answer) == {"status": "ok"}
    finally:
        served.terminate()
        assert served.wait(20) == 0
        served.stdout.close()


def test_install_and_remove_as_a_user_does(tollama, tmp_path):
    where = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    unit = tmp_path / "config" / "systemd" / "user" / "tollama.service"
    done = tollama("service", "install", "--user", "--kind", "systemd", **where)
    assert done.stdout == (
        "systemctl --user daemon-reload && systemctl --user enable --now tollama\n"
    )
    assert unit.is_file()
    again = tollama("service", "install", "--user", "--kind", "systemd", check=2, **where)
    assert again.stderr == f"error: {unit} is there already, --force replaces it\n"
    tollama("service", "remove", "--user", "--kind", "systemd", **where)
    assert not unit.exists()
    gone = tollama("service", "remove", "--user", "--kind", "systemd", check=3, **where)
    assert "no service is installed there" in gone.stderr
