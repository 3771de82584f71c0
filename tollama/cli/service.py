"""`tollama service`: the daemon as a service of this machine or of this user.

`print` shows what `install` writes where the service manager looks for it; nothing starts unless
`--now` says so. What runs is the tollama that was called: this .pyz, script or interpreter.

Not covered: the files' contents (service_units.py). On Windows the task is written as its schema
says; nobody has run it there yet.
"""

from __future__ import annotations

import os
import sys

from tollama.cli import service_units as units
from tollama.core import config
from tollama.core.errors import InvalidRequest, NotFound, TollamaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

KINDS = {"linux": "systemd", "darwin": "launchd", "win32": "windows"}
# What a hardened system service cannot see.
HIDDEN = ("/home/", "/root/", "/tmp/", "/var/tmp/", "/run/user/")
SECRETS = ("TOLLAMA_API_KEYS", "TOLLAMA_API_KEY", "TOLLAMA_HF_TOKEN")


def add_service(parser: ArgumentParser) -> None:
    """The arguments of `service`."""
    add = parser.add_argument
    add("action", choices=("print", "install", "remove"))
    add("--user", action="store_true", help="a service of this user: needs no root")
    add("--kind", choices=tuple(KINDS.values()), help="service manager (default: this system's)")
    add(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the service, such as TOLLAMA_HOST=0.0.0.0:11435; may be repeated",
    )
    add("--run-as", metavar="ACCOUNT", help="account of a system service (systemd: one of its own)")
    add("--now", action="store_true", help="install: start it too, and at every boot or login")
    add("--force", action="store_true", help="replace or remove a file that is there already")


def service(args: Namespace) -> int:
    """Print, install or remove."""
    kind = args.kind or KINDS.get(sys.platform)
    if kind is None:
        raise InvalidRequest(f"{sys.platform}: expected --kind, one of {', '.join(KINDS.values())}")
    path = place(kind, args.user)
    start, stop = commands(kind, args.user, path)
    if args.action == "remove":
        return _remove(path, stop, force=args.force)
    spec = described(kind, args)
    problem = unreadable(spec) if kind == "systemd" and not args.user else None
    if args.action == "print":
        if problem:
            sys.stderr.write(f"warning: {problem}\n")
        sys.stdout.write(written(kind, spec))
        return 0
    if problem:
        raise InvalidRequest(problem)
    if os.path.lexists(path):
        if not args.force:
            raise InvalidRequest(f"{path} is there already, --force replaces it")
        if args.now:
            _stop(stop)
    _write(path, written(kind, spec), wide=kind == "windows")
    sys.stderr.write(f"wrote {path}\n" if args.now else f"wrote {path}; start it with:\n")
    if args.now:
        for command in start:
            _call(command)
        sys.stderr.write("started\n")
    else:
        sys.stdout.write(f"{' && '.join(map(_shown, start))}\n")
    if kind == "systemd" and args.user:
        sys.stderr.write("it ends when you log out, unless: loginctl enable-linger\n")
    return 0


def described(kind: str, args: Namespace) -> units.Spec:
    """The service that the arguments ask for."""
    account = args.run_as
    if account and args.user:
        raise InvalidRequest("--run-as: expected without --user, which means this account")
    command, directory = program()
    environment = _environment(args.env)
    home = environment.get("TOLLAMA_HOME", units.HOME)
    elsewhere = kind == "systemd" and not args.user and not home.startswith(units.HOME)
    if elsewhere and (account is None or not os.path.isdir(home)):
        raise InvalidRequest(
            f"TOLLAMA_HOME={home}: expected a folder that is there and --run-as its owner"
        )
    home = os.environ.get("TOLLAMA_HOME", "")
    if home and (args.user or kind == "launchd"):
        environment.setdefault("TOLLAMA_HOME", os.path.abspath(home))
    if kind == "windows":
        if environment:
            name, value = next(iter(environment.items()))
            raise InvalidRequest(f"a Windows task has no environment, use: setx {name} {value!r}")
        if args.user:
            domain, user = os.environ.get("USERDOMAIN"), os.environ.get("USERNAME", "")
            account = f"{domain}\\{user}" if domain else user
        quiet = os.path.join(os.path.dirname(command[0]), "pythonw.exe")
        if os.path.basename(command[0]).lower() == "python.exe" and os.path.exists(quiet):
            command[0] = quiet  # no window
    elif kind == "launchd" and not args.user:
        account = account or os.environ.get("SUDO_USER") or os.environ.get("USER")
    return units.Spec(command, directory, environment, args.user, account)


def program() -> tuple[list[str], str | None]:
    """How this tollama is started as a daemon, and the folder that this needs."""
    from tollama.models import families

    root, script = families.root(), os.path.abspath(sys.argv[0])
    if os.path.isfile(root):
        return [sys.executable, "-I", root, "serve"], None
    name = os.path.basename(script).lower().removesuffix(".exe")
    if name in ("tollama", "tollamad") and os.path.isfile(script):
        return [script, "serve"] if name == "tollama" else [script], None
    return [sys.executable, "-m", "tollama", "serve"], root


def _environment(given: list[str]) -> dict[str, str]:
    """The --env arguments, each checked as the daemon will."""
    known = {setting.name: setting for setting in config.SETTINGS}
    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name.isidentifier() or not value.isprintable():
            raise InvalidRequest(f"--env: expected NAME=VALUE, got {one!r}")
        if name in SECRETS:
            raise InvalidRequest(
                f"--env {name}: a secret is not for a file that others can read: put keys into "
                "TOLLAMA_HOME/api_keys, others into /etc/tollama.env (--user: ~/.config)"
            )
        if name in known:
            config.get(name, {name: value})
        elif name.startswith("TOLLAMA_") and not name.startswith(
            ("TOLLAMA_PYTHON_", "TOLLAMA_FAMILY_")
        ):
            raise InvalidRequest(f"--env: {name} is no setting; see: tollama help serve")
        found[name] = value
    return found


def unreadable(spec: units.Spec) -> str | None:
    """Why a hardened system service could not start this."""
    for path in filter(os.path.isabs, [*spec.command, spec.directory or ""]):
        real = os.path.realpath(path)
        if any(one.startswith(HIDDEN) for one in (path, real)):
            return (
                f"{real}: a system service sees no home or temporary folders: run tollama from "
                "/opt/tollama (and Python from /usr), or use --user"
            )
        if os.path.isfile(real) and not os.stat(real).st_mode & 0o004:
            return f"{real}: the service's account cannot read it: chmod 755 {real}"
    return None


def place(kind: str, user: bool) -> str:
    """The file that the service manager reads."""
    home = os.path.expanduser("~")
    if kind == "launchd":
        folder = os.path.join(home, "Library/LaunchAgents") if user else "/Library/LaunchDaemons"
        return os.path.join(folder, f"{units.LABEL}.plist")
    if kind == "windows":
        root = os.environ.get("LOCALAPPDATA" if user else "PROGRAMDATA") or home
        return os.path.join(root, "tollama", "tollama-task.xml")
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    folder = os.path.join(folder, "systemd/user") if user else "/etc/systemd/system"
    return os.path.join(folder, "tollama.service")


def commands(kind: str, user: bool, path: str) -> tuple[list[list[str]], list[list[str]]]:
    """What starts the service, now and at every boot or login, and what ends that."""
    if kind == "launchd":
        number = os.getuid() if hasattr(os, "getuid") else "UID"  # printed on another system
        domain = f"gui/{number}" if user else "system"
        return [["launchctl", "bootstrap", domain, path]], [
            ["launchctl", "bootout", f"{domain}/{units.LABEL}"]
        ]
    if kind == "windows":
        task = ["/TN", "tollama"]
        create = ["schtasks", "/Create", *task, "/XML", path, "/F"]
        return [create, ["schtasks", "/Run", *task]], [["schtasks", "/Delete", *task, "/F"]]
    control = ["systemctl", "--user"] if user else ["systemctl"]
    reload = [*control, "daemon-reload"]
    return [reload, [*control, "enable", "--now", "tollama"]], [
        [*control, "disable", "--now", "tollama"]
    ]


def written(kind: str, spec: units.Spec) -> str:
    """The file's text."""
    if kind == "systemd":
        return units.systemd(spec)
    if kind == "windows":
        return units.windows(spec)
    home = os.path.expanduser("~" if spec.user else f"~{spec.account}")
    return units.launchd(spec, os.path.join(home, "Library/Logs/tollama.log"))


def _write(path: str, text: str, *, wide: bool) -> None:
    """The file, whole or not at all; schtasks reads UTF-16 alone."""
    if wide:
        text = f'<?xml version="1.0" encoding="UTF-16"?>\n{text}'
    part = f"{path}.part"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(part, "wb") as stream:
            stream.write(text.encode("utf-16" if wide else "utf-8"))
        os.chmod(part, 0o644)
        os.replace(part, path)
    except PermissionError:
        raise _refused(path) from None


def _refused(path: str) -> TollamaError:
    return TollamaError(
        f"cannot change {path}: permission denied; use sudo, or --user for a service of your own"
    )


def _remove(path: str, stop: list[list[str]], *, force: bool) -> int:
    try:
        with open(path, "rb") as stream:
            ours = units.MARK.encode() in stream.read().replace(b"\0", b"")
    except FileNotFoundError:
        raise NotFound(f"{path}: no service is installed there") from None
    if not ours and not force:
        raise InvalidRequest(f"{path} was not written by tollama, --force removes it all the same")
    if not os.access(os.path.dirname(path), os.W_OK):
        raise _refused(path)
    _stop(stop)
    os.unlink(path)
    sys.stderr.write(f"removed {path}; what it served stays\n")
    return 0


def _stop(stop: list[list[str]]) -> None:
    for command in stop:
        try:
            _call(command)
        except TollamaError as error:  # it may never have been started
            sys.stderr.write(f"note: {error.message}\n")


def _shown(command: list[str]) -> str:
    from shlex import join
    from subprocess import list2cmdline

    return list2cmdline(command) if command[0] == "schtasks" else join(command)


def _call(command: list[str]) -> None:
    import subprocess

    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise TollamaError(f"{_shown(command)}: {(error.strerror or str(error)).lower()}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().replace("\n", "; ")
        raise TollamaError(f"{_shown(command)}: {said or f'exit code {done.returncode}'}")
