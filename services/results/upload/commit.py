"""Committing a judged batch: one transaction in which every accepted person becomes durable, or nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from sqlalchemy import Connection, select, update

from services.domain.errors import OutOfRange
from services.domain.instant import Instant
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.records.bulk import Bulk, CommitColumns, bulk_for
from services.results.records.horizon import HORIZON
from services.results.records.model import PENDING, SUPERSEDED, NewResult, ReportKey
from services.results.records.tables import report_keys, results
from services.results.timeliness.delays import record_delays
from services.results.upload import known_batches, tables
from services.results.upload.claims import RemovedMeanwhile, claim_reports
from services.results.upload.model import Acknowledgement, Rejection, UploadPosition, ValidatedBatch
from services.results.upload.replays import count_rejected, forget_rejections, remember_rejections, retell
from services.results.upload.validation import part_removed
from services.storage.upsert import insert_if_absent

PLACE = itemgetter(0, 1)
"""A result's place in its batch, its tube's index and its own: what a batch of thousands is sorted by."""


@dataclass(frozen=True, slots=True)
class Filed:
    """What became of a batch but for its replayed beginning.

    Attributes:
        stored: each result that was, with its revision, in the order of the upload.
        duplicate_count: persons that were stored before.
        rejections: the rest, in the order of the upload.
    """

    stored: Sequence[tuple[NewResult, int]]
    duplicate_count: int
    rejections: Sequence[Rejection]


def commit_batch(
    connection: Connection, change_log: ChangeLog, position: UploadPosition, batch: ValidatedBatch, now: Instant
) -> Acknowledgement:
    """Store what is good of a batch, remember what was rejected, and move the upload on.

    What lies below the committed offset is a replay: it is told again and not stored.

    Raises:
        OutOfRange: UPLOAD_GAP, the batch begins beyond the committed offset.
        InvalidArgument: UPLOAD_ID_REUSED, other tubes were sent before below the committed offset.
        RemovedMeanwhile: the batch was judged by what retention has removed since; judge it anew.
    """
    committed, horizon = _lock_upload(connection, position, now)
    if batch.offset > committed:
        raise upload_gap(committed, batch.offset)
    if batch.known_tubes and batch.known_horizon != horizon:
        raise RemovedMeanwhile
    replayed = min(committed - batch.offset, len(batch.person_counts))
    bulk = bulk_for(connection)
    replay = retell(connection, bulk, position, batch, replayed, horizon)
    filed = _file_results(connection, bulk, position, batch, replayed, horizon, now)
    remember_rejections(connection, position, batch.offset, filed.rejections)
    if not replayed:
        _remember_batch(connection, position, batch, filed.rejections, horizon, now)
    rejected = count_rejected(filed.rejections, batch.person_counts)
    end = max(committed, batch.offset + len(batch.person_counts))
    if end > committed:
        _advance_upload(connection, position, end, (len(filed.stored), filed.duplicate_count, rejected), now)
    _record_changes(connection, change_log, position, filed.stored, now)
    retold = count_rejected(replay.rejections, batch.person_counts)
    return Acknowledgement(
        end,
        len(filed.stored),
        filed.duplicate_count + replay.persons - retold,
        rejected + retold,
        [*replay.rejections, *filed.rejections],
    )


def upload_gap(committed: int, offset: int) -> OutOfRange:
    """The error for a batch that begins beyond what is committed."""
    return OutOfRange(
        "UPLOAD_GAP",
        f"the batch begins at {offset}, but {committed} tubes are committed; go on from there",
        metadata={"committed_offset": str(committed), "offset": str(offset)},
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
    begin = insert_if_absent(connection, uploads).values(
        lab=position.lab,
        upload_id=position.upload_id,
        committed_offset=0,
        accepted_count=0,
        duplicate_count=0,
        rejected_count=0,
        create_time=now,
        update_time=now,
    )
    if connection.execute(begin).rowcount:
        forget_rejections(connection, position)
    row = connection.execute(held).one()
    return row[0], row[1]


def _file_results(
    connection: Connection,
    bulk: Bulk,
    position: UploadPosition,
    batch: ValidatedBatch,
    replayed: int,
    horizon: Instant | None,
    now: Instant,
) -> Filed:
    """Store what is good of a batch and no replay: reports that are new, and results of sampling records."""
    rows, removed = part_removed([row for row in batch.results if row.tube_index >= replayed], horizon)
    claims = claim_reports(
        connection, bulk, position.lab, rows, source_node=position.source_node, likely_free=position.reports_are_new
    )
    position.reports_are_new = claims.all_free
    filing = CommitColumns(now, position.source_node)
    if claims.fresh:
        bulk.insert_results(connection, claims.fresh, filing)
    for row, known in claims.others.revised:
        _revise(connection, bulk, position.lab, row, known, filing)
    stored = [(row, 1) for row in sorted(claims.fresh, key=PLACE)]
    if claims.others.revised:
        stored += [(row, known.revision + 1) for row, known in claims.others.revised]
        stored.sort(key=lambda pair: PLACE(pair[0]))
    rejections = [rejection for rejection in batch.rejections if rejection.tube_index >= replayed]
    rejections += [*removed, *claims.others.conflicts]
    rejections.sort(key=lambda rejection: (rejection.tube_index, rejection.person_index))
    known_persons = sum(batch.person_counts[index] for index in batch.known_tubes if index >= replayed)
    return Filed(stored, claims.others.duplicate_count + known_persons, rejections)


def _revise(
    connection: Connection, bulk: Bulk, lab: str, row: NewResult, old: ReportKey, filing: CommitColumns
) -> None:
    """Put a report in the place of its sampling record, whose key is held, as the next revision of it."""
    keys = report_keys
    connection.execute(
        update(keys)
        .where(keys.c.lab == lab, keys.c.report_number == row.report_number)
        .values(
            reference_time=row.reference_time,
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
            results.c.reference_time == old.reference_time,
            results.c.lab == lab,
            results.c.report_number == row.report_number,
            results.c.revision == old.revision,
        )
        .values(state=SUPERSEDED)
    )
    bulk.insert_results(connection, [row], replace(filing, revision=old.revision + 1))


def _remember_batch(
    connection: Connection,
    position: UploadPosition,
    batch: ValidatedBatch,
    rejections: Sequence[Rejection],
    horizon: Instant | None,
    now: Instant,
) -> None:
    """Know the batch when it comes again, whatever upload it comes in."""
    if batch.digest:
        rejected_tubes = sorted({rejection.tube_index for rejection in rejections})
        known_batches.remember(connection, position.lab, batch.digest, horizon, rejected_tubes, now)


def _advance_upload(
    connection: Connection, position: UploadPosition, end: int, counts: tuple[int, int, int], now: Instant
) -> None:
    """Move the upload on to an offset; counts are persons accepted, duplicate and rejected on the way."""
    uploads = tables.uploads
    accepted, duplicates, rejected = counts
    connection.execute(
        update(uploads)
        .where(uploads.c.lab == position.lab, uploads.c.upload_id == position.upload_id)
        .values(
            committed_offset=end,
            accepted_count=uploads.c.accepted_count + accepted,
            duplicate_count=uploads.c.duplicate_count + duplicates,
            rejected_count=uploads.c.rejected_count + rejected,
            update_time=now,
        )
    )


def _record_changes(
    connection: Connection,
    change_log: ChangeLog,
    position: UploadPosition,
    stored: Sequence[tuple[NewResult, int]],
    now: Instant,
) -> None:
    """Let supervisors, other nodes and watchers know what was stored."""
    record_delays(connection, position.lab, [row.reference_time for row, _ in stored if row.outcome != PENDING], now)
    names = [(row.report_number, revision) for row, revision in stored]
    keys = [row.subject_key for row, _ in stored]
    change_log.record(connection, [LoggedChange(ChangeKind.RESULTS, position.lab, names, keys)], now)
