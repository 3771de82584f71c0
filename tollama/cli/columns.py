"""Which column of a table is what: time, id, target, covariates; long, wide or one series a line.

Names are looked at first, then what the cells hold. Columns left over are ignored with a note,
never silently. Not covered: headers (`sheet`), the time (`timecolumns`), the cells (`tables`).
"""

from __future__ import annotations

import re
from collections import namedtuple

from tollama.cli import cells as c
from tollama.cli import timecolumns
from tollama.cli.sheet import ID_NAMES, TARGET_NAMES, Sheet, words
from tollama.core import errors

Roles = namedtuple("Roles", "layout header ids times target covariates others texts style")
"""Column indexes by role. `layout`: "long", "wide" or "rows" (one series a line); `times`: a
timecolumns.Times; `others`: columns not used; `texts`: all
columns of text; `style`: {index: NumberStyle}."""

_LIKE_ID = frozenset(
    words(
        "store shop sku product dept department family region country state city ticker symbol "
        "station sensor device customer site location meter channel category brand group key name "
        "label code unit line item"
    )
)
_LIKE_TARGET = words(
    "sales demand close adjclose count quantity qty amount price load consumption total revenue "
    "volume orders visits units passengers"
)
_TARGETS = (*TARGET_NAMES, *_LIKE_TARGET)
_ROW_NUMBERS = frozenset(("column1", "unnamed0", "index", "id", "no", "row", "rownames"))


def roles(sheet: Sheet) -> Roles:
    """The role of every column, from the caller's options, the names and the cells."""
    options = sheet.options
    target = sheet.named(options.target_column, "--target")
    ids = sheet.named(options.id_column, "--id")
    covariates = _covariates(sheet, {*target, *ids})
    taken = {*target, *ids, *covariates}
    times = timecolumns.find(sheet, taken)
    if not (times.indexes or ids or target) and (found := _row_layout(sheet)):
        return found
    taken |= {*times.indexes}
    if _counts_rows(sheet, taken):
        taken.add(0)
    if not ids:
        ids = _find_id(sheet, taken, times)
        taken |= {*ids}
    layout = "long" if ids or target else "wide"
    if not target:
        target, layout = _find_target(sheet, taken, layout)
    if len(target) > 1 and ids:
        raise errors.InvalidRequest(
            f"{sheet.where}: --target: expected one column beside an id, got {len(target)}"
        )
    taken |= {*target}
    others = tuple(i for i in range(len(sheet.header)) if i not in taken)
    _say_unused(sheet, others, layout)
    if sheet.bare and len(target) > 1:
        names = ", ".join(sheet.header[i] for i in target[:4])
        sheet.notes.append(
            f"{sheet.where}: no header; {len(target)} columns of numbers read as series {names}"
            + (" ..." if len(target) > 4 else "")
        )
    style = _styles(sheet, [*target, *(i for i in covariates if sheet.kinds[i] != "text")])
    return Roles(
        layout,
        sheet.header,
        tuple(ids),
        times,
        tuple(target),
        tuple(covariates),
        others,
        frozenset(i for i, kind in enumerate(sheet.kinds) if kind == "text"),
        style,
    )


def _covariates(sheet: Sheet, taken: set[int]) -> list[int]:
    found = [i for name in sheet.options.covariates for i in sheet.named(name, "--covariates")]
    for i in found:
        if i in taken:
            raise errors.InvalidRequest(
                f"{sheet.where}: --covariates: {sheet.header[i]!r} is the id or the target already"
            )
    return list(dict.fromkeys(found))


def _say_unused(sheet: Sheet, others: tuple[int, ...], layout: str) -> None:
    if not others:
        return
    names = ", ".join(sheet.header[i] for i in others[:6])
    more = f" and {len(others) - 6} more" if len(others) > 6 else ""
    hint = "" if layout == "wide" else " (--covariates NAME,... passes them to the model)"
    sheet.notes.append(f"{sheet.where}: columns not used: {names}{more}{hint}")


def _counts_rows(sheet: Sheet, taken: set[int]) -> bool:
    """Whether the first column only counts the rows, as pandas writes its index."""
    if 0 in taken or len(sheet.header) < 2 or sheet.keys[0] not in _ROW_NUMBERS or sheet.bare:
        return False
    texts = [t.strip() for t in sheet.cells(0, 500)]
    counts = [[str(i + start) for i in range(len(texts))] for start in (0, 1)]
    return len(texts) > 1 and texts in counts


# -- id -------------------------------------------------------------------------------------------


def _find_id(sheet: Sheet, taken: set[int], times: timecolumns.Times) -> list[int]:
    """The id columns: by a usual name, else whatever makes rows of equal time differ."""
    free = [i for i in range(len(sheet.header)) if i not in taken]
    usual = next((i for name in ID_NAMES for i in free if sheet.keys[i] == name), None)
    if not times.indexes:
        return [] if usual is None else [usual]
    likely = [
        i
        for i in free
        if i != usual
        and (sheet.kinds[i] == "text" or (sheet.keys[i] in _LIKE_ID and sheet.kinds[i] == "number"))
    ]
    if usual is not None and (not likely or _tells_apart(sheet, times, [usual])):
        return [usual]
    if usual is None and _tells_apart(sheet, times, []):
        return _only_id(sheet, likely, free)
    first = [] if usual is None else [usual]
    groups = [[*first, i] for i in likely]
    for group in [*groups, [*first, *likely]]:
        if group and _tells_apart(sheet, times, sorted(group)):
            if len(group) > 1 or sheet.keys[group[0]] not in _LIKE_ID:
                names = ",".join(sheet.header[i] for i in sorted(group))
                sheet.notes.append(
                    f"{sheet.where}: taken as id: {names} (--id NAME,... chooses others)"
                )
            return sorted(group)
    return first


def _tells_apart(sheet: Sheet, times: timecolumns.Times, ids: list[int]) -> bool:
    """Whether no two rows have the same time and id."""
    width = len(sheet.header)
    seen = set()
    for _, values in sheet.rows:
        if len(values) == width:
            place = (timecolumns.cell(values, times).strip(), *(values[i].strip() for i in ids))
            if place in seen:
                return False
            seen.add(place)
    return True


def _only_id(sheet: Sheet, likely: list[int], free: list[int]) -> list[int]:
    """A table of one series: the one column of text that says the same in every row is its id.

    Beside several columns of numbers, none of them called a target, it is a remark on all of them.
    """
    numeric = [i for i in free if sheet.kinds[i] == "number"]
    if len(numeric) > 1 and not any(sheet.keys[i] in _TARGETS for i in numeric):
        return []
    same = [i for i in likely if len({t.strip() for t in sheet.cells(i)}) == 1]
    return same if len(same) == 1 and sheet.kinds[same[0]] == "text" else []


# -- target ---------------------------------------------------------------------------------------


def _find_target(sheet: Sheet, taken: set[int], layout: str) -> tuple[list[int], str]:
    free = [i for i in range(len(sheet.header)) if i not in taken]
    numeric = [i for i in free if sheet.kinds[i] == "number"]
    usable = [i for i in free if sheet.kinds[i] != "text"]
    for name in _TARGETS if layout == "long" else TARGET_NAMES:
        for i in free:
            if sheet.keys[i] == name and i in usable:
                return [i], "long"
            if sheet.keys[i] == name and sheet.share(i, c.looks_numeric) > 0:
                raise _no_number(sheet, i)
    if not numeric and len(usable) == 1:
        numeric = usable
    if not numeric:
        for i in free:
            if sheet.share(i, c.looks_numeric) >= 0.5 or sheet.keys[i] in TARGET_NAMES:
                raise _no_number(sheet, i)
        raise errors.InvalidRequest(
            f"{sheet.where}: expected a column of numbers to forecast, found none among "
            f"{', '.join(sheet.header[:12])}; --target NAME chooses one"
        )
    if layout == "long" and len(numeric) > 1:
        names = ", ".join(sheet.header[i] for i in numeric)
        raise errors.InvalidRequest(
            f"{sheet.where}: expected one column to forecast, found {names}; choose with --target"
        )
    return numeric, layout


def _no_number(sheet: Sheet, index: int) -> errors.InvalidRequest:
    """The first cell that keeps a column from being one of numbers."""
    line, text = sheet.first_bad(index, c.looks_numeric) or (1, sheet.header[index])
    return errors.InvalidRequest(
        f"{sheet.at(index, line)}: expected a number or an empty cell, got {errors.shown(text)}"
    )


def _row_layout(sheet: Sheet) -> Roles | None:
    """One series a line: distinct ids first, then columns called V1, V2, ... or by dates."""
    if len(sheet.header) < 3 or sheet.bare:
        return None
    ids = [t.strip() for t in sheet.cells(0)]
    if len(set(ids)) != len(ids) or not (sheet.kinds[0] == "text" or sheet.keys[0] in ID_NAMES):
        return None
    first = next((i for i in range(1, len(sheet.header)) if sheet.kinds[i] != "text"), 0)
    target = tuple(range(first, len(sheet.header)))
    if not first or len(target) < 2 or any(sheet.kinds[i] == "text" for i in target):
        return None
    names = [sheet.header[i] for i in target]
    kind = c.date_kind(names, named=True)
    times = timecolumns.NONE
    if kind and kind != "numeric" and _all_dates(names, c.DateStyle(kind, "")):
        times = times._replace(date=c.DateStyle(kind, ""))
    else:
        counted = [re.fullmatch(r"\D*(\d+)", name) for name in names]
        numbers = [int(m.group(1)) if m else -1 for m in counted]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            return None
    texts = [t for i in target for t in sheet.cells(i)]
    style = c.number_style(texts, sheet.options.decimal) or c.NumberStyle(".")
    return Roles("rows", sheet.header, (0,), times, target, (), (), frozenset(), {first: style})


def _all_dates(names: list[str], style: c.DateStyle) -> bool:
    try:
        return all(c.as_timestamp(name, style) for name in names)
    except ValueError:
        return False


# -- numbers --------------------------------------------------------------------------------------


def _styles(sheet: Sheet, indexes: list[int]) -> dict[int, c.NumberStyle]:
    """The number style of each column; one that leaves it open takes that of the others."""
    found = {i: c.number_style(sheet.cells(i), sheet.options.decimal) for i in indexes}
    commas = any(s is not None and s.decimal == "," for s in found.values())
    points = any(
        s is not None and s.decimal == "." and any("." in t for t in sheet.cells(i))
        for i, s in found.items()
    )
    styles = {}
    for i, style in found.items():
        if style is None:
            if commas == points:
                example = next(t.strip() for t in sheet.cells(i) if "," in t)
                raise errors.InvalidRequest(
                    f"{sheet.at(i)}: {errors.shown(example)} could have a decimal comma or "
                    "thousands; say --decimal , or --decimal ."
                )
            style = c.NumberStyle("," if commas else ".")
        elif style.decimal == "." and commas:
            other = c.NumberStyle(",")
            if c.as_numbers(sheet.cells(i), other)[1] is None:
                style = other
        styles[i] = style
    return styles
