"""Kits that are damaged, cut off, swapped, badly made or not signed: each refused with one line."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess

import pytest
from checkpoints import install_checkpoint, install_mock, make_checkpoint, quiet, tree

from tollama.cli.main import main
from tollama.core.errors import CorruptDownload, Forbidden, InvalidRequest, NotFound
from tollama.models import kit_check, kit_export, kit_format, store

FLIPS = 1000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home with two models, and a small kit of them."""
    base = tmp_path_factory.mktemp("kits")
    home = base / "home"
    install_checkpoint(home, make_checkpoint(base / "one"), "one")
    install_mock(home)
    models = [store.get(str(home), name) for name in ("mock", "one")]
    kit_export.export(str(base / "kit.tollama"), models, report=quiet)
    return base


@pytest.fixture
def kit(made, tmp_path):
    """A copy of the kit that a test may damage."""
    return str(shutil.copy(made / "kit.tollama", tmp_path / "kit.tollama"))


def check(path, **options):
    with kit_check.open_kit(str(path), **options) as found:
        return found


def sealed(index: bytes, *bodies: tuple[bytes, bytes]) -> bytes:
    """A kit as its maker wants it: kit.json, (header, content) pairs, the right digest and end."""
    data = kit_format.header("kit.json", len(index)) + index
    data += b"\0" * kit_format.padding(len(index))
    for header, content in bodies:
        data += header + content + b"\0" * kit_format.padding(len(content))
    digest = hashlib.sha256(data).hexdigest().encode() + b"\n"
    data += kit_format.header("sha256", 65) + digest + b"\0" * kit_format.padding(65)
    return data + kit_format.END


def test_a_whole_kit_is_opened(kit):
    found = check(kit)
    with open(kit, "rb") as file:
        assert found.sha256 == hashlib.sha256(file.read()).hexdigest()
    assert [model["name"] for model in found.contents.models] == ["mock", "one"]
    assert (found.signer, found.trusted) == (None, False)
    assert found.size == os.path.getsize(kit)


def test_every_flipped_byte_is_refused_and_changes_nothing(
    kit, made, tmp_path, monkeypatch, capsys
):
    home = tmp_path / "there"
    shutil.copytree(made / "home", home)
    monkeypatch.setenv("TOLLAMA_HOME", str(home))
    before = tree(home)
    with open(kit, "rb") as file:
        whole = file.read()
    chance = random.Random(20240)
    places = chance.sample(range(len(whole)), FLIPS)
    for place in places:
        broken = bytearray(whole)
        broken[place] ^= 1 << chance.randrange(8)
        with open(kit, "wb") as file:
            file.write(broken)
        code = main(["import", kit])
        out, err = capsys.readouterr()
        assert code in (2, 4), (place, code, err)
        assert out == ""
        assert err.count("\n") == 1 and err.startswith("error: "), (place, err)
        assert "Traceback" not in err
    assert tree(home) == before
    with open(kit, "wb") as file:
        file.write(whole)
    assert main(["import", kit]) == 0


@pytest.mark.parametrize("keep", [0, 1, 100, 511, 512, 513, 1024, 2000, -2048, -1024, -512, -1])
def test_a_cut_kit_is_refused(kit, keep):
    size = os.path.getsize(kit)
    os.truncate(kit, keep if keep >= 0 else size + keep)
    with pytest.raises((CorruptDownload, InvalidRequest), match=r"cut off|damaged"):
        check(kit)


@pytest.mark.parametrize("more", [b"x", b"\0" * 512, b"\0" * 10240, b"y" * 5000])
def test_bytes_after_the_end_are_refused(kit, more):
    with open(kit, "ab") as file:
        file.write(more)
    with pytest.raises(CorruptDownload, match="damaged"):
        check(kit)


def test_another_kit_than_the_expected_one_is_refused(kit):
    sha256 = check(kit).sha256
    assert check(kit, sha256=sha256.upper() + " ").sha256 == sha256
    with pytest.raises(CorruptDownload, match=f"its SHA-256 is {sha256}, expected {'0' * 64}"):
        check(kit, sha256="0" * 64)


def test_what_is_no_kit_is_refused(tmp_path):
    with pytest.raises(NotFound, match="no such file"):
        check(tmp_path / "none")
    with pytest.raises(InvalidRequest, match="which is a file"):
        check(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequest, match="which is a file"):
        check(tmp_path / "pipe")
    (tmp_path / "zip").write_bytes(b"PK\3\4" * 1000)
    with pytest.raises(InvalidRequest, match="not a tollama kit"):
        check(tmp_path / "zip")


def index_of(*files, **more):
    """kit.json of one model with these (entry name, path, content)."""
    listed = [
        {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for _, path, content in files
    ]
    value = {
        "kit": 1,
        "tollama": "1",
        "models": [{"name": "m", "family": "mock", "source": {}, "files": listed}],
        "runtimes": [],
        "pyz": None,
        "entries": [
            {"name": name, "size": file["size"], "sha256": file["sha256"]}
            for (name, _, _), file in zip(files, listed, strict=True)
        ],
        **more,
    }
    return json.dumps(value).encode()


def refused(tmp_path, data, message):
    path = tmp_path / "bad.tollama"
    path.write_bytes(data)
    with pytest.raises((CorruptDownload, InvalidRequest), match=message):
        check(path)


def test_a_sealed_kit_that_breaks_the_rules_is_refused(tmp_path):
    header = kit_format.header
    plain = ("x", "x", b"hello")
    good = sealed(index_of(plain), (header("x", 5), b"hello"))
    (tmp_path / "good").write_bytes(good)
    check(tmp_path / "good")

    def typed(kind, target=b""):
        """A tar header of another kind, with a right sum."""
        block = bytearray(header("x", 5))
        block[156:157] = kind
        block[157 : 157 + len(target)] = target
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block)

    for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"x", b"g", b"L", b"S"):
        refused(
            tmp_path,
            sealed(index_of(plain), (typed(kind, b"/etc/passwd"), b"hello")),
            "the header of x",
        )
    refused(tmp_path, sealed(index_of(plain), (header("y", 5), b"hello")), "the header of x")
    refused(tmp_path, sealed(index_of(plain), (header("x", 5), b"hellO")), "another SHA-256")
    refused(
        tmp_path,
        sealed(index_of(plain), (header("x", 5), b"hello"), (header("y", 1), b"y")),
        "the header of sha256",
    )
    up = ("x", "../../../etc/cron.d/x", b"hello")
    refused(tmp_path, sealed(index_of(up), (header("x", 5), b"hello")), "could leave")
    # A size that the file does not have: a bomb cannot be declared.
    value = json.loads(index_of(plain))
    value["entries"][0]["size"] = value["models"][0]["files"][0]["size"] = 1 << 45
    refused(tmp_path, sealed(json.dumps(value).encode(), (header("x", 5), b"hello")), "cut off")


def test_padding_must_be_zero_even_when_sealed(tmp_path):
    plain = ("x", "x", b"hello")
    good = sealed(index_of(plain), (kit_format.header("x", 5), b"hello"))
    cut = len(good) - 2048
    body = bytearray(good[:cut])
    body[-1] = 1
    digest = hashlib.sha256(body).hexdigest().encode() + b"\n"
    refused(tmp_path, bytes(body) + good[cut : cut + 512] + digest + good[cut + 577 :],
            "something between")  # fmt: skip


needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")


def key(folder, kind="ed25519"):
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(folder / kind)]
    folder.mkdir(exist_ok=True)
    subprocess.run(command, check=True, capture_output=True)
    return folder / kind


@needs_ssh
def test_a_signature_is_made_and_checked(made, tmp_path):
    ours, theirs = key(tmp_path / "ours"), key(tmp_path / "theirs")
    path = tmp_path / "signed.tollama"
    models = [store.get(str(made / "home"), "one")]
    written = kit_export.export(str(path), models, sign_key=str(ours), report=quiet)
    again = kit_export.export(str(tmp_path / "2"), models, sign_key=str(ours), report=quiet)
    assert again.sha256 == written.sha256

    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", f"{ours}.pub"], capture_output=True, text=True, check=True
    )
    assert written.signer == listed.stdout.split()[1]
    found = check(path)
    assert (found.signer, found.trusted) == (written.signer, False)
    for trust in (f"{ours}.pub", (tmp_path / "ours" / "ed25519.pub").read_text()):
        assert check(path, trust_key=trust).trusted
    with pytest.raises(Forbidden, match="not signed by the key"):
        check(path, trust_key=f"{theirs}.pub")
    with pytest.raises(Forbidden, match="is not signed"):
        check(made / "kit.tollama", trust_key=f"{ours}.pub")
    with pytest.raises(InvalidRequest, match="--trust-key"):
        check(path, trust_key=str(tmp_path / "nothing"))
    with pytest.raises(InvalidRequest, match="--trust-key"):
        check(path, trust_key=str(ours))


@needs_ssh
def test_a_signature_of_other_contents_is_refused(made, tmp_path):
    ours = key(tmp_path / "ours")
    models = [store.get(str(made / "home"), name) for name in ("mock", "one")]
    kit_export.export(str(tmp_path / "a"), models[:1], sign_key=str(ours), report=quiet)
    kit_export.export(str(tmp_path / "b"), models[1:], sign_key=str(ours), report=quiet)
    size = 1024
    a, b = (tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()
    body = b[: -2048 - size] + a[-2048 - size : -2048]
    digest = hashlib.sha256(body).hexdigest().encode() + b"\n"
    swapped = tmp_path / "swapped"
    swapped.write_bytes(body + b[-2048:-1536] + digest + b[-1536 + 65 :])
    assert check(swapped).signer is not None
    with pytest.raises(Forbidden, match="not signed by the key"):
        check(swapped, trust_key=f"{ours}.pub")


@needs_ssh
def test_only_ed25519_keys_sign(made, tmp_path):
    models = [store.get(str(made / "home"), "mock")]
    for name, message in ((str(key(tmp_path / "k", "ecdsa")), "Ed25519"), ("/none", "no such")):
        with pytest.raises(InvalidRequest, match=message):
            kit_export.export(str(tmp_path / "kit"), models, sign_key=name, report=quiet)
    assert not list(tmp_path.glob("kit*"))


def test_without_ssh_keygen_a_signature_cannot_be_asked_for(made, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "key").touch()
    models = [store.get(str(made / "home"), "mock")]
    with pytest.raises(InvalidRequest, match="need the program ssh-keygen"):
        kit_export.export(
            str(tmp_path / "kit"), models, sign_key=str(tmp_path / "key"), report=quiet
        )
