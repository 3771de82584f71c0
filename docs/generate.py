"""Write the generated pages, or parts of pages, and the manual page from the program's own tables.

python docs/generate.py          write them
python docs/generate.py --check  exit 1 when a page is not what the tables say
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import manpage  # noqa: E402

from tollama.cli import main as cli  # noqa: E402
from tollama.core import config, errors  # noqa: E402
from tollama.models import families  # noqa: E402


def commands() -> str:
    """The page of the command line."""
    lines = [
        "# Command line",
        "",
        "Data go to stdout, everything else to stderr. On a terminal the output is tables, bars and a chart;",
        "piped, it is JSON exactly as the API gives it (`--format` overrides). `tollama help COMMAND` prints the",
        "same as below.",
        "",
        "| exit code | meaning |",
        "|---|---|",
        "| 0 | done |",
        "| 1 | internal failure, or no disk space |",
        "| 2 | wrong usage or request |",
        "| 3 | not found, or a runtime is missing |",
        "| 4 | daemon or hub unreachable, or busy |",
        "| 5 | the model failed, or the deadline passed |",
        "| 130 | interrupted |",
        "",
    ]
    for command in cli.COMMANDS:
        module = import_module(f"tollama.cli.{command.module}")
        parser = cli.build(command, module)
        lines += [f"## {command.name}", "", command.summary + ".", "", "```bash"]
        lines += [*command.examples, "```", "", "| argument | meaning |", "|---|---|"]
        for action in parser._actions:
            if action.dest == "help":
                continue
            value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
            if action.choices and not action.metavar:
                value = " or ".join(map(str, action.choices))
            name = ", ".join(action.option_strings) or action.metavar or action.dest
            shown = f"`{name} {value}`" if action.option_strings and value else f"`{name}`"
            if not action.option_strings and action.choices:
                shown = f"`{name}`: {value}"
            text = (action.help or "").replace("%%", "%").replace("|", "\\|")
            lines.append(f"| {shown} | {text} |")
        lines.append("")
    return "\n".join(lines)


def configuration() -> str:
    """The page of settings."""
    lines = [
        "# Configuration",
        "",
        "Environment variables are read when a process starts. A bad value is an error that names its variable.",
        "",
        "| variable | meaning | default |",
        "|---|---|---|",
    ]
    for setting in config.SETTINGS:
        lines.append(f"| `{setting.name}` | {setting.doc} | {_shown(setting)} |")
    lines += [f"| `{name}` | {doc} | |" for name, doc in config.PATTERNS]
    lines += [
        "",
        "## config.json",
        "",
        "Persistent defaults in `$TOLLAMA_HOME/config.json` (0600), changed by `tollama config set KEY VALUE`. The",
        "daemon applies them to every client's pulls. For each field the request wins, then the environment, then",
        "config.json, then the default. Tokens are never stored: use `TOLLAMA_HF_TOKEN` or `pull --token`.",
        "",
        "| key | meaning | overridden by | default |",
        "|---|---|---|---|",
    ]
    for key in config.CONFIG_KEYS:
        env = ", ".join(f"`{name}`" for name in key.env)
        default = "" if key.default is None else str(key.default).lower()
        lines.append(f"| `{key.name}` | {key.doc} | {env} | {default} |")
    return "\n".join([*lines, ""])


def _shown(setting: config.Setting) -> str:
    value = setting.default
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return ":".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def error_table() -> str:
    """The table of errors for api.md."""
    rows = ["| code | HTTP status | exit code | meaning |", "|---|---|---|---|"]
    for code, cls in errors.BY_CODE.items():
        doc = (cls.__doc__ or "").splitlines()[0]
        rows.append(f"| `{code}` | {cls.status} | {cls.exit_code} | {doc} |")
    return "\n".join(rows) + "\n"


def model_table() -> str:
    """The table of models for models.md: a row a model, its families beside each other."""
    known: dict[str, families.Family] = {}
    for text in sorted((DOCS.parent / "runners").glob("*/runner.json")):
        family = families.parse(text.read_text(), str(text.parent))
        known[family.name] = family
    columns = (
        ("multivariate", "multivariate"),
        ("missing_values", "missing values"),
        ("past_covariates", "past covariates"),
        ("future_covariates", "future covariates"),
        ("categorical_covariates", "categorical"),
        ("embeddings", "embeddings"),
    )
    head = ["model", "families", "weights", "licence", "context", "horizon"]
    head += [title for _, title in columns]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in families.registry(known):
        offers = families.offers(known, name)
        offer = offers[0]
        source = "built in" if offer.builtin else offer.source.get("repo_id", "with its family")
        cells = [
            f"`{name}`",
            ", ".join(one.family for one in offers),
            source,
            str(offer.license.get("type", "")),
            f"{offer.context_length:,}" if offer.context_length else "any",
            f"{offer.max_horizon:,}" if offer.max_horizon else "any",
        ]
        for key, _ in columns:
            able = [one.family for one in offers if one.capabilities.get(key)]
            whole = len(able) == len(offers)
            cells.append("yes" if able and whole else f"{', '.join(able)} only" if able else "no")
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def filled(name: str, mark: str, text: str) -> str:
    """A page with the part between two marks replaced."""
    head, begin, rest = (DOCS / name).read_text().partition(f"<!-- {mark} -->\n")
    _, end, tail = rest.partition(f"<!-- /{mark} -->\n")
    return head + begin + text + end + tail


def pages() -> dict[str, str]:
    """Every generated page by file name."""
    return {
        "cli.md": commands(),
        "configuration.md": configuration(),
        "api.md": filled("api.md", "errors", error_table()),
        "models.md": filled("models.md", "models", model_table()),
        "tollama.1": manpage.page(),
    }


if __name__ == "__main__":
    found = pages()
    if "--check" in sys.argv:
        stale = [name for name, text in found.items() if (DOCS / name).read_text() != text]
        if stale:
            sys.exit(f"not what the tables say: {', '.join(stale)}; run: python docs/generate.py")
    else:
        for name, text in found.items():
            (DOCS / name).write_text(text)
