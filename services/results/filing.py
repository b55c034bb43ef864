"""Committing a judged batch: one transaction in which every accepted person becomes durable, or nothing does.

That a report is stored once is the primary key of `report_keys`, never a look before the leap: claims are inserted, and
only a claim that fails is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

import orjson
from psycopg.errors import UniqueViolation
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from services.domain.errors import OutOfRange, Violation
from services.domain.instant import Instant
from services.results import known_batches, tables
from services.results.bulk import Bulk, Filing, bulk_for
from services.results.changes import append_entry
from services.results.horizon import HORIZON
from services.results.model import (
    PENDING,
    SUPERSEDED,
    Acknowledgement,
    JudgedBatch,
    NewResult,
    Rejection,
    ReportKey,
)
from services.results.timeliness import record_delays
from services.results.upload import WHOLE_TUBE, conflict, part_removed
from services.storage.conflict import insert_unless_there


@dataclass(slots=True)
class UploadPosition:
    """Whose upload it is, and whether its reports have been new so far: then claims go in without asking first."""

    lab: str
    upload_id: str
    origin: str
    reports_are_new: bool = True


@dataclass(slots=True)
class Comparison:
    """What became of results whose report numbers were taken: each with the revision it follows, or not stored."""

    revised: list[tuple[NewResult, ReportKey]] = field(default_factory=list)
    duplicate_count: int = 0
    conflicts: list[Rejection] = field(default_factory=list)


def commit_batch(connection: Connection, position: UploadPosition, batch: JudgedBatch, now: Instant) -> Acknowledgement:
    """Store what is good of a batch, remember what was rejected, and move the upload on.

    What lies below the committed offset is a replay: nothing of it is stored again, its persons count as duplicates and
    its rejections are told again.

    Raises:
        OutOfRange: UPLOAD_GAP, the batch begins beyond the committed offset.
    """
    committed, horizon = _lock_upload(connection, position, now)
    if batch.offset > committed:
        raise upload_gap(committed, batch.offset)
    skipped = min(committed - batch.offset, len(batch.person_counts))
    replayed = _replay(connection, position, batch, skipped)
    bulk = bulk_for(connection)
    rows, removed = part_removed([row for row in batch.results if row.tube_index >= skipped], horizon)
    filing = Filing(now, position.origin)
    fresh, comparison = _claim(connection, bulk, position, rows)
    if fresh:
        bulk.insert_results(connection, fresh, filing)
    for row, known in comparison.revised:
        _revise(connection, bulk, position.lab, row, known, filing)
    rejections = [rejection for rejection in batch.rejections if rejection.tube_index >= skipped]
    rejections += [*removed, *comparison.conflicts]
    rejections.sort(key=lambda rejection: (rejection.tube_index, rejection.person_index))
    _remember_rejections(connection, position, batch.offset, rejections)
    comparison.duplicate_count += sum(batch.person_counts[index] for index in batch.known_tubes if index >= skipped)
    if batch.digest and not skipped:
        rejected_tubes = sorted({rejection.tube_index for rejection in rejections})
        known_batches.remember(connection, position.lab, batch.digest, rejected_tubes, now)
    accepted = len(fresh) + len(comparison.revised)
    rejected = count_rejected(rejections, batch.person_counts)
    new_offset = max(committed, batch.offset + len(batch.person_counts))
    uploads = tables.uploads
    if new_offset > committed:
        connection.execute(
            update(uploads)
            .where(uploads.c.lab == position.lab, uploads.c.upload_id == position.upload_id)
            .values(
                committed_offset=new_offset,
                accepted_count=uploads.c.accepted_count + accepted,
                duplicate_count=uploads.c.duplicate_count + comparison.duplicate_count,
                rejected_count=uploads.c.rejected_count + rejected,
                update_time=now,
            )
        )
    stored = [*((row, 1) for row in fresh), *((row, known.revision + 1) for row, known in comparison.revised)]
    stored.sort(key=lambda pair: (pair[0].tube_index, pair[0].person_index))
    reported = [row.file_time for row, _ in stored if row.outcome != PENDING]
    record_delays(connection, position.lab, reported, now)
    append_entry(connection, position.lab, [(row.report_number, revision) for row, revision in stored], now)
    replayed_rejected = count_rejected(replayed, batch.person_counts)
    replayed_persons = sum(batch.person_counts[:skipped])
    return Acknowledgement(
        new_offset,
        accepted,
        comparison.duplicate_count + replayed_persons - replayed_rejected,
        rejected + replayed_rejected,
        [*replayed, *rejections],
        now,
    )


def upload_gap(committed: int, offset: int) -> OutOfRange:
    """The error for a batch that begins beyond what is committed."""
    return OutOfRange(
        "UPLOAD_GAP",
        f"the batch begins at {offset}, but {committed} tubes are committed; go on from there",
        metadata={"committed_offset": str(committed), "offset": str(offset)},
    )


def count_rejected(rejections: Sequence[Rejection], person_counts: Sequence[int]) -> int:
    """How many persons rejections stand for."""
    return sum(
        person_counts[rejection.tube_index] if rejection.person_index == WHOLE_TUBE else 1 for rejection in rejections
    )


def _lock_upload(connection: Connection, position: UploadPosition, now: Instant) -> tuple[int, Instant | None]:
    """The committed offset, with the upload's row held until the commit: two streams of one upload take turns.

    And, since it costs no further round trip, the horizon of retention.
    """
    uploads = tables.uploads
    held = (
        select(uploads.c.committed_offset, HORIZON.scalar_subquery())
        .where(uploads.c.lab == position.lab, uploads.c.upload_id == position.upload_id)
        .with_for_update(of=uploads)
    )
    row = connection.execute(held).first()
    if row is not None:
        return row[0], row[1]
    connection.execute(
        insert_unless_there(connection, uploads).values(
            lab=position.lab,
            upload_id=position.upload_id,
            committed_offset=0,
            accepted_count=0,
            duplicate_count=0,
            rejected_count=0,
            create_time=now,
            update_time=now,
        )
    )
    row = connection.execute(held).one()
    return row[0], row[1]


def _claim(
    connection: Connection, bulk: Bulk, position: UploadPosition, rows: Sequence[NewResult]
) -> tuple[list[NewResult], Comparison]:
    """Claim report numbers: the results whose claim went in, and what became of the others."""
    # In one order everywhere, so that two uploads of the same reports wait for one another and never in a circle.
    first: dict[str, NewResult] = {}
    again: list[NewResult] = []
    for row in sorted(rows, key=attrgetter("report_number")):
        if row.report_number in first:
            again.append(row)
        else:
            first[row.report_number] = row
    fresh = list(first.values())
    if not position.reports_are_new or not claim_all(connection, bulk, fresh):
        claimed = bulk.insert_free_keys(connection, position.lab, fresh) if fresh else set()
        position.reports_are_new = len(claimed) == len(fresh)
        again += [row for row in fresh if row.report_number not in claimed]
        fresh = [row for row in fresh if row.report_number in claimed]
    if not again:
        return fresh, Comparison()
    known = bulk.find_keys(connection, position.lab, [row.report_number for row in again])
    comparison = compare_reports(dict(known), again)
    if comparison.revised:
        # Held now, and looked at once more: another stream may have brought the same results in meanwhile.
        known |= bulk.hold_keys(connection, position.lab, [row.report_number for row, _ in comparison.revised])
        comparison = compare_reports(known, again)
    return fresh, comparison


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


def compare_reports(known: dict[str, ReportKey], rows: Sequence[NewResult]) -> Comparison:
    """Tell duplicates, results of sampling records and conflicts apart, in the order of the upload.

    `known` is moved on: a sampling record whose result is among the rows is that result to the rows after it.
    """
    comparison = Comparison()
    for row in sorted(rows, key=lambda row: (row.tube_index, row.person_index)):
        old = known[row.report_number]
        if row.content_hash in (old.content_hash, old.sampling_hash):
            comparison.duplicate_count += 1
        elif old.outcome == PENDING and row.outcome != PENDING and old.subject_key == row.subject_key:
            comparison.revised.append((row, old))
            known[row.report_number] = key_of(row, old.revision + 1, old.content_hash)
        else:
            comparison.conflicts.append(Rejection(row.tube_index, row.person_index, (conflict(row.person_index),)))
    return comparison


def key_of(row: NewResult, revision: int = 1, sampling_hash: bytes | None = None) -> ReportKey:
    """What is known of a report once this result is stored as the given revision."""
    return ReportKey(row.subject_key, row.file_time, revision, row.outcome, row.content_hash, sampling_hash)


def _revise(connection: Connection, bulk: Bulk, lab: str, row: NewResult, old: ReportKey, filing: Filing) -> None:
    """Put a report in the place of its sampling record, whose key is held, as the next revision of it."""
    results, keys = tables.results, tables.report_keys
    connection.execute(
        update(keys)
        .where(keys.c.lab == lab, keys.c.report_number == row.report_number)
        .values(
            file_time=row.file_time,
            revision=old.revision + 1,
            outcome=row.outcome,
            content_hash=row.content_hash,
            sampling_hash=old.content_hash,
        )
    )
    connection.execute(
        update(results)
        .where(
            results.c.subject_key == old.subject_key,
            results.c.file_time == old.file_time,
            results.c.lab == lab,
            results.c.report_number == row.report_number,
            results.c.revision == old.revision,
        )
        .values(state=SUPERSEDED)
    )
    bulk.insert_results(connection, [row], replace(filing, revision=old.revision + 1))


def _remember_rejections(
    connection: Connection, position: UploadPosition, offset: int, rejections: Sequence[Rejection]
) -> None:
    if not rejections:
        return
    connection.execute(
        insert(tables.upload_rejections),
        [
            {
                "lab": position.lab,
                "upload_id": position.upload_id,
                "tube_offset": offset + rejection.tube_index,
                "person_index": rejection.person_index,
                "retryable": rejection.retryable,
                "violations": orjson.dumps(
                    [[fault.field, fault.reason, fault.description] for fault in rejection.violations]
                ).decode(),
            }
            for rejection in rejections
        ],
    )


def _replay(connection: Connection, position: UploadPosition, batch: JudgedBatch, count: int) -> list[Rejection]:
    """What was rejected of the batch's first `count` tubes when they came before."""
    if count <= 0:
        return []
    table = tables.upload_rejections
    rows = connection.execute(
        select(table.c.tube_offset, table.c.person_index, table.c.retryable, table.c.violations)
        .where(
            table.c.lab == position.lab,
            table.c.upload_id == position.upload_id,
            table.c.tube_offset >= batch.offset,
            table.c.tube_offset < batch.offset + count,
        )
        .order_by(table.c.tube_offset, table.c.person_index)
    )
    return [
        Rejection(
            row.tube_offset - batch.offset,
            row.person_index,
            tuple(Violation(*fault) for fault in orjson.loads(row.violations)),
            row.retryable,
        )
        for row in rows
    ]
