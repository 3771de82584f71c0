"""Runner families: a folder with a runner.json is all it takes.

Looked for in the packed `runners/`, in TOLLAMA_RUNNERS and in $TOLLAMA_HOME/runners (yours); a
later one replaces an earlier one of the same name. Nothing of a family is imported here.

Not covered: which interpreter has a family's packages (runtimes.py) and starting it
(daemon/launches.py).
"""

from __future__ import annotations

import json
import os
from collections import namedtuple

from tollama.core import fields, names
from tollama.core.errors import InvalidRequest, ModelNotFound, TollamaError, shown
from tollama.core.protocol import PROTOCOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SOURCE_TYPES = ("builtin", "local", "huggingface")


class Family(
    namedtuple(
        "Family",
        "name module folder description replicas max_series max_tokens batching requirements probe "
        "architectures config_keys models",
    )
):
    """One kind of runner: where its code lies, what it needs and the models that it offers."""

    __slots__ = ()


class Offer(
    namedtuple(
        "Offer",
        "name family description source license capabilities context_length max_horizon "
        "parameters size_bytes options architecture",
    )
):
    """A model that a family offers by name: the registry's entry of it."""

    __slots__ = ()

    @property
    def builtin(self) -> bool:
        """Whether it needs no pull because it has no weights of its own."""
        return bool(self.source["type"] == "builtin")


def root() -> str:
    """The folder or .pyz that holds the package `tollama`."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def packed() -> str:
    """The families that came with this file: a folder, perhaps inside the .pyz."""
    inside = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_runners")
    return inside if os.path.isdir(inside) else os.path.join(root(), "runners")


def find(home: str, environ: Mapping[str, str] | None = None) -> tuple[Families, list[str]]:
    """Every family by name, and a warning for each runner.json that cannot be used."""
    from tollama.core import config

    warnings: list[str] = []
    families: dict[str, Family] = {}
    extra = config.get("TOLLAMA_RUNNERS", environ)
    if extra and not os.path.isdir(extra):
        warnings.append(f"TOLLAMA_RUNNERS: expected a folder, got {shown(extra)}")
    for folder in filter(None, (packed(), extra, os.path.join(home, "runners"))):
        for child, text in _specs(folder):
            try:
                family = parse(text, child)
            except TollamaError as error:
                warnings.append(f"{os.path.join(child, 'runner.json')}: {error}")
                continue
            families[family.name] = family
    return Families(*families.values()), warnings


def _specs(folder: str) -> list[tuple[str, str]]:
    if os.path.isdir(folder):
        found = []
        for name in sorted(os.listdir(folder)):
            file = os.path.join(folder, name, "runner.json")
            if os.path.isfile(file):
                with open(file, encoding="utf-8", errors="replace") as stream:
                    found.append((os.path.join(folder, name), stream.read()))
        return found
    archive, _, inside = _split_archive(folder)
    if archive is None:
        return []
    import zipfile

    with zipfile.ZipFile(archive) as stream:
        prefix = inside.replace(os.sep, "/") + "/"
        return [
            (
                os.path.join(archive, os.path.dirname(name).replace("/", os.sep)),
                stream.read(name).decode(),
            )
            for name in sorted(stream.namelist())
            if name.startswith(prefix) and name.endswith("/runner.json") and name.count("/") == 2
        ]


def _split_archive(path: str) -> tuple[str | None, str, str]:
    head, inside = path, ""
    while head and not os.path.isfile(head):
        parent, last = os.path.split(head)
        if parent == head:
            return None, "", ""
        head, inside = parent, os.path.join(last, inside) if inside else last
    return (head or None), os.sep, inside


def read_file(folder: str, name: str) -> bytes | None:
    """A file of a family's folder, which may lie inside the .pyz; None when there is none."""
    file = os.path.join(folder, name)
    if os.path.isfile(file):
        with open(file, "rb") as stream:
            return stream.read()
    archive, _, inside = _split_archive(file)
    if archive is None:
        return None
    import zipfile

    with zipfile.ZipFile(archive) as packed_file:
        path = inside.replace(os.sep, "/")
        try:
            return packed_file.read(path)
        except KeyError:
            pass
        # The build puts the small files of some folders into one: FOLDER.json, text by name.
        inner, _, leaf = path.rpartition("/")
        try:
            text = json.loads(packed_file.read(inner + ".json")).get(leaf)
        except KeyError:
            return None
    return text.encode() if isinstance(text, str) else None


def parse(text: str, folder: str) -> Family:
    """A runner.json as a Family; raises InvalidRequest with the field that is wrong."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"not valid JSON: {error}") from None
    with fields.Fields(value) as f:
        name = f.take("family", names.reader)
        protocol = f.take("protocol", fields.integer(1))
        if protocol != PROTOCOL:
            f.reject("protocol", f"expected {PROTOCOL}, got {protocol}")
        batch = f.take("batch", fields.json_object, {})
        requirements = f.take("requirements", fields.string, None)
        family = Family(
            name=name,
            module=f.take("module", fields.nonempty),
            folder=folder,
            description=f.take("description", fields.string, ""),
            replicas=f.take("replicas", fields.boolean, False),
            max_series=batch.get("max_series", 1),
            max_tokens=batch.get("max_tokens", 1 << 40),
            batching=bool(batch),
            requirements=requirements,
            probe=tuple(f.take("probe", fields.strings, [])),
            architectures=tuple(f.take("architectures", fields.strings, [])),
            config_keys=f.take("config_keys", fields.json_object, {}),
            models={},
        )
        f.take("python_requires", fields.string, "")
        for offer in f.take("models", fields.list_of(_offer(name)), []):
            family.models[offer.name] = offer
    return family


def _offer(family: str) -> Any:
    def read(value: object, loc: Any) -> Offer:
        with fields.Fields(value, loc) as f:
            source = f.take("source", fields.json_object)
            if isinstance(source, dict) and source.get("type") not in SOURCE_TYPES:
                f.reject("source", f"expected a type of {', '.join(SOURCE_TYPES)}")
            offer = Offer(
                name=f.take("name", names.reader),
                family=family,
                description=f.take("description", fields.string, ""),
                source=source,
                license=f.take("license", fields.json_object, {}),
                capabilities=f.take("capabilities", fields.json_object, {}),
                context_length=f.take("context_length", fields.integer(1), None),
                max_horizon=f.take("max_horizon", fields.integer(1), None),
                parameters=f.take("parameters", fields.integer(0), None),
                size_bytes=f.take("size_bytes", fields.integer(0), None),
                options=f.take("options", fields.json_object, {}),
                architecture=f.take("architecture", fields.string, None),
            )
        return offer

    return read


class Families(dict[str, Family]):
    """The families by name, with an index of what they offer: every request asks it."""

    def __init__(self, *families: Family) -> None:
        super().__init__({family.name: family for family in families})
        self.offered: dict[str, list[Offer]] = {}
        for family in self.values():
            for offer in family.models.values():
                self.offered.setdefault(offer.name.lower(), []).append(offer)


def offers(families: Mapping[str, Family], name: str) -> list[Offer]:
    """Every family's offer of a model name, in the order of the families."""
    if isinstance(families, Families):
        return families.offered.get(name.lower(), [])
    return [
        offer
        for family in families.values()
        for offer in family.models.values()
        if names.same(offer.name, name)
    ]


def offer_in(family: Family, name: str, architecture: str | None) -> Offer | None:
    """A family's offer of a model, or else what it offers of the same architecture."""
    by_name = [offer for offer in family.models.values() if names.same(offer.name, name)]
    alike = [o for o in family.models.values() if architecture and o.architecture == architecture]
    return next(iter([*by_name, *alike]), None)


def registry(families: Mapping[str, Family]) -> dict[str, Offer]:
    """Every model that can be had by name: the first family that offers it speaks for it."""
    found: dict[str, Offer] = {}
    for family in families.values():
        for offer in family.models.values():
            found.setdefault(offer.name, offer)
    return dict(sorted(found.items()))


def recognise(families: Mapping[str, Family], config: object) -> tuple[str | None, list[str]]:
    """The architecture that a config.json names first, and the families that can run it.

    A family may ask for a further key of config.json by architecture (`config_keys`): a Chronos-T5
    names itself like every other T5.
    """
    named = config.get("architectures") if isinstance(config, dict) else None
    first = named[0] if isinstance(named, list) and named else None
    if not isinstance(config, dict) or not isinstance(first, str):
        return None, []
    able = []
    for family in families.values():
        needed = family.config_keys.get(first)
        if first in family.architectures and (needed is None or needed in config):
            able.append(family.name)
    return first, able


def find_offer(families: Mapping[str, Family], name: str) -> Offer:
    """The registry's entry of a name; raises ModelNotFound with the nearest names."""
    found = offers(families, name)
    if found:
        return found[0]
    from difflib import get_close_matches

    known = list(registry(families))
    near = get_close_matches(name, known, n=3)
    hint = f", did you mean {' or '.join(near)}?" if near else ""
    raise ModelNotFound(
        f"model '{name}' is not in the registry{hint}; hub models are pulled as hf.co/ORG/REPO"
    )
