"""INSERT … ON CONFLICT. Both databases have it, but SQLAlchemy has no form that serves both."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func
from sqlalchemy.dialects import postgresql, sqlite


def insert_if_absent(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that skips rows whose unique key exists. Its rowcount is the number of inserted rows.

    If a running transaction has inserted the same key, the INSERT waits on PostgreSQL until that transaction has ended.
    """
    return _insert_if_absent(connection.dialect.name, table)


@cache
def _insert_if_absent(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    # Without preserve_rowcount, SQLAlchemy returns -1 for an INSERT on PostgreSQL.
    return insert_for(dialect, table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def insert_or_update(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT to which the caller adds `on_conflict_do_update`."""
    return insert_for(connection.dialect.name, table)


def insert_for(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return the same INSERT as `insert_or_update`, for a dialect."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def greater_of(connection: Connection, one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the greater of two values of a row."""
    return greater_for(connection.dialect.name, one, other)


def greater_for(dialect: str, one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the greater of two values of a row, for a dialect."""
    return func.max(one, other) if dialect == "sqlite" else func.greatest(one, other)
