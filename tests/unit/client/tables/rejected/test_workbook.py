"""Rejected rows as a workbook: text in every cell, the faulty ones coloured, the reasons beside the row."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hutong_client.tables.faults import Fault
from hutong_client.tables.rejected import workbook
from hutong_client.tables.rejected.layouts import CsvLayout, Rejected, protect, unprotect
from hutong_client.tables.rejected.rejects import RejectsFile
from hutong_client.tables.rejected.workbook import write_workbook
from hutong_client.tables.rows import Row
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from tests.support.client.laboratory_files import HEADER, line, read_rows

PLAIN, FAULTY = "00000000", "00F8CBAD"


def write_rejects(folder: Path, *rows: Row) -> Path:
    """Write rows with a faulty time as a workbook and return its path."""
    part, target = folder / "rejects.xlsx.part.csv", folder / "rejects.xlsx"
    faults = (Fault("report_date", "INVALID_FIELD", "the date has no time of day"),)
    with RejectsFile(part, CsvLayout(HEADER)) as rejects:
        rejects.write([Rejected(row, faults) for row in rows])
    write_workbook(part, target)
    return target


def test_cells_are_text_and_faulty_ones_are_coloured(tmp_path: Path) -> None:
    """A number that is typed into a cell of text keeps its digits. Nothing becomes a formula or an error value."""
    own = line(2, tube_code="00000001", name="=1+2", report_no="1E5", nat_result="#REF!")
    path = write_rejects(tmp_path, Row(2, {}, tuple(own.values())))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (sheet,) = load_workbook(path).worksheets
    titles, cells = list(sheet.iter_rows())
    by_title = {str(title.value): cell for title, cell in zip(titles, cells, strict=True)}
    assert {title: by_title[title].value for title in HEADER} == own
    assert {cell.data_type for cell in cells} == {"s"}
    assert {cell.number_format for cell in cells} == {"@"}
    assert by_title["report_date"].fill.fgColor.rgb == FAULTY
    assert by_title["card_no"].fill.fgColor.rgb == PLAIN
    assert [title.value for title in titles[:4]] == ["row", "reasons", "fields", "descriptions"]
    assert by_title["descriptions"].value == "the date has no time of day"


def test_it_is_read_as_the_rows_that_it_was_written_from(tmp_path: Path) -> None:
    """Characters that a workbook cannot hold are replaced, and a row is not lost for them."""
    own = line(2, tube_code="00000001", name="赵\x01示例")
    (row,) = read_rows(write_rejects(tmp_path, Row(2, {}, tuple(own.values()))))
    assert row.cells == own | {"name": "赵\ufffd示例", "can_be_retried": "no"}


def test_an_existing_workbook_is_kept(tmp_path: Path) -> None:
    """A clerk may be correcting the rows in it."""
    (tmp_path / "rejects.xlsx").write_bytes(b"corrected")
    with pytest.raises(FileExistsError):
        write_rejects(tmp_path, Row(2, {}, tuple(line(2).values())))
    assert (tmp_path / "rejects.xlsx").read_bytes() == b"corrected"


def test_many_rows_go_to_further_sheets(tmp_path: Path) -> None:
    """A sheet has a limit. All sheets are read again."""
    part = tmp_path / "part.csv"
    rows = [Row(number, {}, tuple(line(number).values())) for number in range(5)]
    with RejectsFile(part, CsvLayout(HEADER)) as rejects:
        rejects.write([Rejected(row, ()) for row in rows])
    write_workbook(part, tmp_path / "rejects.xlsx", most_rows=2)
    assert len(load_workbook(tmp_path / "rejects.xlsx").worksheets) == 3
    assert [row.cells["report_no"] for row in read_rows(tmp_path / "rejects.xlsx")] == [
        line(number)["report_no"] for number in range(5)
    ]
    assert workbook.MOST_ROWS < 1_048_576


@given(st.text(max_size=12) | st.sampled_from(["MAR1", "1.10", "=1+2", '="0001"', '=A"B"', "+86", "3月5日", "6:00:00"]))
def test_a_protected_text_is_read_as_the_text(cell: str) -> None:
    """A cell that is protected already, as some systems write it, stays as it is."""
    written = protect(cell)
    assert unprotect(written) == unprotect(cell)
    assert protect(written) == written
