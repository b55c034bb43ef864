"""The header of a file: found by its columns, with titles above it, and refused when it lacks one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hutong_client.cli.people import PEOPLE
from hutong_client.tables.open import open_table
from hutong_client.tables.rows import NotATable

from tests.support.client.laboratory_files import (
    CARDS,
    HEADER,
    as_csv,
    line,
    read_rows,
    write_file,
    write_workbook,
)


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    """Chinese titles, decorated titles, unknown columns among them; cells that are missing at the end are empty."""
    text = "备注,检测结果*,报告编号,采样时间（必填）,身份证号,姓名\r\n"
    text += "不急,阴性,R1,2022-08-09 06:00:00,410105186001010019\r\n"
    (row,) = read_rows(write_file(tmp_path / "day.csv", text.encode()))
    assert dict(row.cells) == {
        "nat_result": "阴性",
        "report_no": "R1",
        "sample_date": "2022-08-09 06:00:00",
        "card_no": "410105186001010019",
    }
    assert row.original[0] == "不急"


def test_header_may_follow_empty_lines(tmp_path: Path) -> None:
    """Some systems write a blank line first."""
    rows = read_rows(write_file(tmp_path / "day.csv", ("\r\n\r\n" + as_csv([line(1)])).encode()))
    assert [row.number for row in rows] == [4]


ABOVE = [["核酸检测结果汇总表"], [], ["填报单位：示例检验所", "", "2022-08-09"]]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_titles_may_stand_above_the_header(tmp_path: Path, delimiter: str) -> None:
    """Reports for people have such titles. Rows keep the numbers that Excel shows."""
    rows = [*ABOVE, HEADER, list(line(1).values())]
    text = "\r\n".join(delimiter.join(cells) for cells in rows)
    for path in (write_file(tmp_path / "day.csv", text.encode()), write_workbook(tmp_path / "day.xlsx", rows)):
        (row,) = read_rows(path)
        assert (row.number, row.cells["report_no"]) == (5, "R00001")


def test_of_many_first_rows_the_likeliest_header_is_named(tmp_path: Path) -> None:
    """The error names what the likeliest header lacks, and not that a title names no column.

    A header far below does not count.
    """
    rows = [*ABOVE, ["姓名", "身份证号", "采样时间", "报告编号"], ["赵示例", CARDS[0], "2022-08-09", "R1"]]
    with pytest.raises(NotATable, match=r"lacks nat_result \(检测结果\)"):
        read_rows(write_workbook(tmp_path / "day.xlsx", rows))
    with pytest.raises(NotATable, match="no known column name"):
        read_rows(write_workbook(tmp_path / "day.xlsx", [*[["a title"]] * 10, HEADER, list(line(1).values())]))


@pytest.mark.parametrize(
    ("above", "hint"),
    [
        ([["证件号码", "采样时间", "检测结果", "编号"], list(line(1).values())[:4]], "lacks report_no"),
        ([["结果", "检测结果", "证件号码", "采样时间", "报告编号"]], "twice"),
        ([["核酸检测结果汇总表"], ["赵示例", CARDS[0]]], "row 2 looks like a person's"),
        ([list(map(str, range(len(HEADER))))], "row 1 looks like a person's"),
    ],
)
def test_rows_above_the_header_that_are_no_title_are_reported(
    tmp_path: Path, above: list[list[str]], hint: str
) -> None:
    """Two tables in one file, or a header below people: no person is left out in silence."""
    rows = [*above, HEADER, list(line(2).values())]
    text = "\r\n".join(",".join(cells) for cells in rows)
    for path in (write_file(tmp_path / "day.csv", text.encode()), write_workbook(tmp_path / "day.xlsx", rows)):
        with pytest.raises(NotATable, match=hint):
            read_rows(path)


@pytest.mark.parametrize("above", ["Number,2", "Type:,hotel list\r\nNumber:,2", "身份证（核验名单）"])
def test_a_title_with_a_columns_name_is_no_header(tmp_path: Path, above: str) -> None:
    """A table of people needs only one column, and the row that names most columns is the header."""
    path = write_file(tmp_path / "people.csv", f"{above}\r\n姓名,证件号码,国籍\r\n赵示例,{CARDS[0]},\r\n".encode())
    with open_table(path, PEOPLE) as table:
        (row,) = table
    assert row.cells == {"name": "赵示例", "card_no": CARDS[0]}
