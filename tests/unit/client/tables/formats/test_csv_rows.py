"""Rows of CSV files as Excel and laboratory systems write them, and what damage costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client.laboratory_files import (
    HEADER,
    as_csv,
    line,
    read_rows,
    write_csv,
    write_file,
)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_line_ends_and_delimiters_of_every_system(tmp_path: Path, end: str, delimiter: str) -> None:
    """Found by the header."""
    text = as_csv([line(1)]).replace("\r\n", end).replace(",", delimiter)
    (row,) = read_rows(write_file(tmp_path / "day.csv", text.encode()))
    assert row.cells["report_no"] == "R00001"


def test_rows_are_numbered_as_excel_shows_them(tmp_path: Path) -> None:
    """A quoted line break begins no new row, an empty line is one, the header is the first."""
    text = as_csv([line(1, name="赵\n示, 例"), line(2)]) + "\r\n,,,,,,,,,\r\n" + as_csv([line(3)]).split("\r\n")[1]
    rows = read_rows(write_file(tmp_path / "day.csv", text.encode()))
    assert [(row.number, row.cells["report_no"]) for row in rows] == [(2, "R00001"), (3, "R00002"), (6, "R00003")]
    assert rows[0].cells["name"] == "赵\n示, 例"


def test_stray_comma_and_stray_quote_are_reported_for_their_row(tmp_path: Path) -> None:
    """The rows around the faulty row are read."""
    good, other = as_csv([line(1), line(2)]).split("\r\n")[1:3]
    comma = good.replace("赵示例", "赵,示例")
    quote = good.replace("赵示例", '"赵"示例')
    text = "\r\n".join([",".join(HEADER), good, comma, quote, other])
    rows = read_rows(write_file(tmp_path / "day.csv", text.encode()))
    assert [row.number for row in rows] == [2, 3, 4, 5]
    assert [bool(row.fault) for row in rows] == [False, True, True, False]
    assert "quotation marks" in rows[1].fault
    assert "stray quotation mark" in rows[2].fault


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ({50: ('"', "")}, [50]),
        # Behind a cell's first character it is a character like any other, as in Excel.
        ({50: ("", '"')}, []),
        ({50: ('"', ""), 60: ('"', "")}, [50, 60]),
        # The next two pairs close one another: the one swallows cells' number as well, the other keeps it.
        ({50: ('"', ""), 53: ("", '"')}, [50]),
        ({50: ("T00048,", 'T00048,"'), 51: ("T00049,", 'T00049",')}, [50]),
        ({300: ("", ',"')}, [300]),
        ({50: ('"', ""), 51: ("R00049", '"R00049"')}, [50]),
    ],
    ids=["first cell", "last cell", "two rows", "closed by another", "at the same cell", "last row", "before a quoted"],
)
def test_stray_quotation_mark_costs_its_own_row_alone(
    tmp_path: Path, damage: dict[int, tuple[str, str]], told: list[int]
) -> None:
    """Every other row is read, under the number that it has without the stray, and the row is reported with its text.

    A pair is what is put before and behind the line, or what in it is replaced by what.
    """
    lines = as_csv([line(number, name="示\n例" if number == 20 else "赵示例") for number in range(299)]).split("\r\n")
    for number, (one, other) in damage.items():
        text = lines[number - 1]
        lines[number - 1] = text.replace(one, other) if one and other else one + text + other
    rows = read_rows(write_file(tmp_path / "day.csv", "\r\n".join(lines).encode()))
    assert [row.number for row in rows] == list(range(2, 301))
    assert [row.number for row in rows if row.fault] == told
    assert all(row.cells["report_no"] == f"R{row.number - 2:05}" for row in rows if not row.fault)
    assert [",".join(rows[number - 2].original) for number in told] == [lines[number - 1] for number in told]


def test_long_cell_with_line_breaks_and_commas_is_one_row(tmp_path: Path) -> None:
    """Such a cell is not taken for rows that a stray quotation mark has swallowed."""
    site = "河南省, 郑州市,\n金水区,\n" + "花园路, " * 5 + "\n" * 40
    rows = read_rows(write_csv(tmp_path / "day.csv", [line(1, name=site), line(2)]))
    assert [(row.number, row.fault) for row in rows] == [(2, ""), (3, "")]
    assert rows[0].cells["name"] == site.strip()


def test_nul_is_a_fault_of_its_row(tmp_path: Path) -> None:
    """A damaged byte costs one row. A damaged header is refused by what it lacks."""
    text = as_csv([line(number) for number in range(3)]).replace("R00001", "R00\x0001")
    rows = read_rows(write_file(tmp_path / "day.csv", text.encode()))
    assert ["NUL" in row.fault for row in rows] == [False, True, False]
    assert [bool(row.fault) for row in rows] == [False, True, False]
