"""Commits batches of one upload together, in one transaction, if all of their reports are new.

Under load the next batches are validated while a batch is committed. They then share the statements that each commit
needs: the lock of the upload, the lock of a writer of the change log, the counts of delays, the audit, and the commit.
Each batch has its own upload time, acknowledgement, entry of the change log, digest and row of the audit, as if the
batches had been committed one after another.

If a report may not be new, or the group fails for any other reason, nothing of the group is stored. The caller then
commits the batches one by one, so that a batch that fails does not affect the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Connection

from services.domain.instant import Instant
from services.domain.names import format_upload
from services.results.changelog.log import ChangeLog
from services.results.documents.store import record_linked_pairs
from services.results.records.bulk import CommitColumns, bulk_for, is_taken
from services.results.records.new_results import NewResults
from services.results.timeliness.delays import record_all_delays
from services.results.upload.commits.commit import advance_upload, change_of, find_reported, lock_upload
from services.results.upload.known_batches import add_known
from services.results.upload.model import Acknowledgement, UploadPosition, ValidatedBatch
from services.results.upload.replays import count_rejected, store_rejections
from services.runtime.audit import record_changes

MOST_PERSONS = 12_000
"""The most persons of a group, unless its first batch alone has more. On SQLite all other writes wait for a group."""


class NotAllNew(Exception):
    """A report of the group may not be new. Nothing is stored."""


def may_be_grouped(batch: ValidatedBatch) -> bool:
    """Return whether a batch can be committed in a group. It has results, and none of them is known to be stored."""
    results = batch.results
    return isinstance(results, NewResults) and len(results) > 0 and results.are_distinct and not batch.known_tubes


def may_join(group: Sequence[ValidatedBatch], batch: ValidatedBatch) -> bool:
    """Return whether a batch can be committed together with the batches before it."""
    end = group[-1].offset + len(group[-1].person_counts)
    persons = sum(len(one.results) for one in group) + len(batch.results)
    return batch.offset == end and persons <= MOST_PERSONS and all(map(may_be_grouped, (group[0], batch)))


def commit_group(
    connection: Connection,
    change_log: ChangeLog,
    position: UploadPosition,
    batches: Sequence[ValidatedBatch],
    now: Instant,
) -> list[Acknowledgement]:
    """Store the results and the rejections of batches that follow one another, and advance the upload's offset.

    The first batch is committed at `now`, and each further batch one microsecond later, because laboratory and upload
    time identify a batch.

    Raises:
        NotAllNew: commit the batches one by one.
    """
    results = [cast(NewResults, batch.results) for batch in batches]
    committed, horizon = lock_upload(connection, position, now)
    if batches[0].offset != committed:
        raise NotAllNew
    if horizon is not None and any(min(some.columns.reference_times) < horizon for some in results):
        raise NotAllNew
    times = range(now, now + len(batches))
    _store_results(connection, results, times, position.source_node)
    for batch in batches:
        store_rejections(connection, position, batch.offset, batch.rejections)
    known = [(batch.digest, batch.rejections, time) for batch, time in zip(batches, times, strict=True)]
    add_known(connection, position.lab, known, horizon)
    ends = [batch.offset + len(batch.person_counts) for batch in batches]
    stored = [len(some) for some in results]
    rejected = [count_rejected(batch.rejections, batch.person_counts) for batch in batches]
    advance_upload(connection, position, ends[-1], (sum(stored), 0, sum(rejected)), times[-1])
    reported = [(find_reported(some.columns), time) for some, time in zip(results, times, strict=True)]
    record_all_delays(connection, position.lab, reported)
    changes = [change_of(position, some.columns, [1] * len(some)) for some in results]
    reached = change_log.record_together(connection, changes, times)
    record_changes(connection, format_upload(position.lab, position.upload_id), counts=stored)
    return [
        Acknowledgement(end, accepted, 0, refused, batch.rejections, log_position)
        for end, accepted, refused, batch, log_position in zip(ends, stored, rejected, batches, reached, strict=True)
    ]


def _store_results(
    connection: Connection, results: Sequence[NewResults], times: Sequence[Instant], source_node: str
) -> None:
    bulk = bulk_for(connection)
    together = NewResults.merge(results)
    try:
        bulk.insert_keys(connection, together)
    except Exception as error:
        if is_taken(error):
            raise NotAllNew from error
        raise
    parts = [(some, CommitColumns(time, source_node)) for some, time in zip(results, times, strict=True)]
    bulk.insert_results(connection, parts)
    record_linked_pairs(connection, together.columns.find_others())
