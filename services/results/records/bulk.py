"""Bulk statements, which differ between SQLite and PostgreSQL.

All other statements of the store serve both databases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Protocol, TypeAlias

from psycopg.errors import UniqueViolation
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from services.domain.instant import Instant
from services.results.records.model import ACTIVE, NewResult, ReportKey
from services.results.records.new_results import NewResults, columns_of
from services.results.records.row_columns import COMMIT_COLUMNS, KEY_COLUMNS, VALIDATED_COLUMNS, TupleColumns
from services.results.records.row_format import CopyRows, TupleRows
from services.storage.advisory_locks import AdvisoryLock, lock_names_until_commit
from services.storage.connections import is_distributed

_FIND_KEYS = (
    "SELECT report_number, subject_key, reference_time, revision, outcome, content_hash, sampling_hash FROM report_keys"
)

_FORM = CopyRows()
_TUPLES = TupleRows()


@dataclass(frozen=True, slots=True)
class CommitColumns:
    """The columns that only the commit knows. All results of one statement share their values."""

    upload_time: Instant
    source_node: str
    revision: int = 1
    state: int = ACTIVE
    national_receive_time: Instant | None = None


ResultsPart: TypeAlias = tuple[Sequence[NewResult], CommitColumns]
"""Results, and the columns that all of them share."""


class Bulk(Protocol):
    """Writes and finds many rows in few statements. The dialect's `RowForm` makes the rows."""

    def insert_keys(self, connection: Connection, rows: Sequence[NewResult]) -> None:
        """Claim report numbers. The call fails as a whole if a number is taken."""
        ...

    def insert_free_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> set[str]:
        """Claim the report numbers that are free, and return them."""
        ...

    def find_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Return the keys of the report numbers that are stored."""
        ...

    def hold_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Lock the stored keys until the commit and return them.

        Meanwhile no other transaction can revise the reports.
        """
        ...

    def insert_results(self, connection: Connection, parts: Sequence[ResultsPart]) -> None:
        """Write results in parts. All results of a part share their commit columns."""
        ...


class PostgresqlBulk:
    """Writes by COPY.

    COPY can neither check a condition nor return rows. Statements that need either take arrays.
    """

    _RESULT_COLUMNS = (*VALIDATED_COLUMNS, *COMMIT_COLUMNS)

    def insert_keys(self, connection: Connection, rows: Sequence[NewResult]) -> None:
        """Claim report numbers by COPY."""
        joined = rows.keys if isinstance(rows, NewResults) else _FORM.join_keys([row.key_row for row in rows])
        _copy(connection, "report_keys", KEY_COLUMNS, [joined])

    def insert_free_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> set[str]:
        """Claim free numbers. If an open transaction has claimed a number, wait until that transaction ends."""
        inserted = connection.exec_driver_sql(
            f"INSERT INTO report_keys ({', '.join(KEY_COLUMNS)})"
            " SELECT %s, n, k, t, 1, o, h"
            " FROM unnest(%s::text[], %s::bytea[], %s::bigint[], %s::smallint[], %s::bytea[]) AS u (n, k, t, o, h)"
            " ON CONFLICT DO NOTHING RETURNING report_number",
            (
                lab,
                [row.report_number for row in rows],
                [row.subject_key for row in rows],
                [row.reference_time for row in rows],
                [row.outcome for row in rows],
                [row.content_hash for row in rows],
            ),
        )
        return {row[0] for row in inserted}

    _FIND = f"{_FIND_KEYS} WHERE lab = %s AND report_number = ANY (%s::text[])"
    # Every statement that locks or claims keys uses the same order, so that two uploads never deadlock.
    _HOLD = f'{_FIND} ORDER BY report_number COLLATE "C" FOR UPDATE'

    def find_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Find keys by an array of report numbers."""
        found = connection.exec_driver_sql(self._FIND, (lab, list(report_numbers)))
        return {row[0]: ReportKey(*row[1:]) for row in found}

    def hold_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Lock keys.

        Wait for transactions that hold one of the keys, and return the keys as those transactions committed them.
        """
        found = connection.exec_driver_sql(self._HOLD, (lab, list(report_numbers)))
        return {row[0]: ReportKey(*row[1:]) for row in found}

    def insert_results(self, connection: Connection, parts: Sequence[ResultsPart]) -> None:
        """Write results by one COPY."""
        _copy(connection, "results", self._RESULT_COLUMNS, (self._lines(rows, commit) for rows, commit in parts))

    @staticmethod
    def _lines(rows: Sequence[NewResult], commit: CommitColumns) -> bytes:
        received = "\\N" if commit.national_receive_time is None else commit.national_receive_time
        end = f"\t{commit.revision}\t{commit.state}\t{commit.upload_time}\t{commit.source_node}\t{received}\n"
        joined = rows.rows if isinstance(rows, NewResults) else _FORM.join_results([row.result_row for row in rows])
        return joined.replace(b"\n", end.encode())


class KeyTaken(Exception):
    """A report number is taken."""


class CitusBulk(PostgresqlBulk):
    """The statements of PostgreSQL. Those that Citus does not run over several machines are replaced.

    Citus reports a duplicate key in COPY as an internal error. It cannot lock rows of several machines. It claims
    numbers on several machines in no fixed order.
    """

    def insert_free_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> set[str]:
        """Claim free numbers.

        The laboratory is locked first, because two transactions that claim the same numbers could deadlock.
        """
        lock_names_until_commit(connection, AdvisoryLock.REPORTS, [lab])
        return super().insert_free_keys(connection, lab, rows)

    def insert_keys(self, connection: Connection, rows: Sequence[NewResult]) -> None:
        """Claim report numbers of one laboratory. Raises KeyTaken if a number is taken.

        The caller must then roll back.
        """
        lab = rows[0].key_row.partition("\t")[0]
        if len(self.insert_free_keys(connection, lab, rows)) < len(rows):
            raise KeyTaken

    def hold_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Return the stored keys, with the laboratory locked in place of the keys."""
        lock_names_until_commit(connection, AdvisoryLock.REPORTS, [lab])
        return self.find_keys(connection, lab, report_numbers)


class SqliteBulk:
    """Writes by `executemany`. SQLite has one write transaction at a time."""

    _INSERT_KEY = f"INSERT INTO report_keys ({', '.join(KEY_COLUMNS)}) VALUES ({', '.join('?' * len(KEY_COLUMNS))})"
    # The values come in this order: fields of `NewResult`, the two parts of its `result_row`, the commit's columns.
    _RESULT_COLUMNS = ("subject_key", "report_number", "lab", *VALIDATED_COLUMNS[3:], *COMMIT_COLUMNS)
    _INSERT_RESULT = (
        f"INSERT INTO results ({', '.join(_RESULT_COLUMNS)}) VALUES ({', '.join('?' * len(_RESULT_COLUMNS))})"
    )

    def insert_keys(self, connection: Connection, rows: Sequence[NewResult]) -> None:
        """Claim report numbers by one prepared statement."""
        lab = self._in_columns(rows).labs[0]
        _, _, *columns, _, _ = columns_of(rows)
        numbers, subject_keys, reference_times, outcomes, content_hashes = columns
        keys = zip(
            *(repeat(lab), numbers, subject_keys, reference_times, repeat(1), outcomes, content_hashes), strict=False
        )
        connection.exec_driver_sql(self._INSERT_KEY, list(keys))

    def insert_free_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> set[str]:
        """Claim the numbers that are not stored. No other transaction can write meanwhile."""
        taken = self.find_keys(connection, lab, [row.report_number for row in rows])
        free = [row for row in rows if row.report_number not in taken]
        if free:
            self.insert_keys(connection, free)
        return {row.report_number for row in free}

    def find_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Find keys by statements of at most 10,000 numbers. SQLite takes 32,766 parameters by default."""
        found: dict[str, ReportKey] = {}
        for start in range(0, len(report_numbers), 10_000):
            some = report_numbers[start : start + 10_000]
            marks = ", ".join("?" * len(some))
            rows = connection.exec_driver_sql(
                f"{_FIND_KEYS} WHERE lab = ? AND report_number IN ({marks})", (lab, *some)
            )
            found |= {row[0]: ReportKey(*row[1:]) for row in rows}
        return found

    def hold_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Return the stored keys. They need no lock, because a write transaction locks the whole database."""
        return self.find_keys(connection, lab, report_numbers)

    def insert_results(self, connection: Connection, parts: Sequence[ResultsPart]) -> None:
        """Write results by one prepared statement for each part."""
        for rows, commit in parts:
            connection.exec_driver_sql(self._INSERT_RESULT, self._whole_rows(rows, commit))

    def _whole_rows(self, rows: Sequence[NewResult], commit: CommitColumns) -> list[tuple[object, ...]]:
        commit_values = (
            commit.revision,
            commit.state,
            commit.upload_time,
            commit.source_node,
            commit.national_receive_time,
        )
        columns = columns_of(rows)
        *subjects, tubes = self._in_columns(rows)
        persons = zip(columns.subject_keys, columns.report_numbers, *subjects, strict=True)
        return [person + of_tube + commit_values for person, of_tube in zip(persons, tubes, strict=True)]

    @staticmethod
    def _in_columns(rows: Sequence[NewResult]) -> TupleColumns:
        if isinstance(rows, NewResults):
            joined: TupleColumns = rows.rows
            return joined
        return _TUPLES.join_results([row.result_row for row in rows])


def _copy(connection: Connection, table: str, columns: Sequence[str], lines: Iterable[bytes]) -> None:
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for some in lines:
            copy.write(some)


def bulk_for(connection: Connection) -> Bulk:
    """Return the bulk statements of a connection's dialect."""
    if connection.dialect.name == "sqlite":
        return SqliteBulk()
    return CitusBulk() if is_distributed(connection) else PostgresqlBulk()


def claim_all(connection: Connection, bulk: Bulk, rows: Sequence[NewResult]) -> bool:
    """Claim all report numbers and return True. If a number is taken, claim none and return False."""
    if not rows:
        return True
    savepoint = connection.begin_nested()
    try:
        bulk.insert_keys(connection, rows)
    except Exception as error:
        savepoint.rollback()
        if is_taken(error):
            return False
        raise
    savepoint.commit()
    return True


def is_taken(error: Exception) -> bool:
    """Return whether an insert failed because the key exists already.

    COPY bypasses SQLAlchemy, so its errors are the driver's.
    """
    return isinstance(error, IntegrityError | UniqueViolation | KeyTaken)
