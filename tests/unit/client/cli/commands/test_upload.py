"""`hutong upload` against a small service that misbehaves on demand."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.rpc import code_pb2
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.main import run
from hutong_client.cli.uploads.journal import journal_path
from openpyxl import load_workbook

from tests.support.client.fake_uploads import FakeUploads, at_batches, failure, serving
from tests.support.client.laboratory_files import CARDS, HEADER, damage_workbook, line, write_csv, write_workbook
from tests.support.ports import free_address

LAB = "91220502MA000LAB8G"
REFUSED = failure(code_pb2.FAILED_PRECONDITION, "LAB_UNKNOWN")


@pytest.fixture
def fake() -> FakeUploads:
    return FakeUploads()


@pytest.fixture
def address(fake: FakeUploads) -> Iterator[str]:
    with serving(fake) as address:
        yield address


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Forty tubes, of which the service rejects some, and rows that are never sent, the last row among them."""
    rows = [line(number, tube_code=f"REJECT{number}" if number % 7 == 0 else f"T{number}") for number in range(40)]
    for number in (3, 4, 21, 39):
        rows[number]["sample_date"] = "2022-08-09"
    return write_csv(tmp_path / "day.csv", rows)


def rejected_rows(day: Path) -> list[tuple[int, str]]:
    path = day.with_name(day.name + ".rejects.csv")
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [(int(row["row"]), row["reasons"]) for row in csv.DictReader(file)]


def upload(day: Path, address: str, *options: str) -> int:
    return run(["upload", str(day), "--lab", LAB, "--results", address, "--batch-size", "4", *options])


def test_good_rows_are_sent_and_bad_ones_reported(
    day: Path, address: str, fake: FakeUploads, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows that the client or the service rejects are reported in the order of the file, with exit code 3."""
    assert upload(day, address, "--json") == ExitCode.PARTLY
    assert len(fake.tubes) == 36
    expected = [(number + 2, "TIMES_OUT_OF_ORDER") for number in range(0, 40, 7) if number != 21]
    expected += [(number + 2, "INVALID_FIELD") for number in (3, 4, 21, 39)]
    assert rejected_rows(day) == sorted(expected)
    told = json.loads(capsys.readouterr().out)
    assert (told["accepted"], told["duplicates"], told["rejected"]) == (31, 0, 9)
    assert told["rejected_by_reason"] == {"INVALID_FIELD": 4, "TIMES_OUT_OF_ORDER": 5}


@pytest.mark.parametrize("number", range(1, 11))
def test_interrupted_upload_goes_on_to_the_same_end(
    day: Path, address: str, fake: FakeUploads, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same tubes, the same rejects file byte for byte, the same sums; whatever batch size it goes on with."""
    with serving(FakeUploads()) as other:
        upload(day, other, "--json")
    rejects = day.with_name(day.name + ".rejects.csv")
    whole, sums = rejects.read_bytes(), json.loads(capsys.readouterr().out)
    rejects.unlink()
    fake.before_answer = at_batches(REFUSED, number)
    code = upload(day, address)
    hint = "--resume continues" in capsys.readouterr().err
    assert (code, hint) == ((ExitCode.PARTLY, False) if number == 10 else (ExitCode.FAILED, number > 1))
    assert upload(day, address, "--resume", "--batch-size", "3", "--json") == ExitCode.PARTLY
    assert len(fake.tubes) == len(set(fake.tubes)) == 36
    assert rejects.read_bytes() == whole
    again = json.loads(capsys.readouterr().out)
    assert again | {"upload": ""} == sums | {"upload": ""}


def test_finished_upload_is_not_sent_again(day: Path, address: str, fake: FakeUploads) -> None:
    """--resume reports the same end once more."""
    upload(day, address)
    batches = fake.batches
    assert upload(day, address, "--resume") == ExitCode.PARTLY
    assert fake.batches == batches


def test_resume_of_nothing_begins(
    day: Path, address: str, fake: FakeUploads, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed before anything was written down, the same command still works."""
    assert upload(day, address, "--resume") == ExitCode.PARTLY
    assert len(fake.tubes) == 36
    assert "a new one begins" in capsys.readouterr().err


def test_resume_of_a_changed_file_is_refused(day: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Offsets would point at other rows."""
    upload(day, address)
    write_csv(day, [line(1)])
    assert upload(day, address, "--resume") == ExitCode.USAGE
    assert "has changed" in capsys.readouterr().err


def test_resume_without_its_rejects_is_refused(day: Path, address: str, fake: FakeUploads) -> None:
    """Rejected rows that were acknowledged would be lost from sight."""
    fake.before_commit = at_batches(REFUSED, 6)
    upload(day, address)
    day.with_name(day.name + ".rejects.csv").unlink()
    assert upload(day, address, "--resume") == ExitCode.USAGE


def test_trial_leaves_an_interrupted_upload_alone(day: Path, address: str, fake: FakeUploads) -> None:
    """The rejected rows of a dry run have their own file, and a dry run writes no journal."""
    fake.before_commit = at_batches(REFUSED, 6)
    upload(day, address)
    journal = journal_path(day).read_bytes()
    with serving(FakeUploads()) as other:
        assert upload(day, other, "--validate-only") == ExitCode.PARTLY
    assert journal_path(day).read_bytes() == journal
    assert upload(day, address, "--resume") == ExitCode.PARTLY
    assert len(rejected_rows(day)) == 9


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"sample_date": "2022-08-09 06:00:00", "report_date": "2022-08-09 12:00:00"}, "--timezone Asia/Shanghai"),
        ({"sample_region": ""}, "--region"),
    ],
)
def test_missing_option_is_reported_before_anything_is_sent(
    tmp_path: Path,
    address: str,
    fake: FakeUploads,
    changes: dict[str, str],
    hint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command does not report a rejection for each of twenty thousand rows."""
    rows = [line(number, **changes) for number in range(3)]
    header = [column for column in rows[0] if rows[0][column]]
    day = write_csv(tmp_path / "day.csv", rows, header)
    assert upload(day, address) == ExitCode.USAGE
    assert hint in capsys.readouterr().err
    assert fake.streams == 0
    assert upload(day, address, "--timezone", "Asia/Shanghai", "--region", "220502") == ExitCode.DONE


def test_a_missing_service_is_reported_at_once(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 6, one line, and no identity in it."""
    assert upload(day, "127.0.0.1:1") == ExitCode.NO_CONNECTION
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not any(card in told for card in CARDS)


def test_rejects_of_the_time_before_are_kept(day: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A clerk may be correcting them. The new ones go beside them, and the command prints the path."""
    upload(day, address)
    mended = day.with_name("day.csv.rejects.csv")
    mended.write_text("mended", encoding="utf-8")
    capsys.readouterr()
    assert upload(day, address) == ExitCode.PARTLY
    assert mended.read_text(encoding="utf-8") == "mended"
    assert "day.csv.rejects.2.csv" in capsys.readouterr().out


def test_a_faulty_file_does_not_stop_the_others(
    day: Path, address: str, fake: FakeUploads, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each file has its outcome and its exit code. The whole has the smallest one that is not 0."""
    day.with_name("a.csv").write_text("", encoding="utf-8")
    assert upload(day.parent, address, "--json") == ExitCode.USAGE
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert [(Path(it["file"]).name, it["exit_code"]) for it in report["files"]] == [("a.csv", 2), ("day.csv", 3)]
    assert report["files"][1]["rejected"] == 9
    assert "the file is empty" in err
    assert upload(day.parent, address, "--rejects", str(day.parent / "x.csv")) == ExitCode.USAGE


def test_an_unavailable_service_ends_the_series(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The remaining files are named, and none waits for the service again."""
    day.with_name("e.csv").write_bytes(day.read_bytes())
    assert upload(day.parent, free_address(), "--json") == ExitCode.NO_CONNECTION
    report = json.loads(capsys.readouterr().out)
    assert [Path(it["file"]).name for it in report["files"]] == ["day.csv"]
    assert [Path(name).name for name in report["not_uploaded"]] == ["e.csv"]


def as_workbook(day: Path) -> Path:
    with day.open(encoding="utf-8", newline="") as file:
        return write_workbook(day.with_name("day.xlsx"), csv.reader(file))


def test_rejects_of_a_workbook_are_a_workbook(day: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows are gathered in another file, which is removed at the end. A second upload writes a second workbook."""
    book = as_workbook(day)
    for name in ("day.xlsx.rejects.xlsx", "day.xlsx.rejects.2.xlsx"):
        assert upload(book, address) == ExitCode.PARTLY
        assert name in capsys.readouterr().out
        (sheet,) = load_workbook(book.with_name(name)).worksheets
        assert [row[0] for row in sheet.iter_rows(min_row=2, max_row=4, values_only=True)] == ["2", "5", "6"]
    assert not [path for path in book.parent.iterdir() if ".part" in path.name]


def test_rejects_of_an_interrupted_workbook_go_on(day: Path, address: str, fake: FakeUploads) -> None:
    """The workbook is written at the end, under another name if one exists already."""
    book = as_workbook(day)
    fake.before_commit = at_batches(REFUSED, 6)
    upload(book, address)
    assert book.with_name("day.xlsx.rejects.xlsx.part.csv").exists()
    book.with_name("day.xlsx.rejects.xlsx").write_bytes(b"corrected")
    assert upload(book, address, "--resume") == ExitCode.PARTLY
    assert book.with_name("day.xlsx.rejects.xlsx").read_bytes() == b"corrected"
    (sheet,) = load_workbook(book.with_name("day.xlsx.rejects.2.xlsx")).worksheets
    assert sheet.max_row == 1 + len({0, 7, 14, 21, 28, 35} | {3, 4, 21, 39})
    assert not [path for path in book.parent.iterdir() if ".part" in path.name]


@pytest.mark.parametrize("place", ["day.csv", "notes.csv", "pipe", "day.csv.hutong-upload.json"])
def test_rejects_destroy_nothing(
    day: Path, address: str, fake: FakeUploads, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The option names the input, another file, a pipe or the journal as the file of rejected rows.

    The exit code is 2. No file is overwritten, and nothing is sent.
    """
    day.with_name("notes.csv").write_text("notes", encoding="utf-8")
    os.mkfifo(day.with_name("pipe"))
    before = {path.name: path.is_fifo() or path.read_bytes() for path in day.parent.iterdir()}
    assert upload(day, address, "--rejects", str(day.with_name(place))) == ExitCode.USAGE
    assert place in capsys.readouterr().err
    assert {path.name: path.is_fifo() or path.read_bytes() for path in day.parent.iterdir()} == before
    assert fake.streams == 0


def test_interrupted_rejects_that_were_mended_are_not_cut(day: Path, address: str, fake: FakeUploads) -> None:
    """Going on would write over the clerk's work."""
    fake.before_commit = at_batches(REFUSED, 6)
    upload(day, address)
    rejects = day.with_name("day.csv.rejects.csv")
    rejects.write_text(rejects.read_text(encoding="utf-8-sig").replace("2022-08-09,", "2022-08-09T08:00:00+08:00,"))
    mended = rejects.read_bytes()
    assert upload(day, address, "--resume") == ExitCode.USAGE
    assert rejects.read_bytes() == mended


@pytest.mark.parametrize("options", [(), ("--rejects", "put/aside.csv")])
def test_resume_from_another_directory(
    day: Path, address: str, fake: FakeUploads, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file and its rejects are the same wherever they are seen from."""
    home = day.parent
    (home / "put").mkdir()
    fake.before_commit = at_batches(REFUSED, 6)
    monkeypatch.chdir(home)
    assert upload(Path(day.name), address, *options) == ExitCode.FAILED
    monkeypatch.chdir(home / "put")
    again = ("--rejects", "aside.csv") if options else ()
    assert upload(Path("..") / day.name, address, *again, "--resume") == ExitCode.PARTLY
    rejects = home / "put/aside.csv" if options else home / "day.csv.rejects.csv"
    assert len(list(csv.reader(rejects.open(encoding="utf-8-sig", newline="")))) == 1 + 9


def test_resume_knows_where_its_rejects_are(day: Path, address: str, fake: FakeUploads) -> None:
    """The option need not be given again, and a name that was taken at first stays out of it."""
    day.with_name("day.csv.rejects.csv").write_text("mended", encoding="utf-8")
    fake.before_commit = at_batches(REFUSED, 6)
    upload(day, address)
    assert upload(day, address, "--resume") == ExitCode.PARTLY
    text = day.with_name("day.csv.rejects.2.csv").read_text(encoding="utf-8-sig")
    assert len(text.splitlines()) == 1 + 9
    assert day.with_name("day.csv.rejects.csv").read_text(encoding="utf-8") == "mended"


def test_second_upload_of_a_file_at_once_is_refused(
    day: Path, address: str, fake: FakeUploads, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second upload begins during the first. Its exit code is 7, and nothing is sent or reported twice."""
    codes: list[int] = []

    def intrude(number: int) -> None:
        if number == 3:
            command = [sys.executable, "-m", "hutong_client", "upload", str(day), "--lab", LAB, "--results", address]
            codes.extend(subprocess.run([*command, *more], check=False).returncode for more in ([], ["--resume"]))

    fake.before_commit = intrude
    assert upload(day, address) == ExitCode.PARTLY
    assert codes == [ExitCode.RUNNING] * 2
    assert len(fake.tubes) == 36
    assert len(rejected_rows(day)) == 9
    assert {path.name for path in day.parent.iterdir()} == {
        "day.csv",
        "day.csv.rejects.csv",
        "day.csv.hutong-upload.json",
    }


@pytest.mark.parametrize(("options", "hint"), [((), "--resume"), (("--validate-only",), "same command again")])
def test_full_disk_says_how_to_go_on(
    day: Path,
    address: str,
    fake: FakeUploads,
    options: tuple[str, ...],
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A continued upload ends as if the disk had not been full."""

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill_disk(number: int) -> None:
        if number == 4:
            monkeypatch.setattr(os, "fsync", fail)

    fake.before_commit = fill_disk
    assert upload(day, address, *options) == ExitCode.USAGE
    told = capsys.readouterr().err
    assert "no space left in" in told
    assert hint in told
    monkeypatch.undo()
    assert upload(day, address, *(options or ("--resume",))) == ExitCode.PARTLY
    if not options:
        assert len(rejected_rows(day)) == 9


def test_damage_in_a_workbook_is_reported_with_what_is_stored(
    tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback: the last good row, the tubes above it, and how to go on."""
    day = write_workbook(tmp_path / "day.xlsx", [HEADER, *(list(line(number).values()) for number in range(300))])
    damage_workbook(day, "xl/worksheets/sheet1.xml", lambda content: content[: content.index(b'<row r="290"')])
    assert upload(day, address) == ExitCode.USAGE
    told = capsys.readouterr().err
    assert "damaged after row 289" in told
    assert "tubes before it are stored. Upload the repaired file without --resume" in told
