"""Writers of small files in the formats and layouts of laboratories.

Numbers of documents are of births in the 1800s.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xlwt
from openpyxl import Workbook

TITLES = ("姓名", "身份证号", "采样时间", "检测结果", "报告时间", "管号", "混检人数", "报告编号")
ENGLISH = ("name", "card_no", "sample_date", "nat_result", "report_date", "tube_code", "pool_size", "report_no")
SAMPLED, REPORTED = "2022-08-09 06:00:00", "2022-08-09 12:00:00"
SIX, NOON = dt.datetime(2022, 8, 9, 6), dt.datetime(2022, 8, 9, 12)  # noqa: DTZ001 - a workbook knows no zones
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def card(number: int, region: str = "220502") -> str:
    """Return a resident identity card's number of a birth in 1887, with its check digit."""
    body = f"{region}18870303{number:03}"
    return body + "10X98765432"[sum(int(digit) * weight for digit, weight in zip(body, _WEIGHTS, strict=True)) % 11]


def person(number: int, code: Any = None, size: Any = 1, result: str = "阴性", **changes: Any) -> list[Any]:
    """Return a row under TITLES. Keywords replace cells by the English title."""
    own = f"T{number:04}" if code is None else code
    row = [f"示例{number}", card(number), SAMPLED, result, REPORTED, own, size, f"R{number:04}"]
    for title, cell in changes.items():
        row[ENGLISH.index(title)] = cell
    return row


def members(
    code: str, size: Any, count: int, *, first: int = 1, result: str = "阴性", rest: Any = ""
) -> list[list[Any]]:
    """Return a pool whose code and size stand in its first row alone; `rest` is the size in the others."""
    rows = [person(first + at, "", rest, result) for at in range(count)]
    rows[0][5:7] = [code, size]
    return rows


def plus(title: str, *cells: Any, rows: Sequence[Sequence[Any]] | None = None) -> list[list[Any]]:
    """Return a table with one more column: a row for each cell."""
    people = rows or [person(number + 1) for number in range(len(cells))]
    return [[*TITLES, title], *([*row, cell] for row, cell in zip(people, cells, strict=True))]


def as_text(rows: Sequence[Sequence[Any]], delimiter: str = ",") -> str:
    """Return rows as separated values."""
    return "".join(delimiter.join("" if cell is None else str(cell) for cell in row) + "\r\n" for row in rows)


def csv(
    rows: Sequence[Sequence[Any]], encoding: str = "utf-8", delimiter: str = ",", suffix: str = ".csv"
) -> Callable[[Path], Path]:
    """Return a maker of a text file."""
    return lambda folder: _write(folder / f"day{suffix}", as_text(rows, delimiter).encode(encoding))


def ndjson(*records: Mapping[str, Any]) -> Callable[[Path], Path]:
    """Return a maker of an NDJSON file."""
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return lambda folder: _write(folder / "day.ndjson", text.encode())


def xlsx(
    *sheets: tuple[str, Sequence[Sequence[Any]]],
    merged: Sequence[str] = (),
    hidden: Sequence[str] = (),
    hidden_rows: Sequence[int] = (),
) -> Callable[[Path], Path]:
    """Return a maker of an .xlsx. Merged ranges and hidden rows are of the first sheet."""

    def make(folder: Path) -> Path:
        book = Workbook()
        book.remove(book.worksheets[0])
        for name, rows in sheets:
            sheet = book.create_sheet(name)
            sheet.sheet_state = "hidden" if name in hidden else "visible"
            for row in rows:
                sheet.append([None if cell == "" else cell for cell in row])
        for span in merged:
            book.worksheets[0].merge_cells(span)
        for number in hidden_rows:
            book.worksheets[0].row_dimensions[number].hidden = True
        book.save(folder / "day.xlsx")
        return folder / "day.xlsx"

    return make


def xls(
    *sheets: tuple[str, Sequence[Sequence[Any]]],
    merged: Sequence[tuple[int, int, int]] = (),
    error: tuple[int, int] | None = None,
    hidden: Sequence[str] = (),
    hidden_rows: Sequence[int] = (),
) -> Callable[[Path], Path]:
    """Return a maker of an .xls. A merged range is given by its column and its first and last row, counted from 0."""

    def make(folder: Path) -> Path:
        book = xlwt.Workbook()
        date = xlwt.easyxf(num_format_str="yyyy-mm-dd hh:mm:ss")
        for index, (name, rows) in enumerate(sheets):
            sheet = book.add_sheet(name, cell_overwrite_ok=True)
            sheet.visibility = int(name in hidden)
            spans = merged if index == 0 else ()
            inside = {(at, row) for at, top, bottom in spans for row in range(top, bottom + 1)}
            for number, row in enumerate(rows):
                for at, cell in enumerate(row):
                    if (at, number) not in inside:
                        sheet.write(number, at, cell, *([date] if isinstance(cell, dt.datetime) else []))
            for at, top, bottom in spans:
                sheet.write_merge(top, bottom, at, at, rows[top][at])
            if error and index == 0:
                sheet.row(error[0]).set_cell_error(error[1], "#REF!")
            for number in hidden_rows if index == 0 else ():
                sheet.row(number - 1).hidden = True
        book.save(str(folder / "day.xls"))
        return folder / "day.xls"

    return make


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
