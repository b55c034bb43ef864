"""Reads the rows of many subject keys."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Column, Connection, Select

KEYS_AT_ONCE = 500
"""The most keys in one statement. PostgreSQL needs no such limit in `fetch_by_keys`, because all keys are one
parameter."""


def fetch_by_keys(
    connection: Connection, statement: str, query: Select[Any], column: Column[Any], subject_keys: Collection[bytes]
) -> Iterator[tuple[bytes, str]]:
    """Yield the rows of these keys.

    On PostgreSQL the driver runs `statement`, which is faster. On SQLite SQLAlchemy runs `query`.
    """
    keys = list(subject_keys)
    if connection.dialect.name == "postgresql":
        driver: Any = connection.connection.driver_connection
        yield from driver.execute(f"{statement} = ANY (%b::bytea[])", (keys,), binary=True)
    else:
        for start in range(0, len(keys), KEYS_AT_ONCE):
            yield from connection.execute(query.where(column.in_(keys[start : start + KEYS_AT_ONCE])))
