"""The certificate that the daemon serves https with, read again when its file changes.

Not covered: handshakes (http_connection.py), certificates of clients.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import Any

from tollama.core.errors import InvalidRequest


class Context(ssl.SSLContext):
    """TLS 1.2 or newer with a certificate from files, which may be renewed while we run."""

    _files: tuple[str, str | None]
    _stamp: object
    _log: Callable[[str, str], None]

    @classmethod
    def of(cls, cert: str, key: str | None, log: Callable[[str, str], None]) -> Context:
        """The context of a certificate; raises InvalidRequest for files that cannot be used."""
        made = cls(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.options |= ssl.OP_NO_RENEGOTIATION
        made.set_alpn_protocols(["http/1.1"])
        made._files = (cert, key)
        made._stamp = made._look()
        made._log = log
        _load(made, cert, key)
        if os.name == "posix" and os.stat(key or cert).st_mode & 0o007:
            log(f"{key or cert} can be read by everybody (chmod 600 {key or cert})", "warning")
        return made

    def wrap_socket(self, *args: Any, **named: Any) -> ssl.SSLSocket:
        """As of SSLContext, with the certificate that is in the files now."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                # On a context aside first: a new certificate beside the old key spoils a context.
                _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *self._files)
                _load(self, *self._files)
                self._log("the TLS certificate was read again", "info")
            except InvalidRequest as error:
                self._log(f"the TLS certificate before it stays in use: {error.message}", "warning")
        return super().wrap_socket(*args, **named)

    def _look(self) -> object:
        try:
            found = [os.stat(file) for file in self._files if file]
        except OSError:
            return None
        return [(one.st_mtime_ns, one.st_ino, one.st_size) for one in found]


def _load(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    for name, path in (("TOLLAMA_TLS_CERT", cert), ("TOLLAMA_TLS_KEY", key)):
        try:
            if path is not None:
                with open(path, "rb"):
                    pass
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InvalidRequest(f"{name}: {path}: {reason}") from None
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        pair = f"{cert} and {key}" if key else cert
        reason = (error.reason or "there is none").replace("_", " ").lower()
        raise InvalidRequest(
            f"TOLLAMA_TLS_CERT: expected a certificate and its unencrypted key in PEM form in "
            f"{pair}: {reason}"
        ) from None


def _no_password() -> str:
    return ""  # of an encrypted key: without this openssl would ask on the terminal
