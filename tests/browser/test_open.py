"""`tollama open`: what it prints and what it hands to the browser, with and without a daemon."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from urllib.request import ProxyHandler, build_opener

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in browser is a shell script")


@pytest.fixture
def browser(tmp_path):
    """A stand-in for the browser: (the value of BROWSER, the file with what it was given)."""
    log = tmp_path / "opened"
    script = tmp_path / "browser.sh"
    script.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {log}.part && mv {log}.part {log}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return f"{script} %s", log


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)  # polling, with a bound
    return found


def test_print_gives_the_address_and_opens_nothing(daemon, browser):
    done = daemon.run("open", "--print", BROWSER=browser[0])
    assert done.stdout == f"{daemon.url}/\n" and not browser[1].exists()


def test_the_page_of_a_running_daemon_is_opened(daemon, browser):
    done = daemon.run("open", BROWSER=browser[0])
    assert done.stdout == f"{daemon.url}/\n"
    assert wait_for(lambda: browser[1].exists() and browser[1].read_text()) == f"{daemon.url}/"


def test_without_a_browser_the_address_is_enough(daemon):
    done = daemon.run("open", DISPLAY="", WAYLAND_DISPLAY="", BROWSER="")
    if sys.platform == "linux":
        assert done.stdout == f"{daemon.url}/\n" and "no browser was found" in done.stderr


def test_an_address_that_was_given_is_not_served_here(daemon, browser):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free = taken.getsockname()[1]
    done = daemon.run("open", "--base-url", f"http://127.0.0.1:{free}", check=4, BROWSER=browser[0])
    assert "tollama serve" in done.stderr and not browser[1].exists()


def test_where_no_daemon_runs_one_is_started_and_opened(pyz, browser, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    (home / "config.json").write_text(
        json.dumps({"version": 1, "daemon": {"host": f"127.0.0.1:{port}"}})
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(pyz), "open"],
        env={**env, "TOLLAMA_HOME": str(home), "BROWSER": browser[0]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = wait_for(lambda: browser[1].exists() and browser[1].read_text())
        assert url == f"http://127.0.0.1:{port}/"
        with build_opener(ProxyHandler({})).open(f"{url}api/version") as answer:
            assert json.load(answer)["version"]
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "starting one here" in err and url in out
