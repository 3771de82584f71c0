"""Certificates for tests of TLS, made by openssl; the tests are left out where it is missing."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Certificate(NamedTuple):
    cert: Path
    key: Path


def make(folder: Path, name: str = "localhost", *options: str) -> Certificate:
    """A self-signed certificate of localhost and 127.0.0.1 with `name` as its subject."""
    found = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    try:
        openssl(
            *(
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                f"/CN={name}",
            ),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(found.key), "-out", str(found.cert), *options),
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no openssl to make a certificate: {error}")
    found.key.chmod(0o600)
    return found


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
