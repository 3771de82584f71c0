"""A table of text cells as series: header, roles of the columns, long, wide and headerless forms.

`series_from_rows` takes the rows of any table (CSV, Parquet, JSON records) and yields plain dicts of
the request schema. It reads everything first and then groups by id, or, when `streaming`, settles
roles and styles on the first `SAMPLE` rows and holds one series at a time.
Not covered: bytes, delimiters and file types (`data`), and what one cell means (`cells`).
"""

from __future__ import annotations

from collections import namedtuple

from ..core import errors
from . import cells as c

SAMPLE = 5_000

TIME_NAMES = (
    "ds timestamp timestamps datetime date time period month day week quarter year "
    "observationdate hour index step t"
).split()
ID_NAMES = "uniqueid itemid seriesid tsid id series item".split()
SORT_OF_ID = (
    "store shop sku product item dept department family region country state city ticker symbol "
    "station sensor device customer site location meter channel category brand group key name label "
    "code unit line"
).split()
TARGET_NAMES = "y target value values".split()
SORT_OF_TARGET = (
    "sales demand close adjclose count quantity qty amount price load consumption total "
    "revenue volume orders visits units passengers"
).split()

Options = namedtuple(
    "Options",
    "id_column time_column target_column covariates freq name decimal date_order",
    defaults=(None, None, None, (), None, None, None, None),
)
"""What the caller knows of the table; None and () leave it to detection."""

_Roles = namedtuple("_Roles", "layout header ids times target covariates numeric kind order style")


def series_from_rows(rows, options, notes, where, *, streaming=False):  # type: ignore[no-untyped-def]
    raise NotImplementedError
