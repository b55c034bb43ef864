"""The lock of one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from hutong_client.cli.lock import Locked, hold_lock


def test_second_holder_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    """The lock leaves no file behind."""
    path = tmp_path / "lock"
    with hold_lock(path), pytest.raises(Locked), hold_lock(path):
        pass
    with hold_lock(path):
        assert path.exists()
    assert not path.exists()


def test_lock_of_a_killed_process_is_none(tmp_path: Path) -> None:
    """The empty file of the killed process may still be there."""
    path = tmp_path / "lock"
    path.touch()
    with hold_lock(path):
        pass
    assert not path.exists()
