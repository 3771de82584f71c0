"""How a client trusts a daemon that serves https, and what it says when it does not.

Not covered: the model hub, whose client runs in a process of its own (models/hub_wire.py).
"""

from __future__ import annotations

from tollama.core.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

BUNDLES = ("TOLLAMA_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """What to connect with: the first bundle that is named, else the system's certificates."""
    import ssl

    name = next((name for name in BUNDLES if environ.get(name)), None)
    if name is None:
        return ssl.create_default_context()
    try:
        made = ssl.create_default_context(cafile=environ[name])
    except OSError as error:  # ssl.SSLError is one too
        raise InvalidRequest(
            f"{name}: expected a file of PEM certificates at {environ[name]}, found: {plain(error)}"
        ) from None
    # Python 3.13 refuses roots that lack some RFC 5280 extensions; many that people make do.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return made


def plain(error: BaseException) -> str:
    """What an error of the system or of TLS says, without its number and place."""
    text = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(text).replace("_", " ").lower()


def explained(url: str, error: BaseException) -> str:
    """Why there is no TLS connection to a daemon, and what to do."""
    found = getattr(error, "verify_message", None)
    if found:
        return (
            f"the TLS certificate of {url} is not trusted ({found.lower()}): name the PEM file of "
            "what signed it with --ca-bundle FILE or TOLLAMA_CA_BUNDLE"
        )
    reason = plain(error)
    hint = "; does it speak plain http?" if "wrong version" in reason or "record" in reason else ""
    return f"no TLS connection to {url}: {reason}{hint}"
