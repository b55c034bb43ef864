"""The journal of an upload: replaced in one step, refused when it is of something else."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hutong_client.cli.uploads.journal import (
    CannotResume,
    Journal,
    JournalWriter,
    hash_file,
    journal_path,
    read_journal,
)

from tests.support.client.laboratory_files import CARDS, line, write_csv

FRESH = Journal("labs/x", "", "", "day.csv.rejects.csv", "u1", "0" * 64)


def fail_for_want_of_room(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_journal_is_replaced_in_one_step_and_not_for_every_batch(tmp_path: Path) -> None:
    """At the end the journal has everything that was noted."""
    path = tmp_path / "journal"
    writer = JournalWriter(path, FRESH, lambda: (7, "ab"))
    writer.write()
    inode = path.stat().st_ino
    for offset in range(1, 1_000):
        writer.note(offset, {"CONFLICT": 1}, 1)
    writer.finish()
    assert path.stat().st_ino != inode
    assert list(tmp_path.iterdir()) == [path]
    assert read_journal(path, FRESH) == replace(
        FRESH,
        acknowledged_offset=999,
        rejects_bytes=7,
        rejects_sha256="ab",
        rejected_rows=999,
        rejected_by_reason={"CONFLICT": 999},
        finished=True,
    )


def test_journal_that_finds_no_room_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No draft of the journal stays beside it."""
    path = tmp_path / "journal"
    writer = JournalWriter(path, FRESH, lambda: (0, ""))
    writer.write()
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail_for_want_of_room)
    with pytest.raises(OSError, match="No space"):
        writer.finish()
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [before]


def test_journal_holds_no_identity(tmp_path: Path) -> None:
    """The journal is kept longer than the file."""
    path = tmp_path / "journal"
    JournalWriter(path, FRESH, lambda: (0, "")).write()
    assert not any(card in path.read_text(encoding="utf-8") for card in CARDS)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"sha256": "1" * 64}, "has changed"),
        ({"lab": "labs/y"}, "--lab"),
        ({"timezone": "Asia/Shanghai"}, "--timezone"),
        ({"region": "410105"}, "--region"),
        ({"rejects": "elsewhere.csv"}, "--rejects"),
    ],
)
def test_journal_of_something_else_is_refused(tmp_path: Path, change: dict[str, str], hint: str) -> None:
    """Going on would read the file another way than it was begun."""
    path = tmp_path / "journal"
    JournalWriter(path, replace(FRESH, **change), lambda: (0, "")).write()  # type: ignore[arg-type]
    with pytest.raises(CannotResume, match=hint):
        read_journal(path, FRESH)


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"lab": "x"})])
def test_broken_journal_is_refused(tmp_path: Path, content: str) -> None:
    """The error says what to do."""
    path = tmp_path / "journal"
    path.write_text(content)
    with pytest.raises(CannotResume, match="without --resume"):
        read_journal(path, FRESH)


def test_journal_lies_beside_its_file(tmp_path: Path) -> None:
    """Under the file's own name, and knows it by its content."""
    path = write_csv(tmp_path / "day.csv", [line(1)])
    assert journal_path(path).name == "day.csv.hutong-upload.json"
    assert len(hash_file(path)) == 64
    assert read_journal(journal_path(path), FRESH) is None
