"""The real `hutong upload` on files as laboratories really send them: what is stored, and what the clerk reads.

Each case is a real file and a real upload to a real service; no output holds the number of a document.
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run
from hutong_client.connection import connect
from openpyxl import Workbook, load_workbook

from clients.examples.node import Node
from tests.support.client.forked_node import forked_node
from tests.support.client.laboratory_files import CARDS, HEADER, as_csv, line
from tests.support.results.factories import LAB_NAME, lab_to_register

_numbers = count(1, 1_000)
CHINA = ("--timezone", "Asia/Shanghai")
SIX, NOON = dt.datetime(2022, 8, 9, 6), dt.datetime(2022, 8, 9, 12)  # noqa: DTZ001 - a workbook knows no zones


@dataclass(frozen=True)
class Told:
    """The output and the exit code of the command; with --json also its counts."""

    code: int
    text: str

    @property
    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of accepted, duplicate and rejected persons."""
        found: dict[str, Any] = json.loads(self.text)
        return found["accepted"], found["duplicates"], found["rejected"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A Results service with the laboratory of the tests."""
    directory = tmp_path_factory.mktemp("node")
    variables = {"HUTONG_UPLOAD_WORKERS": "0"}
    with forked_node(directory, ["results"], variables) as running:
        with connect(results=running.addresses["results"]) as connection:
            connection.labs.CreateLab(CreateLabRequest(lab=lab_to_register()))
        yield running


@pytest.fixture
def first() -> int:
    """Report numbers from here on belong to one test."""
    return next(_numbers)


def upload(node: Node, file: Path, *options: str) -> Told:
    """Run the command as a clerk does."""
    out, err = io.StringIO(), io.StringIO()
    arguments = ["--results", node.addresses["results"], "upload", str(file), "--lab", LAB_NAME, *options]
    with redirect_stdout(out), redirect_stderr(err):
        code = run(arguments)
    text = out.getvalue() + err.getvalue()
    assert not any(card[:17] in text for card in CARDS)
    assert "Traceback" not in text
    return Told(code, text)


def rejects(file: Path) -> list[tuple[int, str]]:
    """Return row and description of each rejected row."""
    if file.suffix == ".xlsx":
        with closing(load_workbook(file.with_name(file.name + ".rejects.xlsx"), read_only=True)) as book:
            return [(int(str(row[0])), str(row[3])) for row in list(book.worksheets[0].iter_rows(values_only=True))[1:]]
    with file.with_name(file.name + ".rejects.csv").open(encoding="utf-8-sig", newline="") as content:
        return [(int(row[0]), row[3]) for row in list(csv.reader(content))[1:]]


def workbook(file: Path, rows: Sequence[Sequence[object]]) -> Path:
    book = Workbook()
    for row in rows:
        book.worksheets[0].append(list(row))
    book.save(file)
    return file


def good_text(first: int) -> str:
    """Three good rows, one of them with a comma, a quotation mark and a line break in its cells."""
    return as_csv(
        [line(first), line(first + 1, name='赵,"示\n例'), line(first + 2, nat_result="检测中", report_date="")]
    )


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(b"", "utf-8"), (codecs.BOM_UTF8, "utf-8"), (b"", "gb18030"), (b"", "utf-16")],
    ids=["utf-8", "utf-8 with a mark", "gb18030", "utf-16"],
)
@pytest.mark.parametrize("end", ["\r\n", "\n"], ids=["crlf", "lf"])
def test_csv_in_every_encoding(node: Node, tmp_path: Path, first: int, mark: bytes, encoding: str, end: str) -> None:
    """All three rows are read with either line end. The same file again is three duplicates."""
    file = tmp_path / "day.csv"
    file.write_bytes(mark + good_text(first).replace("\r\n", end).encode(encoding))
    assert upload(node, file, "--json").counts == (3, 0, 0)
    assert upload(node, file, "--json").counts == (0, 3, 0)


def test_columns_reordered_and_unknown_ones_among_them(node: Node, tmp_path: Path, first: int) -> None:
    """Titles are Chinese. Unknown columns are left out."""
    file = tmp_path / "day.csv"
    file.write_text(
        "备注,检测结果,报告编号,报告时间,采样时间（必填）,采样地区,身份证号,姓名,窗口\r\n"
        f"不急,阴性,R{first},2022-08-09 12:00:00,2022-08-09 06:00:00,220502,{CARDS[0]},赵示例,3\r\n",
        encoding="utf-8",
    )
    assert upload(node, file, "--json", *CHINA).counts == (1, 0, 0)


@pytest.mark.parametrize(
    ("column", "words"),
    [("card_no", "lacks card_no (证件号码)"), ("sample_date", "lacks sample_date"), ("report_no", "lacks report_no")],
)
def test_missing_column_is_named(node: Node, tmp_path: Path, first: int, column: str, words: str) -> None:
    """The message has both languages and comes before anything is sent."""
    file = tmp_path / "day.csv"
    file.write_text(as_csv([line(first)], [name for name in HEADER if name != column]), encoding="utf-8")
    told = upload(node, file)
    assert told.code == ExitCode.USAGE
    assert words in told.text


def test_times_without_a_zone_are_never_taken_for_chinas(node: Node, tmp_path: Path, first: int) -> None:
    """If a CSV or a date cell of a workbook has such times, nothing is sent, and the message offers the option."""
    bare = line(first, sample_date="2022-08-09 06:00:00", report_date="2022-08-09 12:00:00")
    written = tmp_path / "day.csv"
    written.write_text(as_csv([bare]), encoding="utf-8")
    cells = list((bare | {"sample_date": SIX, "report_date": NOON}).values())
    book = workbook(tmp_path / "day.xlsx", [HEADER, cells])
    for file in (written, book):
        told = upload(node, file)
        assert (told.code, "--timezone Asia/Shanghai" in told.text) == (ExitCode.USAGE, True)
    assert upload(node, book, "--json", *CHINA).counts == (1, 0, 0)
    # The very same instants from the CSV: the two formats say the same.
    assert upload(node, written, "--json", "--timezone", "+08:00").counts == (0, 1, 0)


def test_one_time_without_a_zone_among_others_is_reported_for_its_row(node: Node, tmp_path: Path, first: int) -> None:
    """The others are stored."""
    file = tmp_path / "day.csv"
    rows = [line(first), line(first + 1, report_date="2022-08-09 12:00:00"), line(first + 2)]
    file.write_text(as_csv(rows), encoding="utf-8")
    told = upload(node, file, "--json")
    assert (told.code, told.counts) == (ExitCode.PARTLY, (2, 0, 1))
    ((row, words),) = rejects(file)
    assert row == 3
    assert "--timezone Asia/Shanghai" in words


MANGLED = [
    ({"card_no": "4.10105E+17"}, "format the column as text"),
    ({"report_no": "2.0220809E+13"}, "format the column as text"),
    ({"report_date": "44782.5"}, "serial number"),
    ({"report_date": "2.02208E+13"}, "rounded number"),
    ({"sample_date": "########"}, "too narrow"),
    ({"sample_date": "06:00"}, "cut the date off"),
    ({"report_date": "2022-08-09"}, "no time of day"),
    ({"report_date": "8/9/22 12:00"}, "which number is the day"),
    ({"nat_result": "#N/A"}, "error value"),
]


def test_what_excel_mangled_is_reported_by_row_with_the_cure(node: Node, tmp_path: Path, first: int) -> None:
    """One file has every kind of mangled cell among good rows, after a cell with a line break.

    Row numbers are those of Excel.
    """
    rows = [line(first, name="赵\n示例")]
    for place, (change, _) in enumerate(MANGLED):
        rows += [line(first + 1 + 2 * place, **change), line(first + 2 + 2 * place)]
    file = tmp_path / "day.csv"
    file.write_bytes(as_csv(rows).encode("gb18030"))
    told = upload(node, file, "--json")
    assert (told.code, told.counts) == (ExitCode.PARTLY, (1 + len(MANGLED), 0, len(MANGLED)))
    found = rejects(file)
    assert [row for row, _ in found] == [3 + 2 * place for place in range(len(MANGLED))]
    for (_, words), (_, cure) in zip(found, MANGLED, strict=True):
        assert cure in words


def test_what_excel_mangled_in_a_workbook(node: Node, tmp_path: Path, first: int) -> None:
    """A number kept as a quantity is refused; a date cell, a true number and text are what they are."""
    good = line(first) | {"sample_date": SIX, "report_date": NOON, "pool_size": 1, "sample_region": 220502}
    card = good | {"card_no": float(CARDS[0]), "report_no": f"R{first + 1}", "tube_code": "a"}
    serial = good | {"report_date": 44782.5, "report_no": f"R{first + 2}", "tube_code": "b"}
    file = workbook(
        tmp_path / "day.xlsx", [HEADER, list(good.values()), [None] * 5, list(card.values()), list(serial.values())]
    )
    told = upload(node, file, "--json", *CHINA)
    assert (told.code, told.counts) == (ExitCode.PARTLY, (1, 0, 2))
    found = rejects(file)
    assert [row for row, _ in found] == [4, 5]
    assert "format the column as text" in found[0][1]
    assert "serial number" in found[1][1]


def test_rejected_rows_can_be_mended_in_their_file_and_sent(node: Node, tmp_path: Path, first: int) -> None:
    """A clerk corrects the cell in the rejects and uploads that file."""
    file = tmp_path / "day.csv"
    file.write_text(as_csv([line(first), line(first + 1, report_date="2022-08-09")]), encoding="utf-8")
    assert upload(node, file, "--json").counts == (1, 0, 1)
    put_aside = file.with_name("day.csv.rejects.csv")
    text = put_aside.read_text(encoding="utf-8-sig").replace('"=""2022-08-09"""', "2022-08-09T12:00:00+08:00")
    put_aside.write_text(text, encoding="utf-8-sig")
    assert upload(node, put_aside, "--json").counts == (1, 0, 0)


def test_rejected_records_can_be_mended_in_their_file_and_sent(node: Node, tmp_path: Path, first: int) -> None:
    """The rejects of NDJSON are NDJSON too."""
    file = tmp_path / "day.ndjson"
    rows = [line(first), line(first + 1, report_date="2022-08-09")]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert upload(node, file, "--json").counts == (1, 0, 1)
    put_aside = file.with_name("day.ndjson.rejects.ndjson")
    (record,) = map(json.loads, put_aside.read_text(encoding="utf-8-sig").splitlines())
    assert (record["row"], record["fields"]) == (2, "report_date")
    record["report_date"] = "2022-08-09T12:00:00+08:00"
    put_aside.write_text(json.dumps(record), encoding="utf-8")
    assert upload(node, put_aside, "--json").counts == (1, 0, 0)


def png() -> bytes:
    """A picture of one dot."""
    chunks = (
        (b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"),
        (b"IDAT", zlib.compress(b"\0\0")),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big") for name, body in chunks
    )


def archive(*names: str) -> bytes:
    """A ZIP of such files, all with a table in them."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for name in names:
            packed.writestr(name, as_csv([line(1)]))
    return content.getvalue()


PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", b"", "the file is empty"),
        ("empty.xlsx", b"", "the file is empty"),
        ("blank.csv", codecs.BOM_UTF8 + b"\r\n\r\n", "the file is empty"),
        ("header.csv", as_csv([]).encode(), "a header and no rows"),
        ("scan.csv", png(), "a picture"),
        ("report.xlsx", PDF, "a PDF"),
        ("day.zip", archive("day.csv"), "unpack it"),
        ("letter.xlsx", archive("[Content_Types].xml", "word/document.xml"), "not an Excel workbook"),
        ("broken.xlsx", b"PK\x03\x04" + bytes(100), "cannot be opened"),
        ("day.csv.gz", b"\x1f\x8b\x08" + bytes(40), "unpack it"),
        ("old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Excel 97-2003"),
        ("page.csv", b"<html><table><tr><td>1</td></tr></table></html>", "a web page"),
        ("letter.csv", "敬启者：附上今日结果。\r\n".encode("gb18030"), "--encoding"),
        ("noise.csv", bytes(range(256)) * 20, "not text"),
        ("day.ndjson", b"hello\n", "not JSON"),
        ("day.ndjson", b"[1, 2]\n", "not a JSON object"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_what_to_do(
    node: Node, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    """Exit code 2 and one line; no journal and no rejects are left beside it."""
    file = tmp_path / name
    file.write_bytes(content)
    told = upload(node, file)
    assert told.code == ExitCode.USAGE
    assert words in told.text
    assert list(tmp_path.iterdir()) == [file]


def test_an_empty_workbook_and_one_with_a_header_alone(node: Node, tmp_path: Path) -> None:
    for rows, words in (([], "first sheet of the workbook, is empty"), ([HEADER], "a header and no rows")):
        told = upload(node, workbook(tmp_path / "day.xlsx", rows))
        assert (told.code, words in told.text) == (ExitCode.USAGE, True), told.text


def test_a_folder_is_uploaded_file_by_file(node: Node, tmp_path: Path, first: int) -> None:
    """A second upload of the folder stores nothing twice, and leaves out the rejects."""
    (tmp_path / "a.csv").write_text(as_csv([line(first), line(first + 1, nat_result="?")]), encoding="utf-8")
    (tmp_path / "b.csv").write_text(as_csv([line(first + 2)]), encoding="utf-8")
    for accepted, duplicates in ((1, 0), (0, 1)):
        done = upload(node, tmp_path, "--json")
        assert done.code == ExitCode.PARTLY
        report, _ = json.JSONDecoder().raw_decode(done.text)
        files = report["files"]
        assert [(it["accepted"], it["duplicates"], it["rejected"]) for it in files] == [
            (accepted, duplicates, 1),
            (accepted, duplicates, 0),
        ]


@pytest.mark.parametrize("kind", ["csv", "xlsx", "ndjson"])
def test_four_thousand_identical_rows_are_one_result(node: Node, tmp_path: Path, first: int, kind: str) -> None:
    """In every format, one row is accepted and the others are duplicates. None is an error."""
    file, row = tmp_path / f"day.{kind}", line(first)
    if kind == "csv":
        file.write_text(as_csv([row] * 4_000), encoding="utf-8")
    elif kind == "xlsx":
        workbook(file, [HEADER, *([list(row.values())] * 4_000)])
    else:
        file.write_text((json.dumps(row, ensure_ascii=False) + "\n") * 4_000, encoding="utf-8")
    assert upload(node, file, "--json").counts == (1, 3_999, 0)


def test_a_stray_quotation_mark_costs_one_row(node: Node, tmp_path: Path, first: int) -> None:
    """All others are stored. The row is reported with its number and text, and can be corrected there and sent."""
    rows = as_csv([line(first + place) for place in range(300)]).split("\r\n")
    rows[99] = '"' + rows[99]
    file = tmp_path / "day.csv"
    file.write_text("\r\n".join(rows), encoding="utf-8")
    told = upload(node, file, "--json")
    assert (told.code, told.counts) == (ExitCode.PARTLY, (299, 0, 1))
    ((row, words),) = rejects(file)
    assert row == 100
    assert "quotation mark" in words
    put_aside = file.with_name("day.csv.rejects.csv")
    text = put_aside.read_text(encoding="utf-8-sig").replace('"""赵示例"', "赵示例")
    put_aside.write_text(text, encoding="utf-8-sig")
    assert upload(node, put_aside, "--json").counts == (1, 0, 0)
    assert upload(node, file, "--json").counts == (0, 299, 1)
    assert put_aside.read_text(encoding="utf-8-sig") == text


def test_every_rejection_is_in_plain_words(node: Node, tmp_path: Path, first: int) -> None:
    """A broken rule of the contract is explained by what to write."""
    cases = {
        "tube_code": ("T" * 65, "1 to 64 characters"),
        "report_no": ("R/1", "without spaces, / or @"),
        "sample_region": ("长白山下", "six digits"),
        "card_no": ("身份证", "as it is printed"),
        "name": ("赵" * 200, "at most 128"),
        "pool_size": ("21", "1 to 20"),
    }
    file = tmp_path / "day.csv"
    lines = [line(first + place, **{column: cell}) for place, (column, (cell, _)) in enumerate(cases.items())]
    file.write_text(as_csv(lines), encoding="utf-8")
    assert upload(node, file, "--json").counts == (0, 0, len(cases))
    for (_, told), (_, words) in zip(rejects(file), cases.values(), strict=True):
        assert words in told
        assert "regex" not in told
