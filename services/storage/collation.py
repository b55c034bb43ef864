"""Collation: orders texts by code point, as Python does, whatever collation the database has."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, collate


def in_byte_order(connection: Connection, *columns: ColumnElement[str]) -> list[ColumnElement[str]]:
    """Return text columns for an ORDER BY by code point. SQLite orders by code point already."""
    if connection.dialect.name == "postgresql":
        return [collate(column, "C") for column in columns]
    return list(columns)
