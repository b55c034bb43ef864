"""Claims report numbers, so that every report is stored once.

The primary key of `report_keys` enforces this. Numbers are inserted without a check, and only results whose insert
failed are compared with the stored ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

from hutong_texts import english
from sqlalchemy import ColumnElement, Connection

from services.domain.errors import Unavailable
from services.results.records.bulk import Bulk, claim_all
from services.results.records.differences import Content, Digest, content_of, find_difference, stored_content
from services.results.records.model import PENDING, RECALLED, NewResult, ReportKey, StoredResult
from services.results.records.queries import COLUMNS, find_keyed, find_newest
from services.results.records.tables import results
from services.results.upload.model import Rejection
from services.results.upload.validation import conflict, not_the_origin

_results = results


class RemovedMeanwhile(Unavailable):
    """Retention has removed stored results with which a batch was compared. The batch must be validated again."""

    def __init__(self) -> None:
        super().__init__(
            "DATABASE_UNAVAILABLE",
            english("results were removed while the batch was stored; go on from GetUpload"),
            metadata={"service": "results"},
        )


@dataclass(slots=True)
class Comparison:
    """The outcome for results whose report numbers were taken.

    Attributes:
        revised: results that follow a sampling record, with that record's key.
        duplicate_count: results that are stored already.
        conflicts: rejections of all other results.
        conflicting: the report numbers of these rejected results.
    """

    revised: list[tuple[NewResult, ReportKey]] = field(default_factory=list)
    duplicate_count: int = 0
    conflicts: list[Rejection] = field(default_factory=list)
    conflicting: set[str] = field(default_factory=set)


class StoredReports(NamedTuple):
    """Fields of stored reports that their keys do not contain, by report number.

    Attributes:
        items: the id of each report's item.
        foreign: the source node's region of each report that another node received. If such a report is a sampling
            record, its result must be uploaded at that node.
        contents: the fields that are compared with those of a new result, to name the fields that differ. Recalled
            reports are left out.
    """

    items: dict[str, str]
    foreign: dict[str, str]
    contents: dict[str, Content | Digest]


@dataclass(frozen=True, slots=True)
class Claims:
    """The outcome of claiming report numbers.

    Attributes:
        fresh: results whose report numbers were free and are claimed now.
        others: the outcome for results whose report numbers were taken.
        all_free: whether the store held none of the report numbers.
    """

    fresh: Sequence[NewResult]
    others: Comparison
    all_free: bool


def claim_reports(
    connection: Connection, bulk: Bulk, lab: str, rows: Sequence[NewResult], *, source_node: str, likely_free: bool
) -> Claims:
    """Claim the report numbers of results that `source_node` received.

    If `likely_free` is set, all numbers are first inserted by one statement. Only if this insert fails, the numbers are
    inserted in a way that shows which of them are free.

    Raises:
        RemovedMeanwhile: a report number was taken, and then its report was removed.
    """
    # All uploads claim in the same order, so that two uploads of the same reports cannot deadlock.
    first: dict[str, NewResult] = {}
    again: list[NewResult] = []
    for row in sorted(rows, key=attrgetter("report_number")):
        if row.report_number in first:
            again.append(row)
        else:
            first[row.report_number] = row
    fresh = list(first.values())
    all_free = True
    if not likely_free or not claim_all(connection, bulk, fresh):
        claimed = bulk.insert_free_keys(connection, lab, fresh) if fresh else set()
        all_free = len(claimed) == len(fresh)
        again += [row for row in fresh if row.report_number not in claimed]
        fresh = [row for row in fresh if row.report_number in claimed]
    return Claims(fresh, _compare_with_stored(connection, bulk, lab, again, fresh, source_node), all_free)


def _compare_with_stored(
    connection: Connection,
    bulk: Bulk,
    lab: str,
    rows: Sequence[NewResult],
    fresh: Sequence[NewResult],
    source_node: str,
) -> Comparison:
    """Compare results with the reports that already have the same numbers.

    The keys of reports that will be revised stay locked until the commit. `fresh` are the results of the same batch
    whose numbers were just claimed.
    """
    if not rows:
        return Comparison()
    numbers = {row.report_number for row in rows}
    known = bulk.find_keys(connection, lab, list(numbers))
    if len(known) < len(numbers):
        raise RemovedMeanwhile
    comparison = compare_reports(dict(known), rows)
    if not comparison.revised and not comparison.conflicts:
        return comparison
    # The results are compared again under the lock, because another stream may have committed the same results
    # meanwhile.
    to_revise = {row.report_number for row, _ in comparison.revised}
    held = bulk.hold_keys(connection, lab, list(to_revise)) if to_revise else {}
    if len(held) < len(to_revise):
        raise RemovedMeanwhile
    stored = find_stored(connection, lab, to_revise, comparison.conflicting, source_node)
    # `find_stored` does not find results that this batch has just claimed, because they are not stored yet.
    for row in fresh:
        if row.report_number in numbers:
            stored.items[row.report_number] = row.item
            stored.contents[row.report_number] = content_of(row)
    return compare_reports(known | held, rows, stored)


def find_stored(
    connection: Connection, lab: str, to_revise: Collection[str], conflicting: Collection[str], source_node: str
) -> StoredReports:
    """Return what the keys of a laboratory's stored reports lack: their items, source nodes and contents.

    `source_node` is this node's region. Contents are read only for conflicting reports, because these are few. They are
    not read for sampling records that get a result, because these are many.
    """
    stored = StoredReports({}, {}, {})
    light = (_results.c.report_number, _results.c.item, _results.c.source_node)
    for number, item, received_by in _newest(connection, lab, sorted({*to_revise} - {*conflicting}), light):
        _note_source(stored, source_node, number, item, received_by)
    for report in map(StoredResult._make, _newest(connection, lab, sorted(conflicting), COLUMNS)):
        _note_source(stored, source_node, report.report_number, report.item, report.source_node)
        if report.state != RECALLED:
            stored.contents[report.report_number] = stored_content(report, connection.dialect.name)
    return stored


def _newest(
    connection: Connection, lab: str, report_numbers: Sequence[str], columns: Sequence[ColumnElement[Any]]
) -> Iterator[Any]:
    """Yield rows with columns of the newest revisions of a laboratory's reports."""
    return find_newest(connection, find_keyed(connection, lab, report_numbers), columns)


def _note_source(stored: StoredReports, source_node: str, report_number: str, item: str, received_by: str) -> None:
    stored.items[report_number] = item
    if source_node and received_by != source_node:
        stored.foreign[report_number] = received_by


def compare_reports(
    known: dict[str, ReportKey], rows: Sequence[NewResult], stored: StoredReports | None = None
) -> Comparison:
    """Separate duplicates, results of sampling records, and conflicts, in the order of the upload.

    Each row is compared under the key version of the stored report. The result of a sampling record is stored under the
    key version of the record. If a row is the result of a sampling record, `known` is updated, so that later rows are
    compared with that result. If `stored` is None, every stored report counts as a report of the same item that this
    node received.
    """
    comparison = Comparison()
    items = dict(stored.items) if stored else {}
    contents = dict(stored.contents) if stored else {}
    for given in sorted(rows, key=lambda row: (row.tube_index, row.person_index)):
        old = known[given.report_number]
        row = given.as_stored_under(old.subject_key)
        if is_stored(row, old):
            comparison.duplicate_count += 1
        elif (
            old.outcome == PENDING
            and row.outcome != PENDING
            and old.subject_key == row.subject_key
            and items.get(row.report_number, row.item) == row.item
        ):
            if stored and row.report_number in stored.foreign:
                fault = not_the_origin(row.person_index, stored.foreign[row.report_number])
                comparison.conflicts.append(Rejection(row.tube_index, row.person_index, (fault,)))
                continue
            comparison.revised.append((row, old))
            known[row.report_number] = key_of(row, old.revision + 1, old.content_hash)
            contents[row.report_number] = content_of(row)
        else:
            comparison.conflicting.add(row.report_number)
            item = items.get(row.report_number, row.item)
            fault = conflict(row.person_index, find_difference(row, item, contents.get(row.report_number)))
            comparison.conflicts.append(Rejection(row.tube_index, row.person_index, (fault,)))
    return comparison


def is_stored(row: NewResult, key: ReportKey) -> bool:
    """Return whether the stored report, or the sampling record that it has replaced, has the same content."""
    return row.as_stored_under(key.subject_key).content_hash in (key.content_hash, key.sampling_hash)


def key_of(row: NewResult, revision: int = 1, sampling_hash: bytes | None = None) -> ReportKey:
    """Return the key that the report has after this result is stored as the given revision."""
    return ReportKey(row.subject_key, row.reference_time, revision, row.outcome, row.content_hash, sampling_hash)
