"""The encoding of a text file: found by all of its bytes, and damage never taken for another encoding."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hutong_client.tables.rows import NotATable

from tests.support.client.laboratory_files import (
    HEADER,
    as_csv,
    line,
    read_rows,
    write_file,
)


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("gb18030", b""), ("utf-16", b"")]
)
def test_every_encoding_of_excel_reads_the_same(tmp_path: Path, encoding: str, mark: bytes) -> None:
    """UTF-8 with and without a mark, GB18030, and UTF-16 with its mark."""
    text = as_csv([line(1), line(2, name="欧阳示例")])
    rows = read_rows(write_file(tmp_path / "day.csv", mark + text.encode(encoding)))
    assert [row.cells["name"] for row in rows] == ["赵示例", "欧阳示例"]


def test_gb18030_is_found_however_late_it_shows(tmp_path: Path) -> None:
    """A file whose first megabyte is plain ASCII."""
    text = as_csv([*(line(number, name="", card_type="id_card") for number in range(12_000)), line(1)])
    assert len(text) > 1 << 20
    rows = read_rows(write_file(tmp_path / "day.csv", text.encode("gb18030")))
    assert rows[-1].cells["name"] == "赵示例"


ENGLISH = as_csv([line(number, card_type="", nat_result="negative") for number in range(4)]).encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (ENGLISH + "张".encode()[:2], 6),
        (as_csv([line(1), line(2)]).encode()[:-1] + b"\n\xe5\xbc", 4),
        (as_csv([line(1, name=""), line(2)], HEADER[1:]).encode() + b"\xe5", 4),
        (as_csv([line(1), line(2, name="José"), line(3)]).encode().replace("é".encode(), b"\xe9"), 3),
        (as_csv([line(1)]).encode() + as_csv([line(2)]).split("\r\n")[1].encode("gb18030"), 3),
        (codecs.BOM_UTF8 + ENGLISH.replace("赵示例".encode(), b"\xb0\xa1"), 2),
        (b"name\n" * 400_000 + ENGLISH.replace(b"R00002", b"R0000\xff"), 400_004),
    ],
    ids=["cut off", "cut off behind a line", "cut off, ASCII", "one Latin-1", "half GB18030", "with a mark", "late"],
)
def test_damaged_utf_8_is_never_taken_for_gb18030(tmp_path: Path, content: bytes, told: int) -> None:
    """Names would be stored as others. The message names the line of the damage."""
    with pytest.raises(NotATable, match=rf"is damaged.*line {told} "):
        read_rows(write_file(tmp_path / "day.csv", content))


@pytest.mark.parametrize("name", ["郑州", "璐娟", "联通", "郑"])
def test_gb18030_that_begins_like_utf_8_is_read(tmp_path: Path, name: str) -> None:
    """Words whose first bytes are UTF-8 by chance."""
    text = as_csv([line(1, name=name, card_type="", nat_result="negative"), line(2)])
    assert read_rows(write_file(tmp_path / "day.csv", text.encode("gb18030")))[0].cells["name"] == name
