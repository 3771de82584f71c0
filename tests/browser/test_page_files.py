"""The page as HTTP serves it: for browsers only, from memory, small, under a strict policy."""

import gzip
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from e2e.conftest import Daemon

from tollama.daemon import web

ROOT = Path(__file__).resolve().parents[2]
HTML = {"Accept": "text/html,application/xhtml+xml"}
EVERYTHING = 250_000


def test_a_browser_gets_the_page_and_others_get_the_line(daemon):
    status, headers, body = daemon.request("GET", "/", **HTML)
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert body.startswith(b"<!doctype html>") and headers["Vary"] == "Accept"
    for accept in ({}, {"Accept": "*/*"}):
        assert daemon.request("GET", "/", **accept)[2] == b"tollama is running"


def test_every_file_has_a_strict_policy_and_its_type(daemon):
    for name, asset in web.FILES.items():
        status, headers, body = daemon.request("GET", f"/web/{name}")
        assert (status, len(body)) == (200, len(asset.body)), name
        assert headers["Content-Type"] == asset.content_type
        assert headers["Content-Security-Policy"] == web.POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in web.POLICY
    assert "unsafe" not in web.POLICY and "http" not in web.POLICY


def test_a_file_that_has_not_changed_is_not_sent_again(daemon):
    _, headers, _ = daemon.request("GET", "/web/app.js")
    tag = headers["ETag"]
    for known in (tag, f'"other", W/{tag}'):
        status, headers, body = daemon.request("GET", "/web/app.js", If_None_Match=known)
        assert (status, body, headers["ETag"]) == (304, b"", tag)
    assert daemon.request("GET", "/web/app.js", If_None_Match='"other"')[0] == 200
    assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/web/", "/web/nothing.js", "/web/../routes.py", "/web/%2e%2e/x"])
def test_other_paths_are_not_found(daemon, path):
    assert daemon.request("GET", path)[0] == 404


def test_all_of_it_is_small(daemon):
    assert sum(len(asset.body) for asset in web.FILES.values()) <= EVERYTHING
    # What a slow link would carry, should a proxy compress it.
    packed = sum(len(gzip.compress(asset.body)) for asset in web.FILES.values())
    assert packed <= EVERYTHING / 2.5


def test_nothing_in_it_names_another_host():
    for name, asset in web.FILES.items():
        text = asset.body.decode()
        text = text.replace("http://www.w3.org/2000/svg", "")  # a name, never fetched
        assert "https://" not in text.replace("https://github.com/leeoniya/uPlot", ""), name
        assert "http://" not in text, name
        if not name.startswith("vendor/"):
            assert "eval(" not in text and "innerHTML" not in text, name


def test_every_file_of_the_folder_is_served_and_every_import_exists():
    folder = ROOT / "tollama" / "daemon" / "web"
    here = {
        path.name
        for path in folder.iterdir()
        if path.suffix in (".html", ".js", ".css", ".svg", ".csv")
    }
    assert here == set(web.NAMES)
    for name in web.NAMES:
        if name.endswith(".js"):
            lines = web.FILES[name].body.decode().splitlines()
            assert len(lines) <= 350, f"{name} has {len(lines)} lines"


def test_the_example_is_the_one_in_examples():
    assert (
        web.FILES["air_passengers.csv"].body == (ROOT / "examples/air_passengers.csv").read_bytes()
    )


def test_the_page_outlives_the_file_it_came_from(pyz, tmp_path):
    copy = tmp_path / "tollama.pyz"
    shutil.copy(pyz, copy)
    daemon = Daemon(copy, tmp_path / "home")
    try:
        copy.write_bytes(b"replaced by something else")
        status, _, body = daemon.request("GET", "/", **HTML)
        assert status == 200 and b"web/app.js" in body
        assert daemon.request("GET", "/web/vendor/uPlot.min.css")[0] in (200, 404)
    finally:
        daemon.stop()


def test_without_the_chart_library_the_page_does_not_ask_for_it(pyz, tmp_path):
    core = tmp_path / "core.pyz"
    with zipfile.ZipFile(pyz) as whole, zipfile.ZipFile(core, "w") as part:
        for name in whole.namelist():
            if not name.startswith("tollama/_vendor/web/"):
                part.writestr(name, whole.read(name))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from tollama.daemon import web;"
        "print(web.FILES['index.html'].body.decode())"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(core)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "web/app.js" in found and "uPlot" not in found and "charts" not in found


def test_the_chart_library_comes_with_its_licence(pyz):
    with zipfile.ZipFile(pyz) as archive:
        names = archive.namelist()
    if not any(name.startswith("tollama/_vendor/web/") for name in names):
        pytest.skip("this .pyz was built without the chart library")
    assert [name for name in names if "_vendor/licenses/uplot-" in name]
