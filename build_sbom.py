"""What is inside a built tollama.pyz, as CycloneDX 1.6 JSON beside it (dist/tollama.cdx.json).

Covered: tollama itself with the archive's hash, every vendored wheel and npm package with its
version, licence, package URL, the hash that its pin in pyproject.toml demands, and how many of its
files are packed. The same archive gives the same bytes. Not covered: runtimes that a user installs
(their locks name every package with its hash), and signing.
"""

from __future__ import annotations

import base64
import email.parser
import hashlib
import json
import re
import tarfile
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
VENDOR = "tollama/_vendor/"


def path_of(archive: Path) -> Path:
    """Where the document of an archive lies."""
    return archive.with_suffix(".cdx.json")


def write(
    archive: Path,
    pins: dict[str, Any],
    *,
    fetch: Callable[[dict[str, Any], dict[str, str]], Path],
    fetch_npm: Callable[[str, str, str], Path],
) -> Path:
    """Write the document of an archive; `fetch` and `fetch_npm` give the pinned packages' files."""
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
        build = json.loads(opened.read("tollama/_build.json"))
    packed = build["vendored"]
    components = [
        of_wheel(pin, fetch(pin, pins["target"]), names)
        for pin in pins["wheels"]
        if pin["requirement"].partition("==")[0] in packed
    ]
    components += [
        of_npm(pin, fetch_npm(pin["package"], pin["version"], pin["integrity"]))
        for pin in pins["page"]
        if pin["package"] in packed
    ]
    text = json.dumps(document(archive, build, components), indent=1, ensure_ascii=False)
    target = path_of(archive)
    target.write_text(text + "\n", encoding="utf-8")
    return target


def document(
    archive: Path, build: dict[str, Any], components: list[dict[str, Any]]
) -> dict[str, Any]:
    """The document: the archive, its components and which of them needs which."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    root = f"pkg:generic/tollama@{build['version']}"
    for component in components:
        component["_needs"] = [
            one["bom-ref"] for one in components if _folded(one["name"]) in component["_needs"]
        ]
    needs = {component["bom-ref"]: component.pop("_needs") for component in components}
    needed = {ref for refs in needs.values() for ref in refs}
    needs[root] = [ref for ref in needs if ref not in needed]
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [{"type": "application", "name": "build_zipapp.py"}]},
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": "tollama",
                "version": build["version"],
                "licenses": [{"license": {"id": "MIT"}}],
                "hashes": [{"alg": "SHA-256", "content": digest}],
                "purl": root,
                "properties": [
                    {"name": "tollama:contents:sha256", "value": build["sha256"]},
                    {"name": "tollama:compiled-for", "value": build["python"]},
                    {"name": "tollama:requires", "value": "Python >= 3.10"},
                ],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(refs)} for ref, refs in sorted(needs.items())
        ],
        "compositions": [{"aggregate": "complete", "assemblies": [root]}],
    }


def of_wheel(pin: dict[str, Any], path: Path, packed: list[str]) -> dict[str, Any]:
    """The component of a vendored wheel."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        name = next(n for n in names if n.endswith(".dist-info/METADATA"))
        facts = email.parser.Parser().parsestr(wheel.read(name).decode())
    kept = sum(VENDOR + name in packed for name in names)
    requires = [text for text in facts.get_all("Requires-Dist", []) if "extra ==" not in text]
    return _component(
        facts["Name"],
        facts["Version"],
        purl=f"pkg:pypi/{_folded(facts['Name'])}@{facts['Version']}",
        summary=facts["Summary"],
        licence=facts["License-Expression"] or facts["License"],
        digest={"alg": "SHA-256", "content": pin["sha256"]},
        packed=f"{kept} of {len(names)} files",
        needs={_folded(re.split(r"[^A-Za-z0-9._-]", text)[0]) for text in requires},
    )


def of_npm(pin: dict[str, Any], path: Path) -> dict[str, Any]:
    """The component of what the page takes from an npm package."""
    with tarfile.open(path) as tarball:
        stream = tarball.extractfile("package/package.json")
        assert stream is not None
        facts = json.loads(stream.read())
        count = len(tarball.getnames())
    return _component(
        facts["name"],
        facts["version"],
        purl=f"pkg:npm/{facts['name']}@{facts['version']}",
        summary=facts["description"],
        licence=facts["license"],
        digest={
            "alg": "SHA-512",
            "content": base64.b64decode(pin["integrity"].removeprefix("sha512-")).hex(),
        },
        packed=f"{len(pin['keep'])} of {count} files",
        needs=set(),
    )


def _component(
    name: str,
    version: str,
    *,
    purl: str,
    summary: str,
    licence: str,
    digest: dict[str, str],
    packed: str,
    needs: set[str],
) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "description": summary,
        "scope": "required",
        "hashes": [digest],
        "licenses": [{"license": {"id": licence}}],
        "purl": purl,
        "properties": [{"name": "tollama:packed", "value": packed}],
        "_needs": needs,
    }


def _folded(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
