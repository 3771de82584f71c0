"""What people and other programs write: whatever it is, it is read or refused in words."""

from __future__ import annotations

import io
import json

import pytest
from fuzz.harness import explore

from tollama.cli import data as cli_data
from tollama.cli import lock
from tollama.core import calendar, config, durations, frequency, names, splice, timestamps
from tollama.core.errors import InvalidRequest, TollamaError
from tollama.core.schemas import ForecastRequest
from tollama.daemon import backtest, presets
from tollama.models import locks, modelfile
from tollama.models.pulls import PullRequest


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def refused(error: TollamaError) -> None:
    """A refusal says what is wrong on lines that a terminal can show."""
    assert isinstance(error, InvalidRequest), repr(error)
    assert error.message
    assert len(error.message) < 20_000


def csv(data: bytes) -> None:
    for decimal in (None, ","):
        try:
            found = cli_data.read_series(io.BytesIO(data), decimal=decimal)
        except TollamaError as error:
            refused(error)
            continue
        for series in found.series:
            json.dumps(series)
            assert isinstance(series["target"], list)


def csv_streamed(data: bytes) -> None:
    try:
        for series in cli_data.iter_series(io.BytesIO(data)).series:
            json.dumps(series)
    except TollamaError as error:
        refused(error)


def modelfile_(data: bytes) -> None:
    try:
        found = modelfile.parse(text(data))
    except TollamaError as error:
        refused(error)
    else:
        json.dumps(found.preset, allow_nan=False)


def calendar_(data: bytes) -> None:
    """Lines: a frequency, then timestamps."""
    first, *stamps = text(data).split("\n")
    freq = None
    try:
        freq = frequency.parse_freq(first)
        assert frequency.season_length(freq) >= 1
        assert frequency.parse_freq(str(freq)) == freq
    except TollamaError as error:
        refused(error)
    try:
        moments = timestamps.parse_timestamps(stamps)
        known = calendar.infer(moments) if calendar.is_increasing(moments) is None else None
        for one in filter(None, (freq, known)):
            if moments:
                found = calendar.future(moments[-1], one, 3)
                assert found == sorted(set(found))
                timestamps.format_timestamps(found, like=stamps[-1], freq=one)
    except TollamaError as error:
        refused(error)


def duration(data: bytes) -> None:
    for read in (lambda: durations.keep_alive(text(data), ("keep_alive",)),
                 lambda: names.check(text(data)),
                 lambda: names.with_revision(text(data))):  # fmt: skip
        try:
            read()
        except TollamaError as error:
            refused(error)


def models_lock(data: bytes) -> None:
    try:
        lock.parse(text(data), "models.lock")
    except TollamaError as error:
        refused(error)


def runtime_lock(data: bytes) -> None:
    try:
        locks.parse(text(data), family="torch", target="linux-x86_64-cp311", build="cpu")
    except TollamaError as error:
        refused(error)


def body(data: bytes) -> None:
    """The bodies of the routes that read the most."""
    readers = (
        lambda value: ForecastRequest.parse(value),
        lambda value: PullRequest.parse(value),
        lambda value: presets.parse(value),
    )
    for read in readers:
        try:
            read(splice.parse(data))
        except TollamaError as error:
            refused(error)
    for whole in (splice.split, backtest.parse):
        try:
            whole(data)
        except TollamaError as error:
            refused(error)


TARGETS = {
    "csv": (csv, (b"\n2024-01-01,", b"2024-13-45", b"1.234,5", b"unique_id,ds,y\n", b'"\n"')),
    "csv_streamed": (csv_streamed, (b"\nB,2024-01-01,", b"unique_id,ds,y\n", b'""')),
    "modelfile": (modelfile_, (b'"""', b"FROM ", b"PARAMETER ", b"horizon", b"quantiles 0.1 0.1")),
    "calendar": (calendar_, (b"MS", b"W-SUN", b"2D", b"B", b"Q", b"YE-DEC", b"us", b"0h",
                             b"9999-12-31",
                             b"0001-01-01", b"+14:00", b"Z", b"T24:00", b"2024-02-30")),
    "names": (duration, (b"1h30m", b"-1", b"ms", b"hf.co/", b"@", b":latest", b"..", b"CON")),
    "models_lock": (models_lock, (b"@", b" sha256:", b"0" * 64, b"hf.co/")),
    "runtime_lock": (runtime_lock, (b"==", b" --hash=sha256:", b"# bootstrap: ", b"\\\n")),
    "body": (body, (b'"series":', b'"target":[', b'"horizon":', b'"quantiles":[0.1]', b'"start":',
                    b'"timestamps":', b'"future_covariates":{"a":[1]}', b'"model":"naive"')),
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_any_text_is_read_or_refused_in_words(name):
    target, tokens = TARGETS[name]
    explore(name, target, tokens=tokens)


def config_file(home, data: bytes) -> None:
    (home / "config.json").write_bytes(data)
    try:
        found = config.read(str(home))
    except config.ConfigUnreadable as error:
        assert "config.json" in error.message
    else:
        config.effective(found, {})
        json.dumps(config.to_file(found))


def test_any_config_file_is_read_or_named(tmp_path):
    tokens = (b'"pull"', b'"daemon"', b'"host"', b'"max_workers"', b'"offline"', b'"version":2')
    explore("config", lambda data: config_file(tmp_path, data), tokens=tokens)
