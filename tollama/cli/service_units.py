"""What a service manager reads, as text: a systemd unit, a launchd property list, a Windows task.

Not covered: where it is put and who starts it (service.py), other managers.
"""

from __future__ import annotations

from collections import namedtuple

LABEL = "tollama.daemon"
HOME = "/var/lib/tollama"  # of a system service
MARK = "Written by: tollama service"
# The daemon drains for up to nine seconds.
STOP_S = 20

SYSTEMD = """\
# {mark}
[Unit]
Description=tollama, forecasts of time series
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
ExecStart={command}
{directory}{environment}
# Secrets and further settings, one NAME=VALUE a line.
EnvironmentFile=-{secrets}
Restart=on-failure
RestartSec=2
# 2 is a setting that must be mended first.
RestartPreventExitStatus=2
# The daemon alone is told to stop: it lets requests end, and its runners end with it.
KillMode=mixed
TimeoutStopSec={stop}
# A runner that was killed for its memory must not end the daemon.
OOMPolicy=continue
LimitNOFILE=65536
UMask=0077

NoNewPrivileges=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
# Not MemoryDenyWriteExecute: torch compiles its kernels when they are needed.
{system}
[Install]
WantedBy={target}
"""

# Needs a mount namespace, which user managers often may not make.
SYSTEM = """
{account}
StateDirectory=tollama
StateDirectoryMode=0700
RuntimeDirectory=tollama
ProtectSystem=strict
{writable}ProtectHome=yes
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
CapabilityBoundingSet=
# No devices but GPUs.
DevicePolicy=closed
DeviceAllow=char-nvidia* rw
DeviceAllow=char-drm rw
DeviceAllow=char-kfd rw
"""

WINDOWS = """\
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>tollama, forecasts of time series. {mark}</Description>
  </RegistrationInfo>
  <Triggers>
    {trigger}
  </Triggers>
  <Principals>
    <Principal id="Author">
      {principal}
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>999</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{program}</Command>
      <Arguments>{arguments}</Arguments>{directory}
    </Exec>
  </Actions>
</Task>
"""


class Spec(namedtuple("Spec", "command directory environment user account")):
    """A service: what runs and where, NAME: VALUE, for one user or the machine, as whom."""

    __slots__ = ()


def systemd(spec: Spec) -> str:
    """A unit for systemd 245 or newer."""
    environment = dict(spec.environment)
    system = ""
    if not spec.user:
        home = environment.setdefault("TOLLAMA_HOME", HOME)
        account = f"User={spec.account}" if spec.account else "DynamicUser=yes"
        inside = home.startswith(HOME)
        writable = "" if inside else f"ReadWritePaths={_unit_word(home)}\n"
        system = SYSTEM.format(account=account, writable=writable)
    lines = [f"Environment={_unit_word(f'{k}={v}')}" for k, v in environment.items()]
    return SYSTEMD.format(
        mark=MARK,
        command=" ".join(_unit_word(word).replace("$", "$$") for word in spec.command),
        directory=f"WorkingDirectory={_specifiers(spec.directory)}\n" if spec.directory else "",
        environment="\n".join(lines),
        secrets="%h/.config/tollama.env" if spec.user else "/etc/tollama.env",
        stop=STOP_S,
        system=system,
        target="default.target" if spec.user else "multi-user.target",
    )


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _unit_word(text: str) -> str:
    """A word that systemd reads as it is."""
    text = _specifiers(text)
    if text and all(c.isalnum() or c in "@%+=:,./_-~$*" for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def launchd(spec: Spec, log: str) -> str:
    """A property list for launchd; `log` is the file that gets what the daemon says."""
    import plistlib

    found = {
        "Label": LABEL,
        "ProgramArguments": list(spec.command),
        "EnvironmentVariables": dict(spec.environment),
        "WorkingDirectory": spec.directory,
        "UserName": spec.account,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": STOP_S,
        "ProcessType": "Interactive",
        "SoftResourceLimits": {"NumberOfFiles": 8192},
        "Umask": 0o077,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    text = plistlib.dumps({k: v for k, v in found.items() if v}, sort_keys=False).decode()
    return text.replace("<plist", f"<!-- {MARK} -->\n<plist", 1)


def windows(spec: Spec) -> str:
    """A task for `schtasks /Create /XML`; it has no environment of its own."""
    from subprocess import list2cmdline
    from xml.sax.saxutils import escape

    who = f"<UserId>{escape(spec.account)}</UserId>" if spec.account else ""
    if spec.user:
        trigger = f"<LogonTrigger>{who}</LogonTrigger>"
        principal = f"{who}<LogonType>InteractiveToken</LogonType>"
    else:
        trigger = "<BootTrigger />"
        principal = who or "<UserId>S-1-5-19</UserId>"  # LOCAL SERVICE
    program, *arguments = spec.command
    folder = spec.directory
    where = f"\n      <WorkingDirectory>{escape(folder)}</WorkingDirectory>" if folder else ""
    return WINDOWS.format(
        mark=MARK,
        trigger=trigger,
        principal=principal,
        program=escape(program),
        arguments=escape(list2cmdline(arguments)),
        directory=where,
    )
