"""Indexes that PostgreSQL builds while the services go on writing.

Such an index has `postgresql_concurrently` in its table's description. PostgreSQL cannot build it inside a transaction,
so `hutongd migrate` builds it after the transaction of the migrations. Until then every statement is right, but may be
slow. A build that was interrupted leaves an invalid index, which the next `hutongd migrate` removes and builds again.

On SQLite the migration itself makes the index, because only one process uses the database.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import structlog
from sqlalchemy import Connection, Index, MetaData, make_url
from sqlalchemy.schema import CreateIndex, DropIndex

from services.storage.advisory_locks import AdvisoryLock
from services.storage.connections import create_inspecting_engine, create_service_engine, is_pooled

TURN_SECONDS = 0.2
"""The time between two attempts to become the process that builds indexes."""

_log = structlog.get_logger(__name__)


def list_online(metadata: MetaData) -> list[Index]:
    """Return the indexes that are built online, sorted by name."""
    indexes = {index for table in metadata.tables.values() for index in table.indexes}
    online = [index for index in indexes if index.dialect_options["postgresql"]["concurrently"]]
    return sorted(online, key=lambda index: str(index.name))


def find_missing(connection: Connection, indexes: Iterable[Index]) -> list[Index]:
    """Return which of the indexes PostgreSQL does not have, or has only half built.

    Indexes of tables that do not exist are left out. On SQLite none is missing.
    """
    if connection.dialect.name != "postgresql":
        return []
    query = (
        "SELECT to_regclass(%s) IS NOT NULL"
        " AND NOT COALESCE((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)), false)"
    )

    def is_missing(index: Index) -> bool:
        assert index.table is not None
        return bool(connection.exec_driver_sql(query, (index.table.name, str(index.name))).scalar_one())

    return [index for index in indexes if is_missing(index)]


def find_missing_in(url: str, metadata: MetaData) -> list[str]:
    """Return the names of the online indexes that a database lacks."""
    engine = create_inspecting_engine(url)
    try:
        with engine.connect() as connection:
            return [str(index.name) for index in find_missing(connection, list_online(metadata))]
    finally:
        engine.dispose()


def build_missing(url: str, metadata: MetaData) -> None:
    """Build the online indexes that are missing. One process builds at a time, and the others wait for it."""
    indexes = list_online(metadata)
    engine = create_service_engine(url)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if not find_missing(connection, indexes):
                return
            with engine.connect() as turn:
                _await_turn(turn)
                # A large index takes longer than the timeout. Behind a pooler, the setting would stay for others.
                if not is_pooled(make_url(url)):
                    connection.exec_driver_sql("SET statement_timeout = 0")
                for index in find_missing(connection, indexes):
                    _log.info("an index is built while the services go on", index=index.name)
                    connection.execute(DropIndex(index, if_exists=True))
                    connection.execute(CreateIndex(index))
    finally:
        engine.dispose()


def _await_turn(turn: Connection) -> None:
    """Take the lock of builders, which the transaction holds until its end.

    A build waits for all older snapshots of the database. So the transaction must have no snapshot, neither while it
    waits for the lock nor while it holds the lock.
    """
    query = "SELECT pg_try_advisory_xact_lock(%s)"
    while not turn.exec_driver_sql(query, (int(AdvisoryLock.INDEXES),)).scalar_one():
        turn.rollback()
        time.sleep(TURN_SECONDS)
    # The transaction keeps the snapshot of its last statement. SET has no snapshot, so SET comes last.
    turn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
