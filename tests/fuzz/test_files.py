"""Files that others may have written: manifests, kits, safetensors. Refused in words, or right."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from checkpoints import install_checkpoint, make_checkpoint, quiet
from fuzz.harness import explore

from tollama.core.errors import CorruptDownload, InvalidRequest, NotFound, TollamaError
from tollama.daemon import diagnostics
from tollama.daemon.service import Service
from tollama.models import families, kit_check, kit_export, kit_format, kit_import, store

KNOWN, _ = families.find("/nowhere", {})


# -- manifests ------------------------------------------------------------------------------------


def test_any_manifest_is_listed_or_warned_of_and_can_be_removed(tmp_path):
    home = tmp_path / "home"
    service = Service(home=str(home), environ={}, log=lambda *args: None)
    folder = home / "models" / "m"

    def target(data: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_bytes(data)
        store._manifests.clear()
        listed = [model["name"] for model in service.tags()["models"]]
        json.dumps(service.registry(), allow_nan=False)
        json.dumps(diagnostics.info(service), allow_nan=False)
        try:
            json.dumps(service.show("m"), allow_nan=False)
            service.launch(service.model("m"))
        except TollamaError as error:
            assert error.code != "internal" or isinstance(error, store.UnreadableModel)
        _, warnings = store.listed(str(home))
        assert ("m" in map(str.lower, listed)) != bool(warnings)
        service.delete("m")
        assert not folder.exists()

    tokens = (b'"files"', b'"path"', b'"sha256"', b'"name":"m"', b'"preset":{"horizon":1}',
              b'"base"',
              b'"resolved":{"snapshot_path":"/"}', b'"license"', b'"architecture"',
              b'"size_bytes"')  # fmt: skip
    try:
        explore("manifest", target, tokens=tokens, examples=150)
    finally:
        service.close()


# -- kits -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """The bytes of a kit with one model."""
    base = tmp_path_factory.mktemp("kit")
    made = install_checkpoint(base / "home", make_checkpoint(base / "c", size=700), "one")
    kit_export.export(str(base / "kit"), [made], report=quiet)
    return (base / "kit").read_bytes()


def test_a_kit_with_any_byte_changed_is_refused(kit, tmp_path):
    path = tmp_path / "kit"

    def target(data: bytes) -> None:
        """Two numbers: where, and what is put there."""
        digest = hashlib.sha256(data).digest()
        at = int.from_bytes(digest[:4], "big") % len(kit)
        changed = kit[:at] + data[:64] + kit[at + len(data[:64]) * (digest[4] % 2) :]
        path.write_bytes(changed)
        try:
            with kit_check.open_kit(str(path)):
                assert changed == kit
        except (InvalidRequest, CorruptDownload, NotFound) as error:
            assert changed != kit
            assert error.message

    explore("kit", target, examples=300)


def sealed(index: bytes, contents: kit_format.Contents | None, files: dict[str, bytes]) -> bytes:
    """A kit around any kit.json, everything else about it being right."""

    def block(name: str, data: bytes) -> bytes:
        padding = b"\0" * kit_format.padding(len(data))
        return kit_format.header(name, len(data)) + data + padding

    whole = block("kit.json", index)
    for entry in contents.entries if contents else ():
        data = files.get(entry.sha256, b"")
        whole += block(entry.name, data)
    digest = hashlib.sha256(whole).hexdigest().encode() + b"\n"
    return whole + block("sha256", digest) + kit_format.END


def test_any_index_of_a_kit_is_refused_or_installs_whole_models(kit, tmp_path):
    size = kit_format.size_in(kit[:512])
    with_kit = tmp_path / "made"
    with_kit.write_bytes(kit)
    with kit_check.open_kit(str(with_kit)) as opened:
        files = {sha256: kit[at : at + length] for (sha256, length), at in opened.offsets.items()}
    path, home = tmp_path / "kit", tmp_path / "home"
    outside = tmp_path / "outside"
    outside.mkdir()

    def target(data: bytes) -> None:
        try:
            contents = kit_format.read_index(data)
        except InvalidRequest:
            contents = None
        path.write_bytes(sealed(data, contents, files))
        before = sorted(tmp_path.iterdir())
        try:
            with kit_check.open_kit(str(path)) as found:
                models = kit_import.models_of(found, None, KNOWN)
                chosen = kit_import.Chosen(models, [])
                made, _ = kit_import.install(
                    found, str(home), chosen, KNOWN, report=quiet, on_event=lambda event: None
                )
        except TollamaError as error:
            assert error.code != "internal", error.message
        else:
            listed, warnings = store.listed(str(home))
            assert not warnings
            assert len(listed) == len(made) == len(models)
        shutil.rmtree(home, ignore_errors=True)
        assert [p for p in sorted(tmp_path.iterdir()) if p != home] == [
            p for p in before if p != home
        ]

    seed = kit[512 : 512 + size]
    tokens = (b'"models"', b'"path":"../x"', b'"name":"mock"', b'"size":0', b'"license"', b"blobs/",
              b'"resolved":{"commit_sha":1}', b'"preset":{"horizon":-1}',
              b'"source":{"type":[]}')  # fmt: skip
    target(seed)
    explore("kit_index", target, tokens=tokens, examples=200)


# -- safetensors ----------------------------------------------------------------------------------


def test_any_safetensors_file_is_refused_or_whole(tmp_path):
    from tollama.models import local_checkpoint

    source = make_checkpoint(tmp_path / "source")
    home = tmp_path / "home"

    def target(data: bytes) -> None:
        (source / "model.safetensors").write_bytes(data)
        try:
            local_checkpoint.install("mine", str(source), str(home), KNOWN, report=quiet)
        except TollamaError as error:
            assert isinstance(error, InvalidRequest), repr(error)
        else:
            length = int.from_bytes(data[:8], "little")
            json.loads(data[8 : 8 + length])

    tokens = (
        b'"data_offsets":[0,8]',
        b'"dtype":"F32"',
        b'"shape":[-1]',
        b"__metadata__",
        b"\0" * 8,
    )
    explore("safetensors", target, tokens=tokens, examples=150)


def test_any_safetensors_file_is_read_or_refused_by_the_numpy_family(tmp_path):
    numpy = pytest.importorskip("numpy")
    from tollama_numpy import safetensors

    path = tmp_path / "model.safetensors"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        try:
            tensors = safetensors.read(str(path))
        except safetensors.BadCheckpoint as error:
            assert str(error)
        else:
            for tensor in tensors.values():
                assert tensor.dtype == numpy.float32
                assert tensor.size * 2 <= len(data)
                with numpy.errstate(all="ignore"):
                    tensor.sum()  # every byte is there to be read

    tokens = (b'"data_offsets":[0,8]', b'"F16"', b'"BF16"', b'"shape":[-1]', b"[0,4294967296]",
              b"18446744073709551615", b"__metadata__", b"\0" * 8)  # fmt: skip
    explore("safetensors", target, tokens=tokens, examples=200)


@pytest.mark.parametrize("file", ["config.json"])
def test_any_config_of_a_checkpoint_is_refused_or_understood(file, tmp_path):
    from tollama.models import local_checkpoint

    source = make_checkpoint(tmp_path / "source")

    def target(data: bytes) -> None:
        (source / file).write_bytes(data)
        try:
            local_checkpoint.install("mine", str(source), str(tmp_path / "h"), KNOWN, report=quiet)
        except TollamaError as error:
            assert isinstance(error, InvalidRequest), repr(error)

    tokens = (b'"architectures":["Chronos2Model"]', b'"architectures":[1]', b'"chronos_config"')
    explore("checkpoint_config", target, tokens=tokens, examples=150)
