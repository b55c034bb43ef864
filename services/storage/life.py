"""The life of a database: an id that changes whenever the database may have been restored from a copy.

A restored database gives out the sequences of lost commits again. The life in which each commit was made therefore
distinguishes two commits with the same sequence. A life lasts from one start of the database to the next, because no
restore happens without a start:

- On PostgreSQL a life is one run of the server with one table: the start of the server, and the identity of the table.
  A server that takes over from another one, and a table that was loaded from a dump, begin a new life.
- On SQLite a life is one opening of the file by a process.

Most starts follow no restore. The new life that they begin costs nothing, because the log says in which life each
commit was made.
"""

from __future__ import annotations

from typing import Any

from hutong_texts import english
from sqlalchemy import ColumnElement, Connection, String, Table, literal, literal_column

from services.domain.errors import Unavailable
from services.runtime.ids import uuid7

_OPTION = "hutong_life"
LIFE_LENGTH = 36
"""The longest id of a life. On SQLite an id is a UUID, on PostgreSQL it has 32 hexadecimal digits."""


def begin_life() -> dict[str, Any]:
    """Return the execution options of an engine for SQLite. The engine begins a new life of its file."""
    return {_OPTION: uuid7()}


def current_life(connection: Connection, table: Table) -> ColumnElement[str]:
    """Return the SQL expression for the current life of the database, for a row of a table."""
    if connection.dialect.name == "sqlite":
        options: dict[str, Any] = dict(connection.get_execution_options())
        return literal(options[_OPTION], String(LIFE_LENGTH))
    return literal_column(
        f"md5(extract(epoch FROM pg_postmaster_start_time())::text || '/' || '{table.name}'::regclass::oid::text)",
        String(LIFE_LENGTH),
    )


def require_life(began: str, current: str) -> None:
    """Check that a stream is still in the life of the database in which it began.

    A connection outlives a failover, and the new server may lack commits that the stream counts as known.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE, the database was started again.
    """
    if current != began:
        raise Unavailable("DATABASE_UNAVAILABLE", english("the database was started again; connect again"))
