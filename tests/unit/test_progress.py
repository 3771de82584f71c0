"""cli.progress: bars on a terminal, lines elsewhere, a clean line at the end."""

from __future__ import annotations

import io
import re

import pytest

from tollama.cli.progress import Bar, ForecastProgress, PullProgress
from tollama.cli.terminal import PLAIN, Terminal

TTY = Terminal(80, 24, 0, True, True, True, None)
XTERM = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "80"}


class Stream(io.StringIO):
    """A terminal that remembers what was written and can say what its last lines show."""

    encoding = "utf-8"

    def isatty(self):
        return True

    def screen(self):
        """The lines as a person sees them: carriage return and clear-to-end obeyed."""
        lines = []
        for line in self.getvalue().split("\n"):
            shown = ""
            for part in line.split("\r"):
                at = 0
                for number, text in enumerate(part.split("\x1b[K")):
                    shown = shown[:at] if number else shown
                    shown = shown[:at] + text + shown[at + len(text) :]
                    at += len(text)
            lines.append(shown)
        return lines


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_bar_shows_share_amount_rate_and_time_left():
    stream, clock = Stream(), Clock()
    bar = Bar(stream, TTY, "pulling", 100_000_000, clock=clock)
    bar.update(20_000_000)
    clock.now += 10
    bar.update(60_000_000)
    (line,) = stream.screen()
    assert re.fullmatch(r"pulling  ▕█+[ ▏▎▍▌▋▊▉]? *▏  60%  60 MB/100 MB  4\.0 MB/s  10s", line)
    assert len(line) < 80


def test_bar_counts_things():
    stream, clock = Stream(), Clock()
    bar = Bar(stream, TTY, "forecasting", 12_000, "series", clock=clock)
    bar.update(0)
    clock.now += 2
    bar.update(3_000)
    assert stream.screen()[0].endswith("25%  3,000/12,000 series  1,500 series/s  6s")


def test_bar_without_a_total_has_no_share():
    stream, clock = Stream(), Clock()
    bar = Bar(stream, TTY, "forecasting", None, "series", clock=clock)
    bar.update(0)
    clock.now += 4
    bar.update(10)
    assert stream.screen() == ["forecasting  10 series  2.5 series/s"]


def test_bar_draws_at_most_ten_times_a_second():
    stream, clock = Stream(), Clock()
    bar = Bar(stream, TTY, "x", 1000, clock=clock)
    for step in range(1000):
        clock.now += 0.001
        bar.update(step)
    assert 9 <= stream.getvalue().count("\r") <= 11


@pytest.mark.parametrize("width", [10, 20, 40, 80, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_bar_fits_the_terminal(width, unicode):
    stream, clock = Stream(), Clock()
    term = TTY._replace(width=width, unicode=unicode)
    bar = Bar(stream, term, "downloading 12/40 files", 10**9, clock=clock)
    bar.update(0)
    clock.now += 60
    bar.update(5 * 10**8)
    assert len(stream.screen()[0]) <= max(0, width - 3)  # room for the "^C" of a terminal
    assert unicode or stream.getvalue().replace("\x1b", "").isascii()


def test_end_leaves_a_clean_line():
    stream = Stream()
    bar = Bar(stream, TTY, "x", 10, "series", clock=Clock())
    bar.update(5)
    bar.end()
    assert stream.screen() == [""]
    bar.end()
    bar.update(6, force=True)
    bar.end(keep=True)
    assert stream.screen()[0].startswith("x  ▕")
    assert stream.getvalue().endswith("\n")


def test_elsewhere_a_line_is_written_now_and_then():
    stream, clock = io.StringIO(), Clock()
    bar = Bar(stream, PLAIN, "forecasting", 1000, "series", clock=clock)
    for done in range(0, 1000, 10):
        bar.update(done)
        clock.now += 0.25
    bar.end()
    assert stream.getvalue() == (
        "forecasting: 40%, 400/1,000 series, 40 series/s, 15s left\n"
        "forecasting: 80%, 800/1,000 series, 40 series/s, 5s left\n"
    )


PULL = [
    {"status": "pulling manifest"},
    {"status": "resolving digest", "digest": "sha256:0123"},
    {"status": "warning", "message": "TLS is not checked"},
    *(
        {
            "status": "downloading",
            "completed_bytes": done,
            "total_bytes": 1000,
            "files_completed": done // 500,
            "files_total": 2,
        }
        for done in (0, 500, 1000)
    ),
    {"status": "verifying sha256 digest"},
    {"status": "success", "model": "chronos2", "digest": "sha256:0123", "size": 1000},
]


def test_a_pull_shows_steps_and_one_bar():
    stream = Stream()
    progress = PullProgress(stream, XTERM, clock=Clock())
    for event in PULL:
        progress.show(event)
    progress.end()
    lines = stream.screen()
    assert lines[:3] == [
        "pulling manifest",
        "resolving digest sha256:0123",
        "warning: TLS is not checked",
    ]
    assert re.fullmatch(r"downloading 2/2 files  ▕█+▏  100%  1\.0 KB/1\.0 KB", lines[3])
    assert lines[4:] == ["verifying sha256 digest", "success chronos2", ""]


def test_a_pull_into_a_pipe_is_plain_lines():
    stream = io.StringIO()
    progress = PullProgress(stream, {}, clock=Clock())
    for event in PULL:
        progress.show(event)
    progress.end()
    assert stream.getvalue().splitlines() == [
        "pulling manifest",
        "resolving digest sha256:0123",
        "warning: TLS is not checked",
        "downloading 2/2 files: 100%, 1.0 KB/1.0 KB",
        "verifying sha256 digest",
        "success chronos2",
    ]


def test_a_quiet_pull_says_warnings_alone():
    stream = Stream()
    progress = PullProgress(stream, XTERM, quiet=True)
    for event in PULL:
        progress.show(event)
    progress.end()
    assert stream.getvalue() == "warning: TLS is not checked\n"


def test_a_pull_that_is_interrupted_leaves_its_bar_and_a_clean_line():
    stream = Stream()
    progress = PullProgress(stream, XTERM, clock=Clock())
    for event in PULL[:5]:
        progress.show(event)
    progress.end()
    assert stream.screen()[-1] == ""
    assert "50%" in stream.screen()[-2]


def test_forecasting_shows_what_it_waits_for_and_goes_away():
    stream = Stream()
    progress = ForecastProgress(stream, XTERM, total=3)
    progress.show({"status": "loading model"})
    assert stream.screen() == ["loading model ..."]
    progress.show({"status": "running forecast"})
    progress.show({"forecast": {"id": "a"}})
    assert "1/3 series" in stream.screen()[0]
    progress.end()
    assert stream.screen() == [""]


def test_forecasting_into_a_pipe_is_silent_while_short():
    stream = io.StringIO()
    progress = ForecastProgress(stream, {}, total=3)
    for event in ({"status": "loading model"}, {"forecast": {}}, {"forecast": {}}):
        progress.show(event)
    progress.end()
    assert stream.getvalue() == ""


def test_counting_goes_on_from_what_was_done_before():
    stream, clock = Stream(), Clock()
    progress = ForecastProgress(stream, XTERM, total=None, clock=clock)
    progress.start(500)
    clock.now += 10
    progress.count(600)
    assert stream.screen() == ["forecasting  600 series  10 series/s"]


def test_a_warning_stands_on_a_line_of_its_own_between_bars():
    stream, clock = Stream(), Clock()
    progress = ForecastProgress(stream, {"TERM": "xterm"}, total=4, clock=clock)
    for done in (1, 2):
        clock.now += 1
        progress.count(done)
        progress.say(f"warning: {done}")
    progress.end()
    assert [line.rstrip() for line in stream.screen()] == ["warning: 1", "warning: 2", ""]
