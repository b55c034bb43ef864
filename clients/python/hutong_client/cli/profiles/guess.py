"""Guess the settings of a source system from one of its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from hutong_client.cli.profiles.columns import parse_columns
from hutong_client.formatting import SHANGHAI
from hutong_client.tables.columns.header import name_columns
from hutong_client.tables.columns.vocabulary import IGNORED
from hutong_client.tables.faults import BadCell
from hutong_client.tables.items import SARS_COV_2_ITEMS, read_item
from hutong_client.tables.open import open_table
from hutong_client.tables.rows import Cell
from hutong_client.tables.times import has_zone, parse_time
from hutong_client.tables.values import read_outcome

_ROWS = 200
"""Number of rows that are looked at."""
_MOST = 0.8
"""The share of the cells that must have the form of a column. The others may be faulty."""
_CARD = re.compile(r"\d{17}[\dXx]")
_CODE = re.compile(r"[A-Za-z0-9-]{3,64}")
_USCC = re.compile(r"[0-9A-Z]{2}(\d{6})[0-9A-Z]{10}")
"""A laboratory's unified social credit code. Its six digits are the region where it is registered."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What a file shows of its source system.

    Attributes:
        titles: each title with its column; an empty column for a title that is not understood.
        columns: "TITLE=COLUMN" for the columns that were guessed by their cells.
        has_zone: whether the file's times have a zone.
        has_region: whether the file has a column of the place of sampling.
        items: the items that the file names besides the default one.
    """

    titles: Sequence[tuple[str, str]]
    columns: Sequence[str]
    has_zone: bool
    has_region: bool
    items: Sequence[str]


def guess(file: Path, encoding: str, columns: Sequence[str]) -> Guess:
    """Look at the first rows of a file. The columns that are given are not guessed.

    Raises:
        NotATable: the file is no table, or no title of it is known.
    """
    lenient = replace(parse_columns(columns), required=(), expected=())
    with open_table(file, lenient, encoding) as table:
        rows = list(islice(table, _ROWS))
        known = name_columns(table.header, lenient)
        missing = {*_TESTS} - {*known.values()}
        guessed: dict[int, str] = {}
        for at, title in enumerate(table.header):
            texts = [row.original[at].strip() for row in rows if at < len(row.original) and row.original[at].strip()]
            if at in known or not texts or not title.strip() or title.startswith(IGNORED):
                continue
            column = next((name for name in _TESTS if name in missing and _TESTS[name](title.lower(), texts)), None)
            if column:
                guessed[at] = column
                missing.discard(column)
        cells = [row.cells for row in rows]
        times = [
            cell for row in cells for name in ("sample_date", "report_date") if (cell := row.get(name)) is not None
        ]
        return Guess(
            titles=[(title, (known | guessed).get(at, "")) for at, title in enumerate(table.header) if title.strip()],
            columns=[f"{table.header[at]}={column}" for at, column in guessed.items()],
            has_zone=any(map(has_zone, times)),
            has_region="sample_region" in known.values(),
            items=sorted({_item(row.get("check_project"), row.get("check_method")) for row in cells} - {""}),
        )


def region_of(lab: str) -> str:
    """Return the region in a laboratory's code; empty if the code has none."""
    match = _USCC.fullmatch(lab.removeprefix("labs/"))
    return match[1] if match and match[1][:2] != "00" else ""


def _item(project: Cell | None, method: Cell | None) -> str:
    try:
        return read_item(project, method, SARS_COV_2_ITEMS)
    except BadCell:
        return ""


def _is_time(text: str) -> bool:
    try:
        parse_time(text, SHANGHAI)
    except BadCell:
        return False
    return True


def _is_outcome(text: str) -> bool:
    try:
        read_outcome(text, 1)
    except BadCell:
        return False
    return True


def _is_any(title: str, words: Sequence[str]) -> bool:
    return any(word in title for word in words)


def _are_most(texts: Sequence[str], test: Callable[[str], object]) -> bool:
    return sum(bool(test(text)) for text in texts) >= _MOST * len(texts)


def _is_report_number(title: str, texts: Sequence[str]) -> bool:
    unique = len({*texts}) == len(texts) and all(map(_CODE.fullmatch, texts))
    return unique and _is_any(title, ("报告", "单号", "report", "编号")) and not any(map(_CARD.fullmatch, texts))


_TESTS: dict[str, Callable[[str, Sequence[str]], bool]] = {
    "card_no": lambda _, texts: _are_most(texts, _CARD.fullmatch),
    "nat_result": lambda _, texts: _are_most(texts, _is_outcome),
    "sample_date": lambda title, texts: _is_any(title, ("采", "sampl", "collect")) and _are_most(texts, _is_time),
    "report_date": lambda title, texts: (
        _is_any(title, ("报", "出", "发布", "审", "report", "issue")) and _are_most(texts, _is_time)
    ),
    "tube_code": lambda title, texts: _is_any(title, ("管", "条码", "tube")) and _are_most(texts, _CODE.fullmatch),
    "report_no": _is_report_number,
    "name": lambda title, texts: _is_any(title, ("名", "name")) and not any(map(_CODE.fullmatch, texts)),
}
"""Column → check whether an unknown title and the cells under it belong to the column. The surest column is first."""
