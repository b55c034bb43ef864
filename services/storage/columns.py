"""What the tables of all services share: names of constraints, marks for upgrades, the order of texts, and regions."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, MetaData, collate, true

from services.domain.region import prefix

LEFT_OUT: Final = "hutong_left_out"
"""A key in the info of a column or table. While the database lacks the column or table, writes to it are left out. The
service then does what the previous release does."""
READ_AS: Final = "hutong_read_as"
"""A key in the info of a column or table. Its value says what a read finds while the database lacks the column or
table.

For a column the value is an expression of SQL, in which `{row}` stands before the name of another column. For a table
it is a SELECT. Its value must equal what the migration fills in.
"""
_NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def new_metadata() -> MetaData:
    """Return empty metadata with a naming convention for constraints and indexes, so that migrations can name them."""
    return MetaData(naming_convention=_NAMING_CONVENTION)


def in_byte_order(connection: Connection, *columns: ColumnElement[str]) -> list[ColumnElement[str]]:
    """Return text columns for an ORDER BY by code point, whatever collation the database has.

    Python sorts in this order. SQLite orders by code point already.
    """
    if connection.dialect.name == "postgresql":
        return [collate(column, "C") for column in columns]
    return list(columns)


def in_region(column: ColumnElement[Any], region: str) -> ColumnElement[bool]:
    """Return the condition that the region in a column is the given region or lies in it.

    The nation, or an empty region, includes every region.
    """
    start = prefix(region)
    return column.startswith(start) if start else true()
