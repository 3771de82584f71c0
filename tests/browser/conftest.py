"""A real Chromium on a real daemon: what the console says and where requests go is watched.

Left out, with the reason, where Chromium or Playwright is missing. The address bar, touch and
other browsers are not covered.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from e2e.conftest import PYZ, Daemon

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# Each flow at both widths and in both themes; test_looks.py has the other pairs.
VIEWS = {"wide-light": (1280, "light"), "narrow-dark": (360, "dark")}
OUTSIDE = """(width) => [...document.querySelectorAll("body *")]
  .filter((one) => one.getBoundingClientRect().right > width)
  .map((one) => one.outerHTML.slice(0, 80))"""
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="session")
def pyz():
    if not PYZ.exists():
        pytest.skip("dist/tollama.pyz is not built: make build")
    return PYZ


@pytest.fixture(scope="session")
def daemon(pyz, tmp_path_factory):
    """One daemon for all tests that do not need their own."""
    running = Daemon(pyz, tmp_path_factory.mktemp("home"))
    yield running
    assert running.stop() == 0


@pytest.fixture
def start(pyz, tmp_path):
    """Start daemons of one's own: start(**environ)."""
    started = []

    def begin(**environ):
        started.append(Daemon(pyz, tmp_path / f"home{len(started)}", **environ))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def chromium():
    """The browser, started once."""
    found = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    path = os.environ.get("TOLLAMA_TEST_CHROMIUM") or found
    if path is None:
        pytest.skip("Chromium is not here (apt-get install chromium, or TOLLAMA_TEST_CHROMIUM)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def charts(pyz):
    """Leaves out what needs charts where the .pyz was built without npm."""
    with zipfile.ZipFile(pyz) as archive:
        if not any(name.startswith("tollama/_vendor/web/") for name in archive.namelist()):
            pytest.skip("this .pyz was built without the chart library (npm was not there)")


@pytest.fixture(scope="session")
def axe():
    """The source of axe-core: of npm, of build/npm or of the dev extra; None where none is."""
    import build_zipapp

    pin = build_zipapp.read_pins()["axe"]
    try:
        tarball = build_zipapp.fetch_npm(pin["package"], pin["version"], pin["integrity"])
    except build_zipapp.BuildError:
        found = importlib.util.find_spec("axe_playwright_python")
        return found and Path(found.origin).with_name("axe.min.js").read_text()
    with tarfile.open(tarball) as opened:
        return opened.extractfile("package/axe.min.js").read().decode()


class Visit:
    """A page of a daemon under watch."""

    def __init__(self, browser, url, *, width=1280, theme="light", axe=None):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            accept_downloads=True,
            permissions=["clipboard-read", "clipboard-write"],
        )
        self.context.set_default_timeout(60_000)
        self.page = self.context.new_page()
        self.said = []
        self.requests = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = url
        self.width = width
        self.axe = axe

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.said.append(f"{message.type}: {message.text}")

    def open(self, tab=""):
        """Load the page; returns when its program runs."""
        self.page.goto(f"{self.url}/{tab}")
        self.page.locator("body[data-ready]").wait_for()
        return self.page

    def load(self, text, name="data.csv"):
        """Give the page a file."""
        payload = {"name": name, "mimeType": "text/csv", "buffer": text.encode()}
        self.page.set_input_files("#file", payload)
        self.page.locator("#data-title", has_text=name).wait_for()

    def load_path(self, path):
        """Give the page a file of the disk."""
        self.page.set_input_files("#file", path)

    def choose_models(self, panel, *names):
        """Choose exactly these models in a tab's picker."""
        picker = self.page.locator(f"#{panel}-form .picker")
        picker.locator("summary").click()
        chosen = picker.locator("input:checked")
        while chosen.count():
            chosen.first.uncheck()
        for name in names:
            exact = self.page.locator("strong").get_by_text(name, exact=True)
            picker.locator(".picker-row", has=exact).locator("input").check()
        self.page.keyboard.press("Escape")

    def forecast(self):
        """Press Forecast and wait for the table."""
        self.page.click("#run-forecast")
        self.page.locator("#forecast-results table.values").first.wait_for()

    def check(self):
        """Nothing sticks out at the side, and axe finds nothing serious."""
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= self.width, self.page.evaluate(OUTSIDE, self.width)
        if self.axe is None:
            return
        if not self.page.evaluate("typeof window.axe === 'object'"):
            self.page.evaluate(self.axe + ";undefined")
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        bad = [
            (one["id"], one["help"], [node["html"][:120] for node in one["nodes"][:3]])
            for one in found["violations"]
            if one["impact"] in SERIOUS
        ]
        assert not bad

    def end(self):
        """Close it; the console must have been silent and no request must have left the origin."""
        self.context.close()
        assert not self.said
        origin = urlsplit(self.url).netloc
        away = [url for url in self.requests if urlsplit(url).netloc not in (origin, "")]
        assert not [url for url in away if not url.startswith(("blob:", "data:"))]


@pytest.fixture(params=VIEWS.values(), ids=VIEWS)
def view(request):
    """Width and theme."""
    return request.param


@pytest.fixture
def visit(chromium, charts, axe):
    """visit(daemon, (width, theme)) opens a page and watches it until the test ends."""
    opened = []

    def begin(daemon, view=(1280, "light")):
        one = Visit(chromium, daemon.url, width=view[0], theme=view[1], axe=axe)
        opened.append(one)
        return one

    yield begin
    for one in opened:
        one.end()
