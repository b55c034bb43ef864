"""Erases the numbers of removed reports from rows that are kept: lists of reports, and remembered answers.

A report that was uploaded late is removed long before the entry of the change log that names it. An empty name replaces
each erased number, because a cursor counts the reports of an entry and lists must keep their length.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from hutong.results.v1.import_service_pb2 import ImportResultsRequest, ImportResultsResponse
from hutong.results.v1.missing_report_service_pb2 import AnswerMissingReportRequest, AnswerMissingReportResponse
from hutong.results.v1.result_pb2 import TestResult
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, CorrectResultResponse
from sqlalchemy import Column, Connection, Table, delete, select, tuple_, update

from services.domain.names import parse_lab, parse_missing_report
from services.results.changelog.model import OF_MISSING_REPORTS, ChangeKind
from services.results.changelog.packing import pack_reports, unpack_reports
from services.results.changelog.tables import changes
from services.results.corrections.recall import PROGRESS, decode_progress
from services.results.exchange.tables import notifications
from services.results.idempotency import requests
from services.results.missing_reports.tables import missing_reports
from services.results.records.tables import report_keys, results
from services.storage.deletion_counts import DeletionCounts
from services.storage.engine import Database

LISTS = (changes, notifications)
"""Tables with lists of names that `pack_reports` has encoded."""
ERASED = ("", 0)
"""The item that replaces an erased name in a list."""

_AT_ONCE = 500
"""Names in one statement."""

RowKey: TypeAlias = tuple[Any, ...]
ReportName: TypeAlias = tuple[str, str]
"""The code of the laboratory and the report number. An empty code stands for any laboratory."""


class _Page(NamedTuple):
    """What one read found: the rows to change, and the key of the last row that was read; None at the end."""

    rows: list[tuple[RowKey, bytes, int]]
    last: RowKey | None


def erase_from_lists(database: Database, counts: DeletionCounts, table: Table, entries: int) -> None:
    """In all lists of a table, erase the names of reports and subjects that are not stored any more.

    One read decodes `entries` lists. Only lists with such names are rewritten.
    """
    after: RowKey | None = ()
    while after is not None:
        page = database.read_now(_read_lists, table, entries, after)
        if page.rows:
            database.write_now(_write_lists, counts, table, page.rows)
        after = page.last


def _read_lists(connection: Connection, table: Table, entries: int, after: RowKey) -> _Page:
    key = list(table.primary_key)
    query = select(*key, table.c.kind, table.c.lab, table.c.reports).order_by(*key).limit(entries)
    rows = connection.execute(query.where(tuple_(*key) > tuple_(*after)) if after else query).all()
    found: list[tuple[RowKey, bytes, int]] = []
    for row in rows:
        listed = unpack_reports(row.reports)
        known = _find_known(connection, ChangeKind(row.kind), row.lab, {name for name, _ in listed} - {""})
        kept = [one if known is None or one[0] in known or not one[0] else ERASED for one in listed]
        if kept != listed:
            erased = sum(one != other for one, other in zip(kept, listed, strict=True))
            found.append((tuple(row[: len(key)]), pack_reports(kept), erased))
    return _Page(found, tuple(rows[-1][: len(key)]) if len(rows) == entries else None)


def _find_known(connection: Connection, kind: ChangeKind, lab: str, names: Collection[str]) -> set[str] | None:
    """Return which of the names are stored; None if this kind lists neither reports nor subjects."""
    match kind:
        case ChangeKind.RESULTS:
            return _find_numbers(connection, report_keys, lab, names)
        case kind if kind in OF_MISSING_REPORTS:
            listed = _find_numbers(connection, missing_reports, lab, names)
            return listed | _find_numbers(connection, report_keys, lab, names)
        case ChangeKind.ADVERSE_SUBJECTS:
            keys = [bytes.fromhex(name) for name in names]
            return {key.hex() for key in _select_known(connection, results.c.subject_key, keys)}
        case _:
            return None


def _find_numbers(connection: Connection, table: Table, lab: str, numbers: Collection[str]) -> set[str]:
    return set(_select_known(connection, table.c.report_number, list(numbers), table.c.lab == lab))


def _select_known(connection: Connection, column: Column[Any], values: list[Any], *conditions: Any) -> Iterable[Any]:
    for start in range(0, len(values), _AT_ONCE):
        some = column.in_(values[start : start + _AT_ONCE])
        yield from connection.execute(select(column).distinct().where(some, *conditions)).scalars()


def _write_lists(
    connection: Connection, counts: DeletionCounts, table: Table, rows: list[tuple[RowKey, bytes, int]]
) -> None:
    key = list(table.primary_key)
    for values, packed, _ in rows:
        connection.execute(update(table).where(tuple_(*key) == tuple_(*values)).values(reports=packed))
    counts.add(connection, f"{table.name}.reports", sum(erased for *_, erased in rows))


def forget_answers(database: Database, counts: DeletionCounts) -> None:
    """Forget the request ids whose answers name reports that are not stored any more."""
    for method, read_names in _NAMES_IN_ANSWERS.items():
        answers = database.read_now(_read_answers, method)
        for start in range(0, len(answers), _AT_ONCE):
            named = {row.request_id: set(read_names(row.response)) for row in answers[start : start + _AT_ONCE]}
            database.write_now(_forget, counts, method, {one: names for one, names in named.items() if names})


def _read_answers(connection: Connection, method: str) -> Sequence[Any]:
    query = select(requests.c.request_id, requests.c.response).where(requests.c.method == method)
    return connection.execute(query).all()


def _forget(
    connection: Connection, counts: DeletionCounts, method: str, named: Mapping[str, Collection[ReportName]]
) -> None:
    every = {name for names in named.values() for name in names}
    known = find_reports(connection, every)
    for lab, number in every - known:
        # The answer to a missing report may name a report without a key. That report counts as stored while it is
        # stored as missing.
        known |= {(lab, one) for one in _find_numbers(connection, missing_reports, lab, {number})}
    gone = [request_id for request_id, names in named.items() if not known.issuperset(names)]
    of_answer = (requests.c.method == method, requests.c.request_id.in_(gone))
    counts.add(connection, requests.name, connection.execute(delete(requests).where(*of_answer)).rowcount)


def find_reports(connection: Connection, names: Collection[ReportName], *conditions: Any) -> set[ReportName]:
    """Return which of the reports have a key that meets the conditions."""
    by_lab: dict[str, list[str]] = {}
    for lab, number in names:
        by_lab.setdefault(lab, []).append(number)
    return {
        (lab, number)
        for lab, numbers in by_lab.items()
        for number in _select_known(
            connection,
            report_keys.c.report_number,
            numbers,
            *conditions,
            *([report_keys.c.lab == lab] if lab else []),
        )
    }


def _name(result: TestResult) -> ReportName:
    return parse_lab(result.lab), result.report_number


def _names_in_progress(answer: bytes) -> list[ReportName]:
    """Return the report after which an unfinished recall continues.

    The code of its laboratory is not stored with the progress.
    """
    after = decode_progress(answer).after
    return [("", after)] if after else []


_NAMES_IN_ANSWERS: Mapping[str, Callable[[bytes], Iterable[ReportName]]] = {
    CorrectResultRequest.__name__: lambda answer: [_name(CorrectResultResponse.FromString(answer).test_result)],
    ImportResultsRequest.__name__: lambda answer: map(_name, ImportResultsResponse.FromString(answer).test_results),
    AnswerMissingReportRequest.__name__: lambda answer: [
        parse_missing_report(AnswerMissingReportResponse.FromString(answer).missing_report.name)
    ],
    PROGRESS: _names_in_progress,
}
"""For each method, the function that returns the reports named in a remembered answer."""
