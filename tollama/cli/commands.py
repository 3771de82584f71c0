"""The commands of tollama as one table: name, module, a sentence, examples.

Not covered: their arguments, which each module adds to a parser of main.py.
"""

from __future__ import annotations

from collections import namedtuple


class Command(namedtuple("Command", "name module summary examples")):
    """A command: `tollama.cli.<module>` has `add_<name>(parser)` and `<name>(args) -> code`."""

    __slots__ = ()


COMMANDS = (
    Command(
        "run",
        "run",
        "Forecast a file, standard input or a request",
        (
            "tollama run auto sales.csv --horizon 12",
            "tollama run auto retail.csv --horizon 28 --quantiles 0.1,0.5,0.9 -o forecast.csv",
            "cat load.csv | tollama run theta - --horizon 24 --format json",
            "tollama run mock --input examples/request.json --no-stream",
        ),
    ),
    Command(
        "serve",
        "serve",
        "Start the daemon",
        (
            "tollama serve",
            "tollama serve --port 0",
            "TOLLAMA_HOST=0.0.0.0:11435 tollama serve --tls-cert cert.pem --tls-key key.pem",
            "tollama serve --socket /run/tollama/tollama.sock",
        ),
    ),
    Command(
        "open",
        "open",
        "Open the page in the browser",
        ("tollama open", "tollama open --print"),
    ),
    Command(
        "backtest",
        "evaluate",
        "Compare models on rolling origins of your data",
        ("tollama backtest sales.csv --models auto,theta,seasonal-naive --horizon 12 --windows 5",),
    ),
    Command(
        "anomalies",
        "evaluate",
        "Find values that do not fit their forecast",
        ("tollama anomalies load.csv --level 99", "tollama anomalies load.csv --detection-size 48"),
    ),
    Command(
        "report",
        "report",
        "Write data quality, leaderboard and forecasts into one HTML file to mail or print",
        (
            "tollama report sales.csv -o report.html",
            "tollama report retail.csv --models auto,theta,naive --horizon 28 --charts 10",
        ),
    ),
    Command(
        "list",
        "models",
        "List models",
        ("tollama list", "tollama list --format json", "tollama list --format lock > models.lock"),
    ),
    Command(
        "show", "models", "Show a model", ("tollama show auto", "tollama show auto --modelfile")
    ),
    Command(
        "pull",
        "pull",
        "Download a model",
        (
            "tollama pull chronos2",
            "tollama pull hf.co/ORG/REPO@REVISION --hf-home /mnt/cache",
            "tollama pull chronos2 --https-proxy http://proxy:3128",
            "tollama pull mymodel --from-dir ./checkpoint",
            "tollama pull chronos2 --from http://HOST:11435",
            "tollama pull -r models.lock",
        ),
    ),
    Command("ps", "models", "List loaded models", ("tollama ps",)),
    Command("stop", "models", "Unload a model", ("tollama stop auto",)),
    Command("rm", "models", "Remove models", ("tollama rm mock",)),
    Command(
        "create",
        "create",
        "Make a named preset from a Modelfile, or a copy of a model in half the space",
        (
            "tollama create weekly -f Modelfile",
            "tollama create chronos2-half --from chronos2 --dtype float16",
            "tollama show auto --modelfile | tollama create mine -f -",
        ),
    ),
    Command("cp", "models", "Copy a model under another name", ("tollama cp auto timegpt-1",)),
    Command(
        "config",
        "settings",
        "Show or change persistent defaults",
        (
            "tollama config list",
            "tollama config set pull.https_proxy http://proxy:3128",
            "tollama config unset pull.https_proxy",
        ),
    ),
    Command(
        "runtime",
        "runtimes",
        "Install, list, remove or download the packages of a runner family",
        (
            "tollama runtime install torch --cpu",
            "tollama runtime install numpy --wheelhouse ./wheels",
            "tollama runtime list",
            "tollama runtime download numpy --python-version 3.11 -o wheels",
            "tollama runtime remove torch",
        ),
    ),
    Command(
        "export",
        "kits",
        "Pack models, runtimes and tollama itself into one file for a host without network",
        (
            "tollama export chronos2 -o kit.tollama",
            "tollama export chronos2 --runtime torch --python-version 3.11 "
            "--platform manylinux_2_28_x86_64 -o kit.tollama",
            "tollama export chronos2 --sign-key ~/.ssh/id_ed25519",
        ),
    ),
    Command(
        "import",
        "kits",
        "Check a kit and install what is inside",
        (
            "tollama import kit.tollama",
            "tollama import kit.tollama --models chronos2 --trust-key vendor.pub",
        ),
    ),
    Command(
        "inspect",
        "kits",
        "Check a kit and say what is inside",
        ("tollama inspect kit.tollama", "tollama inspect kit.tollama --format json"),
    ),
    Command(
        "verify",
        "verify",
        "Compare the files of models with their SHA-256s again, or two families' forecasts",
        ("tollama verify", "tollama verify chronos2", "tollama verify chronos2 --against torch"),
    ),
    Command(
        "mcp",
        "mcp",
        "Serve forecasting tools to an assistant (Model Context Protocol on stdio)",
        ("tollama mcp", "tollama mcp --dir ~/data"),
    ),
    Command(
        "doctor",
        "doctor",
        "Check this machine and say what to mend",
        ("tollama doctor", "tollama doctor --offline --quick"),
    ),
    Command(
        "keys",
        "keys",
        "Make, list or remove the API keys that this home's daemon asks for",
        (
            "tollama keys add --scope forecast --name dashboard",
            "tollama keys list",
            "tollama keys remove 3f9a01c2",
        ),
    ),
    Command(
        "service",
        "service",
        "Run the daemon as a service: systemd, launchd or a Windows task",
        (
            "tollama service print --user",
            "tollama service install --user --now",
            "sudo tollama service install --env TOLLAMA_HOST=0.0.0.0:11435",
            "tollama service remove --user",
        ),
    ),
    Command("info", "settings", "Diagnostics", ("tollama info", "tollama info --json")),
    Command("version", "settings", "Show versions", ("tollama version", "tollama version --json")),
    Command(
        "completion",
        "completion",
        "Print a script that completes commands, options, files and models in a shell",
        (
            'eval "$(tollama completion bash)"    # in ~/.bashrc',
            'eval "$(tollama completion zsh)"     # in ~/.zshrc, after compinit',
            "tollama completion fish > ~/.config/fish/completions/tollama.fish",
        ),
    ),
)
TABLE = {command.name: command for command in COMMANDS}
ALIASES = {"ls": "list", "delete": "rm", "copy": "cp"}
