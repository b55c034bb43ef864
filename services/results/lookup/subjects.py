"""The SQL of every look-up: the newest results of subjects under all of their linked documents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Connection

from services.domain.names import DEFAULT_ITEM
from services.results.documents.store import find_linked_documents, find_with_links
from services.results.lookup.pick import MAX_PER_SUBJECT
from services.results.records.model import SUPERSEDED, StoredResult
from services.results.records.queries import COLUMNS
from services.storage.connections import is_distributed

_COLUMNS = ", ".join(column.name for column in COLUMNS)
_ACTIVE_LINK = "SELECT FROM document_links WHERE unlink_time IS NULL AND"
_POSTGRESQL = f"""
SELECT k.number, link.is_linked, r.*
FROM unnest((SELECT %b::bytea[])) WITH ORDINALITY AS k (key, number)
CROSS JOIN LATERAL (
  SELECT EXISTS ({_ACTIVE_LINK} subject_key = k.key)
    OR EXISTS ({_ACTIVE_LINK} linked_subject_key = k.key) AS is_linked OFFSET 0
) AS link
LEFT JOIN LATERAL (
  SELECT {_COLUMNS} FROM results WHERE subject_key = k.key AND state <> {SUPERSEDED} AND item = (SELECT %t)
  ORDER BY reference_time DESC LIMIT {MAX_PER_SUBJECT}
) AS r ON true
"""
CITUS = f"""
SELECT {_COLUMNS} FROM (
  SELECT {_COLUMNS}, row_number() OVER (PARTITION BY subject_key ORDER BY reference_time DESC) AS place
  FROM results WHERE subject_key = ANY (%b::bytea[]) AND state <> {SUPERSEDED} AND item = %t
) AS newest
WHERE place <= {MAX_PER_SUBJECT} ORDER BY reference_time DESC
"""
_MANY = 8
"""With this many documents or more, SQLite is first asked which documents have results. That question costs as much as
a few other statements."""
_STATEMENTS_KEPT = 64
"""How many statement texts are cached. The text for a batch of 500 persons has 4 kB."""
SQLITE = (
    f"SELECT {_COLUMNS} FROM results WHERE subject_key = ? AND state <> {SUPERSEDED} AND item = ?"
    f" ORDER BY reference_time DESC LIMIT {MAX_PER_SUBJECT}"
)
CITUS_ONE = (
    f"SELECT {_COLUMNS} FROM results WHERE subject_key = %b AND state <> {SUPERSEDED} AND item = %t"
    f" ORDER BY reference_time DESC LIMIT {MAX_PER_SUBJECT}"
)
_CITUS_LINKS = """
SELECT subject_key, linked_subject_key FROM document_links
WHERE unlink_time IS NULL AND (subject_key = ANY (%b::bytea[]) OR linked_subject_key = ANY (%b::bytea[]))
"""


def find_subjects(
    connection: Connection,
    subject_keys: Sequence[bytes],
    items: Sequence[str] = (DEFAULT_ITEM,),
    other_keys: Mapping[bytes, bytes | None] | None = None,
) -> tuple[list[list[bytes]], list[list[StoredResult]]]:
    """Return, for each subject in order, the keys of all of its documents, and its newest results.

    The given document's key comes first. Results are sorted newest report first, with at most MAX_PER_SUBJECT of each
    document and item. Nearly all subjects have no linked documents and cost one statement for each item. While the
    pepper rotates, `other_keys` maps each key to the key of the same document under the other key version; None if
    there is no such key. The same statement looks up these other keys.
    """
    second: list[tuple[int, bytes]] = []
    if other_keys and any(other_keys.values()):
        second = [(index, other) for index, key in enumerate(subject_keys) if (other := other_keys.get(key))]
    asked = [*subject_keys, *[key for _, key in second]]
    newest, linked_keys = _find(connection, asked, items, most_are_absent=bool(second))
    first, of_second = newest[: len(subject_keys)], newest[len(subject_keys) :]
    if linked_keys:
        others = {subject_keys[index]: other for index, other in second}
        return _find_with_links(connection, subject_keys, others, linked_keys, newest, items)
    keys = [[key] for key in subject_keys]
    for (index, other), results in zip(second, of_second, strict=True):
        keys[index].append(other)
        if results:
            first[index] = _merge_versions([first[index], results])
    return keys, first


def _find_with_links(
    connection: Connection,
    subject_keys: Sequence[bytes],
    others: Mapping[bytes, bytes],
    linked_keys: Collection[bytes],
    newest: Sequence[list[StoredResult]],
    items: Sequence[str],
) -> tuple[list[list[bytes]], list[list[StoredResult]]]:
    """Return the same as `find_subjects`, where some documents are linked.

    `newest` has the results of all given keys.
    """
    by_key = dict(zip([*subject_keys, *others.values()], newest, strict=True))
    linked = set(linked_keys)
    ask = [key for key in subject_keys if key in linked or others.get(key) in linked]
    groups = find_linked_documents(connection, ask, list(others.items()))
    further = list({key for documents in groups.values() for keys in documents for key in keys} - by_key.keys())
    if further:
        by_key.update(zip(further, find_newest(connection, further, items), strict=True))
    subjects = [groups.get(key) or [[key, others[key]] if key in others else [key]] for key in subject_keys]
    return (
        [[key for keys in documents for key in keys] for documents in subjects],
        [_merge([_merge_versions([by_key[key] for key in keys]) for keys in documents]) for documents in subjects],
    )


def find_newest(
    connection: Connection, subject_keys: Sequence[bytes], items: Sequence[str] = (DEFAULT_ITEM,)
) -> list[list[StoredResult]]:
    """Return, for each document in order, the newest revisions of its own results, newest report first."""
    return _find(connection, subject_keys, items)[0]


def _find(
    connection: Connection, keys: Sequence[bytes], items: Sequence[str], *, most_are_absent: bool = False
) -> tuple[list[list[StoredResult]], Sequence[bytes]]:
    """Return the newest results of each document, and which documents are linked to another one.

    Each item is read by itself, so that many results of one item hide no result of another item. Look-ups nearly always
    ask for one item. `most_are_absent` says that many of the keys have no results, because results are stored under one
    of a document's two keys.
    """
    linked_keys: Sequence[bytes]
    if connection.dialect.name == "sqlite":
        find = _find_present_sqlite if most_are_absent and len(keys) >= _MANY else _find_sqlite
        of_items = [find(connection, keys, item) for item in items]
        linked_keys = find_with_links(connection, keys)
    else:
        find_by_array = _find_citus if is_distributed(connection) else _find_postgresql
        found = [find_by_array(connection, keys, item) for item in items]
        of_items, linked_keys = [results for results, _ in found], found[0][1]
    if len(of_items) == 1:
        return of_items[0], linked_keys
    return [_merge(of_document) for of_document in zip(*of_items, strict=True)], linked_keys


_new_result = partial(tuple.__new__, StoredResult)
"""Makes a result from a tuple of all its fields, in a third of the time that `_make` takes."""


def _find_postgresql(
    connection: Connection, keys: Sequence[bytes], item: str
) -> tuple[list[list[StoredResult]], Sequence[bytes]]:
    """Find results by one statement, with one index descent for each document and partition.

    Planning takes twice as long as the search, and PostgreSQL would plan anew for each small array. A SELECT around the
    array hides its length from the planner, so that one cached plan serves any number of documents. The statement
    bypasses SQLAlchemy and uses PostgreSQL's binary format, because this reduces the client's cost to a quarter.
    """
    found: list[list[StoredResult]] = [[] for _ in keys]
    linked_keys: set[bytes] = set()
    driver: Any = connection.connection.driver_connection
    for row in driver.execute(_POSTGRESQL, (list(keys), item), binary=True).fetchall():
        index = row[0] - 1
        # A document without results has one row, whose result columns are NULL.
        if row[2] is not None:
            found[index].append(_new_result(row[2:]))
        if row[1]:
            linked_keys.add(keys[index])
    return found, list(linked_keys)


def _find_citus(
    connection: Connection, keys: Sequence[bytes], item: str
) -> tuple[list[list[StoredResult]], Sequence[bytes]]:
    """Find results by one statement, and links by another. Citus cannot join an array to a distributed table.

    The statement for results goes only to the shards of these documents.

    A single document has a statement of its own, which Citus plans in one part.
    """
    found: dict[bytes, list[StoredResult]] = {key: [] for key in keys}
    driver: Any = connection.connection.driver_connection
    asked = list(found)
    one_or_many = (CITUS_ONE, (asked[0], item)) if len(asked) == 1 else (CITUS, (asked, item))
    for row in driver.execute(*one_or_many, binary=True):
        result = StoredResult._make(row)
        found[result.subject_key].append(result)
    linked = {key for pair in driver.execute(_CITUS_LINKS, (asked, asked), binary=True) for key in pair}
    return [found[key] for key in keys], [key for key in keys if key in linked]


def _find_sqlite(connection: Connection, keys: Collection[bytes], item: str) -> list[list[StoredResult]]:
    """Find results by one statement for each document.

    SQLite runs in this process, so a statement costs no round trip.
    """
    driver: Any = connection.connection.driver_connection
    return [[StoredResult._make(row) for row in driver.execute(SQLITE, (key, item))] for key in keys]


def _find_present_sqlite(connection: Connection, keys: Sequence[bytes], item: str) -> list[list[StoredResult]]:
    """Return the same as `_find_sqlite`.

    First find the documents with results by one statement, then ask only about these. Beginning a statement for a
    document takes several times as long as the first statement takes to find that the document has no results.
    """
    driver: Any = connection.connection.driver_connection
    present = [key for (key,) in driver.execute(_with_results(len(keys)), keys)]
    found = dict(zip(present, _find_sqlite(connection, present, item), strict=True))
    return [found.get(key, []) for key in keys]


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _with_results(count: int) -> str:
    """Return the statement that finds which of `count` documents have results."""
    values = ",".join(["(?)"] * count)
    return (
        f"WITH asked (key) AS (VALUES {values})"
        " SELECT key FROM asked WHERE EXISTS (SELECT 1 FROM results WHERE subject_key = key)"
    )


def _merge_versions(lists: Sequence[list[StoredResult]]) -> list[StoredResult]:
    """Merge the results of one document, which has a subject key for each key version.

    `lists` has one list for each key. If several lists have results, only the newest MAX_PER_SUBJECT of each item are
    kept.
    """
    filled = [results for results in lists if results]
    if len(filled) < 2:
        return filled[0] if filled else []
    counts: dict[str, int] = {}
    kept = []
    for result in _merge(filled):
        counts[result.item] = counts.get(result.item, 0) + 1
        if counts[result.item] <= MAX_PER_SUBJECT:
            kept.append(result)
    return kept


def _merge(lists: Sequence[Sequence[StoredResult]]) -> list[StoredResult]:
    """Merge several lists of one subject's results into one, newest report first."""
    if len(lists) == 1:
        return list(lists[0])
    results = [result for results in lists for result in results]
    return sorted(results, key=lambda result: result.reference_time, reverse=True)
