"""Every setting in one table: the TOLLAMA_* variables and the keys of config.json.

This module is the only reader of the environment. Help texts, docs/configuration.md and /api/info
are printed from the tables; a bad value is an error that names its variable or key.

Not covered: precedence of pull settings over a request, which models/pulls.py resolves field by
field.
"""

from __future__ import annotations

import json
import os
from collections import namedtuple

from tollama.core import durations
from tollama.core.errors import InvalidRequest, TollamaError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT_PORT = 11435


class Setting(namedtuple("Setting", "name parse default doc")):
    """One environment variable: its name, parser of a text, default and a sentence for people."""

    __slots__ = ()


class ConfigKey(namedtuple("ConfigKey", "name parse default env doc")):
    """One key of config.json: dotted name, parser of a text, default, overriding variables, doc."""

    __slots__ = ()


def _text(text: str) -> str:
    return text


def _bool(text: str) -> bool:
    value = text.strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("true or false")


def _int(low: int, high: int = 1 << 40) -> Any:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"an integer >= {low}") from None
        if not low <= value <= high:
            raise ValueError(f"an integer from {low} to {high}")
        return value

    return parse


def _size(text: str) -> int:
    units = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    value = text.strip().upper().removesuffix("B").removesuffix("I")
    number = value.rstrip("KMG")
    try:
        size = int(number) * units[value[len(number) :]]
    except (KeyError, ValueError):
        size = 0
    if size < 1:
        raise ValueError("a number of bytes such as 67108864 or 64M")
    return size


def _rate(text: str) -> int:
    try:
        return _size(text)
    except ValueError:
        raise ValueError("a number of bytes per second such as 5M") from None


def _seconds(text: str) -> float:
    seconds = durations.parse(text.strip())
    if seconds is None or seconds <= 0:
        raise ValueError("a duration above zero such as 300, 90s or 5m")
    return seconds


def _keep_alive(text: str) -> float:
    seconds = durations.parse(text.strip())
    if seconds is None:
        raise ValueError("a duration such as 5m, 0 (unload at once) or -1 (for ever)")
    return seconds


def _names(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.replace(",", " ").split() if part)


def _endpoint(text: str) -> str:
    value = text.strip().rstrip("/")
    scheme, _, rest = value.partition("://")
    if scheme.lower() not in ("http", "https") or not rest or any(c <= " " for c in value):
        raise ValueError("an address such as https://HOST or http://HOST:PORT/PATH")
    return value


def _requests(text: str) -> tuple[int, float]:
    count, _, unit = text.strip().lower().partition("/")
    seconds = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(unit)
    if seconds is None or not (count.isascii() and count.isdigit() and 0 < int(count) < 1 << 40):
        raise ValueError("requests and their time such as 60/m, 5/s or 1000/h")
    return int(count), seconds


def _hubs(text: str) -> tuple[str, ...]:
    return tuple(_hub(part) for part in _names(text))


def _hub(text: str) -> str:
    """HOST, HOST/ORG or HOST/ORG/REPO as an address; https unless it says otherwise.

    hf.co is the hub's own short name, and what names of models begin with.
    """
    host, slash, path = text.rstrip("/").lower().partition("/")
    value = ("huggingface.co" if host == "hf.co" else host) + slash + path
    value = value if "://" in value else f"https://{value}"
    scheme, _, rest = value.partition("://")
    netloc = rest.partition("/")[0]
    wrong = not netloc or netloc.endswith(":") or any(c in rest for c in "@?#*\\")
    if scheme not in ("http", "https") or wrong:
        raise ValueError("hubs such as huggingface.co/ORG or http://HOST:PORT")
    return value


def _permissions(text: str) -> str:
    if not (len(text) in (3, 4) and all(c in "01234567" for c in text)):
        raise ValueError("permissions such as 0600 or 0660")
    return text


def _one_of(*allowed: str) -> Any:
    def parse(text: str) -> str:
        value = text.strip().lower()
        if value not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return value

    return parse


def parse_host(text: str) -> tuple[str, int]:
    """A listen address: host:port, host, :port, [::1]:port, with or without http:// in front.

    unix:///PATH is its own host, with port 0.
    """
    value = text.strip()
    if value.startswith("unix:"):
        if not value.startswith("unix:///") or value.endswith("/"):
            raise ValueError("a Unix socket as unix:///PATH")
        return value, 0
    for scheme in ("http://", "https://"):
        value = value.removeprefix(scheme)
    value = value.rstrip("/")
    if value.startswith("["):
        host, bracket, rest = value[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("an address such as 127.0.0.1:11435 or [::1]:11435")
        port = rest[1:]
    elif value.count(":") > 1:
        host, port = value, ""
    else:
        host, _, port = value.partition(":")
    if any(c in host for c in "/@ "):
        raise ValueError("an address such as 127.0.0.1:11435 or [::1]:11435")
    if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("an address with a port from 0 to 65535")
    return host or "127.0.0.1", int(port) if port else DEFAULT_PORT


SETTINGS = (
    Setting("TOLLAMA_HOST", parse_host, ("127.0.0.1", DEFAULT_PORT), "address to listen on, and to call: host:port, host, :port, [::1]:port or unix:///PATH"),
    Setting("TOLLAMA_HOME", _text, None, "folder of config, models and runtimes (default ~/.tollama)"),
    Setting("TOLLAMA_KEEP_ALIVE", _keep_alive, 300.0, "how long a model stays loaded after its last request: 5m, seconds, 0 = unload at once, negative = for ever"),
    Setting("TOLLAMA_MAX_LOADED_MODELS", _int(0, 10_000), 0, "models loaded at once, the least recently used is unloaded first (0 = no limit)"),
    Setting("TOLLAMA_MAX_QUEUE", _int(1, 1_000_000), 512, "requests waiting per model before 503"),
    Setting("TOLLAMA_MAX_BODY", _size, 64 << 20, "largest request body, such as 64M"),
    Setting("TOLLAMA_MAX_INFLIGHT", _size, 512 << 20, "bytes of request bodies in memory at once"),
    Setting("TOLLAMA_MAX_CONNECTIONS", _int(1, 100_000), 1024, "open connections before 503"),
    Setting("TOLLAMA_REQUEST_TIMEOUT", _seconds, 300.0, "deadline of a request that names none: seconds or 5m"),
    Setting("TOLLAMA_LOAD_TIMEOUT", _seconds, 300.0, "time that a model may take to load"),
    Setting("TOLLAMA_PRELOAD", _names, (), "models loaded at start; /health/ready is 503 until then"),
    Setting("TOLLAMA_REPLICAS", _int(0, 1024), 0, "processes per embedded model (0 = one per core)"),
    Setting("TOLLAMA_ALLOWED_HOSTS", _names, (), "further names accepted in the Host header"),
    Setting("TOLLAMA_ORIGINS", _names, (), "web origins that may call the API (CORS), or *"),
    Setting("TOLLAMA_TLS_CERT", _text, None, "certificate and chain to serve https with, a PEM file"),
    Setting("TOLLAMA_TLS_KEY", _text, None, "private key of the certificate (default: in the same file)"),
    Setting("TOLLAMA_SOCKET_MODE", _permissions, "0600", "permissions of the Unix socket"),
    Setting("TOLLAMA_READ_ONLY", _bool, False, "refuse to pull, delete, copy and create over HTTP"),
    Setting("TOLLAMA_RATE_LIMIT", _requests, None, "requests of one client (an API key, else an address) before 429, such as 60/m or 5/s"),
    Setting("TOLLAMA_MAX_PER_CLIENT", _int(0, 1_000_000), 0, "requests of one client at once before 429 (0 = no limit)"),
    Setting("TOLLAMA_MAX_CLIENT_CONNECTIONS", _int(0, 100_000), 0, "open connections of one address before 429 (0 = no limit)"),
    Setting("TOLLAMA_ALLOWED_HUBS", _hubs, (), "hubs that models may come from: HOST, HOST/ORG or HOST/ORG/REPO (none = any)"),
    Setting("TOLLAMA_LOG_FORMAT", _one_of("text", "json"), "text", "request log: text or json"),
    Setting("TOLLAMA_LOG_LEVEL", _one_of("debug", "info", "warning", "error"), "info", "what is logged: debug, info, warning or error"),
    Setting("TOLLAMA_API_KEYS", _names, (), "API keys, each KEY or SCOPE:KEY (read, forecast, admin)"),
    Setting("TOLLAMA_HF_TOKEN", _text, None, "token for the model hub, or HOST=TOKEN pairs for several; never written anywhere"),
    Setting("TOLLAMA_CA_BUNDLE", _text, None, "certificates to trust, a PEM file (then SSL_CERT_FILE, REQUESTS_CA_BUNDLE)"),
    Setting("TOLLAMA_RUNNERS", _text, None, "a further folder of runner families"),
)  # fmt: skip

# TOLLAMA_PYTHON_<FAMILY> and TOLLAMA_FAMILY_<MODEL> are open sets: families and models name them.
PATTERNS = (
    ("TOLLAMA_PYTHON_<FAMILY>", "interpreter that has the family's packages, e.g. TOLLAMA_PYTHON_TORCH"),
    ("TOLLAMA_FAMILY_<MODEL>", "family that runs a model, e.g. TOLLAMA_FAMILY_CHRONOS2=numpy"),
)  # fmt: skip

CONFIG_KEYS = (
    ConfigKey("pull.hf_home", _text, None, ("HF_HOME",), "Hugging Face cache to share with other tools"),
    ConfigKey("pull.offline", _bool, False, ("HF_HUB_OFFLINE",), "make no connection at all"),
    ConfigKey("pull.local_files_only", _bool, False, (), "use only files that are on this machine"),
    ConfigKey("pull.insecure", _bool, False, (), "do not verify TLS certificates"),
    ConfigKey("pull.http_proxy", _text, None, ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "proxy for http:// addresses"),
    ConfigKey("pull.https_proxy", _text, None, ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), "proxy for https:// addresses"),
    ConfigKey("pull.no_proxy", _text, None, ("NO_PROXY", "no_proxy"), "hosts that need no proxy"),
    ConfigKey("pull.max_workers", _int(1, 64), 4, (), "files downloaded at once"),
    ConfigKey("pull.endpoint", _endpoint, None, ("HF_ENDPOINT",), "address of the hub or of a mirror"),
    ConfigKey("pull.ca_bundle", _text, None, ("TOLLAMA_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), "certificates to trust, a PEM file"),
    ConfigKey("pull.limit_rate", _rate, None, (), "bytes per second at most, such as 5M"),
    ConfigKey("pull.stall_timeout", _int(1, 86_400), 30, ("HF_HUB_DOWNLOAD_TIMEOUT",), "seconds without data after which a line is given up and taken up again"),
    ConfigKey("daemon.host", _text, None, ("TOLLAMA_HOST",), "address to listen on"),
)  # fmt: skip
KEYS = {key.name: key for key in CONFIG_KEYS}
SECTIONS = {name.partition(".")[0] for name in KEYS}
CONFIG_VERSION = 1


class ConfigUnreadable(TollamaError):
    """config.json exists and cannot be used; the message names the path and what is wrong."""

    code = "config_unreadable"


def get(name: str, environ: Mapping[str, str] | None = None) -> Any:
    """The value of a TOLLAMA_* variable, parsed; an empty variable counts as not set."""
    setting = next(s for s in SETTINGS if s.name == name)
    text = (os.environ if environ is None else environ).get(name)
    if text is None or text == "":
        return setting.default
    try:
        return setting.parse(text)
    except ValueError as error:
        raise InvalidRequest(f"{name}: expected {error}, got {shown(text)}") from None


def home(environ: Mapping[str, str] | None = None) -> str:
    """TOLLAMA_HOME as an absolute path."""
    return os.path.abspath(
        os.path.expanduser(get("TOLLAMA_HOME", environ) or os.path.join("~", ".tollama"))
    )


def path(home_dir: str) -> str:
    """Where config.json lies."""
    return os.path.join(home_dir, "config.json")


def read(home_dir: str) -> dict[str, Any]:
    """The keys that config.json sets, by dotted name; raises ConfigUnreadable for a bad file."""
    file = path(home_dir)
    try:
        with open(file, "rb") as stream:
            data = json.loads(stream.read())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigUnreadable(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigUnreadable(f"{file}: not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise ConfigUnreadable(f"{file}: expected an object, got {shown(data)}")
    found: dict[str, Any] = {}
    for section, values in data.items():
        if section == "version":
            if values != CONFIG_VERSION:
                raise ConfigUnreadable(
                    f"{file}: version: expected {CONFIG_VERSION}, got {shown(values)}"
                )
        elif section not in SECTIONS:
            raise ConfigUnreadable(f"{file}: {unknown_key(section)}")
        elif not isinstance(values, dict):
            raise ConfigUnreadable(f"{file}: {section}: expected an object, got {shown(values)}")
        else:
            for name, value in values.items():
                found[f"{section}.{name}"] = _typed(file, f"{section}.{name}", value)
    return {name: value for name, value in found.items() if value is not None}


def _typed(file: str, name: str, value: object) -> object:
    key = KEYS.get(name)
    if key is None:
        raise ConfigUnreadable(f"{file}: {unknown_key(name)}")
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        parsed: object = key.parse(text)
    except ValueError as error:
        raise ConfigUnreadable(f"{file}: {name}: expected {error}, got {shown(value)}") from None
    if type(parsed) is not type(value):
        raise ConfigUnreadable(f"{file}: {name}: expected {_type_name(parsed)}, got {shown(value)}")
    return parsed


def _type_name(value: object) -> str:
    return {bool: "true or false", int: "an integer", str: "a string"}[type(value)]


def unknown_key(name: str) -> str:
    """The message for a key that no table has."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(KEYS), n=1)
    hint = f", did you mean {near[0]}?" if near else ""
    return f"unknown key {shown(name)}{hint}; known keys: {', '.join(KEYS)}"


def parse_key(name: str, text: str) -> Any:
    """The value of a key as `config set` gives it; raises InvalidRequest."""
    key = KEYS.get(name)
    if key is None:
        raise InvalidRequest(unknown_key(name))
    try:
        value = key.parse(text)
        if name == "daemon.host":
            parse_host(text)
    except ValueError as error:
        raise InvalidRequest(f"{name}: expected {error}, got {shown(text)}") from None
    return value


def to_file(values: Mapping[str, Any]) -> dict[str, Any]:
    """The content of config.json for keys by dotted name."""
    data: dict[str, Any] = {"version": CONFIG_VERSION}
    for name in sorted(values):
        section, _, key = name.partition(".")
        data.setdefault(section, {})[key] = values[name]
    return data


def effective(
    values: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> dict[str, tuple[Any, str]]:
    """Every key with its value and where it comes from: "env", "config" or "default"."""
    variables = os.environ if environ is None else environ
    found: dict[str, tuple[Any, str]] = {}
    for key in CONFIG_KEYS:
        text = next((variables[name] for name in key.env if variables.get(name)), None)
        if text is not None:
            try:
                found[key.name] = (key.parse(text), "env")
                continue
            except ValueError as error:
                raise InvalidRequest(
                    f"{' or '.join(key.env)}: expected {error}, got {shown(text)}"
                ) from None
        if key.name in values:
            found[key.name] = (values[key.name], "config")
        else:
            found[key.name] = (key.default, "default")
    return found
