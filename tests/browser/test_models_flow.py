"""The Models tab: list, details, pull with progress and cancel, delete, unload; API keys."""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_hub import FakeHub

pytestmark = pytest.mark.browser
GOLDEN = Path(__file__).resolve().parents[2] / "runners" / "numpy" / "tests" / "golden"
CONFIG = (GOLDEN / "chronos2" / "config.json").read_bytes()
KEY = "a-secret-key-of-the-page"


@pytest.fixture
def hub():
    """A hub that holds a large model after its first 6 MB, until its event is set."""
    with FakeHub() as server:
        weights = random.Random(5).randbytes(24_000_000)
        server.add("amazon/chronos-2", {"config.json": CONFIG, "model.safetensors": weights})
        server.pace = (6_000_000, threading.Event())
        yield server
        server.pace[1].set()


def test_models_are_listed_with_what_they_can(daemon, visit, view):
    seen = visit(daemon, view)
    page = seen.open("#models")
    card = page.locator('.model[data-model="auto"]')
    card.wait_for()
    assert "MIT" in card.text_content() and "missing values" in card.text_content()
    card.get_by_role("button", name="Details auto").click()
    panel = page.locator("dialog")
    panel.get_by_text("Digest").wait_for()
    assert "season_length" in panel.text_content()
    seen.check()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    offered = page.locator('.model[data-model="chronos2"]')
    assert "future covariates" in offered.text_content()
    assert "478 MB" in offered.text_content()
    page.get_by_label("Search models").last.fill("bolt-tiny")
    assert page.locator(".model").count() == 1
    families = page.locator("#runtimes strong").all_text_contents()
    assert {"mock", "numpy", "stats", "torch"} <= set(families)
    seen.check()


def test_loaded_models_are_shown_and_unloaded(start, visit):
    daemon = start()
    daemon.json("POST", "/api/generate", {"model": "theta"})
    seen = visit(daemon)
    page = seen.open("#models")
    row = page.locator("#loaded tbody tr")
    row.wait_for()
    text = row.text_content()
    assert "theta" in text and "MB" in text and "idle" in text and "in 5 min" in text
    seen.check()
    row.get_by_role("button", name="Unload theta").click()
    page.locator("#loaded").get_by_text("None: a model is loaded").wait_for()
    assert daemon.json("GET", "/api/ps")["models"] == []


def test_a_pull_shows_progress_is_cancelled_goes_on_and_ends_in_a_model(start, visit, hub, view):
    daemon = start(HF_ENDPOINT=hub.url)
    seen = visit(daemon, view)
    page = seen.open("#models")
    page.locator("#pull-form .more summary").click()
    page.locator("#pull-insecure").check()
    page.fill("#pull-name", "chronos2")
    page.locator("#pull-form button[type=submit]").click()
    pull = page.locator('.pull[data-model="chronos2"]')
    pull.get_by_text("of 24.0 MB").wait_for()
    assert pull.locator("progress").get_attribute("max") == str(24_000_000 + len(CONFIG))
    seen.check()
    pull.get_by_role("button", name="Cancel").click()
    pull.get_by_text("What was downloaded is kept").wait_for()
    pull.get_by_role("button", name="Dismiss").click()
    assert daemon.json("GET", "/api/info")["models"]["installed"] == []

    hub.pace[1].set()
    page.fill("#pull-name", "chronos2")
    page.locator("#pull-form button[type=submit]").click()
    page.locator("#pulls").get_by_text("chronos2 is here").wait_for()
    card = page.get_by_role("region", name="Pulled").locator('.model[data-model="chronos2"]')
    card.get_by_role("button", name="Details chronos2").click()
    files = page.locator("dialog table")
    files.get_by_text("model.safetensors").wait_for()
    hashes = files.locator("code").all_text_contents()
    assert len(hashes) == 2 and all(len(one) == 64 for one in hashes)
    seen.check()
    page.locator("dialog").get_by_role("button", name="Close").click()

    card.get_by_role("button", name="Delete chronos2").click()
    dialog = page.locator("dialog")
    assert "Delete chronos2?" in dialog.text_content()
    dialog.get_by_role("button", name="Cancel").click()
    assert card.is_visible()
    card.get_by_role("button", name="Delete chronos2").click()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("region", name="Pulled").wait_for(state="detached")
    assert daemon.json("GET", "/api/info")["models"]["installed"] == []


def test_a_pull_that_is_going_on_elsewhere_is_joined(start, visit, hub):
    daemon = start(HF_ENDPOINT=hub.url)
    body = {"model": "chronos2", "insecure": True}
    thread = threading.Thread(target=daemon.request, args=("POST", "/api/pull", body))
    thread.start()
    try:
        end = time.monotonic() + 30
        while not hub.bodies("model.safetensors"):
            assert time.monotonic() < end
            time.sleep(0.02)  # polling, with a bound
        seen = visit(daemon)
        page = seen.open("#models")
        pull = page.locator('.pull[data-model="chronos2"]')
        pull.get_by_text("of 24.0 MB").wait_for()
        hub.pace[1].set()
        page.locator("#pulls").get_by_text("chronos2 is here").wait_for()
    finally:
        hub.pace[1].set()
        thread.join(30)


def test_a_pull_that_fails_says_why(daemon, visit):
    seen = visit(daemon)
    page = seen.open("#models")
    page.locator("#pull-form button[type=submit]").click()
    assert page.get_by_text("name the model to pull").is_visible()
    page.fill("#pull-name", "no such model")
    page.locator("#pull-form button[type=submit]").click()
    page.get_by_text("no such model could not be pulled").wait_for()
    seen.said = [line for line in seen.said if "400 (Bad Request)" not in line]


def test_the_key_is_asked_for_once_and_kept_in_the_tab(start, visit, view):
    daemon = start(TOLLAMA_API_KEYS=f"admin:{KEY}")
    seen = visit(daemon, view)
    page = seen.open("#models")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("TOLLAMA_API_KEYS").wait_for()
    seen.check()
    dialog.get_by_label("Key").fill("not the right key")
    dialog.get_by_role("button", name="Continue").click()
    dialog.get_by_text("not known here").wait_for()
    dialog.get_by_label("Key").fill(KEY)
    dialog.get_by_role("button", name="Continue").click()
    page.locator('.model[data-model="auto"]').wait_for()
    page.reload()
    page.locator('.model[data-model="auto"]').wait_for()
    assert page.get_by_role("dialog").count() == 0
    page.click("#tab-forecast")
    page.click("#use-example")
    seen.forecast()
    page.get_by_role("button", name="Copy as curl").click()
    command = page.locator("dialog textarea").input_value()
    assert "$TOLLAMA_API_KEY" in command and KEY not in command
    # A browser writes every answer of 401 to its console.
    seen.said = [line for line in seen.said if "401 (Unauthorized)" not in line]


def test_without_a_key_the_page_says_what_it_could_not_read(start, visit):
    daemon = start(TOLLAMA_API_KEYS=f"admin:{KEY}")
    seen = visit(daemon)
    page = seen.open()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.locator("#page-error").get_by_text("an API key is needed").wait_for()
    seen.said = [line for line in seen.said if "401 (Unauthorized)" not in line]


def test_a_key_that_may_not_do_enough_can_be_changed(start, visit):
    daemon = start(TOLLAMA_API_KEYS=f"admin:{KEY},read:{KEY}-read")
    seen = visit(daemon)
    page = seen.open()
    assert not page.locator("#key").is_visible()
    page.fill("#api-key", f"{KEY}-read")
    page.keyboard.press("Enter")
    page.click("#use-example")
    page.click("#run-forecast")
    page.get_by_text("this API key has the scope 'read'").wait_for()
    page.get_by_role("button", name="API key", exact=True).click()
    page.fill("#api-key", KEY)
    page.keyboard.press("Enter")
    seen.forecast()
    seen.said = [line for line in seen.said if "401 (" not in line and "403 (" not in line]


@pytest.mark.skipif(os.name != "posix", reason="a killed process is a POSIX notion")
def test_a_daemon_that_is_killed_is_said_in_words_and_welcomed_back(start, visit, pyz):
    daemon = start()
    seen = visit(daemon)
    page = seen.open()
    rows = (f"s{n},2020-{m:02},{n + m}\n" for n in range(1500) for m in range(1, 13))
    seen.load("id,month,y\n" + "".join(rows))
    page.get_by_label("Series", exact=True).first.select_option("all")
    page.click("#run-forecast")
    page.get_by_text(" of 1,500").wait_for()
    daemon.process.kill()
    page.locator("#forecast-status").get_by_text("is it still running?").wait_for()
    page.click("#run-forecast")
    page.locator("#forecast-status").get_by_text("does not answer").wait_for()
    page.click("#tab-models")
    page.locator("#models-list").get_by_text("does not answer").wait_for()

    command = [sys.executable, "-I", "-S", str(pyz), "serve", "--port", str(daemon.port)]
    env = {**os.environ, "TOLLAMA_HOME": str(daemon.home)}
    again = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert b" listening on " in again.stdout.readline()
        page.locator(".model").first.wait_for()
        page.locator("#runtimes strong").first.wait_for()
        page.click("#tab-forecast")
        seen.forecast()
        assert not page.locator("#forecast-status .notice").count()
    finally:
        again.terminate()
        again.wait(20)
        again.stdout.close()
    seen.said = [line for line in seen.said if "ERR_" not in line]


def test_a_daemon_that_has_gone_is_said_in_words(start, visit):
    daemon = start()
    seen = visit(daemon)
    page = seen.open()
    page.click("#use-example")
    page.locator("#forecast-results canvas").wait_for()
    daemon.stop()
    page.click("#run-forecast")
    page.get_by_text("does not answer: is it still running?").wait_for()
    seen.said = [line for line in seen.said if "ERR_" not in line]
