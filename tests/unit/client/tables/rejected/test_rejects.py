"""The file of rejected rows that an upload leaves beside the laboratory's."""

from __future__ import annotations

import csv
import json
import os
import stat
from pathlib import Path

import pytest
from hutong_client.tables.faults import Fault
from hutong_client.tables.open import open_table
from hutong_client.tables.rejected.layouts import CsvLayout, Rejected, layout_of
from hutong_client.tables.rejected.rejects import NotFree, RejectsFile, choose_rejects_path, is_intact
from hutong_client.tables.rows import Row

from tests.support.client.laboratory_files import CARDS, HEADER, line, read_rows, write_csv


def rejected(number: int) -> Rejected:
    row = line(number)
    return Rejected(
        Row(number, row, tuple(row.values())),
        (Fault("card_no", "BAD_DOCUMENT_NUMBER", "does not fit"), Fault("report_date", "TIME_IN_FUTURE", "too early")),
        retryable=True,
    )


def test_row_is_written_with_its_faults_and_as_it_was(tmp_path: Path) -> None:
    """A clerk can correct it in the same place."""
    path = tmp_path / "rejects.csv"
    with RejectsFile(path, CsvLayout(HEADER)) as rejects:
        rejects.write([rejected(2)])
    (row,) = csv.DictReader(path.open(encoding="utf-8-sig", newline=""))
    assert row["row"] == "2"
    assert row["reasons"] == "BAD_DOCUMENT_NUMBER; TIME_IN_FUTURE"
    assert row["fields"] == "card_no; report_date"
    assert row["can_be_retried"] == "yes"
    assert {column: row[column] for column in HEADER} == line(2) | {"card_no": '="{}"'.format(line(2)["card_no"])}


def test_cells_beyond_the_header_are_written_too(tmp_path: Path) -> None:
    """Such cells are what the user must correct."""
    path = tmp_path / "rejects.csv"
    row = Row(2, {}, (*line(2).values(), "astray"), "too many cells")
    with RejectsFile(path, CsvLayout(HEADER)) as rejects:
        rejects.write([Rejected(row, (Fault("", "INVALID_FIELD", row.fault),))])
    (told,) = list(csv.reader(path.open(encoding="utf-8-sig", newline="")))[1:]
    assert told[-1] == "astray"


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """The file holds people's rows as they were given."""
    path = tmp_path / "rejects.csv"
    with RejectsFile(path, CsvLayout(HEADER)) as rejects:
        rejects.write([rejected(2)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_stands_there_is_never_overwritten(tmp_path: Path) -> None:
    """An existing file is not overwritten, even if the path was not checked before."""
    path = tmp_path / "rejects.csv"
    path.write_text("mended")
    with pytest.raises(FileExistsError), RejectsFile(path, CsvLayout(HEADER)):
        pass
    assert path.read_text(encoding="utf-8") == "mended"


def test_place_of_rejects_is_one_that_is_free(tmp_path: Path) -> None:
    """By default it is the next free name. A requested path that exists is refused."""
    day = write_csv(tmp_path / "day.csv", [line(1)])
    assert choose_rejects_path(day, None, ".rejects", ".csv").name == "day.csv.rejects.csv"
    (tmp_path / "day.csv.rejects.csv").write_text("mended")
    (tmp_path / "day.csv.rejects.2.csv").symlink_to(tmp_path / "nowhere")
    assert choose_rejects_path(day, None, ".rejects", ".csv").name == "day.csv.rejects.3.csv"
    assert choose_rejects_path(day, tmp_path / "new.csv", ".rejects", ".csv") == tmp_path / "new.csv"
    (tmp_path / "link.csv").symlink_to(day)
    (tmp_path / "hard.csv").hardlink_to(day)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to pipe").symlink_to(tmp_path / "pipe")
    for name, hint in {
        "day.csv": "the file to upload",
        "link.csv": "the file to upload",
        "hard.csv": "the file to upload",
        "pipe": "not a regular file",
        "to pipe": "not a regular file",
        "day.csv.rejects.csv": "exists already",
    }.items():
        with pytest.raises(NotFree, match=hint):
            choose_rejects_path(day, tmp_path / name, ".rejects", ".csv")


def test_file_without_rejected_rows_is_none(tmp_path: Path) -> None:
    """An empty file would make a clerk look for rows."""
    path = tmp_path / "rejects.csv"
    with RejectsFile(path, CsvLayout(HEADER)):
        pass
    assert not path.exists()


def test_rejects_can_be_uploaded_when_they_are_mended(tmp_path: Path) -> None:
    """The first columns do no harm and are not doubled when rows are rejected again."""
    path = tmp_path / "rejects.csv"
    with RejectsFile(path, CsvLayout(HEADER)) as rejects:
        rejects.write([rejected(2)])
    with open_table(path) as table:
        (row,) = table
        assert row.cells["report_no"] == "R00002"
        header = table.header
    with RejectsFile(tmp_path / "again.csv", CsvLayout(header)) as again:
        again.write([Rejected(row, (Fault("name", "INVALID_FIELD", "too long"),))])
    assert (tmp_path / "again.csv").read_text(encoding="utf-8-sig").splitlines()[0] == path.read_text(
        encoding="utf-8-sig"
    ).splitlines()[0]


def test_rejects_of_ndjson_are_ndjson_and_can_be_uploaded_again(tmp_path: Path) -> None:
    """Each record with its reasons among its keys, not doubled when it is rejected again; a broken line as it was."""
    path = tmp_path / "day.ndjson"
    record = json.dumps(line(1) | {"备注": "\ud800"}, ensure_ascii=False).replace(f'"{CARDS[1]}"', CARDS[1])
    path.write_bytes("\n".join([record, "{broken", "[" * 100_000, "5"]).encode("utf-8", "backslashreplace"))
    assert choose_rejects_path(path, None, ".rejects", ".ndjson").name == "day.ndjson.rejects.ndjson"
    faults = (Fault("card_no", "BAD_DOCUMENT_NUMBER", "does not fit"),)
    for again in (tmp_path / "rejects.ndjson", tmp_path / "again.ndjson"):
        with open_table(path) as table, RejectsFile(again, layout_of(table)) as rejects:
            rejects.write([Rejected(row, faults) for row in table])
        path = again
        told = [json.loads(text) for text in again.read_text(encoding="utf-8-sig").splitlines()]
        assert told[0] == {
            "row": 1,
            "reasons": "BAD_DOCUMENT_NUMBER",
            "fields": "card_no",
            "descriptions": "does not fit",
            "can_be_retried": "no",
            **line(1),
            "备注": "\ud800",
        }
        assert [it["record"] for it in told[1:]] == ["{broken", "[" * 100_000, "5"]
        assert "赵示例" in again.read_text(encoding="utf-8-sig")
    with open_table(path) as table:
        assert next(iter(table)).cells == line(1) | {"can_be_retried": "no"}


def test_rejects_go_on_from_a_kept_length(tmp_path: Path) -> None:
    """Rows that were written after the last journal are written once more."""
    path = tmp_path / "rejects.csv"
    with RejectsFile(path, CsvLayout(HEADER)) as rejects:
        rejects.write([rejected(2)])
        kept, sha256 = rejects.sync()
        rejects.write([rejected(3)])
    assert is_intact(path, kept, sha256)
    with RejectsFile(path, CsvLayout(HEADER), kept) as rejects:
        rejects.write([rejected(3), rejected(4)])
        assert is_intact(path, *rejects.sync())
    assert [row["row"] for row in csv.DictReader(path.open(encoding="utf-8-sig", newline=""))] == ["2", "3", "4"]


def as_a_spreadsheet_saves(cell: str) -> str:
    """Return a cell as a spreadsheet program writes it back: numbers as quantities, formulas as their texts."""
    if cell.startswith('="'):
        return cell[2:-1]
    return f"{float(cell):.6g}" if cell.isdigit() else cell


def test_long_numbers_survive_a_spreadsheet_program(tmp_path: Path) -> None:
    """A card, a tube code with zeros and a report number of digits come back as they were; so does a time."""
    own = line(2, tube_code="00000001", report_no="22080906100001", sample_date="2022-08-09 06:00:07", pool_size="1")
    row = Row(2, {}, tuple(own.values()), "")
    path = tmp_path / "rejects.csv"
    with RejectsFile(path, CsvLayout(HEADER)) as rejects:
        rejects.write([Rejected(row, (Fault("nat_result", "INVALID_FIELD", "unknown"),))])
    written = list(csv.reader(path.open(encoding="utf-8-sig", newline="")))
    (put_aside,) = read_rows(path)
    assert put_aside.cells == own | {"can_be_retried": "no"}
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[as_a_spreadsheet_saves(cell) for cell in cells] for cells in written])
    (mended,) = read_rows(path)
    assert mended.cells == own | {"can_be_retried": "no"}
