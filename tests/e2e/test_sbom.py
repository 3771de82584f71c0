"""dist/tollama.cdx.json: valid CycloneDX, true of the archive beside it, the same every time."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENDOR = "tollama/_vendor/"


@pytest.fixture(scope="module")
def text(pyz):
    return pyz.with_suffix(".cdx.json").read_text()


@pytest.fixture(scope="module")
def bom(text):
    return json.loads(text)


@pytest.fixture(scope="module")
def archive(pyz):
    with zipfile.ZipFile(pyz) as opened:
        yield opened


def test_it_is_valid_cyclonedx(text):
    validators = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    found = validators.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(text)
    assert found is None, found


def test_it_names_the_archive_by_its_hash(pyz, bom, archive):
    subject = bom["metadata"]["component"]
    assert subject["hashes"] == [
        {"alg": "SHA-256", "content": hashlib.sha256(pyz.read_bytes()).hexdigest()}
    ]
    build = json.loads(archive.read("tollama/_build.json"))
    assert subject["version"] == build["version"]
    properties = {one["name"]: one["value"] for one in subject["properties"]}
    assert properties["tollama:contents:sha256"] == build["sha256"]
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bom["serialNumber"])


def test_it_lists_exactly_what_is_packed(bom, archive):
    build = json.loads(archive.read("tollama/_build.json"))
    listed = {one["name"].lower(): one["version"] for one in bom["components"]}
    assert listed == {name.lower(): version for name, version in build["vendored"].items()}
    vendored = (name.removeprefix(VENDOR) for name in archive.namelist() if VENDOR in name)
    folders = {name.partition("/")[0] for name in vendored} - {"licenses"}
    names = {{"yaml": "pyyaml", "web": "uplot"}.get(folder, folder) for folder in folders}
    assert names <= set(listed)


def test_hashes_are_those_of_the_pins_and_licences_are_named(bom):
    pins = (ROOT / "pyproject.toml").read_text()
    for one in bom["components"]:
        (found,) = one["hashes"]
        if found["alg"] == "SHA-256":
            assert f'sha256 = "{found["content"]}"' in pins, one["name"]
        else:
            assert one["name"] == "uplot" and len(found["content"]) == 128
        assert one["licenses"][0]["license"]["id"]
        assert one["purl"].endswith(f"@{one['version']}")


def test_every_reference_leads_somewhere(bom):
    known = {one["bom-ref"] for one in bom["components"]}
    known.add(bom["metadata"]["component"]["bom-ref"])
    reached = {bom["metadata"]["component"]["bom-ref"]}
    for one in bom["dependencies"]:
        assert one["ref"] in known and set(one["dependsOn"]) <= known
        reached |= set(one["dependsOn"])
    assert reached == known


def test_the_same_archive_gives_the_same_bytes(pyz, text, tmp_path):
    copy = tmp_path / "tollama.pyz"
    copy.write_bytes(pyz.read_bytes())
    script = (
        "import build_sbom as s, build_zipapp as b, pathlib, sys; "
        "s.write(pathlib.Path(sys.argv[1]), b.read_pins(), fetch=b.fetch, fetch_npm=b.fetch_npm)"
    )
    subprocess.run([sys.executable, "-c", script, str(copy)], cwd=ROOT, check=True)
    assert (tmp_path / "tollama.cdx.json").read_text() == text


def test_the_file_says_itself_what_it_is(tollama, bom):
    found = json.loads(tollama("version", "--json").stdout)
    listed = {one["name"].lower(): one["version"] for one in bom["components"]}
    assert {name.lower(): version for name, version in found["vendored"].items()} == listed
    properties = {one["name"]: one["value"] for one in bom["metadata"]["component"]["properties"]}
    assert found["sha256"] == properties["tollama:contents:sha256"]
    assert found["version"] == bom["metadata"]["component"]["version"]
    shown = tollama("version", "--verbose").stdout
    assert found["sha256"] in shown
    for name, version in found["vendored"].items():
        assert f"{name} {version}" in shown
