"""Workbooks of .xls, .xlsb and .ods: what a spreadsheet program shows or hides besides the values of cells."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import xlwt

from tests.support.client.laboratory_formats import NOON, SIX, TITLES, members, person, plus, xls
from tests.support.client.laboratory_kind import Kind
from tests.support.client.laboratory_old_formats import EMPTY_TEXT, ERROR, NO_VALUE, WITH_ZEROS, ZEROS, Look, ods, xlsb
from tests.support.client.laboratory_words import ONE

TWO = {**ONE, "T0002": 1}
THREE = {**TWO, "T0003": 1}
PEOPLE = [TITLES, person(1), person(2)]
POOL = [TITLES, *members("S1", 10, 4)]
MORNING, AFTERNOON, OLD = ("上午", PEOPLE), ("下午", [TITLES, person(3)]), ("旧", [TITLES, person(7)])
WRONG = [TITLES, person(1), person(2, ERROR), person(3)]
MERGED = [(5, 1, 3)]
HIDDEN_OLD = {"旧": Look(hidden=True)}
EMPTY_ROWS = (
    '<table:table-row table:visibility="collapse" table:number-rows-repeated="1048000"><table:table-cell/>'
    "</table:table-row>"
)


def with_formula(folder: Path) -> Path:
    """Write an .xls as a program that writes formulas and computes none."""
    book = xlwt.Workbook()
    sheet = book.add_sheet("结果")
    for number, row in enumerate(PEOPLE):
        for at, cell in enumerate(row):
            sheet.write(number, at, cell if at != 5 or number == 0 else xlwt.Formula("H2"))
    book.save(str(folder / "day.xls"))
    return folder / "day.xls"


def with_format(folder: Path, code: str = "00000000") -> Path:
    """Write an .xls with numbers that are shown by a format, by default with leading zeros."""
    book = xlwt.Workbook()
    sheet = book.add_sheet("结果")
    style = xlwt.easyxf(num_format_str=code)
    rows = [TITLES, person(1, ZEROS, 1, report_no=8.0), person(2, 123456789012, 1)]
    for number, row in enumerate(rows):
        for at, cell in enumerate(row):
            sheet.write(number, at, cell, *([style] if at in {5, 7} and number else []))
    book.save(str(folder / "day.xls"))
    return folder / "day.xls"


FAR_CELL = (
    '<table:table-row table:number-rows-repeated="1048572"><table:table-cell/></table:table-row><table:table-row>'
    '<table:table-cell table:number-columns-repeated="16383"/><table:table-cell office:value-type="string"><text:p>x'
    "</text:p></table:table-cell></table:table-row>"
)


OLD_WORKBOOKS = [
    Kind(".xls", xls(("结果", PEOPLE)), TWO),
    Kind(".xls with times as times", xls(("结果", [TITLES, person(1, sample_date=SIX, report_date=NOON)])), ONE),
    Kind(".xls with an empty column in front", xls(("结果", [["", *row] for row in PEOPLE])), TWO),
    Kind(".xlsb", xlsb(("结果", PEOPLE)), TWO),
    Kind(".xlsb with a pool", xlsb(("结果", POOL)), {"S1": 4}),
    Kind(".xlsb with an empty column in front", xlsb(("结果", [["", *row] for row in PEOPLE])), TWO),
    Kind(".ods", ods(("结果", PEOPLE)), TWO),
    Kind(".ods with an empty column in front", ods(("结果", [["", *row] for row in PEOPLE])), TWO),
    Kind("two sheets of .xls", xls(MORNING, AFTERNOON), THREE, notice="上午, 下午"),
    Kind("two sheets of .xlsb", xlsb(MORNING, AFTERNOON), THREE, notice="上午, 下午"),
    Kind("two sheets of .ods", ods(MORNING, AFTERNOON), THREE, notice="上午, 下午"),
    Kind("a hidden first sheet of .xls", xls(OLD, MORNING, hidden=["旧"]), TWO, notice="hidden sheet 旧"),
    Kind("a hidden first sheet of .xlsb", xlsb(OLD, MORNING, looks=HIDDEN_OLD), TWO, notice="hidden sheet 旧"),
    Kind("a hidden first sheet of .ods", ods(OLD, MORNING, looks=HIDDEN_OLD), TWO, notice="hidden sheet 旧"),
    Kind("a hidden row of .xls", xls(("结果", PEOPLE), hidden_rows=[3]), TWO, notice="1 row is hidden (3)"),
    Kind(
        "a hidden row of .xlsb",
        xlsb(("结果", PEOPLE), looks={"结果": Look(hidden_rows={3: ""})}),
        TWO,
        notice="1 row is hidden (3)",
    ),
    Kind(
        "rows of .ods that are hidden or filtered out",
        ods(("结果", [*PEOPLE, person(3)]), looks={"结果": Look(hidden_rows={2: "collapse", 4: "filter"})}),
        THREE,
        notice="2 rows are hidden (2, 4)",
    ),
    Kind("hidden rows below the table of .ods", ods(("结果", PEOPLE), below=EMPTY_ROWS), TWO),
    Kind("merged cells of .xls", xls(("结果", POOL), merged=[(5, 1, 4), (6, 1, 4)]), {"S1": 4}),
    Kind(
        "a merged code alone in .xlsb",
        xlsb(("结果", [TITLES, *members("S1", "", 3)]), looks={"结果": Look(merged=MERGED)}),
        {"S1": 3},
    ),
    Kind(
        "a merged code alone in .ods",
        ods(("结果", [TITLES, *members("S1", "", 3)]), looks={"结果": Look(merged=MERGED)}),
        {"S1": 3},
    ),
    Kind("error values of .xls", xls(("结果", [TITLES, person(1), person(2)]), error=(2, 5)), ONE, {3: "tube_code"}),
    Kind("error values of .xlsb", xlsb(("结果", WRONG)), {"T0001": 1, "T0003": 1}, {3: "tube_code"}),
    Kind("error values of .ods", ods(("结果", WRONG)), {"T0001": 1, "T0003": 1}, {3: "tube_code"}),
    Kind("only error values in the last row of .ods", ods(("结果", [*PEOPLE, [ERROR] * 8])), TWO, {4: "card_type"}),
    Kind(
        "error values of another sheet of .xlsb", xlsb(MORNING, ("查", [["甲", ERROR]])), TWO, notice="names no columns"
    ),
    Kind("formulas of .xls that were never computed", with_formula, refused="values are not stored"),
    Kind(
        "formulas of .xlsb that were never computed",
        xlsb(("结果", [TITLES, person(1, NO_VALUE)])),
        refused="save it as .xlsx",
    ),
    Kind(
        "formulas of .ods that were never computed",
        ods(("结果", [TITLES, person(1, NO_VALUE)])),
        refused="values are not stored",
    ),
    Kind("formulas of .ods that are empty text", ods(("结果", plus("备注", EMPTY_TEXT, EMPTY_TEXT))), TWO),
    Kind(
        "a whole known column of .xlsb that is empty text",
        xlsb(("结果", [TITLES, person(1, EMPTY_TEXT), person(2, EMPTY_TEXT)])),
        refused="save it as .xlsx",
    ),
    Kind("formulas of .xlsb that are empty text", xlsb(("结果", plus("备注", EMPTY_TEXT, EMPTY_TEXT))), TWO),
    Kind("a stray cell far away in .ods", ods(("结果", PEOPLE), below=FAR_CELL), refused="1048576 rows and 16384"),
    Kind("leading zeros of .xls", with_format, {"00000007": 1, "123456789012": 1}),
    Kind("letters by the format of .xls", partial(with_format, code='"R"0000'), {"R0007": 1, "R123456789012": 1}),
    Kind("leading zeros of .xlsb", xlsb(("结果", [TITLES, person(1, WITH_ZEROS)])), {"00000007": 1}),
    Kind("leading zeros of .ods", ods(("结果", [TITLES, person(1, WITH_ZEROS)])), {"00000007": 1}),
]
