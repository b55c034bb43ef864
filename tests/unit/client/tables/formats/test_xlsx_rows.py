"""Rows of workbooks, whole and damaged."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hutong_client.tables.open import open_table
from hutong_client.tables.rows import NotATable
from openpyxl import Workbook
from openpyxl.chart import BarChart

from tests.support.client.laboratory_files import (
    CARDS,
    HEADER,
    damage_workbook,
    line,
    read_rows,
    write_workbook,
)

SIX = datetime(2022, 8, 9, 6)  # noqa: DTZ001 - a workbook knows no zones


def test_workbook_reads_as_its_csv_does(tmp_path: Path) -> None:
    """Text stays text; times and numbers come as what they are; empty rows count and are left out."""
    path = write_workbook(
        tmp_path / "day.xlsx",
        [
            ["姓名", "身份证号", "采样时间", "检测结果", "报告编号", "管码"],
            ["赵示例", CARDS[0], SIX, "阴性", 1001, "T1"],
            [None] * 6,
            ["", 4.10105186001010e17, "2022-08-09T06:00:00+08:00", "阴性", "R2", None],
        ],
    )
    rows = read_rows(path)
    assert [row.number for row in rows] == [2, 4]
    assert rows[0].cells["sample_date"] == SIX
    assert rows[0].cells["report_no"] == 1001
    assert "tube_code" not in rows[1].cells
    assert rows[0].original == ["赵示例", CARDS[0], "2022-08-09 06:00:00", "阴性", "1001", "T1"]


def test_empty_workbook_is_refused(tmp_path: Path) -> None:
    """The error names the first sheet."""
    with pytest.raises(NotATable, match="first sheet"):
        read_rows(write_workbook(tmp_path / "day.xlsx", []))


SHEET = "xl/worksheets/sheet1.xml"
TEN = [HEADER, *(list(line(number).values()) for number in range(9))]


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("xl/workbook.xml", lambda content: content[: len(content) // 2]),
        ("xl/workbook.xml", lambda content: content[:0]),
        ("xl/_rels/workbook.xml.rels", lambda content: content[: len(content) // 2]),
        ("[Content_Types].xml", lambda content: content[:100]),
    ],
)
def test_workbook_that_cannot_be_opened_is_refused(tmp_path: Path, part: str, change: Callable[[bytes], bytes]) -> None:
    """The error is a sentence, whatever the reader of workbooks raises."""
    path = damage_workbook(write_workbook(tmp_path / "day.xlsx", TEN), part, change)
    with pytest.raises(NotATable, match="save it again"):
        read_rows(path)


def with_prefix(content: bytes) -> bytes:
    """The XML of a program that writes a prefix before the name of each element."""
    return re.sub(rb"<(/?)(\w)", rb"<\1x:\2", content).replace(b" xmlns=", b" xmlns:x=")


@pytest.mark.parametrize("change", [bytes, with_prefix], ids=["", "prefix"])
def test_formulas_without_values_are_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    """Formulas without values would be read as empty cells. Other cells of such a sheet are read."""
    path = damage_workbook(write_workbook(tmp_path / "day.xlsx", TEN), SHEET, change)
    assert len(read_rows(path)) == len(TEN) - 1
    rows = [*TEN, [f"={cell!r}" for cell in line(9).values()]]
    path = damage_workbook(write_workbook(tmp_path / "day.xlsx", rows), SHEET, change)
    with pytest.raises(NotATable, match="formulas whose values are not stored"):
        read_rows(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[: content.index(b'<c r="B6"')],
        lambda content: content.replace(b'<c r="B6"', b'<c r="A6" t="n"><v>x</v></c><c r="B6"'),
        lambda content: content.replace(b'r="A6"', b'r="ZZZZZZ6"'),
        lambda content: content.replace(b'<c r="B6"', b'<c r="A6" t="s"><v>99999</v></c><c r="B6"'),
    ],
    ids=["cut off", "no number", "no such cell", "no such text"],
)
def test_damage_in_a_sheet_is_reported_with_the_last_good_row(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    """The rows above it are read."""
    path = damage_workbook(write_workbook(tmp_path / "day.xlsx", TEN), SHEET, change)
    with open_table(path) as table:
        rows = iter(table)
        assert [next(rows).number for _ in range(4)] == [2, 3, 4, 5]
        with pytest.raises(NotATable, match="damaged after row 5; open it in Excel"):
            next(rows)


def test_flipped_bytes_of_a_workbook_are_reported(tmp_path: Path) -> None:
    """Such a workbook has a sheet that cannot be unpacked to its end."""
    path = write_workbook(tmp_path / "day.xlsx", [HEADER, *([f"{at * 7919:x}"] * 10 for at in range(5_000))])
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 3, len(content) // 3 + 200):
        content[at] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(NotATable, match="save it again"):
        read_rows(path)


def test_a_workbook_of_charts_alone_is_refused(tmp_path: Path) -> None:
    """No sheet of cells is found, although the workbook has a sheet."""
    book = Workbook()
    book.create_chartsheet("chart", 0).add_chart(BarChart())
    del book[book.worksheets[0].title]
    book.save(tmp_path / "day.xlsx")
    with pytest.raises(NotATable, match="no sheet of cells"):
        read_rows(tmp_path / "day.xlsx")


def test_a_lost_sheet_is_named(tmp_path: Path) -> None:
    """The other sheets are not read as if they were the whole workbook."""
    book = Workbook()
    for title in ("上午", "下午"):
        sheet = book.create_sheet(title)
        sheet.append(list(HEADER))
        sheet.append(list(line().values()))
    del book["Sheet"]
    book.save(tmp_path / "whole.xlsx")
    with zipfile.ZipFile(tmp_path / "whole.xlsx") as whole, zipfile.ZipFile(tmp_path / "day.xlsx", "w") as torn:
        for name in whole.namelist():
            if name != "xl/worksheets/sheet2.xml":
                torn.writestr(name, whole.read(name))
    with pytest.raises(NotATable, match="its sheet 下午 is missing"):
        read_rows(tmp_path / "day.xlsx")


def test_rows_in_the_wrong_order_are_damage(tmp_path: Path) -> None:
    """No row is left out, and no row replaces another."""
    path = write_workbook(tmp_path / "day.xlsx", TEN)
    damage_workbook(path, SHEET, lambda content: content.replace(b'<row r="6"', b'<row r="3"'))
    with pytest.raises(NotATable, match="damaged after row 5"):
        read_rows(path)


def test_texts_of_several_fonts_and_escaped_characters_are_read(tmp_path: Path) -> None:
    """Phonetic help belongs to no name. Excel writes a carriage return as _x000D_."""
    strings = (
        '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><r><t>赵</t></r><r><t>示例</t></r>'
        "<rPh><t>zhao</t></rPh></si><si><t>R1_x000D_</t></si><si><t/></si></sst>"
    )
    path = write_workbook(tmp_path / "day.xlsx", [HEADER, list(line().values())])
    with zipfile.ZipFile(path) as archive:
        sheet = archive.read(SHEET).decode()
    at = sheet.index('<row r="2"')
    row = (
        '<row r="2"><c r="A2" t="s"><v>0</v></c><c r="B2" t="s"><v>2</v></c><c r="G2" t="s"><v>1</v></c></row>'
        "</sheetData></worksheet>"
    )
    damage_workbook(path, SHEET, lambda _: (sheet[:at] + row).encode())
    kind = b'"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"'
    override = b'<Override PartName="/xl/sharedStrings.xml" ContentType=' + kind + b"/></Types>"
    damage_workbook(path, "[Content_Types].xml", lambda content: content.replace(b"</Types>", override))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/sharedStrings.xml", strings)
    (row_read,) = read_rows(path)
    assert row_read.cells == {"name": "赵示例", "report_no": "R1"}


def test_halves_of_a_character_are_joined_and_half_a_character_is_damage(tmp_path: Path) -> None:
    """Half a character fits into no message, and nobody can tell which name was meant."""
    path = write_workbook(tmp_path / "day.xlsx", [HEADER, list(line(name="赵ESCAPED").values())])
    damage_workbook(path, SHEET, lambda content: content.replace(b"ESCAPED", b"_xD842__xDFB7_"))
    (row,) = read_rows(path)
    assert row.cells["name"] == "赵𠮷"
    damage_workbook(path, SHEET, lambda content: content.replace(b"_xDFB7_", b""))
    with pytest.raises(NotATable, match="damaged after row 1"):
        read_rows(path)
