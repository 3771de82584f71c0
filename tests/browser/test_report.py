"""`tollama report`: what is in the file, for good data and bad, and how a browser shows it."""

import datetime
import html.parser
import re
from pathlib import Path

import pytest
from e2e.conftest import command

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


class Reader(html.parser.HTMLParser):
    """Tags, what they point at, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.open, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href", "action")]
        if tag not in ("meta", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data + " "


@pytest.fixture
def report(daemon, tmp_path):
    """Write a report of a file by the command line: (its text, what was read in it, stderr)."""

    def write(source, *options, check=0):
        target = tmp_path / "report.html"
        done = daemon.run("report", str(source), "-o", str(target), *options, check=check)
        if check:
            return None, None, done.stderr
        text = target.read_text()
        return text, Reader(text), done.stderr

    return write


def test_a_report_has_charts_leaderboard_quality_and_settings(report):
    text, read, said = report(EXAMPLES / "retail.csv", "--models", "theta,naive", "--horizon", "7")
    assert "wrote " in said and not read.open
    assert read.tags.count("svg") == 4
    for part in ("Forecasts", "Leaderboard", "MASE by series", "Data quality", "Settings"):
        assert part in read.text
    assert "2024-12-29" in read.text and "2024-12-30" in read.text
    assert "The next 7 steps are forecast by theta" in re.sub(r"\s+", " ", read.text)
    assert all(address.startswith("#") for address in read.addresses)
    assert "script" not in read.tags
    assert "default-src 'none'" in text and "http" not in text.replace("http-equiv", "")


def test_without_a_daemon_it_is_made_in_this_process(pyz, tmp_path):
    done = command(
        pyz,
        *("report", str(EXAMPLES / "air_passengers.csv"), "-o", "-", "--models", "naive"),
        env={"TOLLAMA_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
    )
    assert Reader(done.stdout).tags.count("svg") == 1


def test_short_and_odd_series_are_reported_not_refused(report, tmp_path):
    data = tmp_path / "odd.csv"
    rows = ["id,date,y"]
    rows += [f"<b>&flat,2024-01-{d:02},5" for d in range(1, 9)]
    rows += [f"gaps,2024-01-{d:02},{d if d != 6 else ''}" for d in (1, 2, 3, 6, 7, 8, 9)]
    data.write_text("\n".join(rows) + "\n")
    _, read, _ = report(data, "--horizon", "30")
    assert "Models could not be compared" in read.text and "longer than the horizon" in read.text
    assert "constant" in read.text and "<b>&flat" in read.text
    gaps = read.text.rpartition("Repeated: rows")[2].partition("gaps")[2].split()
    assert gaps[:4] == ["D", "7", "1", "2"]


def test_what_is_odd_about_data_is_counted_and_marked(report, tmp_path):
    data = tmp_path / "odd.csv"
    rows = ["store,date,sales"]
    for store in ("fine", "spiky", "twice"):
        for i in range(60):
            day = datetime.date(2024, 1, 1) + datetime.timedelta(days=i)
            value = 50 + i % 7 * 4 + (i * 7919 % 13) / 10
            value += 400 if (store, i) == ("spiky", 30) else 0
            rows.append(f"{store},{day},{value}")
            if store == "twice" and i in (5, 9):
                rows.append(rows[-1])
    data.write_text("\n".join(rows) + "\n")
    text, read, _ = report(data, "--id", "store", "--models", "naive,seasonal-naive")
    assert text.count('class="mark"') == 1
    quality = read.text.rpartition("Repeated: rows")[2].partition("Range")[2]
    counts = {name: quality.partition(f" {name} ")[2].split()[1:7] for name in ("spiky", "twice")}
    assert counts["spiky"][3:] == ["0", "0", "1"]  # repeated, zeros, outliers
    assert counts["twice"][3:] == ["2", "0", "0"]


def test_many_series_are_small_charts_and_their_notes_are_said_once(report, tmp_path):
    data = tmp_path / "many.csv"
    rows = ["id,month,y"]
    rows += [
        f"s{n},{2020 + i // 12}-{i % 12 + 1:02}-01,{n + i % 12}"
        for n in range(50)
        for i in range(30)
    ]
    data.write_text("\n".join(rows) + "\n")
    text, read, _ = report(data, "--windows", "1")
    assert read.tags.count("svg") == 50 and 'class="charts many"' in text
    notes = re.sub(r"\s+", " ", read.text).partition("Notes ")[2].partition("Settings")[0]
    assert "and 49 more:" in notes and len(notes) < 800


def test_a_folder_that_does_not_exist_is_said_before_anything_is_computed(daemon):
    target = "/nowhere/at/all.html"
    done = daemon.run("report", str(EXAMPLES / "retail.csv"), "-o", target, check=2)
    assert "folder that exists" in done.stderr


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "theme"), [(1280, "light"), (360, "dark")], ids=("wide-light", "narrow-dark")
)
def test_a_browser_shows_it_without_complaint(report, chromium, axe, tmp_path, width, theme):
    report(EXAMPLES / "retail.csv", "--models", "theta,naive")
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=theme, bypass_csp=True
    )
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF") and len(re.findall(rb"/Type ?/Page\b", printed)) in (2, 3)
    if axe:
        page.evaluate(axe + ";undefined")
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert not [one["id"] for one in found if one["impact"] in ("serious", "critical")]
    context.close()
    assert not said
