"""Being the only process that does something with a database. The right to it ends with the process, however that ends.

On PostgreSQL it is an advisory lock of a session, on SQLite a lock on a file beside the database.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from services.storage.engine import Database


@contextlib.contextmanager
def alone(database: Database, what: str, key: int) -> Iterator[bool]:
    """Whether this process is the only one that does it, for as long as the block lasts.

    `what` names it among all that is done with a SQLite database, `key` among all advisory locks.
    """
    if database.is_sqlite:
        with alone_with_file(database.engine.url.render_as_string(hide_password=False), what) as is_alone:
            yield is_alone
        return
    with database.engine.connect() as connection:
        try:
            yield bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({key})").scalar_one())
        finally:
            # Not given back to the pool: the lock ends with its session.
            connection.invalidate()


@contextlib.contextmanager
def alone_with_file(url: str, what: str) -> Iterator[bool]:
    """As `alone`, of a SQLite database by its URL, which need not exist yet."""
    path = Path(make_url(url).database or "").absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never the database's own file: closing it would let go of SQLite's locks.
    with path.with_name(f"{path.name}-{what}").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
