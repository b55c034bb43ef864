"""The files of an upload: paths, folders and patterns."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from hutong_client.cli.uploads.files import find_files, say_left_out

NAMES = (
    "b.csv",
    "a.xlsx",
    "notes.pdf",
    "a.xlsx.rejects.xlsx",
    "a.xlsx.rejects.2.xlsx.part.csv",
    "b.csv.rejects.2.csv",
    "b.csv.trial.rejects.csv",
    "b.csv.hutong-upload.json",
    "~$a.xlsx",
    ".hidden.csv",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).write_text("x", encoding="utf-8")
    (tmp_path / "older.csv").mkdir()
    return tmp_path


def names(*given: str) -> list[str]:
    return [path.name for path in find_files(given)]


def test_a_folder_has_its_tables_and_not_what_uploads_wrote(folder: Path) -> None:
    """Rejects wait for a clerk. Sent with the other files they would only be rejected again."""
    assert names(str(folder)) == ["a.xlsx", "b.csv"]
    assert names(str(folder / "*.csv")) == ["b.csv"]
    assert names(str(folder / "?.*")) == ["a.xlsx", "b.csv"]


def test_a_named_file_is_always_taken_and_each_only_once(folder: Path) -> None:
    """Corrected rejects are named. The order is that of the arguments."""
    rejects = "b.csv.rejects.2.csv"
    assert names(str(folder / rejects), str(folder), str(folder / "b.csv")) == [rejects, "a.xlsx", "b.csv"]
    odd = folder / "day[1].csv"
    odd.write_text("x", encoding="utf-8")
    assert names(str(odd)) == ["day[1].csv"]


@pytest.mark.parametrize("given", ["none.csv", "none*.csv", "older.csv"])
def test_nothing_to_upload_is_an_error(folder: Path, given: str) -> None:
    with pytest.raises(click.BadParameter, match=r"does not exist|no file to upload"):
        find_files([str(folder / given)])


def test_files_that_are_no_tables_are_named_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A result in a file of an unknown extension is never left out without a word."""
    find_files([str(folder)])
    assert capsys.readouterr().err.endswith("tables do: notes.pdf\n")
    named: set[Path] = set()
    say_left_out(folder, named)
    say_left_out(folder, named)
    for number in range(15):
        (folder / f"{number:02}.dat").touch()
    say_left_out(folder, named)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("notes.pdf")
    assert second.endswith("08.dat, 09.dat and 5 more")
