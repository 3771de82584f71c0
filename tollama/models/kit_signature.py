"""Signatures of kits: Ed25519 by ssh-keygen, which is on most machines already.

    tollama export MODEL --sign-key ~/.ssh/id_ed25519
    tollama import KIT --trust-key vendor.pub

What is signed is a line with the SHA-256 of everything before the signature, under a namespace of
our own, so that no other signature of the same key can stand in for it.

Not covered: cryptography of our own (there is none) and key management.
"""

from __future__ import annotations

import base64
import os
import subprocess
import tempfile

from tollama.core.errors import (
    CorruptDownload,
    Forbidden,
    InvalidRequest,
    TollamaError,
    Unsupported,
)

NAMESPACE = "tollama-kit"
WHO = "maker"
KIND = b"ssh-ed25519"
_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"


def message(digest: str) -> bytes:
    """What is signed for a kit whose bytes before the signature have this SHA-256."""
    return f"tollama kit sha256:{digest}\n".encode()


def sign(digest: str, key: str) -> bytes:
    """The signature by an Ed25519 key in a file (private, or public with an agent)."""
    if not os.path.isfile(key):
        raise InvalidRequest(f"--sign-key: {key}: no such file")
    done = _run(["-Y", "sign", "-f", key, "-n", NAMESPACE, "-q"], message(digest))
    if done.returncode != 0 or not done.stdout.startswith(_BEGIN):
        raise InvalidRequest(f"--sign-key: {key} cannot sign: {_reason(done)}")
    if _public_key(done.stdout)[4 : 4 + len(KIND)] != KIND:
        raise InvalidRequest(
            f"--sign-key: {key}: expected an Ed25519 key; make one with: ssh-keygen -t ed25519"
        )
    return done.stdout


def signer(signature: bytes) -> str:
    """The fingerprint of the key that a signature claims, as ssh-keygen -l prints it; unchecked."""
    import hashlib

    digest = hashlib.sha256(_public_key(signature)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def verify(path: str, signature: bytes | None, digest: str, trust_key: str) -> None:
    """Raise Forbidden unless a kit was signed by one of the keys in `trust_key`.

    `trust_key` is a file of public keys, or the text of one.
    """
    keys = _trusted(trust_key)
    if signature is None:
        raise Forbidden(f"{path} is not signed, and --trust-key asks for a signature")
    with tempfile.TemporaryDirectory(prefix="tollama-") as folder:
        allowed, signed = os.path.join(folder, "allowed"), os.path.join(folder, "signature")
        with open(allowed, "w", encoding="ascii") as stream:
            stream.writelines(f"{WHO} {key}\n" for key in keys)
        with open(signed, "wb") as stream_:
            stream_.write(signature)
        arguments = ["-Y", "verify", "-f", allowed, "-I", WHO, "-n", NAMESPACE, "-s", signed]
        done = _run(arguments, message(digest))
    if done.returncode != 0:
        raise Forbidden(
            f"{path} is not signed by the key of --trust-key, but by {signer(signature)}"
        )


def _trusted(trust_key: str) -> list[str]:
    text = trust_key
    if not trust_key.startswith(KIND.decode() + " "):
        try:
            with open(trust_key, encoding="utf-8") as stream:
                text = stream.read(1 << 16)
        except (OSError, ValueError):
            raise InvalidRequest(f"--trust-key: {trust_key}: cannot be read") from None
    keys = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == [KIND.decode()] and len(words) > 1 and words[1].isascii():
            keys.append(" ".join(words[:2]))
    if not keys:
        raise InvalidRequest(
            "--trust-key: expected a public Ed25519 key, a line such as 'ssh-ed25519 AAAA...'"
        )
    return keys


def _public_key(signature: bytes) -> bytes:
    """The public key inside a signature in ssh-keygen's form (OpenSSH, PROTOCOL.sshsig)."""
    body = signature.strip()
    try:
        if not (body.startswith(_BEGIN) and body.endswith(_END)):
            raise ValueError
        data = base64.b64decode(body[len(_BEGIN) : -len(_END)])
        size = int.from_bytes(data[10:14], "big")
        key = data[14 : 14 + size]
        if data[:6] != b"SSHSIG" or not key or len(key) != size:
            raise ValueError
    except ValueError:
        raise CorruptDownload("the signature in the kit is not one of ssh-keygen") from None
    return key


def _run(arguments: list[str], given: bytes) -> subprocess.CompletedProcess[bytes]:
    import shutil

    program = shutil.which("ssh-keygen")
    if program is None:
        raise Unsupported(
            "signatures need the program ssh-keygen (OpenSSH 8.2 or newer), which is not on this "
            "machine; compare the SHA-256 instead"
        )
    try:
        return subprocess.run([program, *arguments], input=given, capture_output=True, check=False)
    except OSError as error:
        raise TollamaError(f"{program} does not run: {error.strerror or error}") from None


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"ssh-keygen ended with {done.returncode}"
