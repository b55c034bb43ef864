"""The bulk statements in which SQLite and PostgreSQL differ: everything else of the store is one text for both.

PostgreSQL takes rows by COPY, whose text is put together here: the columns of a tube are written once for all of its
persons. SQLite takes them by executemany.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import Connection

from services.domain.instant import Instant
from services.results import tables
from services.results.model import ACTIVE, NewResult, ReportKey, Tube

_KEY_COLUMNS = [
    column.name for column in tables.report_keys.columns if column is not tables.report_keys.c.sampling_hash
]
_RESULT_COLUMNS = [column.name for column in tables.results.columns]


class Bulk(Protocol):
    """Writing and finding many rows in few statements."""

    def insert_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> None:
        """Claim report numbers; fails as a whole with IntegrityError when one is taken."""
        ...

    def insert_free_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> set[str]:
        """Claim those report numbers that are free, and tell which they were."""
        ...

    def find_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """What is known of these report numbers."""
        ...

    def insert_results(
        self, connection: Connection, rows: Sequence[NewResult], filing: Filing, revision: int = 1
    ) -> None:
        """File results as the given revision."""
        ...


class Filing:
    """What all rows of one commit share."""

    __slots__ = ("key_version", "lab", "origin", "upload_time")

    def __init__(self, lab: str, origin: str, key_version: int, upload_time: Instant) -> None:
        self.lab = lab
        self.origin = origin
        self.key_version = key_version
        self.upload_time = upload_time


class PostgresqlBulk:
    """COPY, and arrays for what COPY cannot say."""

    def insert_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> None:
        """Claim report numbers by COPY."""
        lines = [
            f"{lab}\t{_escape(row.report_number)}\t\\\\x{row.subject_key.hex()}\t{row.tube.file_time}\t1"
            f"\t{row.tube.outcome}\t\\\\x{row.content_hash.hex()}\n"
            for row in rows
        ]
        _copy(connection, "report_keys", _KEY_COLUMNS, "".join(lines))

    def insert_free_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> set[str]:
        """Claim what is free; waits for a transaction in flight that claims the same, and then leaves it to that one."""
        inserted = connection.exec_driver_sql(
            "INSERT INTO report_keys (lab, report_number, subject_key, file_time, revision, outcome, content_hash)"
            " SELECT %s, n, k, t, 1, o, h"
            " FROM unnest(%s::text[], %s::bytea[], %s::bigint[], %s::smallint[], %s::bytea[]) AS u (n, k, t, o, h)"
            " ON CONFLICT DO NOTHING RETURNING report_number",
            (
                lab,
                [row.report_number for row in rows],
                [row.subject_key for row in rows],
                [row.tube.file_time for row in rows],
                [row.tube.outcome for row in rows],
                [row.content_hash for row in rows],
            ),
        )
        return {row[0] for row in inserted}

    def find_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Look report numbers up."""
        found = connection.exec_driver_sql(
            "SELECT report_number, subject_key, file_time, revision, outcome, content_hash, sampling_hash"
            " FROM report_keys WHERE lab = %s AND report_number = ANY (%s::text[])",
            (lab, list(report_numbers)),
        )
        return _keys_by_number(found)

    def insert_results(
        self, connection: Connection, rows: Sequence[NewResult], filing: Filing, revision: int = 1
    ) -> None:
        """File results by COPY."""
        lines = []
        tube: Tube | None = None
        of_tube = ""
        tail = f"\t{filing.upload_time}\t\\N\t{filing.origin}\n"
        for row in rows:
            if row.tube is not tube:
                tube = row.tube
                of_tube = _tube_columns(tube) + tail
            lines.append(
                f"\\\\x{row.subject_key.hex()}\t{row.tube.file_time}\t{filing.lab}\t{_escape(row.report_number)}\t{revision}\t{ACTIVE}"
                f"\t{filing.key_version}\t\\\\x{row.name_hash.hex()}\t{_escape(row.masked_name)}"
                f"\t{_escape(row.masked_number)}\t{of_tube}"
            )
        _copy(connection, "results", _RESULT_COLUMNS, "".join(lines))


class SqliteBulk:
    """executemany, inside the one writer's transaction."""

    _INSERT_KEY = f"INSERT INTO report_keys ({', '.join(_KEY_COLUMNS)}) VALUES ({', '.join('?' * len(_KEY_COLUMNS))})"  # noqa: S608
    _INSERT_RESULT = (
        f"INSERT INTO results ({', '.join(_RESULT_COLUMNS)}) VALUES ({', '.join('?' * len(_RESULT_COLUMNS))})"  # noqa: S608
    )

    def insert_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> None:
        """Claim report numbers, one prepared statement for all."""
        connection.exec_driver_sql(
            self._INSERT_KEY,
            [
                (lab, row.report_number, row.subject_key, row.tube.file_time, 1, row.tube.outcome, row.content_hash)
                for row in rows
            ],
        )

    def insert_free_keys(self, connection: Connection, lab: str, rows: Sequence[NewResult]) -> set[str]:
        """Claim what is free: nobody else can write meanwhile, so what is not found now is."""
        taken = self.find_keys(connection, lab, [row.report_number for row in rows])
        free = [row for row in rows if row.report_number not in taken]
        if free:
            self.insert_keys(connection, lab, free)
        return {row.report_number for row in free}

    def find_keys(self, connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, ReportKey]:
        """Look report numbers up; several statements where there are more than SQLite takes parameters."""
        found: dict[str, ReportKey] = {}
        for start in range(0, len(report_numbers), 10_000):
            some = report_numbers[start : start + 10_000]
            marks = ", ".join("?" * len(some))
            rows = connection.exec_driver_sql(
                "SELECT report_number, subject_key, file_time, revision, outcome, content_hash, sampling_hash"
                f" FROM report_keys WHERE lab = ? AND report_number IN ({marks})",
                (lab, *some),
            )
            found |= _keys_by_number(rows)
        return found

    def insert_results(
        self, connection: Connection, rows: Sequence[NewResult], filing: Filing, revision: int = 1
    ) -> None:
        """File results, one prepared statement for all."""
        values = []
        for row in rows:
            tube = row.tube
            values.append(
                (
                    row.subject_key,
                    tube.file_time,
                    filing.lab,
                    row.report_number,
                    revision,
                    ACTIVE,
                    filing.key_version,
                    row.name_hash,
                    row.masked_name,
                    row.masked_number,
                    tube.tube_code,
                    tube.pool_size,
                    tube.specimen,
                    tube.method,
                    tube.outcome,
                    tube.sample_region,
                    tube.sample_site,
                    tube.sample_time,
                    tube.receive_time,
                    tube.test_time,
                    tube.report_time,
                    filing.upload_time,
                    None,
                    filing.origin,
                )
            )
        connection.exec_driver_sql(self._INSERT_RESULT, values)


def _tube_columns(tube: Tube) -> str:
    """The columns from tube_code to report_time as COPY text."""
    return "\t".join(
        (
            _escape(tube.tube_code),
            str(tube.pool_size),
            str(tube.specimen),
            str(tube.method),
            str(tube.outcome),
            tube.sample_region,
            _escape(tube.sample_site),
            str(tube.sample_time),
            _number_or_null(tube.receive_time),
            _number_or_null(tube.test_time),
            _number_or_null(tube.report_time),
        )
    )


def _number_or_null(value: int | None) -> str:
    return "\\N" if value is None else str(value)


def _escape(text: str) -> str:
    """A text as COPY's text format writes it."""
    if "\\" in text or not text.isprintable():
        text = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return text


def _copy(connection: Connection, table: str, columns: Sequence[str], text: str) -> None:
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        copy.write(text.encode())


def _keys_by_number(rows: Any) -> dict[str, ReportKey]:
    return {row[0]: ReportKey(*row[1:]) for row in rows}


def bulk_for(connection: Connection) -> Bulk:
    """The bulk statements of a connection's dialect."""
    return SqliteBulk() if connection.dialect.name == "sqlite" else PostgresqlBulk()
