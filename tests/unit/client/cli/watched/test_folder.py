"""A watched folder: complete files only, each content once, whatever fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.watched.folder import RETRY_SECONDS, Outcome, WatchedFolder
from hutong_client.cli.watched.ledger import NAME, Ledger


class Desk:
    """A watched folder with a clock and an upload of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = 100.0
        self.sent: list[str] = []
        self.reported: list[tuple[str, ExitCode, str]] = []
        self.upload: Callable[[Path], ExitCode] = lambda _: ExitCode.DONE
        self.open()

    def open(self) -> None:
        """Begin anew, as after a kill."""
        ledger = Ledger(self.folder / NAME, "labs/x")
        self._watched = WatchedFolder(self.folder, ledger, self._send, self._report, 10.0, lambda: self.time)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def look(self, seconds: float = 0.0) -> bool:
        self.time += seconds
        return self._watched.look()

    def settle(self) -> bool:
        """Look twice, so that every file is complete."""
        self.look()
        return self.look(10.0)

    def _send(self, file: Path) -> Outcome:
        self.sent.append(file.read_text(encoding="utf-8"))
        return Outcome(self.upload(file), {"upload": "uploads/1"})

    def _report(self, file: Path, outcome: Outcome) -> None:
        self.reported.append((file.name, outcome.code, outcome.sent_as))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_file_half_written_is_not_read(desk: Desk) -> None:
    """The file is read once it has not changed for the stated time."""
    desk.write("day.csv", "half")
    assert desk.look()
    desk.write("day.csv", "half and half")
    assert desk.look(9.0)
    assert desk.look(9.0)
    assert desk.sent == []
    assert not desk.look(1.0)
    assert desk.sent == ["half and half"]


def test_content_is_sent_once(desk: Desk) -> None:
    """The content is not sent again under another name, after a restart, or when only the modification time changes."""
    desk.write("day.csv", "one")
    assert not desk.settle()
    os.utime(desk.folder / "day.csv", (1, 1))
    desk.write("copy.csv", "one")
    desk.settle()
    desk.open()
    desk.settle()
    assert desk.sent == ["one"]
    assert ("copy.csv", ExitCode.DONE, "day.csv") in desk.reported
    desk.write("day.csv", "two")
    desk.settle()
    assert desk.sent == ["one", "two"]


def test_content_of_another_laboratory_is_sent(desk: Desk) -> None:
    """The same file may be of two laboratories."""
    Ledger(desk.folder / NAME, "labs/y").add("0" * 64, "day.csv", "")
    assert Ledger(desk.folder / NAME, "labs/x").find("0" * 64) is None
    assert Ledger(desk.folder / NAME, "labs/y").find("0" * 64) == "day.csv"


def test_line_that_a_kill_cut_is_left_out(desk: Desk) -> None:
    """The next entry is whole again."""
    ledger = desk.folder / NAME
    Ledger(ledger, "labs/x").add("1" * 64, "a.csv", "")
    ledger.write_bytes(ledger.read_bytes() + b'{"lab": "labs/x", "sha2')
    Ledger(ledger, "labs/x").add("2" * 64, "b.csv", "")
    again = Ledger(ledger, "labs/x")
    assert (again.find("1" * 64), again.find("2" * 64)) == ("a.csv", "b.csv")
    assert ledger.stat().st_mode & 0o077 == 0


def test_file_that_grows_while_it_is_sent_is_sent_again(desk: Desk) -> None:
    """The first read did not have all of the file, so the file is not recorded as sent."""

    def grow(file: Path) -> ExitCode:
        if len(desk.sent) == 1:
            file.write_text("first and second", encoding="utf-8")
        return ExitCode.DONE

    desk.upload = grow
    desk.write("day.csv", "first")
    desk.settle()
    assert desk.reported == []
    desk.settle()
    assert desk.sent == ["first", "first and second"]


def test_unreachable_service_is_tried_again_after_a_pause(desk: Desk) -> None:
    """No other file is tried meanwhile."""
    desk.upload = lambda _: ExitCode.NO_CONNECTION
    desk.write("a.csv", "a")
    desk.write("b.csv", "b")
    assert desk.settle()
    assert desk.look(1.0)
    assert desk.sent == ["a"]
    desk.upload = lambda _: ExitCode.PARTLY
    assert not desk.look(RETRY_SECONDS)
    assert desk.sent == ["a", "a", "b"]


def test_refused_file_is_tried_again_when_it_changes(desk: Desk) -> None:
    """The refused file is not sent again while it is unchanged. Other files are sent meanwhile."""
    desk.upload = lambda file: ExitCode.USAGE if file.name == "bad.csv" else ExitCode.DONE
    desk.write("bad.csv", "bad")
    desk.write("good.csv", "good")
    assert not desk.settle()
    desk.settle()
    assert desk.sent == ["bad", "good"]
    desk.write("bad.csv", "mended")
    desk.settle()
    assert desk.sent == ["bad", "good", "mended"]


def test_file_that_cannot_be_read_stops_no_other(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is reported once."""
    # A memory file of the system is a regular file whose first page nobody can read.
    (desk.folder / "a.csv").symlink_to("/proc/self/mem")
    desk.write("b.csv", "b")
    assert not desk.settle()
    desk.settle()
    assert desk.sent == ["b"]
    assert desk.reported == [("a.csv", ExitCode.USAGE, ""), ("b.csv", ExitCode.DONE, "")]
    assert capsys.readouterr().err.startswith("hutong: ")


def test_files_of_others_are_left_alone(desk: Desk) -> None:
    """Rejected rows, journals, hidden files, locks of spreadsheet programs, other types."""
    for name in (
        "day.csv.rejects.csv",
        ".hidden.csv",
        "~$day.xlsx",
        "day.csv.hutong-upload.json",
        "day.csv.part",
        "a.pdf",
    ):
        desk.write(name, name)
    assert not desk.settle()
    assert desk.sent == []
