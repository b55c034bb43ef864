"""The order of texts by code point, as Python has it: the same in every database, whatever its collation."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, collate


def in_byte_order(connection: Connection, *columns: ColumnElement[str]) -> list[ColumnElement[str]]:
    """Text columns to order by. SQLite knows no other order."""
    if connection.dialect.name == "postgresql":
        return [collate(column, "C") for column in columns]
    return list(columns)
