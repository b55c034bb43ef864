"""Claiming report numbers, so that every report is stored once.

That it is so is the primary key of `report_keys`, never a look before the leap: claims are inserted, and only a claim
that fails is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from sqlalchemy import Connection

from services.domain.errors import Unavailable
from services.results.records.bulk import Bulk, claim_all
from services.results.records.model import PENDING, NewResult, ReportKey
from services.results.records.queries import find_reports
from services.results.upload.model import Rejection
from services.results.upload.validation import conflict, not_the_origin


class RemovedMeanwhile(Unavailable):
    """Retention removed what a batch was compared with before it was committed: it is to be judged anew."""

    def __init__(self) -> None:
        super().__init__(
            "DATABASE_UNAVAILABLE",
            "results were removed while the batch was stored; go on from GetUpload",
            metadata={"service": "results"},
        )


@dataclass(slots=True)
class Comparison:
    """What became of results whose report numbers were taken: each with the revision it follows, or not stored."""

    revised: list[tuple[NewResult, ReportKey]] = field(default_factory=list)
    duplicate_count: int = 0
    conflicts: list[Rejection] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Claims:
    """What became of results.

    Attributes:
        fresh: those whose report numbers are theirs now.
        others: what became of those whose report numbers were taken.
        all_free: whether none of the store's was among them.
    """

    fresh: Sequence[NewResult]
    others: Comparison
    all_free: bool


def claim_reports(
    connection: Connection, bulk: Bulk, lab: str, rows: Sequence[NewResult], *, source_node: str, likely_free: bool
) -> Claims:
    """Claim report numbers at a node, `source_node`; `likely_free` tries all at once before it asks which are.

    Raises:
        RemovedMeanwhile: a report number was taken, and then its report was removed.
    """
    # In one order everywhere, so that two uploads of the same reports wait for one another and never in a circle.
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
    return Claims(fresh, _compare_with_stored(connection, bulk, lab, again, source_node), all_free)


def _compare_with_stored(
    connection: Connection, bulk: Bulk, lab: str, rows: Sequence[NewResult], source_node: str
) -> Comparison:
    """What becomes of results whose report numbers are taken; those that will be revised are held until the commit."""
    if not rows:
        return Comparison()
    numbers = {row.report_number for row in rows}
    known = bulk.find_keys(connection, lab, list(numbers))
    if len(known) < len(numbers):
        raise RemovedMeanwhile
    comparison = compare_reports(dict(known), rows)
    if not comparison.revised:
        return comparison
    # Held now, and looked at once more: another stream may have brought the same results in meanwhile.
    to_revise = {row.report_number for row, _ in comparison.revised}
    held = bulk.hold_keys(connection, lab, list(to_revise))
    if len(held) < len(to_revise):
        raise RemovedMeanwhile
    return compare_reports(known | held, rows, find_foreign(connection, lab, list(to_revise), source_node))


def find_foreign(connection: Connection, lab: str, report_numbers: Sequence[str], source_node: str) -> dict[str, str]:
    """Those of a laboratory's reports that another node than this one received first, with its region."""
    stored = find_reports(connection, [(lab, number) for number in report_numbers])
    return {number: result.source_node for (_, number), result in stored.items() if result.source_node != source_node}


def compare_reports(
    known: dict[str, ReportKey], rows: Sequence[NewResult], foreign: Mapping[str, str] | None = None
) -> Comparison:
    """Tell duplicates, results of sampling records and conflicts apart, in the order of the upload.

    `known` is moved on: a sampling record whose result is among the rows is that result to the rows after it. One that
    another node received, as `foreign` has it by report number, gets its result there and nowhere else.
    """
    comparison = Comparison()
    for row in sorted(rows, key=lambda row: (row.tube_index, row.person_index)):
        old = known[row.report_number]
        if is_stored(row, old):
            comparison.duplicate_count += 1
        elif old.outcome == PENDING and row.outcome != PENDING and old.subject_key == row.subject_key:
            if foreign and row.report_number in foreign:
                fault = not_the_origin(row.person_index, foreign[row.report_number])
                comparison.conflicts.append(Rejection(row.tube_index, row.person_index, (fault,)))
                continue
            comparison.revised.append((row, old))
            known[row.report_number] = key_of(row, old.revision + 1, old.content_hash)
        else:
            comparison.conflicts.append(Rejection(row.tube_index, row.person_index, (conflict(row.person_index),)))
    return comparison


def is_stored(row: NewResult, key: ReportKey) -> bool:
    """Whether the report is stored as this result states it, or was before its result followed it."""
    return row.content_hash in (key.content_hash, key.sampling_hash)


def key_of(row: NewResult, revision: int = 1, sampling_hash: bytes | None = None) -> ReportKey:
    """What is known of a report once this result is stored as the given revision."""
    return ReportKey(row.subject_key, row.reference_time, revision, row.outcome, row.content_hash, sampling_hash)
