"""The scripts of `tollama completion`, from the tree of commands: bash, zsh, fish.

Not covered: what the tree is made of (completion.py).
"""

from __future__ import annotations

from tollama.cli.completion import ASKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tollama.cli.completion import Spec


def _valued(specs: list[Spec]) -> str:
    """Every option that takes a value, of whatever command."""
    found = {text: 0 for spec in specs for o in spec.options if o.kind for text in o.strings}
    return " ".join(found)


# -- bash -----------------------------------------------------------------------------------------

_BASH = r"""# tollama's completion for bash; in ~/.bashrc: eval "$(tollama completion bash)"
_tollama() {
  local cur=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} option= kind= place=0 i=2 word
  COMPREPLY=()
  case $command in
@ALIASES@
  esac
  # Which option's value is it, or which argument without a name? "--name=value" comes in 3 words.
  while ((i < COMP_CWORD)); do
    word=${COMP_WORDS[i]}
    if [[ $word == = ]]; then [[ $option ]] || ((i += 1))
    elif [[ $option ]]; then option=
    elif [[ " @VALUED@ " == *" $word "* ]]; then option=$word
    elif [[ $word != -?* ]]; then ((place += 1))
    fi
    ((i += 1))
  done
  [[ $cur == = ]] && cur=
  if ((COMP_CWORD == 1)); then kind='@COMMANDS@'
  elif [[ $option ]]; then
    case $command:$option in
@VALUES@
    esac
  elif [[ $cur == -* ]]; then
    case $command in
@OPTIONS@
    esac
  else
    case $command:$place in
@PLACES@
    esac
  fi
  local IFS=$'\n' head=
  case $kind in
    FILE) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    DIR) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")); return ;;
    MODELS) [[ $cur == *,* ]] && head=${cur%,*},
      compopt -o nospace 2>/dev/null
      kind=$(@PROGRAM@ completion models 2>/dev/null) ;;
    MODEL) kind=$(@PROGRAM@ completion models 2>/dev/null) ;;
    KNOWN) kind=$(@PROGRAM@ completion known 2>/dev/null) ;;
    INSTALLED) kind=$(@PROGRAM@ completion installed 2>/dev/null) ;;
    *) kind=${kind// /$'\n'} ;;
  esac
  COMPREPLY=($(compgen -P "$head" -W "$kind" -- "${cur#"$head"}"))
}
complete -F _tollama tollama
"""


def bash(specs: list[Spec], program: str) -> str:
    """The script for bash, 3.2 and newer."""
    aliases = [f"    {alias}) command={s.name} ;;" for s in specs for alias in s.aliases]
    values, options, places = [], [], []
    for spec in specs:
        texts = " ".join(text for option in spec.options for text in option.strings)
        options.append(f"      {spec.name}) kind='{texts}' ;;")
        kinds: dict[str, list[str]] = {}
        for option in spec.options:
            if option.kind not in ("", "ANY"):
                found = kinds.setdefault(option.kind, [])
                found += [f"{spec.name}:{text}" for text in option.strings]
        values += [f"      {'|'.join(found)}) kind='{kind}' ;;" for kind, found in kinds.items()]
        for number, place in enumerate(spec.places):
            if place.kind != "ANY":
                at = "*" if place.many else number
                places.append(f"      {spec.name}:{at}) kind='{place.kind}' ;;")
    return _filled(
        _BASH,
        ALIASES="\n".join(aliases),
        VALUED=_valued(specs),
        COMMANDS=" ".join([*(s.name for s in specs), *(a for s in specs for a in s.aliases)]),
        VALUES="\n".join(values),
        OPTIONS="\n".join(options),
        PLACES="\n".join(places),
        PROGRAM=program,
    )


# -- zsh ------------------------------------------------------------------------------------------

_ZSH = r"""#compdef tollama
# tollama's completion for zsh; in ~/.zshrc, after compinit: eval "$(tollama completion zsh)"
_tollama_names() {
  local -a found=(${(f)"$(@PROGRAM@ completion $1 2>/dev/null)"})
  compadd "${@:2}" -a found
}
_tollama_list() {
  compset -P '*,'
  compset -S ',*'
  local -a found=(${(f)"$(@PROGRAM@ completion models 2>/dev/null)"})
  compadd -q -S ',' -a found
}
_tollama() {
  local curcontext=$curcontext state line
  local -a commands=(
@COMMANDS@
  )
  _arguments -C '1: :->command' '*:: :->rest' && return
  if [[ $state == command ]]; then _describe -t commands command commands; return; fi
  case $words[1] in
@CASES@
  esac
}
if [[ $funcstack[1] == _tollama ]]; then _tollama "$@"; else compdef _tollama tollama; fi
"""

_ZSH_KINDS = {
    "FILE": "_files",
    "DIR": "_files -/",
    **{kind: f"{{_tollama_names {word}}}" for kind, word in ASKED.items()},
    "MODELS": "_tollama_list",
    "ANY": " ",
}


def zsh(specs: list[Spec], program: str) -> str:
    """The script for zsh, by its _arguments."""
    commands, cases = [], []
    for spec in specs:
        lines = []
        commands += [
            f"    {_quoted(f'{name}:{spec.summary}')}" for name in (spec.name, *spec.aliases)
        ]
        for option in spec.options:
            text = "[" + "".join(f"\\{c}" if c in "[]:\\" else c for c in option.help) + "]"
            value = f":{option.strings[-1].strip('-')}:{_zsh_kind(option.kind)}"
            group = "*" if option.repeats else f"({' '.join(option.strings)})"
            for name in option.strings:
                equals = "=" if option.kind and name.startswith("--") else ""
                lines.append(
                    _quoted(f"{group}{name}{equals}{text}" + (value if option.kind else ""))
                )
        for number, place in enumerate(spec.places, 1):
            at = "*" if place.many else number
            lines.append(_quoted(f"{at}:{place.title}:{_zsh_kind(place.kind)}"))
        arguments = " \\\n      ".join(lines)
        cases.append(
            f"    {'|'.join([spec.name, *spec.aliases])}) _arguments \\\n      {arguments} ;;"
        )
    return _filled(_ZSH, COMMANDS="\n".join(commands), CASES="\n".join(cases), PROGRAM=program)


def _zsh_kind(kind: str) -> str:
    return _ZSH_KINDS.get(kind) or f"({kind})"


# -- fish -----------------------------------------------------------------------------------------

_FISH = r"""# tollama's completion for fish; save it as ~/.config/fish/completions/tollama.fish
function __tollama_at # COMMANDS [PLACE]: is one of them given, with so many arguments after it?
    set -l words (commandline -opc)
    set -e words[1]
    set -q words[1]; or set words ''
    contains -- $words[1] (string split ' ' -- $argv[1]); or return 1
    set -q argv[2]; or return 0
    set -l place 0
    set -l option 0
    for word in $words[2..-1]
        if test $option = 1
            set option 0
        else if contains -- $word @VALUED@
            set option 1
        else if not string match -qr -- '^-.' $word
            set place (math $place + 1)
        end
    end
    test $option = 0; and begin; test $argv[2] = any; or test $argv[2] = $place; end
end
function __tollama_list # models after the last comma
    set -l head (commandline -ct | string replace -r '[^,=]*$' '' | string replace -r '^-.*=' '')
    printf "$head%s\\n" (@PROGRAM@ completion models 2>/dev/null)
end
complete -c tollama -e
complete -c tollama -f
@LINES@
"""

_FISH_KINDS = {
    "FILE": "-r -F",
    "DIR": "-x -a '(__fish_complete_directories)'",
    "MODELS": "-x -a '(__tollama_list)'",
    "ANY": "-x",
    "": "",
}


def fish(specs: list[Spec], program: str) -> str:
    """The script for fish, 3.1 and newer."""
    kinds = {
        **_FISH_KINDS,
        **{
            kind: f"-x -a '({program} completion {word} 2>/dev/null)'"
            for kind, word in ASKED.items()
        },
    }
    lines = []
    for spec in specs:
        names = " ".join([spec.name, *spec.aliases])
        summary = _fish_quoted(spec.summary)
        lines.append(f"complete -c tollama -n '__tollama_at \"\"' -a '{names}' -d {summary}")
        at = f'complete -c tollama -n \'__tollama_at "{names}"'
        for option in spec.options:
            flags = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in option.strings
            )
            kind = kinds.get(option.kind, f"-x -a '{option.kind}'")
            lines.append(f"{at}' {flags} {kind} -d {_fish_quoted(option.help)}")
        for number, place in enumerate(spec.places):
            if place.kind != "ANY":
                kind = kinds.get(place.kind, f"-x -a '{place.kind}'")
                kind = kind.replace("-r ", "").replace("-x ", "")
                lines.append(f"{at} {'any' if place.many else number}' {kind}")
    return _filled(_FISH, VALUED=_valued(specs), LINES="\n".join(lines), PROGRAM=program)


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _filled(template: str, **parts: str) -> str:
    for name, text in parts.items():
        template = template.replace(f"@{name}@", text)
    return template
