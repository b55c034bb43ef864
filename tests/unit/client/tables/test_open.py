"""A file is opened by what it holds, or refused in words for a clerk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hutong_client.tables.open import open_table
from hutong_client.tables.rows import NotATable

from tests.support.client.laboratory_files import (
    HEADER,
    damage_workbook,
    line,
    read_rows,
    write_csv,
    write_file,
    write_workbook,
)
from tests.support.client.laboratory_old_formats import xlsb


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("day.csv", b"", "is empty"),
        ("day.csv", b"\xef\xbb\xbf\r\n\r\n", "is empty"),
        ("day.xls", b"\xd0\xcf\x11\xe0" + bytes(600), "Excel 97-2003"),
        ("day.csv", b"%PDF-1.7 ...", "a PDF"),
        ("day.csv", b"<html><body>", "a web page"),
        ("day.csv", b"\x00\x01\x02\x03" * 300, "not text in UTF-8 or GB18030"),
        ("day.csv", b"\xff\xff\xff\xff\x81", "not text in UTF-8 or GB18030"),
        ("day.csv", "敬启者：\r\n附上今日结果。\r\n".encode(), "no known column name"),
        ("day.csv", b"name,card_no\r\n", "lacks sample_date"),
        ("day.csv", "card_no,身份证号\r\n".encode(), "twice"),
        ("day.xlsx", b"PK\x03\x04 not a workbook", "cannot be opened"),
        ("day.ndjson", b"hello\n", "line 1: the line is not JSON"),
        ("day.ndjson", b"[1]\n", "not a JSON object"),
    ],
)
def test_file_that_is_no_table_says_what_to_do(tmp_path: Path, name: str, content: bytes, hint: str) -> None:
    """The clerk gets one message and no traceback."""
    with pytest.raises(NotATable, match=hint):
        read_rows(write_file(tmp_path / name, content))


def test_workbook_is_known_by_what_it_holds(tmp_path: Path) -> None:
    """A workbook that is named .csv is recognised too."""
    write_workbook(tmp_path / "day.xlsx", [list(HEADER), list(line(1).values())])
    (row,) = read_rows((tmp_path / "day.xlsx").rename(tmp_path / "day.csv"))
    assert row.cells["report_no"] == "R00001"


def test_file_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    """The first rows of a large file need no more memory than themselves."""
    path = write_csv(tmp_path / "day.csv", (line(number) for number in range(5_000)))
    with open_table(path) as table:
        assert next(iter(table)).number == 2


def test_workbook_at_which_calamine_panics_is_refused(tmp_path: Path) -> None:
    """A panic of Rust code is no Exception, and must not end a command that watches a folder."""
    path = xlsb(("结果", [HEADER, list(line().values())]))(tmp_path)
    of_format = b"\x2c\x16"  # a record of 22 bytes

    def cut(content: bytes) -> bytes:
        before, body = content.split(of_format)
        return before + of_format[:1] + b"\x04" + body[:4] + body[22:]

    damage_workbook(path, "xl/styles.bin", cut)
    with pytest.raises(NotATable, match="cannot be opened"):
        read_rows(path)
