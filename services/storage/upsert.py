"""INSERT … ON CONFLICT DO NOTHING, which both databases have and SQLAlchemy keeps apart by dialect."""

from __future__ import annotations

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_if_absent(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that leaves a row alone whose unique key is taken; its rowcount tells how many went in.

    On PostgreSQL it waits for a transaction in flight that holds the same key, and then sees what that one did.
    """
    # Without preserve_rowcount SQLAlchemy answers -1 for an INSERT on PostgreSQL.
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return postgresql.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
