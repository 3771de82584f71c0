"""verify: whether models' files are still right, and whether two families forecast alike.

The work is done here, on TOLLAMA_HOME itself and never through the daemon.

Not covered: how files are checked (models/verification.py) and what is asked of two families
(core/agreement.py).
"""

from __future__ import annotations

from tollama.cli.kits import Progress, say, size_text
from tollama.cli.models import add_format, as_json, print_json, print_table
from tollama.core import config
from tollama.core.errors import BadForecast, InvalidRequest, TollamaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from tollama.cli.call import Local

# Both compute where both can, and in one number format.
ALIKE = {"device": "cpu", "dtype": "float32"}


def add_verify(parser: ArgumentParser) -> None:
    """The arguments of `verify`."""
    parser.add_argument("model", nargs="*", help="installed models (default: all)")
    parser.add_argument(
        "--against", metavar="FAMILY", help="forecast built-in series on two families and compare"
    )
    add_format(parser, "table", "json")


def verify(args: Namespace) -> int:
    """Hash the files of models again and compare with their manifests."""
    from tollama.core import names
    from tollama.models import store, verification

    if args.against and not args.model:
        raise InvalidRequest("verify --against: expected the name of a model")
    home = config.home()
    if args.model:
        models = [store.get(home, names.check(name)) for name in args.model]
    else:
        models, warnings = store.listed(home)
        for text in warnings:
            say(f"warning: {text}")
    failures: list[TollamaError] = []
    results: list[dict[str, Any]] = []
    with Progress() as progress:
        for model in models:
            found = verification.problems(model, progress.report)
            progress.end()
            count = len(model.manifest.get("files") or ())
            size = model.manifest.get("size_bytes") or 0
            results.append({"model": model.name, "files": count, "size": size, "problems": found})
            if found:
                failures.append(verification.failure(model, found))
                if len(models) > 1:
                    say(f"error: {failures[-1].message}")
            else:
                say(f"verified '{model.name}': {count} files, {size_text(size)}")
    if args.against and not failures:
        failures = _compare(args, results)
    if as_json(args):
        print_json({"models": results})
    if len(failures) == 1 == len(models):
        raise failures[0]
    return failures[0].exit_code if failures else 0


def _compare(args: Namespace, results: list[dict[str, Any]]) -> list[TollamaError]:
    """Adds to each result what two families make of the built-in series; the disagreements."""
    from tollama.cli.call import Local

    failures: list[TollamaError] = []
    here = Local()
    try:
        for result in results:
            found = result["against"] = _compared(here, result["model"], args.against)
            if not as_json(args):
                print_table(
                    ["SERIES", f"{' - '.join(found['families']).upper()}, SHARE OF PEAK"],
                    [[case["name"], f"{case['difference']:.1e}"] for case in found["cases"]],
                )
            worst = max(found["cases"], key=lambda case: case["difference"])
            first, second = found["families"]
            if worst["difference"] <= found["tolerance"]:
                say(
                    f"{first} and {second} forecast '{result['model']}' alike: at most "
                    f"{worst['difference']:.1e} of a series' peak apart"
                )
                continue
            failures.append(
                BadForecast(
                    f"model '{result['model']}': {first} and {second} are "
                    f"{worst['difference']:.1e} of the peak apart on the series "
                    f"'{worst['name']}', expected at most {found['tolerance']:.0e}"
                )
            )
            if len(results) > 1:
                say(f"error: {failures[-1].message}")
    finally:
        here.close()
    return failures


def _compared(here: Local, name: str, against: str) -> dict[str, Any]:
    """The families, the tolerance, and the largest difference of each case."""
    from tollama.core import agreement

    families = _families(here, name, against)
    can, longest, options = _common(here, name, families)
    cases: list[dict[str, Any]] = []
    asked = list(agreement.requests(name, can, longest))
    with Progress() as progress:
        for case, request in asked:
            progress.report(f"comparing {name}", len(cases), len(asked), unit="requests")
            answers = []
            for family in families:
                body = {**request, "options": {**options, "family": family}}
                answers.append(here.call("POST", "/v1/forecast", body))
            cases.append({"name": case, "difference": agreement.difference(request, *answers)})
    return {"families": list(families), "tolerance": agreement.TOLERANCE, "cases": cases}


def _families(here: Local, name: str, against: str) -> tuple[str, str]:
    """The family that would run the model if `against` did not, and that one."""
    from tollama.daemon import launches

    model = here.service.model(name)
    if against not in model.families:
        raise InvalidRequest(
            f"--against: expected one of {', '.join(model.families)} for model '{name}', "
            f"got {against!r}"
        )
    others = tuple(family for family in model.families if family != against)
    if not others:
        raise InvalidRequest(f"--against: only the family {against} runs model '{name}'")
    here.service.launch(model, against)  # says what to install before anything is computed
    known = {family: here.service.families[family] for family in others}
    first, _ = launches.choose(
        model._replace(families=others),
        known,
        home=here.service.home,
        environ=here.service.environ,
        asked=others[0] if len(others) == 1 else None,
    )
    return first.name, against


def _common(
    here: Local, name: str, chosen: tuple[str, str]
) -> tuple[dict[str, bool], int | None, dict[str, str]]:
    """What both families can do with the model, its horizon, and options that make them alike."""
    from tollama.models import families

    model = here.service.model(name)
    found = [
        families.offer_in(
            here.service.families[family], model.base, model.manifest.get("architecture")
        )
        for family in chosen
    ]
    offers = [offer for offer in found if offer is not None]
    if len(offers) < 2:
        return {}, None, {}
    first, second = offers
    can = {key: bool(value and second.capabilities.get(key)) for key, value in
           first.capabilities.items()}  # fmt: skip
    options = {k: v for k, v in ALIKE.items() if k in first.options and k in second.options}
    return can, first.max_horizon, options
