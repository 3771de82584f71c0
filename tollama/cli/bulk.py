"""`tollama run` of a big file into a file: series by series, memory flat, resumable.

Answers go to OUTPUT.part in the order of the input and become OUTPUT at the end. After a kill the
same command goes on behind the last whole series: OUTPUT.part.json holds what the part was made
from, and a part of anything else is begun anew. Not covered: reading (data.py) and the daemon's
side (daemon/bulk.py).
"""

from __future__ import annotations

import json
import os
import sys

from tollama.cli import output
from tollama.core.errors import DaemonUnreachable, InvalidRequest, ModelNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator
    from typing import Any

    from tollama.cli.run import Api


def wanted(args: Namespace) -> bool:
    """Whether a run is done this way: a file or standard input, to a CSV or JSON lines file."""
    return bool(
        args.output
        and not output.in_place(args.output)
        and args.input is None
        and args.file
        and output.form_of(args) in ("csv", "jsonl")
    )


def run(args: Namespace, api: Api) -> int:
    """Forecast every series of the file into the output."""
    from tollama.cli import data
    from tollama.cli.run import DEFAULT_QUANTILES, data_options, preset_of, settings_of

    found = data.iter_series(args.file, **data_options(args))
    series = iter(found.series)
    first = next(series, None)
    if first is None:
        raise InvalidRequest(f"{args.file}: expected at least one series, found none")
    head = {
        "model": args.model,
        "quantiles": list(DEFAULT_QUANTILES),
        **preset_of(args, api),
        **settings_of(args),
    }
    if "horizon" not in head:
        from tollama.cli.run import default_horizon

        head["horizon"] = default_horizon([first])
    head["quantiles"] = sorted(head["quantiles"])
    part = Part(args.output, output.form_of(args), head, args.file)
    try:
        _fill(args, api, head, _chain(first, series), part)
    finally:
        part.close()
        for note in found.notes:
            sys.stderr.write(f"note: {note}\n")
    part.finish()
    failed = f", {part.failed} could not be forecast" if part.failed else ""
    sys.stderr.write(f"wrote {args.output}: {part.done} series{failed}\n")
    return 0 if not part.failed else InvalidRequest.exit_code


def _chain(first: dict[str, Any], rest: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from rest


def _fill(
    args: Namespace, api: Api, head: dict[str, Any], series: Iterator[dict[str, Any]], part: Part
) -> None:
    from tollama.cli import call, data
    from tollama.cli.progress import ForecastProgress

    skipped = part.done
    if skipped:
        sys.stderr.write(f"going on after {skipped} series that are done already\n")
    number = 0

    def lines() -> Iterator[bytes]:
        nonlocal number
        yield json.dumps(head, separators=(",", ":")).encode() + b"\n"
        for one in series:
            number += 1
            if number <= skipped:
                continue
            one.setdefault("id", f"series_{number - 1}")
            cut = data.cut_future(one, head["horizon"])
            yield json.dumps(cut, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        progress.total = number  # the file has been read: a bar from here on

    progress = ForecastProgress(sys.stderr, os.environ, total=None)
    progress.start(skipped)
    source: Any = api.remote
    # A stream cannot be sent twice: what would fail must be known before its first series goes.
    try:
        api.remote.call("POST", "/api/show", {"model": args.model})
    except DaemonUnreachable as error:
        if not call.falls_back(api.remote.where, error):
            raise
        source = api.here()
        _pulled(args, api, source)
    except ModelNotFound:
        _pulled(args, api, source)
    try:
        for event in source.stream("POST", "/api/forecast", lines=lines()):
            if event.get("done"):
                return
            part.add(event, progress.say)
            progress.count(part.done)
    finally:
        progress.end()
    raise DaemonUnreachable("the daemon ended its answer before the last series")


def _pulled(args: Namespace, api: Api, source: Any) -> None:
    from tollama.cli import pull

    try:
        source.call("POST", "/api/show", {"model": args.model})
    except ModelNotFound as error:
        if "is not in the registry" in error.message:
            raise
        pull.show_progress(api.stream("/api/pull", {"model": args.model, "stream": True}))


class Part:
    """The output while it grows: OUTPUT.part, and OUTPUT.part.json that says what it is from."""

    def __init__(self, path: str, form: str, head: dict[str, Any], source: str) -> None:
        self.output = os.path.realpath(path)
        self.path = self.output + ".part"
        self.notes = self.path + ".json"
        self.form = form
        self.quantiles = head["quantiles"]
        self.done = 0
        self.failed = 0
        self.made_from = {"request": head, "form": form, "source": _identity(source)}
        size = self._resume()
        self.stream = open(self.path, "r+b" if size else "wb")  # noqa: SIM115
        self.stream.truncate(size)
        self.stream.seek(size)
        if not size:
            self._note(0)
            if form == "csv":
                from tollama.cli import render

                self.stream.write(render.csv_header(self.quantiles).encode())

    def _resume(self) -> int:
        """The length of what can be kept: whole series that the notes vouch for."""
        try:
            with open(self.notes, encoding="utf-8") as stream:
                notes = json.load(stream)
            size: int = notes["size"]
            if notes["made_from"] != self.made_from or os.path.getsize(self.path) < size:
                return 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        if self.made_from["source"] is None:
            return 0  # standard input cannot be read twice
        self.done, self.failed = notes["done"], notes["failed"]
        return size

    def add(self, event: dict[str, Any], say: Callable[[str], None]) -> None:
        """Write one series' answer; every 100 of them are made safe."""
        from tollama.cli import render

        if "forecast" in event:
            one = event["forecast"]
            for warning in event.get("warnings") or ():
                say(f"warning: {warning}")
            if self.form == "csv":
                text = render.csv_rows(one, self.quantiles)
            else:
                text = json.dumps(one, ensure_ascii=False, separators=(",", ":")) + "\n"
            self.stream.write(text.encode())
        else:
            self.failed += 1
            say(f"error: {event.get('id')}: {event.get('error')}")
            if self.form == "jsonl":
                text = json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n"
                self.stream.write(text.encode())
        self.done += 1
        if self.done % 100 == 0:
            self.save()

    def save(self) -> None:
        """Flush what is whole and note its length, so that a later run can go on from there."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self._note(self.stream.tell())

    def _note(self, size: int) -> None:
        from tollama.models import files

        notes = {"size": size, "done": self.done, "failed": self.failed}
        files.write_json(self.notes, {**notes, "made_from": self.made_from})

    def close(self) -> None:
        """Make safe what is there, also after a failure."""
        if self.done:
            self.save()
        self.stream.close()

    def finish(self) -> None:
        """The part becomes the output."""
        os.replace(self.path, self.output)
        os.unlink(self.notes)


def _identity(source: str) -> list[Any] | None:
    """What tells a file from a changed one: its path, size and time; None for standard input."""
    if source == "-":
        return None
    try:
        stat = os.stat(source)
    except OSError:
        return None
    return [os.path.abspath(source), stat.st_size, stat.st_mtime_ns]
