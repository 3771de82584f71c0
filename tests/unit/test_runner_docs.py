"""The worked example of docs/runners.md, taken out of the page and run as it stands."""

import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_family_forecasts(tmp_path):
    page = (ROOT / "docs" / "runners.md").read_text()
    folder = tmp_path / "home" / "runners" / "median"
    (folder / "my_median").mkdir(parents=True)
    for name, language in (("runner.json", "json"), ("my_median/__main__.py", "python")):
        found = re.search(rf"`{re.escape(name)}`\n\n```{language}\n(.*?)```", page, re.S)
        (folder / name).write_text(found[1])
    (folder / "my_median" / "__init__.py").write_text("")
    args = ["run", "median", "examples/air_passengers.csv", "--horizon", "3"]
    command = [sys.executable, "-m", "tollama", *args, "--option", "window=6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["forecasts"][0]["mean"] == [median([622, 606, 508, 461, 390, 432])] * 3
    assert answer["usage"] == {"window": 6}
    command[-1] = "window=0"
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "options.window: expected an integer >= 1" in refused.stderr
