"""Files that only their owner can read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hutong_client.private_files import replace_privately


def test_file_is_replaced_as_a_whole_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("old")
    with replace_privately(path) as file:
        file.write("新")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text(encoding="utf-8") == "新"
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


def _fail_while_writing(path: Path) -> None:
    with replace_privately(path) as file:
        file.write("new")
        raise KeyboardInterrupt


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        _fail_while_writing(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
