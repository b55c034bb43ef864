"""Tables as CSV and as workbooks: spreadsheet programs show what is written, and compute none of it."""

from __future__ import annotations

import csv
import stat
from datetime import datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hutong_client.cli.exports.files import write_csv, write_xlsx
from hutong_client.cli.exports.options import Exports, export_options
from hutong_client.cli.exports.sheet import SHARE, Column, Sheet, Value, span_value, time_value
from hutong_client.cli.options import json_option
from hutong_client.tables.rejected.layouts import unprotect
from openpyxl import load_workbook

TIME = datetime.fromisoformat("2022-08-11T09:30:00")


def sheet(*rows: tuple[Value, ...]) -> Sheet:
    """Return a table of two columns, the second of which is shares."""
    return Sheet("figures", (Column("机构"), Column("share", SHARE)), rows)


def csv_rows(path: Path) -> list[list[str]]:
    """Read a CSV as a program does that recognises UTF-8 by the byte-order mark alone."""
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    "text",
    ["=1+2", "+86 371", "-1", "@SUM(A1)", "914101057654321098", "0371", "1E5", "10:30", "\t=1+2", "\r\n=HYPERLINK(1)"],
)
def test_text_is_neither_computed_nor_rounded(tmp_path: Path, text: str) -> None:
    """A formula, a code of 18 digits and a leading zero stay as they are; a tab hides no formula."""
    write_csv(tmp_path / "t.csv", sheet((text, None)))
    write_xlsx(tmp_path / "t.xlsx", (sheet((text, None)),))
    (written, empty) = csv_rows(tmp_path / "t.csv")[1]
    assert (written, empty) == (f'="{text.strip()}"', "")
    assert unprotect(written) == text.strip()
    cell, other = list(load_workbook(tmp_path / "t.xlsx").active.iter_rows())[1]  # type: ignore[union-attr]
    assert (cell.data_type, cell.value, cell.number_format, other.value) == ("s", text.strip(), "@", None)


def test_numbers_and_times_are_typed(tmp_path: Path) -> None:
    """Counts, shares, times and durations can be sorted and added up; a share is shown in percent."""
    table = sheet((1_234_567, 0.05), (TIME, 1 / 3), (timedelta(hours=30, seconds=61), None))
    write_csv(tmp_path / "t.csv", table)
    assert csv_rows(tmp_path / "t.csv") == [
        ["机构", "share"],
        ["1234567", "0.05"],
        ["2022-08-11 09:30:00", "0.333333"],
        ["30:01:01", ""],
    ]
    write_xlsx(tmp_path / "t.xlsx", (table,))
    rows = [*load_workbook(tmp_path / "t.xlsx").active.iter_rows(min_row=2)]  # type: ignore[union-attr]
    long = timedelta(hours=30, seconds=61)
    assert [[cell.value for cell in row] for row in rows] == [[1_234_567, 0.05], [TIME, 1 / 3], [long, None]]
    assert [row[1].number_format for row in rows[:2]] == [SHARE, SHARE]
    assert rows[2][0].number_format == "[h]:mm:ss"


def test_a_table_is_printed_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts have separators, shares are in percent, durations in hours and minutes."""
    table = sheet((1_234_567, 0.05), (TIME, 1 / 3), (timedelta(hours=1, minutes=30), None), ("labs/1", 0.0))
    table.show()
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].split() == ["机构", "share"]
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "1,234,567 5.0%",
        "2022-08-11 09:30:00 33.3%",
        "1 h 30 min",
        "labs/1 0.0%",
    ]


def test_tables_and_rows_beyond_a_sheet_go_to_other_sheets(tmp_path: Path) -> None:
    """Each table has a sheet with its title; the rows that do not fit follow on sheets with numbers."""
    many = sheet(*((f"lab {number}", 0.5) for number in range(5)))
    write_xlsx(tmp_path / "t.xlsx", (many, Sheet("empty", (Column("a"),), ())), most_rows=2)
    book = load_workbook(tmp_path / "t.xlsx")
    assert book.sheetnames == ["figures", "figures 2", "figures 3", "empty"]
    assert [page.max_row for page in book.worksheets] == [3, 3, 2, 1]
    assert [page.cell(1, 1).value for page in book.worksheets] == ["机构"] * 3 + ["a"]


def test_a_file_is_its_owners_alone_and_replaces_the_earlier_one(tmp_path: Path) -> None:
    """Contacts and report numbers are for the one who asked; no draft remains."""
    for path in (tmp_path / "t.csv", tmp_path / "t.xlsx"):
        path.write_text("earlier")
    Exports(tmp_path / "t.csv", tmp_path / "t.xlsx").write(sheet(("one", 1.0)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.xlsx"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert csv_rows(tmp_path / "t.csv")[1] == ["one", "1"]


def test_values_of_messages() -> None:
    """Instants are Asia/Shanghai's; an unset instant is an empty cell."""
    assert time_value(Timestamp(seconds=1_660_181_400)) == TIME
    assert time_value(Timestamp()) is None
    assert span_value(Duration(seconds=5400, nanos=9)) == timedelta(minutes=90)


def test_json_excludes_files(tmp_path: Path) -> None:
    """The answer as JSON and a table in a file are not one thing."""

    @click.command()
    @export_options
    @json_option
    def command(exports: Exports, as_json: bool) -> None:
        click.echo(f"{bool(exports)} {as_json}")

    runner = CliRunner()
    assert runner.invoke(command, ["--json"]).output == "False True\n"
    assert runner.invoke(command, ["--csv", str(tmp_path / "t.csv")]).output == "True False\n"
    both = runner.invoke(command, ["--json", "--xlsx", str(tmp_path / "t.xlsx")])
    assert both.exit_code == 2
    assert "without --csv and --xlsx" in both.output
