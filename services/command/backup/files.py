"""Files of backups, which are private and survive a power failure. Also checks of SQLite files."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

from services.storage.migrate import version_table


def make_private(path: Path) -> None:
    """Make an empty file that only its owner can use. Raises FileExistsError if it exists."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can use."""
    make_private(path)
    path.write_bytes(content)
    sync(path)


def copy_private(source: Path, path: Path) -> None:
    """Copy a file into a new file that only its owner can use."""
    make_private(path)
    shutil.copyfile(source, path)
    sync(path)


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_database(source: Path, path: Path) -> None:
    """Copy a SQLite database into one new file. The database may be in use. The copy is one state of it.

    The copy is made in one step. A commit meanwhile therefore neither waits nor makes the copy begin again. The log of
    the database (-wal) grows until the copy ends.
    """
    make_private(path)
    readable = f"file:{quote(str(source.absolute()))}?mode=ro"
    with (
        contextlib.closing(sqlite3.connect(readable, uri=True)) as database,
        contextlib.closing(sqlite3.connect(path)) as copy,
    ):
        database.backup(copy)
        # In this mode the whole copy is in one file.
        copy.execute("PRAGMA journal_mode = DELETE")
    sync(path)


def find_damage(path: Path) -> str:
    """Return the first fault of a SQLite file in SQLite's words; empty if there is none.

    SQLite reads the whole file.
    """
    # No other process uses the file. Opened as immutable, SQLite makes no file beside it.
    try:
        with contextlib.closing(sqlite3.connect(_unchanged(path), uri=True)) as copy:
            (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else " ".join(str(found).split())


def read_schema(path: Path, service: str) -> str:
    """Return the revision of a copied database's schema; empty if this service of Hutong has not migrated it."""
    try:
        with contextlib.closing(sqlite3.connect(_unchanged(path), uri=True)) as copy:
            rows = copy.execute(f"SELECT version_num FROM {version_table(service)}").fetchall()  # noqa: S608 - a name
    except sqlite3.DatabaseError:
        return ""
    return str(rows[0][0]) if len(rows) == 1 else ""


def _unchanged(path: Path) -> str:
    return f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
