"""Removing what is no longer to be kept, and proving it.

PostgreSQL drops whole months; SQLite deletes rows. Either way a deletion record stays for ever: what was removed, how
many, and a SHA-256 over the names of all of it in their order, so that the operator who holds a list can show that
these and no others are gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from services.domain.errors import FailedPrecondition
from services.domain.instant import Instant, format_instant
from services.domain.names import format_result
from services.results import tables
from services.results.partitions import list_partitions, month_of, month_start
from services.runtime.ids import uuid7
from services.storage.engine import Database

STEP = 10_000
"""Rows that one transaction deletes: uploads go on between the steps."""

_results = tables.results
_keys = tables.report_keys


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion record: everything filed before the horizon is gone."""

    deletion_id: str
    horizon: Instant
    result_count: int
    digest: str
    delete_time: Instant


def purge(database: Database, older_than: Instant, now: Instant) -> Deletion:
    """Remove every result filed before an instant, with all that belongs to it; on PostgreSQL before its month.

    The record is written before anything is removed, so that nothing is ever gone without one. Can be stopped and
    called again at any time: what is left is removed then, under a record of its own.
    """
    horizon = older_than if database.is_sqlite else month_start(month_of(older_than))
    count, digest = database.read_long_now(_fingerprint, horizon)
    deletion = Deletion(uuid7(), horizon, count, digest, now)
    database.write_now(_record, deletion)
    _repeat(database, _delete_keys, horizon)
    if database.is_sqlite:
        _repeat(database, _delete_results, horizon)
    else:
        for partition in database.read_now(list_partitions):
            if partition.end <= horizon:
                database.write_now(_drop, partition.name)
    database.write_now(_delete_traces, horizon)
    return deletion


def require_kept(connection: Connection, end: Instant | None) -> None:
    """Refuse a question about a time of which nothing is kept any more; None asks up to now.

    Raises:
        FailedPrecondition: BEFORE_HORIZON, everything before the end was removed.
    """
    if end is None:
        return
    horizon = connection.execute(select(func.max(tables.deletions.c.horizon))).scalar()
    if horizon is not None and end <= horizon:
        since = format_instant(horizon)
        raise FailedPrecondition(
            "BEFORE_HORIZON", f"results reported before {since} were removed", metadata={"horizon": since}
        )


def _fingerprint(connection: Connection, horizon: Instant) -> tuple[int, str]:
    """How many revisions lie before the horizon, and a hash over their names."""
    query = (
        select(_results.c.lab, _results.c.report_number, _results.c.revision)
        .where(_results.c.file_time < horizon)
        .order_by(_results.c.lab, _results.c.report_number, _results.c.revision)
    )
    digest = hashlib.sha256()
    count = 0
    for lab, number, revision in connection.execution_options(yield_per=STEP).execute(query):
        digest.update(format_result(lab, number, revision).encode() + b"\n")
        count += 1
    return count, digest.hexdigest()


def _repeat(database: Database, step: Callable[[Connection, Instant], int], horizon: Instant) -> None:
    while database.write_now(step, horizon):
        pass


def _delete_keys(connection: Connection, horizon: Instant) -> int:
    """Delete some keys of reports before the horizon, with the reasons of their revisions; how many there were."""
    rows = connection.execute(
        select(_keys.c.lab, _keys.c.report_number).where(_keys.c.file_time < horizon).limit(STEP)
    ).all()
    by_lab: dict[str, list[str]] = {}
    for lab, number in rows:
        by_lab.setdefault(lab, []).append(number)
    reasons = tables.revision_reasons
    for lab, numbers in by_lab.items():
        connection.execute(delete(_keys).where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers)))
        connection.execute(delete(reasons).where(reasons.c.lab == lab, reasons.c.report_number.in_(numbers)))
    return len(rows)


def _delete_results(connection: Connection, horizon: Instant) -> int:
    some = select(_results.c.subject_key, _results.c.file_time).where(_results.c.file_time < horizon).limit(STEP)
    keys = connection.execute(some).all()
    for subject_key, file_time in keys:
        connection.execute(
            delete(_results).where(_results.c.subject_key == subject_key, _results.c.file_time == file_time)
        )
    return len(keys)


def _drop(connection: Connection, name: str) -> None:
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")


def _delete_traces(connection: Connection, horizon: Instant) -> None:
    """What speaks of uploads, changes and requests of that time."""
    uploads, rejections = tables.uploads, tables.upload_rejections
    old = select(uploads.c.lab, uploads.c.upload_id).where(uploads.c.update_time < horizon)
    for lab, upload_id in connection.execute(old).all():
        connection.execute(delete(rejections).where(rejections.c.lab == lab, rejections.c.upload_id == upload_id))
    connection.execute(delete(uploads).where(uploads.c.update_time < horizon))
    connection.execute(delete(tables.changes).where(tables.changes.c.commit_time < horizon))
    connection.execute(delete(tables.requests).where(tables.requests.c.create_time < horizon))


def _record(connection: Connection, deletion: Deletion) -> None:
    connection.execute(
        insert(tables.deletions).values(
            deletion_id=deletion.deletion_id,
            horizon=deletion.horizon,
            result_count=deletion.result_count,
            digest=deletion.digest,
            delete_time=deletion.delete_time,
        )
    )
