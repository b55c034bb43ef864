"""The newest results of subjects, by all of their documents: what every look-up reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from services.results.documents.store import find_linked, find_tied
from services.results.lookup.pick import MAX_PER_SUBJECT
from services.results.records.model import SUPERSEDED, StoredResult
from services.results.records.queries import COLUMNS

_COLUMNS = ", ".join(column.name for column in COLUMNS)
_TIE = "SELECT FROM document_links WHERE unlink_time IS NULL AND"
_POSTGRESQL = f"""
SELECT k.number, tie.stands, r.*
FROM unnest((SELECT %b::bytea[])) WITH ORDINALITY AS k (key, number)
CROSS JOIN LATERAL (
  SELECT EXISTS ({_TIE} subject_key = k.key) OR EXISTS ({_TIE} linked_subject_key = k.key) AS stands OFFSET 0
) AS tie
LEFT JOIN LATERAL (
  SELECT {_COLUMNS} FROM results WHERE subject_key = k.key AND state <> {SUPERSEDED}
  ORDER BY reference_time DESC LIMIT {MAX_PER_SUBJECT}
) AS r ON true
"""
_SQLITE = (
    f"SELECT {_COLUMNS} FROM results WHERE subject_key = ? AND state <> {SUPERSEDED}"
    f" ORDER BY reference_time DESC LIMIT {MAX_PER_SUBJECT}"
)


def find_subjects(
    connection: Connection, subject_keys: Sequence[bytes]
) -> tuple[list[list[bytes]], list[list[StoredResult]]]:
    """For each subject, in order, the keys of all of their documents, their own first, and their newest results.

    The results come newest report first, at most MAX_PER_SUBJECT of each document. One statement where nobody has tied
    documents, which is nearly always so; some more otherwise.
    """
    newest, tied = _find(connection, subject_keys)
    if not tied:
        return [[key] for key in subject_keys], newest
    linked = find_linked(connection, tied)
    by_key = dict(zip(subject_keys, newest, strict=True))
    others = list({key for keys in linked.values() for key in keys} - by_key.keys())
    by_key.update(zip(others, find_newest(connection, others), strict=True))
    subjects = [linked.get(key, [key]) for key in subject_keys]
    return subjects, [_together([by_key[key] for key in keys]) for keys in subjects]


def find_newest(connection: Connection, subject_keys: Sequence[bytes]) -> list[list[StoredResult]]:
    """For each document, in order, the newest revisions of its own results, newest report first."""
    return _find(connection, subject_keys)[0]


def _find(connection: Connection, keys: Sequence[bytes]) -> tuple[list[list[StoredResult]], Sequence[bytes]]:
    """The newest results of each document, and which of the documents are tied to any other."""
    find = _find_sqlite if connection.dialect.name == "sqlite" else _find_postgresql
    return find(connection, keys)


def _find_postgresql(connection: Connection, keys: Sequence[bytes]) -> tuple[list[list[StoredResult]], Sequence[bytes]]:
    """One index descent for each document and partition, all in one statement.

    PostgreSQL would plan a few documents anew each time, which takes twice as long as to find them: behind a SELECT it
    cannot count them, and so one plan serves any number. By the driver itself and in PostgreSQL's binary format, which
    leaves a quarter of the client's cost.
    """
    found: list[list[StoredResult]] = [[] for _ in keys]
    tied: set[bytes] = set()
    driver: Any = connection.connection.driver_connection
    for row in driver.execute(_POSTGRESQL, (list(keys),), binary=True):
        number, is_tied, first = row[:3]
        # A document without results has a row that holds none.
        if first is not None:
            found[number - 1].append(StoredResult._make(row[2:]))
        if is_tied:
            tied.add(keys[number - 1])
    return found, list(tied)


def _find_sqlite(connection: Connection, keys: Sequence[bytes]) -> tuple[list[list[StoredResult]], Sequence[bytes]]:
    """One prepared statement for each document: SQLite is in this process, so a statement costs no round trip."""
    driver: Any = connection.connection.driver_connection
    found = [[StoredResult._make(row) for row in driver.execute(_SQLITE, (key,))] for key in keys]
    return found, find_tied(connection, keys)


def _together(of_documents: Sequence[Sequence[StoredResult]]) -> list[StoredResult]:
    """The results of one subject's documents, newest report first."""
    if len(of_documents) == 1:
        return list(of_documents[0])
    results = [result for results in of_documents for result in results]
    return sorted(results, key=lambda result: result.reference_time, reverse=True)
