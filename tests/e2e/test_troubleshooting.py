"""docs/troubleshooting.md: each failure is provoked, and what the page quotes is what is printed.

In a quoted line `*` stands for what differs from case to case. Addresses of the tests become those
of the page before the comparison. Not covered: the entries without a block.
"""

from __future__ import annotations

import http.server
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from checkpoints import make_checkpoint
from fake_hub import FakeHub

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ENTRIES = {
    title: (command, quoted)
    for title, command, quoted in re.findall(
        r"^### (.*)\n\n```console\n\$ (.*)\n((?:.*\n)+?)```", PAGE, re.M
    )
}
HUB = "huggingface.co"


class World:
    """A folder with files, a home, and what the failure changes in them."""

    def __init__(self, folder: Path, pyz: Path, start) -> None:
        self.folder, self.pyz, self.start = folder, pyz, start
        self.environ: dict[str, str] = {"TOLLAMA_HOME": str(folder / "home")}
        self.texts: dict[str, str] = {}
        self.closing: list = []
        self.python = sys.executable

    def hub(self, **faults) -> FakeHub:
        """A hub with Chronos-2 and a fault."""
        found = FakeHub(tls=faults.pop("tls", None))
        for repo, config in (
            ("amazon/chronos-2", {}),
            ("amazon/chronos-t5-tiny", {"architectures": ["T5ForConditionalGeneration"]}),
        ):
            made = make_checkpoint(self.folder / repo.replace("/", "-"), **config)
            found.add(repo, {path.name: path.read_bytes() for path in made.iterdir()})
        for name, value in faults.items():
            setattr(found, name, value)
        found.__enter__()
        self.closing.append(lambda: found.__exit__(None, None, None))
        self.environ["HF_ENDPOINT"] = found.url
        self.texts[f"127.0.0.1:{found.port}"] = HUB
        self.texts["127.0.0.1 "] = f"{HUB} "
        return found

    def run(self, command: str) -> str:
        """What the command prints, on both streams, in the page's words."""
        tool = self.folder / "bin" / "tollama"
        tool.parent.mkdir()
        tool.write_text(f'#!/bin/sh\nexec "{self.python}" -I -S "{self.pyz}" "$@"\n')
        tool.chmod(0o755)
        (self.folder / "tollama.pyz").symlink_to(self.pyz)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
        kept = {k: v for k, v in kept.items() if not k.lower().endswith("_proxy")}
        path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
        found = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder, env={**kept, "PATH": path, **self.environ},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=120,
        )  # fmt: skip
        assert found.returncode != 0 or command.startswith(("curl", "tollama version"))
        text = found.stdout
        for old, new in self.texts.items():
            text = text.replace(old, new)
        return text


def port_taken(world):
    taken = socket.create_server(("127.0.0.1", 0))
    world.closing.append(taken.close)
    world.environ["TOLLAMA_HOST"] = f"127.0.0.1:{taken.getsockname()[1]}"
    world.texts[f":{taken.getsockname()[1]}"] = ":11435"


def no_daemon(world):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    world.environ["TOLLAMA_HOST"] = f"127.0.0.1:{port}"
    world.texts[f":{port}"] = ":11435"


def something_else(world):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    world.closing += [server.shutdown, server.server_close]
    return {"127.0.0.1:8080": f"127.0.0.1:{server.server_port}"}


def no_key(world):
    world.environ["TOLLAMA_HOST"] = world.start(TOLLAMA_API_KEYS="admin:wellkept123").url


def small_key(world):
    world.environ["TOLLAMA_HOST"] = world.start(TOLLAMA_API_KEYS="read:onlylooking").url
    world.environ["TOLLAMA_API_KEY"] = "onlylooking"


def foreign_name(world):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    return {"http://localhost:11435": world.start().url}


def old_python(world):
    found = [
        *Path("/usr/bin").glob("python3.8"),
        *Path.home().glob(".pyenv/versions/3.8.*/bin/python"),
    ]
    if not found:
        pytest.skip("no Python 3.8 here")
    return {"python3.8": shlex.quote(str(found[0]))}


def no_name(world):
    world.environ["HF_ENDPOINT"] = "http://nowhere.invalid"
    world.texts["nowhere.invalid"] = HUB


def inspected(world):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    make = "req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -days 2 -keyout key -out cert"
    subprocess.run(
        ["openssl", *make.split(" "), "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=world.folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(world.folder / "cert", world.folder / "key")
    world.hub(tls=context)


def private(world):
    world.hub(token="Bearer right")


def changed_file(world):
    world.hub(corrupt={"model.safetensors": 99})


def full(world):
    world.hub(listed_size={"model.safetensors": 1 << 60})
    world.texts[" PB"] = " MB"


def read_only(world):
    home = world.folder / "home"
    home.mkdir()
    if os.geteuid() == 0:
        mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(home)]
        if subprocess.run(mount, capture_output=True, check=False, timeout=60).returncode:
            pytest.skip("no permission to mount")
        unmount = ["umount", str(home)]
        world.closing.append(lambda: subprocess.run(unmount, check=True, timeout=60))
    else:
        home.chmod(0o500)
        world.closing.append(lambda: home.chmod(0o700))
        world.texts["permission denied"] = "read-only file system"
    world.environ["TOLLAMA_HOME"] = str(home / "below")


def no_packages(world):
    world.hub()
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(world.folder / "bare")],
        check=True, timeout=60,
    )  # fmt: skip
    world.python = str(world.folder / "bare" / "bin" / "python")


def another_version(world):
    old = world.folder / "old"
    shutil.copytree(ROOT / "tollama", old / "tollama", ignore=shutil.ignore_patterns("_vendor"))
    (old / "runners").symlink_to(ROOT / "runners")
    entry = old / "tollama" / "__init__.py"
    entry.write_text(re.sub(r'__version__ = ".*"', '__version__ = "0.0.9"', entry.read_text()))
    daemon = subprocess.Popen(
        [sys.executable, "-m", "tollama", "serve", "--port", "0"],
        cwd=old, env={**os.environ, "TOLLAMA_HOME": str(world.folder / "home")},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    world.closing += [daemon.terminate, daemon.wait, daemon.stdout.close]
    world.environ["TOLLAMA_HOST"] = daemon.stdout.readline().split()[-1]


def nothing(world):
    """The command alone fails."""


PROVOKE = {
    "The port is taken": port_taken,
    "The daemon is not there, or was killed": no_daemon,
    "Something else answers": something_else,
    "An API key is missing": no_key,
    "The key may not do that": small_key,
    "The host's name is refused": foreign_name,
    "The daemon is another version": another_version,
    "A variable has a bad value": nothing,
    "Python is too old": old_python,
    "The proxy does not answer": nothing,
    "There is no network": no_name,
    "A proxy inspects TLS": inspected,
    "The model is private or gated": private,
    "The token is refused": private,
    "The file changes on the way": changed_file,
    "The disk is full": full,
    "The home cannot be written": read_only,
    "Offline, and the model is not here": nothing,
    "The kit is damaged": nothing,
    "The name is wrong": nothing,
    "The packages of a family are missing": no_packages,
    "The column has another name": nothing,
    "No column of numbers": nothing,
    "Text among the numbers": nothing,
    "One timestamp twice": nothing,
    "Day or month first": nothing,
    "The frequency is unknown": nothing,
    "Quantiles in percent": nothing,
}


@pytest.fixture
def world(tmp_path, pyz, start):
    shutil.copy(ROOT / "examples" / "air_passengers.csv", tmp_path / "sales.csv")
    for name, text in (
        ("notes.txt", "not a kit\n"),
        ("names.csv", "name,comment\na,b\n"),
        ("text.csv", "date,value\n2024-01-01,1\n2024-01-02,two\n2024-01-03,3\n"),
        ("twice.csv", "date,value\n2024-01-01,1\n2024-01-01,2\n2024-01-02,3\n"),
        ("dates.csv", "date,value\n03/04/2024,1\n04/04/2024,2\n05/04/2024,3\n"),
    ):
        (tmp_path / name).write_text(text)
    made = World(tmp_path, pyz, start)
    yield made
    for close in made.closing:
        close()


def test_every_entry_is_provoked():
    assert list(PROVOKE) == list(ENTRIES)


@pytest.mark.parametrize("title", ENTRIES)
def test_an_entry_quotes_what_is_printed(title, world):
    command, quoted = ENTRIES[title]
    for old, new in (PROVOKE[title](world) or {}).items():
        command = command.replace(old, new)
        world.texts[new] = old
    printed = world.run(command)
    for line in quoted.splitlines():
        pattern = ".+".join(map(re.escape, line.split("*")))
        assert re.search(f"^{pattern}$", printed, re.M), printed
