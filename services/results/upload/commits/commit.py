"""Commits a validated batch: in one transaction every accepted person becomes durable, or none does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter

from hutong_texts import english
from sqlalchemy import Connection, bindparam, select, update

from services.domain.errors import OutOfRange
from services.domain.instant import Instant
from services.domain.names import format_upload
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.documents.store import record_linked_pairs
from services.results.records.bulk import Bulk, CommitColumns, bulk_for, claim_all
from services.results.records.horizon import read_horizon
from services.results.records.model import ADVERSE, PENDING, SUPERSEDED, NewResult, ReportKey, is_adverse
from services.results.records.new_results import NewResults, ResultColumns, columns_of
from services.results.records.tables import report_keys, results
from services.results.timeliness.delays import record_delays
from services.results.upload import tables
from services.results.upload.claims import RemovedMeanwhile, claim_reports
from services.results.upload.known_batches import add_known
from services.results.upload.model import Acknowledgement, Rejection, UploadPosition, ValidatedBatch
from services.results.upload.replays import count_rejected, delete_rejections, replay_tubes, store_rejections
from services.results.upload.validation import part_removed
from services.runtime.audit import record_change
from services.runtime.consistency import LogPosition
from services.storage.upsert import insert_if_absent

ITEM_INDEX = itemgetter(0, 1)
"""Sort key of results within their batch: tube index and person index, the first two fields of NewResult."""
_REJECTION_INDEX = attrgetter("tube_index", "person_index")

# Statements of every commit are built once, because building one costs as much as executing it.
_uploads = tables.uploads
_OF_UPLOAD = (_uploads.c.lab == bindparam("of_lab"), _uploads.c.upload_id == bindparam("of_upload"))
_LOCK = select(_uploads.c.committed_offset).where(*_OF_UPLOAD).with_for_update()
_ADVANCE = (
    update(_uploads)
    .where(*_OF_UPLOAD)
    .values(
        committed_offset=bindparam("end"),
        accepted_count=_uploads.c.accepted_count + bindparam("accepted"),
        duplicate_count=_uploads.c.duplicate_count + bindparam("duplicates"),
        rejected_count=_uploads.c.rejected_count + bindparam("rejected"),
        update_time=bindparam("now"),
    )
)


@dataclass(frozen=True, slots=True)
class CommitSummary:
    """The outcome for the tubes of a batch that are not a replay.

    Attributes:
        stored: the results that were stored, in the order of the upload.
        revisions: the revision of each stored result.
        duplicate_count: persons whose results were stored before.
        rejections: the rejected items, in the order of the upload.
    """

    stored: Sequence[NewResult]
    revisions: Sequence[int]
    duplicate_count: int
    rejections: Sequence[Rejection]


def commit_batch(
    connection: Connection, change_log: ChangeLog, position: UploadPosition, batch: ValidatedBatch, now: Instant
) -> Acknowledgement:
    """Store the valid results of a batch and its rejections, and advance the upload's offset.

    Tubes below the committed offset are a replay. They are answered again, and are not stored.

    Raises:
        OutOfRange: UPLOAD_GAP, the batch begins beyond the committed offset.
        InvalidArgument: UPLOAD_ID_REUSED, the tubes below the committed offset differ from those that were sent before.
        RemovedMeanwhile: retention has removed results since the batch was validated; validate it again.
    """
    committed, horizon = lock_upload(connection, position, now)
    if batch.offset > committed:
        raise upload_gap(committed, batch.offset)
    if batch.known_tubes and batch.known_horizon != horizon:
        raise RemovedMeanwhile
    replayed = min(committed - batch.offset, len(batch.person_counts))
    bulk = bulk_for(connection)
    replay = replay_tubes(connection, bulk, position, batch, replayed, horizon)
    summary = _store_results(connection, bulk, position, batch, replayed, horizon, now)
    store_rejections(connection, position, batch.offset, summary.rejections)
    if not replayed:
        add_known(connection, position.lab, [(batch.digest, summary.rejections, now)], horizon)
    rejected = count_rejected(summary.rejections, batch.person_counts)
    end = max(committed, batch.offset + len(batch.person_counts))
    if end > committed:
        advance_upload(connection, position, end, (len(summary.stored), summary.duplicate_count, rejected), now)
    rejected_again = count_rejected(replay.rejections, batch.person_counts)
    duplicates = summary.duplicate_count + replay.persons - rejected_again
    # The batch may contain persons that were stored before, in commits of other writers. The entry that is logged now
    # comes after all these commits. If the batch has new results, the entry names them. Otherwise the entry is a
    # barrier.
    reached = _record_changes(connection, change_log, position, summary, now, barrier=duplicates > 0)
    if end > committed:
        record_change(connection, format_upload(position.lab, position.upload_id), count=len(summary.stored))
    return Acknowledgement(
        end,
        len(summary.stored),
        duplicates,
        rejected + rejected_again,
        [*replay.rejections, *summary.rejections],
        reached,
    )


def upload_gap(committed: int, offset: int) -> OutOfRange:
    """Return the error for a batch that begins beyond the committed offset."""
    return OutOfRange(
        "UPLOAD_GAP",
        english(
            "the batch begins at {offset}, but {committed} tubes are committed; go on from there",
            offset=offset,
            committed=committed,
        ),
        metadata={"committed_offset": str(committed), "offset": str(offset)},
    )


def lock_upload(connection: Connection, position: UploadPosition, now: Instant) -> tuple[int, Instant | None]:
    """Lock the upload's row until the commit, and return the committed offset and the horizon of retention.

    The lock makes two streams of one upload take turns. The horizon is read while the lock is held, because a purge
    sets the horizon only after all transactions with such locks have ended.
    """
    upload = {"of_lab": position.lab, "of_upload": position.upload_id}
    committed = connection.execute(_LOCK, upload).scalar()
    if committed is None:
        begin = insert_if_absent(connection, tables.uploads).values(
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
            delete_rejections(connection, position)
        committed = connection.execute(_LOCK, upload).scalar_one()
    return committed, read_horizon(connection)


def _store_results(
    connection: Connection,
    bulk: Bulk,
    position: UploadPosition,
    batch: ValidatedBatch,
    replayed: int,
    horizon: Instant | None,
    now: Instant,
) -> CommitSummary:
    """Store the valid results of all tubes but the first `replayed`: new reports, and results of sampling records."""
    columns = CommitColumns(now, position.source_node)
    if (
        not replayed
        and not batch.known_tubes
        and _store_all(connection, bulk, position, batch.results, horizon, columns)
    ):
        return CommitSummary(batch.results, [1] * len(batch.results), 0, batch.rejections)
    rows, removed = part_removed([row for row in batch.results if row.tube_index >= replayed], horizon)
    claims = claim_reports(
        connection, bulk, position.lab, rows, source_node=position.source_node, likely_free=position.reports_are_new
    )
    position.reports_are_new = claims.all_free
    if claims.fresh:
        bulk.insert_results(connection, [(claims.fresh, columns)])
        record_linked_pairs(
            connection, [(row.subject_key, row.other.subject_key) for row in claims.fresh if row.other is not None]
        )
    for row, known in claims.others.revised:
        _revise(connection, bulk, position.lab, row, known, columns)
    stored = [(row, 1) for row in sorted(claims.fresh, key=ITEM_INDEX)]
    if claims.others.revised:
        stored += [(row, known.revision + 1) for row, known in claims.others.revised]
        stored.sort(key=lambda pair: ITEM_INDEX(pair[0]))
    rejections = [rejection for rejection in batch.rejections if rejection.tube_index >= replayed]
    rejections += [*removed, *claims.others.conflicts]
    rejections.sort(key=_REJECTION_INDEX)
    known_persons = sum(batch.person_counts[index] for index in batch.known_tubes if index >= replayed)
    duplicates = claims.others.duplicate_count + known_persons
    return CommitSummary([row for row, _ in stored], [revision for _, revision in stored], duplicates, rejections)


def _store_all(
    connection: Connection,
    bulk: Bulk,
    position: UploadPosition,
    results: Sequence[NewResult],
    horizon: Instant | None,
    columns: CommitColumns,
) -> bool:
    """Store all results of a batch if all of them are certainly new. Return whether they were stored.

    Validation has already joined their rows for one statement. Nothing is stored if an earlier report of the upload was
    not new, or if a report of the batch may not be new.
    """
    if not results or not position.reports_are_new or not isinstance(results, NewResults) or not results.are_distinct:
        return False
    if horizon is not None and min(results.columns.reference_times) < horizon:
        return False
    position.reports_are_new = claim_all(connection, bulk, results)
    if position.reports_are_new:
        bulk.insert_results(connection, [(results, columns)])
        record_linked_pairs(connection, results.columns.find_others())
    return position.reports_are_new


def _revise(
    connection: Connection, bulk: Bulk, lab: str, row: NewResult, old: ReportKey, columns: CommitColumns
) -> None:
    """Store a report as the next revision of its sampling record, whose key is locked."""
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
    bulk.insert_results(connection, [([row], replace(columns, revision=old.revision + 1))])


def advance_upload(
    connection: Connection, position: UploadPosition, end: int, counts: tuple[int, int, int], now: Instant
) -> None:
    """Set the upload's committed offset to `end`, and add `counts`.

    These are the numbers of accepted, duplicate and rejected persons.
    """
    accepted, duplicates, rejected = counts
    connection.execute(
        _ADVANCE,
        {
            "of_lab": position.lab,
            "of_upload": position.upload_id,
            "end": end,
            "accepted": accepted,
            "duplicates": duplicates,
            "rejected": rejected,
            "now": now,
        },
    )


def _record_changes(
    connection: Connection,
    change_log: ChangeLog,
    position: UploadPosition,
    summary: CommitSummary,
    now: Instant,
    *,
    barrier: bool,
) -> LogPosition:
    """Count the stored results in the laboratory's delays, and log them in the change log.

    Return the position of the entry. If nothing was stored, an entry is made only if `barrier` is set.
    """
    columns = columns_of(summary.stored)
    record_delays(connection, position.lab, find_reported(columns), now)
    change = change_of(position, columns, summary.revisions)
    return change_log.record(connection, [change], now, barrier=barrier)


def find_reported(columns: ResultColumns) -> Sequence[Instant]:
    """Return the report times of results that are no sampling records."""
    reported = columns.reference_times
    if PENDING not in columns.outcomes:
        return reported
    return [time for time, outcome in zip(reported, columns.outcomes, strict=True) if outcome != PENDING]


def change_of(position: UploadPosition, columns: ResultColumns, revisions: Sequence[int]) -> LoggedChange:
    """Return the change of the change log for stored results."""
    names = list(zip(columns.report_numbers, revisions, strict=True))
    adverse = set()
    if not ADVERSE.isdisjoint(columns.outcomes):
        fates = zip(columns.subject_keys, columns.outcomes, columns.items, strict=True)
        adverse = {key for key, outcome, item in fates if is_adverse(outcome, item)}
    others = dict(columns.find_others())
    return LoggedChange(
        ChangeKind.RESULTS, position.lab, names, columns.subject_keys, adverse_keys=adverse, other_keys=others
    )
