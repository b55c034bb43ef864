"""Rejected rows opened, corrected and saved with LibreOffice are uploaded as they were meant.

`make check-tools` runs these tests, because they need LibreOffice and take half a minute.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hutong.results.v1.upload_pb2 import Tube
from hutong_client.formatting import SHANGHAI
from hutong_client.tables.open import open_table
from hutong_client.tables.rejected.layouts import Rejected, layout_of
from hutong_client.tables.rejected.rejects import RejectsFile
from hutong_client.tables.rejected.workbook import write_workbook
from hutong_client.tables.tubes import BadRow, Reading, ReadTube, read_tubes
from openpyxl import Workbook, load_workbook

from tests.support.client.laboratory_formats import TITLES, as_text, members, person
from tests.support.processes import run

WANTED = os.environ.get("HUTONG_CHECK_TOOLS", "")
SOFFICE = shutil.which("soffice")
if not WANTED:
    pytest.skip("make check-tools runs these tests", allow_module_level=True)
if not SOFFICE and WANTED != "required":
    pytest.skip("LibreOffice is not installed (Debian: libreoffice-calc)", allow_module_level=True)

READING = Reading(SHANGHAI, "220502")
WRONG, RIGHT = "阴姓", "阴性"
AS_CSV = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false"
"""Comma, quotation mark and UTF-8, cells as they are shown: what the program offers when a CSV is saved."""
ROWS = [
    person(1, "00000001", "1", report_no="00220809061", name="示例甲"),
    person(2, "T1E5", "1", report_no="1E5"),
    person(3, "MAR1", "1", report_no="2022-08-09", sample_date="2022-08-09 06:00:07"),
    *members("S1", "10:1", 2, first=4),
    person(6, "1.10", "1", report_no="1-2", name="=1+2"),
]


def read(path: Path) -> tuple[list[Tube], list[BadRow]]:
    """Return a file's tubes, without their persons' order in the file, and its bad rows."""
    with open_table(path) as table:
        items = list(read_tubes(table, READING))
    tubes = [item.tube for item in items if isinstance(item, ReadTube)]
    return tubes, [item for item in items if isinstance(item, BadRow)]


def convert(path: Path, kind: str, folder: Path) -> Path:
    """Open a file with LibreOffice and save it as another kind."""
    folder.mkdir(exist_ok=True)
    # LibreOffice takes a CSV for UTF-8 if it is told so, as its dialogue does.
    read_as = ["--infilter=CSV:44,34,76,1"] if path.suffix == ".csv" else []
    profile = f"-env:UserInstallation={folder.parent.joinpath('profile').as_uri()}"
    assert SOFFICE, "LibreOffice is not installed (Debian: libreoffice-calc)"
    done = run(
        [SOFFICE, "--headless", profile, *read_as, "--convert-to", kind, "--outdir", str(folder), str(path)],
        timeout=180,
    )
    saved = folder / f"{path.stem}.{kind.partition(':')[0]}"
    assert saved.exists(), done.stderr
    return saved


def correct(path: Path, word: str = RIGHT) -> Path:
    """Correct the results in a workbook."""
    book = load_workbook(path)
    for row in book.worksheets[0].iter_rows():
        for cell in row:
            if cell.value == WRONG:
                cell.value = word
    book.save(path)
    return path


@pytest.fixture
def rejects(tmp_path: Path) -> tuple[Path, list[Tube]]:
    """The rejects of a file whose results are all misspelt, as a CSV, and the tubes that it means."""
    right = tmp_path / "right.csv"
    right.write_text(as_text([TITLES, *ROWS]), "utf-8")
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(as_text([TITLES, *ROWS]).replace(RIGHT, WRONG), "utf-8")
    path = tmp_path / "rejects.csv"
    with open_table(wrong) as table, RejectsFile(path, layout_of(table)) as file:
        file.write([Rejected(row.row, row.faults, filled=row.filled) for row in read(wrong)[1]])
    tubes, bad = read(right)
    assert not bad
    return path, tubes


def assert_same(tubes: Sequence[Tube], expected: Sequence[Tube]) -> None:
    assert [str(tube) for tube in tubes] == [str(tube) for tube in expected]


def test_a_csv_survives(rejects: tuple[Path, list[Tube]], tmp_path: Path) -> None:
    """Long numbers, leading zeros, ratios, seconds and names like formulas are what they were."""
    path, expected = rejects
    opened = correct(convert(path, "xlsx", tmp_path / "opened"))
    saved = convert(opened, AS_CSV, tmp_path / "saved")
    tubes, bad = read(saved)
    assert not bad
    assert_same(tubes, expected)
    with saved.open(encoding="utf-8-sig", newline="") as file:
        assert not any("E+" in cell for row in csv.reader(file) for cell in row)


@pytest.mark.parametrize("kind", ["xlsx", "ods", "xls", AS_CSV], ids=["xlsx", "ods", "xls", "csv"])
def test_a_workbook_survives(rejects: tuple[Path, list[Tube]], tmp_path: Path, kind: str) -> None:
    """The cells of the workbook are text, also after the workbook was saved in another format."""
    path, expected = rejects
    book = tmp_path / "rejects.xlsx"
    write_workbook(path, book)
    saved = convert(correct(book), kind, tmp_path / "saved")
    tubes, bad = read(saved)
    assert not bad
    assert_same(tubes, expected)


@pytest.mark.parametrize("kind", ["ods", "xls"])
def test_workbooks_of_libreoffice_hide_nothing(tmp_path: Path, kind: str) -> None:
    """Hidden rows and sheets, merged cells, leading zeros and error values are read from its own formats."""
    book = Workbook()
    sheet, hidden = book.worksheets[0], book.create_sheet("旧")
    for row in (TITLES, *members("S1", "", 3), person(4, 7), person(5, "=1/0")):
        sheet.append([None if cell == "" else cell for cell in row])
    hidden.append(list(TITLES))
    hidden.sheet_state = "hidden"
    sheet.merge_cells("F2:F4")
    sheet["F5"].number_format = "00000000"
    sheet.row_dimensions[3].hidden = True
    book.save(tmp_path / "day.xlsx")
    saved = convert(tmp_path / "day.xlsx", kind, tmp_path / "saved")
    with open_table(saved) as table:
        notices = "\n".join(table.notices)
    assert "1 row is hidden (3)" in notices
    assert "hidden sheet 旧" in notices
    tubes, bad = read(saved)
    assert {tube.tube_code: len(tube.persons) for tube in tubes} == {"S1": 3, "00000007": 1}
    assert [(item.row.number, item.faults[0].column) for item in bad] == [(6, "tube_code")]
