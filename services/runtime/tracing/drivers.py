"""Drivers of the databases that record a span for each statement. Used only if tracing is on.

Spans are recorded in the drivers, because only the drivers see every statement. The fastest reads and writes bypass
SQLAlchemy.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import psycopg
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import ConnectionPoolEntry

from services.runtime.tracing.spans import current_span, recorded

_KIND = re.compile(r"\s*([A-Za-z]{2,20})")
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE|COPY)\s+\"?([a-z][a-z_]{1,40})\b", re.IGNORECASE)
"""The first table of a statement. The pattern matches no digits, so no number can be recorded as a table's name."""


@lru_cache(maxsize=1_024)
def describe_statement(statement: str) -> tuple[str, str]:
    """Return the kind of a statement and its first table. The table may be empty.

    Nothing else of the statement is recorded.
    """
    kind, table = _KIND.match(statement), _TABLE.search(statement)
    return kind[1].upper() if kind else "STATEMENT", table[1].lower() if table else ""


@contextlib.contextmanager
def statement_span(system: str, statement: object) -> Iterator[None]:
    """Record a statement as a child of the current span, without its text and its parameters."""
    parent = current_span.get()
    if parent is None:
        yield
        return
    kind, table = describe_statement(statement) if isinstance(statement, str) else ("STATEMENT", "")
    attributes = {"db.system.name": system, "db.operation.name": kind}
    if table:
        attributes["db.collection.name"] = table
    active = parent.statement(f"{kind} {table}".rstrip(), attributes)
    if active is None:
        yield
        return
    with recorded(active):
        yield


class TracedSqliteCursor(sqlite3.Cursor):
    """A cursor of SQLite.

    A span does not include the reading of rows, because SQLite finds each row only when it is read.
    """

    def execute(self, sql: str, parameters: Any = (), /) -> TracedSqliteCursor:
        """Run a statement."""
        with statement_span("sqlite", sql):
            super().execute(sql, parameters)
        return self

    def executemany(self, sql: str, parameters: Any, /) -> TracedSqliteCursor:
        """Run a statement for many rows."""
        with statement_span("sqlite", sql):
            super().executemany(sql, parameters)
        return self


class TracedSqliteConnection(sqlite3.Connection):
    """A connection to SQLite. Work that is not recorded gets the driver's own cursors, which cost less."""

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        """Make a cursor."""
        return super().cursor(factory if current_span.get() is None else TracedSqliteCursor)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run a statement with a cursor of its own."""
        if current_span.get() is None:
            return super().execute(sql, parameters)
        cursor: sqlite3.Cursor = self.cursor()
        return cursor.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        """Run a statement for many rows with a cursor of its own."""
        cursor: sqlite3.Cursor = self.cursor()
        return cursor.executemany(sql, parameters)

    def commit(self) -> None:
        """Make the transaction durable."""
        with statement_span("sqlite", "COMMIT"):
            super().commit()


class TracedCursor(psycopg.Cursor[Any]):
    """A cursor of PostgreSQL."""

    def execute(self, query: Any, *arguments: Any, **named: Any) -> TracedCursor:
        """Run a statement."""
        with statement_span("postgresql", query):
            super().execute(query, *arguments, **named)
        return self

    def executemany(self, query: Any, *arguments: Any, **named: Any) -> None:
        """Run a statement for many rows."""
        with statement_span("postgresql", query):
            super().executemany(query, *arguments, **named)

    @contextlib.contextmanager
    def copy(self, statement: Any, *arguments: Any, **named: Any) -> Iterator[psycopg.Copy]:
        """Copy rows to the server."""
        with statement_span("postgresql", statement), super().copy(statement, *arguments, **named) as copying:
            yield copying


class TracedConnection(psycopg.Connection[Any]):
    """A connection to PostgreSQL. Work that is not recorded gets the driver's own cursors, which cost less."""

    def cursor(self, *arguments: Any, **named: Any) -> Any:
        """Make a cursor."""
        self.cursor_factory = psycopg.Cursor if current_span.get() is None else TracedCursor
        return super().cursor(*arguments, **named)

    def commit(self) -> None:
        """Make the transaction durable."""
        with statement_span("postgresql", "COMMIT"):
            super().commit()


def connect_postgresql(_dialect: Dialect, _record: ConnectionPoolEntry, arguments: list[Any], named: Any) -> Any:
    """Connect in place of SQLAlchemy. Its own connection would record nothing."""
    return TracedConnection.connect(*arguments, **named)
