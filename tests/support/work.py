"""Counts how much a database works for a call, in units of its own, and notes its statements.

Unlike seconds, the count does not depend on the load of the machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from services.storage.connections import is_distributed
from services.storage.engine import Database

_OPCODES = 100
_ROWS = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables"
_FLUSH = "SELECT pg_stat_force_next_flush()"


class Work:
    """Counted work.

    Attributes:
        amount: hundreds of instructions of SQLite's machine by default, or rows that PostgreSQL has read. Either grows
            with the rows that statements go through.
    """

    def __init__(self) -> None:
        self.amount = 0

    def count(self) -> int:
        """Count one more, and let SQLite go on."""
        self.amount += 1
        return 0


@contextlib.contextmanager
def counting_work(database: Database, opcodes: int = _OPCODES) -> Iterator[Work]:
    """Count the work of all statements of a database while the block runs.

    SQLite counts on where the statement's last execution stopped, so only counts by single instructions are exact.
    """
    work, engine = Work(), database.engine
    engines = {engine, database.reading_engine}
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as connection:
        if is_distributed(connection):
            pytest.skip("the workers of Citus count the rows that they read, each for itself and seconds later")

    def watch(connection: Connection, *_: Any) -> None:
        driver: Any = connection.connection.dbapi_connection
        if is_sqlite:
            driver.set_progress_handler(work.count, opcodes)
        else:
            driver.execute(_FLUSH)

    moment = "before_cursor_execute" if is_sqlite else "after_cursor_execute"

    def rows_read() -> int:
        with engine.connect() as connection:
            return 0 if is_sqlite else int(connection.exec_driver_sql(_ROWS).scalar_one())

    begun = rows_read()
    for each in engines:
        event.listen(each, moment, watch)
    try:
        yield work
    finally:
        for each in engines:
            event.remove(each, moment, watch)
    work.amount += rows_read() - begun


@contextlib.contextmanager
def noting_statements(engine: Engine) -> Iterator[list[str]]:
    """Collect the statements that SQLAlchemy runs on an engine while the block runs."""
    run: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        run.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield run
    finally:
        event.remove(engine, "before_cursor_execute", note)
