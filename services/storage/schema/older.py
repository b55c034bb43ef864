"""Adapts statements to a PostgreSQL database that still has the schema of the previous release.

During a rolling upgrade, processes of this version may run before the migration. The tables of a service describe this
version's schema. If the database lacks a column or a table, the compiler adapts the statements:

- A read gets for a missing column the expression in `READ_AS`, or else the column's default. For a missing table it
  gets the rows of the SELECT in `READ_AS`, or else no rows.
- An UPDATE or DELETE of a missing table changes no row.
- A write to a missing column or table is left out if the info of the column or table has `LEFT_OUT`, or if the value is
  the column's default. Any other write is refused, because its value would be lost.

Statements that are written out as text are not rewritten. Neither is a statement whose compiled form is kept in the
cache, because it would be used after the migration too. Connections to such a database therefore use no cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hutong_texts import english
from sqlalchemy import Column, Connection, Engine, Table
from sqlalchemy.dialects.postgresql.psycopg import PGCompiler_psycopg
from sqlalchemy.sql import Alias
from sqlalchemy.sql.elements import BindParameter, ColumnClause
from sqlalchemy.types import Boolean, LargeBinary, String

from services.domain.errors import Unavailable
from services.domain.instant import SECOND
from services.storage.columns import LEFT_OUT, READ_AS

_COLUMNS = """
SELECT c.relname, array_agg(a.attname::text) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
  AND pg_table_is_visible(c.oid) GROUP BY c.relname
"""


_UNKNOWN = object()
"""Stands for a value that is known only when the statement is executed."""


class OlderSchema:
    """Which parts of this version's schema a database lacks. Until the schema is read, nothing counts as missing."""

    def __init__(self) -> None:
        self._columns: Mapping[str, frozenset[str]] | None = None

    def read(self, connection: Connection) -> None:
        """Read which tables and columns the database has."""
        self._columns = {table: frozenset(columns) for table, columns in connection.exec_driver_sql(_COLUMNS)}

    def forget(self) -> None:
        """Assume from now on that the database has this version's schema."""
        self._columns = None

    def lacks(self, table: object) -> bool:
        """Return whether the database lacks a table."""
        return self._columns is not None and isinstance(table, Table) and table.name not in self._columns

    def lacks_column(self, column: object) -> bool:
        """Return whether the database lacks a column of a table that it has."""
        if self._columns is None or not isinstance(column, ColumnClause):
            return False
        table = _table_of(column)
        return table is not None and column.name not in self._columns.get(table.name, frozenset([column.name]))

    def any_table(self, table: Table) -> Table:
        """Return a table of the same service that the database has."""
        assert self._columns is not None
        return next(one for one in table.metadata.tables.values() if one.name in self._columns)


_WHOLE = OlderSchema()
"""A schema that lacks nothing."""


def fit_statements(engine: Engine, schema: OlderSchema) -> None:
    """Make an engine for PostgreSQL adapt statements that are not cached to the tables and columns that exist."""

    class Compiler(_Compiler):
        database = schema

    engine.dialect.statement_compiler = Compiler


def stand_in(column: ColumnClause[Any], row: str, type_name: str) -> str:
    """Return the expression that replaces a missing column in a read.

    `row` is the prefix for names of the row's columns.
    """
    described = _table_column(column)
    if (text := described.info.get(READ_AS)) is not None:
        return f"CAST({text.format(row=row)} AS {type_name})"
    default = default_of(described)
    if default is None:
        return f"CAST(NULL AS {type_name})"
    return f"CAST('{default}' AS {type_name})"


def default_of(column: Column[Any]) -> str | None:
    """Return what a migration must fill into a new column, as text; None stands for NULL."""
    if column.server_default is not None:
        return str(getattr(column.server_default, "arg", ""))
    if column.nullable:
        return None
    return "false" if isinstance(column.type, Boolean) else "" if _is_text(column) else "0"


def _is_text(column: Column[Any]) -> bool:
    return isinstance(column.type, (String, LargeBinary))


def _table_of(column: ColumnClause[Any]) -> Table | None:
    """Return the table of a column of the table or of an alias of it."""
    source = column.table
    if isinstance(source, Alias):
        source = source.element
    return source if isinstance(source, Table) else None


def _table_column(column: ColumnClause[Any]) -> Column[Any]:
    table = _table_of(column)
    assert table is not None
    return table.c[column.name]


def _refuse(what: str) -> Unavailable:
    return Unavailable(
        "DATABASE_UNAVAILABLE",
        english("the database still has the schema of the release before, without {what}: hutongd migrate", what=what),
        retry_after=5 * SECOND,
    )


_Base: Any = PGCompiler_psycopg
"""The compiler of the driver. Most of its methods have no types."""


class _Compiler(_Base):  # type: ignore[misc]
    """Compiles statements for the tables and columns that the database has."""

    database: OlderSchema
    column_keys: Sequence[str] | None
    """The names of the parameters with which the statement is executed."""

    @property
    def older(self) -> OlderSchema:
        """What the database lacks; nothing for a statement that is kept in the cache.

        Another thread may read an older schema while this thread compiles a statement for the cache.
        """
        return self.database if self.cache_key is None else _WHOLE

    def visit_column(self, column: ColumnClause[Any], *arguments: Any, **options: Any) -> str:
        text: str = super().visit_column(column, *arguments, **options)
        if not self.older.lacks_column(column):
            return text
        source, dot, name = text.rpartition(".")
        found = stand_in(column, source + dot, self._type_of(column))
        in_list = options.get("within_columns_clause") and not options.get("within_label_clause")
        return f"{found} AS {name}" if in_list else found

    def visit_table(self, table: Table, *arguments: Any, **options: Any) -> str:
        text: str = super().visit_table(table, *arguments, **options)
        if not options.get("asfrom") or options.get("iscrud") or not self.older.lacks(table):
            return text
        rows = table.info.get(READ_AS) or self._no_rows(table)
        alias = options.get("enclosing_alias")
        return f"({rows})" if alias is not None and alias.element is table else f"({rows}) AS {text}"

    def visit_insert(self, insert_stmt: Any, *arguments: Any, **options: Any) -> str:
        table = insert_stmt.table
        if self.older.lacks(table):
            if not table.info.get(LEFT_OUT) or insert_stmt.returning_column_descriptions:
                raise _refuse(table.name)
            super().visit_insert(insert_stmt, *arguments, **options)
            return self._nothing(table)
        text: str = super().visit_insert(self._without_missing(insert_stmt), *arguments, **options)
        return text

    def visit_update(self, update_stmt: Any, *arguments: Any, **options: Any) -> str:
        table = update_stmt.table
        if self.older.lacks(table):
            super().visit_update(update_stmt, *arguments, **options)
            return self._changing_nothing(update_stmt)
        fitting = self._without_missing(update_stmt)
        if fitting is not update_stmt and not fitting._values and not self._sets(table):  # noqa: SLF001
            # An UPDATE must set something. This one sets a column to its own value.
            key = next(iter(table.primary_key))
            fitting = fitting.values({key: key})
        text: str = super().visit_update(fitting, *arguments, **options)
        return text

    def visit_delete(self, delete_stmt: Any, *arguments: Any, **options: Any) -> str:
        text: str = super().visit_delete(delete_stmt, *arguments, **options)
        return self._changing_nothing(delete_stmt) if self.older.lacks(delete_stmt.table) else text

    def visit_on_conflict_do_update(self, on_conflict: Any, **options: Any) -> str:
        table = self.stack[-1]["selectable"].table
        kept = self._kept(table, on_conflict.update_values_to_set)
        if len(kept) != len(on_conflict.update_values_to_set):
            on_conflict = on_conflict._clone()  # noqa: SLF001 - SQLAlchemy has no public way to take a value away
            on_conflict.update_values_to_set = kept
        visit = super().visit_on_conflict_do_update if kept else super().visit_on_conflict_do_nothing
        text: str = visit(on_conflict, **options)
        return text

    def _sets(self, table: Table) -> bool:
        """Return whether the parameters with which the statement is executed set columns of its table."""
        return any(key in table.c for key in self.column_keys or ())

    def _without_missing(self, statement: Any) -> Any:
        """Return an INSERT or UPDATE without its writes to missing columns."""
        table: Table = statement.table
        if not any(self.older.lacks_column(column) for column in table.columns):
            return statement
        if self.column_keys is not None:
            self.column_keys = [
                key for key in self.column_keys if key not in table.c or not self._is_left_out(table.c[key], _UNKNOWN)
            ]
        # SQLAlchemy has no public way to remove a value from a statement.
        fitting = statement._clone()  # noqa: SLF001
        if fitting._values:  # noqa: SLF001
            fitting._values = self._kept(table, fitting._values)  # noqa: SLF001
        many = getattr(fitting, "_multi_values", ())
        if many:
            fitting._multi_values = tuple([self._kept(table, row) for row in rows] for rows in many)  # noqa: SLF001
        for name in getattr(fitting, "_select_names", None) or ():
            if self.older.lacks_column(table.c[name]):
                raise _refuse(f"{table.name}.{name}")
        return fitting

    def _kept(self, table: Table, values: Mapping[Any, Any]) -> Any:
        of_kind: Callable[[Mapping[Any, Any]], Any] = type(values)
        return of_kind(
            {
                key: value
                for key, value in values.items()
                if not self._is_left_out(table.c[key] if isinstance(key, str) else key, value)
            }
        )

    def _is_left_out(self, column: Column[Any], value: object) -> bool:
        """Return whether a write to a column is left out, because the database lacks the column.

        A write whose value would be lost is refused.
        """
        if not self.older.lacks_column(column):
            return False
        if not column.info.get(LEFT_OUT) and not _is_default(column, value):
            raise _refuse(f"{column.table.name}.{column.name}")
        return True

    def _changing_nothing(self, statement: Any) -> str:
        if statement.returning_column_descriptions:
            raise _refuse(statement.table.name)
        return self._nothing(statement.table)

    def _nothing(self, table: Table) -> str:
        """Return a statement that changes no row. It replaces a statement on a missing table."""
        other = self.preparer.format_table(self.older.any_table(table))
        return f"DELETE FROM {other} WHERE false"  # noqa: S608 - the name is that of a table of the service

    def _no_rows(self, table: Table) -> str:
        columns = (f"CAST(NULL AS {self._type_of(one)}) AS {self.preparer.format_column(one)}" for one in table.columns)
        return f"SELECT {', '.join(columns)} WHERE false"

    def _type_of(self, column: ColumnClause[Any]) -> str:
        return str(self.dialect.type_compiler_instance.process(column.type))


def _is_default(column: Column[Any], value: object) -> bool:
    """Return whether a value of a statement equals the value that the migration fills into the column."""
    if isinstance(value, BindParameter):
        value = _UNKNOWN if value.required else value.value
    default = default_of(column)
    if value is None or default is None:
        return value is default
    if isinstance(value, bytes):
        return value == default.encode()
    if isinstance(value, bool):
        return default == str(value).lower()
    return isinstance(value, (int, str)) and str(value) == default
