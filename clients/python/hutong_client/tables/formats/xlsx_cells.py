"""Cells of an .xlsx as the workbook shows them, where the format of a number changes what the number means.

A date without a time of day is stored as midnight, and a number with leading zeros without them. Only the format of the
cell tells. openpyxl returns formats at a cost, so they are read only if the workbook uses such a format.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from typing import Any
from zipfile import ZipFile

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_datetime
from openpyxl.xml.functions import fromstring

_STYLES = "xl/styles.xml"
_ZEROS = re.compile(r"0{2,}")
"""A format that fills a number up with zeros."""


def has_telling_formats(archive: ZipFile) -> bool:
    """Check whether a workbook uses a format of dates without a time of day, or of numbers with leading zeros."""
    if _STYLES not in archive.namelist():
        return False
    root: Any = fromstring(archive.read(_STYLES))
    own = {one.get("numFmtId"): one.get("formatCode", "") for one in root.iter() if _is(one, "numFmt")}
    used = {one.get("numFmtId", "0") for part in root.iter() if _is(part, "cellXfs") for one in part}
    formats = (own.get(number) or BUILTIN_FORMATS.get(int(number), "") for number in used)
    return any(_is_date(code) or _ZEROS.fullmatch(code) for code in formats)


def _is(element: Any, name: str) -> bool:
    return str(element.tag).rpartition("}")[2] == name


@lru_cache(maxsize=256)
def _is_date(code: str) -> bool:
    return is_datetime(code) == "date"


def read_as_shown(cell: Any) -> Any:
    """Return the value of a cell: a date without a time of day, or a number with leading zeros, as text."""
    value = cell.value
    if type(value) is dt.datetime:
        if value.time() == dt.time() and _is_date(cell.number_format):
            return f"{value:%Y-%m-%d}"
    elif type(value) is int and value >= 0 and _ZEROS.fullmatch(code := cell.number_format):
        return f"{value:0{len(code)}}"
    return value
