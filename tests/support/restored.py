"""Copies of SQLite stores, to restore a node from."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from sqlalchemy import make_url


class Copy:
    """A copy of a SQLite store."""

    def __init__(self, url: str, path: Path) -> None:
        self._store = Path(make_url(url).database or "")
        self._path = path
        with contextlib.closing(sqlite3.connect(self._store)) as store, contextlib.closing(sqlite3.connect(path)) as to:
            store.backup(to)

    def restore(self) -> None:
        """Replace the store by the copy. No process may have the store open."""
        for beside in ("-wal", "-shm"):
            Path(f"{self._store}{beside}").unlink(missing_ok=True)
        self._store.write_bytes(self._path.read_bytes())
