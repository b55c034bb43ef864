"""Being the only process that does something with a database. The right to it ends with the process, however that ends.

On PostgreSQL it is an advisory lock of a session, on SQLite a lock on a file beside the database.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import URL, make_url

from services.storage.engine import Database, make_directory
from services.storage.errors import UnusableDatabase


@contextlib.contextmanager
def try_process_lock(database: Database, what: str, key: int) -> Iterator[bool]:
    """Whether this process is the only one that does it, for as long as the block lasts.

    `what` names it among all that is done with a SQLite database, `key` among all advisory locks.
    """
    if database.is_sqlite:
        with try_sqlite_process_lock(database.engine.url, what) as is_held:
            yield is_held
    else:
        with database.session() as session:
            is_held = bool(session.exec_driver_sql(f"SELECT pg_try_advisory_lock({key})").scalar_one())
            yield is_held
            # Given back here: the session's own end reaches the server a moment after this returns.
            if is_held:
                session.exec_driver_sql(f"SELECT pg_advisory_unlock({key})")


@contextlib.contextmanager
def try_sqlite_process_lock(url: str | URL, what: str) -> Iterator[bool]:
    """As `try_process_lock`, where the database is a SQLite file, which need not exist yet; true on a server."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        yield True
        return
    path = Path(f"{parsed.database}-{what}").absolute()
    make_directory(path.parent)
    # Never the database's own file: closing it would let go of SQLite's locks.
    with _open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("ab")
    except OSError as error:
        raise UnusableDatabase(f"no file can be written beside a SQLite database: {error.strerror}") from None
