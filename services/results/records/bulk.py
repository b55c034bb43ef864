"""The bulk statements in which SQLite and PostgreSQL differ: everything else of the store is one text for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg.errors import UniqueViolation
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from services.domain.instant import Instant
from services.results.records.model import ACTIVE, NewResult, ReportKey
from services.results.records.row_format import FILED_COLUMNS, JUDGED_COLUMNS, KEY_COLUMNS

_FIND_KEYS = (
    "SELECT report_number, subject_key, reference_time, revision, outcome, content_hash, sampling_hash FROM report_keys"
)


@dataclass(frozen=True, slots=True)
class CommitColumns:
    """What all results filed by one statement share: the part of their rows that only the commit knows."""

    upload_time: Instant
    source_node: str
    revision: int = 1
    state: int = ACTIVE
    national_receive_time: Instant | None = None


class Bulk(Protocol):
    """Writing and finding many rows in few statements. Rows are those of the dialect's `RowForm`."""

    def insert_keys(self, connection: Connection, rows: Sequence[NewResult]) -> None:
        """Claim report numbers; fails as a whole when one is taken."""
        ...

    def insert_free_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> set[str]:
        """Claim those report numbers that are free, and tell which they were."""
        ...

    def find_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """What is known of these report numbers."""
        ...

    def hold_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """What is known of these report numbers, which nobody else can revise until the commit."""
        ...

    def insert_results(self, connection: Connection, rows: Sequence[NewResult], filing: CommitColumns) -> None:
        """File results."""
        ...


class PostgresqlBulk:
    """COPY, and arrays for what COPY cannot say."""

    _RESULT_COLUMNS = (*JUDGED_COLUMNS, *FILED_COLUMNS)

    def insert_keys(self, connection: Connection, rows: Sequence[NewResult]) -> None:
        """Claim report numbers by COPY."""
        _copy(connection, "report_keys", KEY_COLUMNS, "".join([row.key_row for row in rows]))

    def insert_free_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> set[str]:
        """Claim what is free; a transaction in flight that claims the same is waited for and then left its claims."""
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
    # In one order everywhere, as claims are, so that two uploads never wait for one another in a circle.
    _HOLD = f'{_FIND} ORDER BY report_number COLLATE "C" FOR UPDATE'

    def find_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Look report numbers up."""
        found = connection.exec_driver_sql(self._FIND, (lab, list(report_numbers)))
        return {row[0]: ReportKey(*row[1:]) for row in found}

    def hold_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Lock report numbers; one that another transaction holds is waited for and seen as that one left it."""
        found = connection.exec_driver_sql(self._HOLD, (lab, list(report_numbers)))
        return {row[0]: ReportKey(*row[1:]) for row in found}

    def insert_results(self, connection: Connection, rows: Sequence[NewResult], filing: CommitColumns) -> None:
        """File results by COPY."""
        received = "\\N" if filing.national_receive_time is None else filing.national_receive_time
        end = f"\t{filing.revision}\t{filing.state}\t{filing.upload_time}\t{filing.source_node}\t{received}\n"
        _copy(connection, "results", self._RESULT_COLUMNS, end.join([row.result_row for row in rows]) + end)


class SqliteBulk:
    """executemany, inside the one writer's transaction."""

    _INSERT_KEY = f"INSERT INTO report_keys ({', '.join(KEY_COLUMNS)}) VALUES ({', '.join('?' * len(KEY_COLUMNS))})"
    # First what a result has itself, then the two parts of its row, then what the commit knows.
    _RESULT_COLUMNS = ("subject_key", "report_number", "lab", *JUDGED_COLUMNS[3:], *FILED_COLUMNS)
    _INSERT_RESULT = (
        f"INSERT INTO results ({', '.join(_RESULT_COLUMNS)}) VALUES ({', '.join('?' * len(_RESULT_COLUMNS))})"
    )

    def insert_keys(self, connection: Connection, rows: Sequence[NewResult]) -> None:
        """Claim report numbers, one prepared statement for all."""
        keys = [
            (result_row[0][0], number, subject_key, reference_time, 1, outcome, content_hash)
            for _, _, number, subject_key, reference_time, outcome, content_hash, _, result_row in rows
        ]
        connection.exec_driver_sql(self._INSERT_KEY, keys)

    def insert_free_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> set[str]:
        """Claim what is free: nobody else can write meanwhile, so what is not found now is."""
        taken = self.find_keys(connection, lab, [row.report_number for row in rows])
        free = [row for row in rows if row.report_number not in taken]
        if free:
            self.insert_keys(connection, free)
        return {row.report_number for row in free}

    def find_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Look report numbers up; several statements where there are more than SQLite takes parameters."""
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
        """Look report numbers up: the one writer holds everything."""
        return self.find_keys(connection, lab, report_numbers)

    def insert_results(self, connection: Connection, rows: Sequence[NewResult], filing: CommitColumns) -> None:
        """File results, one prepared statement for all."""
        filed = (filing.revision, filing.state, filing.upload_time, filing.source_node, filing.national_receive_time)
        results = [
            (subject_key, number) + person + of_tube + filed  # noqa: RUF005 - joined, not unpacked: half the time
            for _, _, number, subject_key, _, _, _, _, (person, of_tube) in rows
        ]
        connection.exec_driver_sql(self._INSERT_RESULT, results)


def _copy(connection: Connection, table: str, columns: Sequence[str], text: str) -> None:
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        copy.write(text.encode())


def bulk_for(connection: Connection) -> Bulk:
    """The bulk statements of a connection's dialect."""
    return SqliteBulk() if connection.dialect.name == "sqlite" else PostgresqlBulk()


def claim_all(connection: Connection, bulk: Bulk, rows: Sequence[NewResult]) -> bool:
    """Claim all at once, or leave no trace when one is taken."""
    if not rows:
        return True
    savepoint = connection.begin_nested()
    try:
        bulk.insert_keys(connection, rows)
    except Exception as error:
        savepoint.rollback()
        if _is_taken(error):
            return False
        raise
    savepoint.commit()
    return True


def _is_taken(error: Exception) -> bool:
    """Whether an insert failed on a key that is there: COPY goes past SQLAlchemy and fails with the driver's error."""
    return isinstance(error, IntegrityError | UniqueViolation)
