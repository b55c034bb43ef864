"""Files of every kind that a laboratory may hand over, read row by row or refused in words for a clerk."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hutong_client.cli.people import PEOPLE
from hutong_client.tables.open import open_table
from hutong_client.tables.rows import NotATable, Row
from openpyxl import Workbook

from tests.unit.client.files import CARDS, HEADER, as_csv, damage_workbook, line, write_csv, write_workbook

SIX = datetime(2022, 8, 9, 6)  # noqa: DTZ001 - a workbook knows no zones


def read(path: Path) -> list[Row]:
    with open_table(path) as table:
        return list(table)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("gb18030", b""), ("utf-16", b"")]
)
def test_every_encoding_of_excel_reads_the_same(tmp_path: Path, encoding: str, mark: bytes) -> None:
    """UTF-8 with and without a mark, GB18030, and UTF-16 with its mark."""
    text = as_csv([line(1), line(2, name="欧阳示例")])
    rows = read(write(tmp_path / "day.csv", mark + text.encode(encoding)))
    assert [row.cells["name"] for row in rows] == ["赵示例", "欧阳示例"]


def test_gb18030_is_found_however_late_it_shows(tmp_path: Path) -> None:
    """A file whose first megabyte is plain ASCII."""
    text = as_csv([*(line(number, name="", card_type="id_card") for number in range(12_000)), line(1)])
    assert len(text) > 1 << 20
    rows = read(write(tmp_path / "day.csv", text.encode("gb18030")))
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
    """Names would be stored as others; the line of the damage is told."""
    with pytest.raises(NotATable, match=rf"is damaged.*line {told} "):
        read(write(tmp_path / "day.csv", content))


@pytest.mark.parametrize("name", ["郑州", "璐娟", "联通", "郑"])
def test_gb18030_that_begins_like_utf_8_is_read(tmp_path: Path, name: str) -> None:
    """Words whose first bytes are UTF-8 by chance."""
    text = as_csv([line(1, name=name, card_type="", nat_result="negative"), line(2)])
    assert read(write(tmp_path / "day.csv", text.encode("gb18030")))[0].cells["name"] == name


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_line_ends_and_delimiters_of_every_system(tmp_path: Path, end: str, delimiter: str) -> None:
    """Found by the header."""
    text = as_csv([line(1)]).replace("\r\n", end).replace(",", delimiter)
    (row,) = read(write(tmp_path / "day.csv", text.encode()))
    assert row.cells["report_no"] == "R00001"


def test_rows_are_numbered_as_excel_shows_them(tmp_path: Path) -> None:
    """A quoted line break begins no new row, an empty line is one, the header is the first."""
    text = as_csv([line(1, name="赵\n示, 例"), line(2)]) + "\r\n,,,,,,,,,\r\n" + as_csv([line(3)]).split("\r\n")[1]
    rows = read(write(tmp_path / "day.csv", text.encode()))
    assert [(row.number, row.cells["report_no"]) for row in rows] == [(2, "R00001"), (3, "R00002"), (6, "R00003")]
    assert rows[0].cells["name"] == "赵\n示, 例"


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    """Chinese titles, decorated titles, unknown columns among them; cells that are missing at the end are empty."""
    text = "备注,检测结果*,报告编号,采样时间（必填）,身份证号,姓名\r\n"
    text += "不急,阴性,R1,2022-08-09 06:00:00,410105186001010019\r\n"
    (row,) = read(write(tmp_path / "day.csv", text.encode()))
    assert dict(row.cells) == {
        "nat_result": "阴性",
        "report_no": "R1",
        "sample_date": "2022-08-09 06:00:00",
        "card_no": "410105186001010019",
    }
    assert row.original[0] == "不急"


def test_header_may_follow_empty_lines(tmp_path: Path) -> None:
    """Some systems write a blank line first."""
    rows = read(write(tmp_path / "day.csv", ("\r\n\r\n" + as_csv([line(1)])).encode()))
    assert [row.number for row in rows] == [4]


def test_stray_comma_and_stray_quote_are_told_for_their_row(tmp_path: Path) -> None:
    """And the rows around them are read."""
    good, other = as_csv([line(1), line(2)]).split("\r\n")[1:3]
    comma = good.replace("赵示例", "赵,示例")
    quote = good.replace("赵示例", '"赵"示例')
    text = "\r\n".join([",".join(HEADER), good, comma, quote, other])
    rows = read(write(tmp_path / "day.csv", text.encode()))
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
    """Every other row is read, under the number that it has without the stray, and the row is told with its text.

    A pair is what is put before and behind the line, or what in it is replaced by what.
    """
    lines = as_csv([line(number, name="示\n例" if number == 20 else "赵示例") for number in range(299)]).split("\r\n")
    for number, (one, other) in damage.items():
        text = lines[number - 1]
        lines[number - 1] = text.replace(one, other) if one and other else one + text + other
    rows = read(write(tmp_path / "day.csv", "\r\n".join(lines).encode()))
    assert [row.number for row in rows] == list(range(2, 301))
    assert [row.number for row in rows if row.fault] == told
    assert all(row.cells["report_no"] == f"R{row.number - 2:05}" for row in rows if not row.fault)
    assert [",".join(rows[number - 2].original) for number in told] == [lines[number - 1] for number in told]


def test_long_cell_with_line_breaks_and_commas_is_one_row(tmp_path: Path) -> None:
    """It looks nothing like rows that a stray quotation mark swallowed."""
    site = "河南省, 郑州市,\n金水区,\n" + "花园路, " * 5 + "\n" * 40
    rows = read(write_csv(tmp_path / "day.csv", [line(1, name=site), line(2)]))
    assert [(row.number, row.fault) for row in rows] == [(2, ""), (3, "")]
    assert rows[0].cells["name"] == site.strip()


def test_nul_is_a_fault_of_its_row(tmp_path: Path) -> None:
    """A byte that was damaged costs one row; a header with damage is told as such by what it lacks."""
    text = as_csv([line(number) for number in range(3)]).replace("R00001", "R00\x0001")
    rows = read(write(tmp_path / "day.csv", text.encode()))
    assert ["NUL" in row.fault for row in rows] == [False, True, False]
    assert [bool(row.fault) for row in rows] == [False, True, False]


def test_faulty_first_line_of_ndjson_is_a_fault_of_its_row(tmp_path: Path) -> None:
    """The others are read."""
    good = json.dumps(line(1), ensure_ascii=False)
    rows = read(write(tmp_path / "day.ndjson", f"{{broken\n{good}\n".encode()))
    assert [(row.number, bool(row.fault)) for row in rows] == [(1, True), (2, False)]


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
        ("day.csv", "敬启者：\r\n附上今日结果。\r\n".encode(), "no column name that is known"),
        ("day.csv", b"name,card_no\r\n", "lacks sample_date"),
        ("day.csv", "card_no,身份证号\r\n".encode(), "twice"),
        ("day.xlsx", b"PK\x03\x04 not a workbook", "cannot be opened"),
        ("day.ndjson", b"hello\n", "line 1: the line is no JSON"),
        ("day.ndjson", b"[1]\n", "no object"),
    ],
)
def test_file_that_is_no_table_says_what_to_do(tmp_path: Path, name: str, content: bytes, hint: str) -> None:
    """One message for the clerk, no traceback."""
    with pytest.raises(NotATable, match=hint):
        read(write(tmp_path / name, content))


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
    rows = read(path)
    assert [row.number for row in rows] == [2, 4]
    assert rows[0].cells["sample_date"] == SIX
    assert rows[0].cells["report_no"] == 1001
    assert "tube_code" not in rows[1].cells
    assert rows[0].original == ["赵示例", CARDS[0], "2022-08-09 06:00:00", "阴性", "1001", "T1"]


def test_workbook_is_known_by_what_it_holds(tmp_path: Path) -> None:
    """Also when somebody named it .csv."""
    write_workbook(tmp_path / "day.xlsx", [list(HEADER), list(line(1).values())])
    (row,) = read((tmp_path / "day.xlsx").rename(tmp_path / "day.csv"))
    assert row.cells["report_no"] == "R00001"


ABOVE = [["核酸检测结果汇总表"], [], ["填报单位：示例检验所", "", "2022-08-09"]]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_titles_may_stand_above_the_header(tmp_path: Path, delimiter: str) -> None:
    """As in a report that is made for people; rows keep the numbers that Excel shows."""
    rows = [*ABOVE, HEADER, list(line(1).values())]
    text = "\r\n".join(delimiter.join(cells) for cells in rows)
    for path in (write(tmp_path / "day.csv", text.encode()), write_workbook(tmp_path / "day.xlsx", rows)):
        (row,) = read(path)
        assert (row.number, row.cells["report_no"]) == (5, "R00001")


def test_of_many_first_rows_the_likeliest_header_is_told_of(tmp_path: Path) -> None:
    """What it lacks, and not that a title names no column. A header far below is none."""
    rows = [*ABOVE, ["姓名", "身份证号", "采样时间", "报告编号"], ["赵示例", CARDS[0], "2022-08-09", "R1"]]
    with pytest.raises(NotATable, match=r"lacks nat_result \(检测结果\)"):
        read(write_workbook(tmp_path / "day.xlsx", rows))
    with pytest.raises(NotATable, match="no column name that is known"):
        read(write_workbook(tmp_path / "day.xlsx", [*[["a title"]] * 10, HEADER, list(line(1).values())]))


@pytest.mark.parametrize(
    ("above", "hint"),
    [
        ([["证件号码", "采样时间", "检测结果", "编号"], list(line(1).values())[:4]], "lacks report_no"),
        ([["结果", "检测结果", "证件号码", "采样时间", "报告编号"]], "twice"),
        ([["核酸检测结果汇总表"], ["赵示例", CARDS[0]]], "row 2 looks like a person's"),
        ([list(map(str, range(len(HEADER))))], "row 1 looks like a person's"),
    ],
)
def test_what_stands_above_the_header_and_is_no_title_is_told_of(
    tmp_path: Path, above: list[list[str]], hint: str
) -> None:
    """Two tables in one file, or a header below people: nobody is left out without a word."""
    rows = [*above, HEADER, list(line(2).values())]
    text = "\r\n".join(",".join(cells) for cells in rows)
    for path in (write(tmp_path / "day.csv", text.encode()), write_workbook(tmp_path / "day.xlsx", rows)):
        with pytest.raises(NotATable, match=hint):
            read(path)


@pytest.mark.parametrize("above", ["Number,2", "Type:,hotel list\r\nNumber:,2", "身份证（核验名单）"])
def test_a_title_with_a_columns_name_is_no_header(tmp_path: Path, above: str) -> None:
    """Of people, who need but one column: the row that names most of them is the header."""
    path = write(tmp_path / "people.csv", f"{above}\r\n姓名,证件号码,国籍\r\n赵示例,{CARDS[0]},\r\n".encode())
    with open_table(path, PEOPLE) as table:
        (row,) = table
    assert row.cells == {"name": "赵示例", "card_no": CARDS[0]}


def test_empty_workbook_is_refused(tmp_path: Path) -> None:
    """With a word about its first sheet."""
    with pytest.raises(NotATable, match="first sheet"):
        read(write_workbook(tmp_path / "day.xlsx", []))


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
    """In words, whatever the reader of workbooks stumbles over."""
    path = damage_workbook(write_workbook(tmp_path / "day.xlsx", TEN), part, change)
    with pytest.raises(NotATable, match="save it again"):
        read(path)


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
def test_damage_in_a_sheet_is_told_with_the_last_good_row(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    """The rows above it are read."""
    path = damage_workbook(write_workbook(tmp_path / "day.xlsx", TEN), SHEET, change)
    with open_table(path) as table:
        rows = iter(table)
        assert [next(rows).number for _ in range(4)] == [2, 3, 4, 5]
        with pytest.raises(NotATable, match="damaged after row 5; open it in Excel"):
            next(rows)


def test_flipped_bytes_of_a_workbook_are_told(tmp_path: Path) -> None:
    """Of a sheet that cannot be unpacked to its end."""
    path = write_workbook(tmp_path / "day.xlsx", [HEADER, *([f"{at * 7919:x}"] * 10 for at in range(5_000))])
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 3, len(content) // 3 + 200):
        content[at] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(NotATable, match="save it again"):
        read(path)


def test_chart_sheet_without_its_drawing_is_refused(tmp_path: Path) -> None:
    """In words."""
    book = Workbook()
    book.create_chartsheet("chart", 0)
    book.save(tmp_path / "day.xlsx")
    with pytest.raises(NotATable, match="cannot be opened"):
        read(tmp_path / "day.xlsx")


def test_endless_brackets_are_a_fault_of_their_line(tmp_path: Path) -> None:
    """The lines above and below it are read."""
    good = json.dumps(line(1), ensure_ascii=False)
    rows = read(write(tmp_path / "day.ndjson", "\n".join([good, "[" * 100_000, '{"a":' * 100_000, good]).encode()))
    assert [bool(row.fault) for row in rows] == [False, True, True, False]


def test_ndjson_keeps_long_numbers(tmp_path: Path) -> None:
    """Eighteen digits without quotation marks would not survive a float; a bad line is a fault of its row."""
    good = json.dumps(line(1), ensure_ascii=False).replace(f'"{CARDS[1]}"', CARDS[1])
    text = "\n".join([good, "{broken", '{"report_no": ["R1"]}', "", '{"report_no": "R\\ud800"}', good])
    rows = read(write(tmp_path / "day.ndjson", text.encode()))
    assert [row.number for row in rows] == [1, 2, 3, 5, 6]
    assert rows[0].cells["card_no"] == CARDS[1]
    assert [bool(row.fault) for row in rows] == [False, True, True, True, False]
    assert rows[1].original == ("{broken",)


def test_file_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    """The first rows of a large file need no more memory than themselves."""
    path = write_csv(tmp_path / "day.csv", (line(number) for number in range(5_000)))
    with open_table(path) as table:
        assert next(iter(table)).number == 2
