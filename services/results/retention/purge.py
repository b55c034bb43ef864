"""Removing what is no longer to be kept, and proving it.

PostgreSQL drops whole months; SQLite deletes rows. Either way a deletion record stays for ever: what was removed, how
many, and a SHA-256 over the names of all revisions, a line each, by laboratory and report number in byte order and by
revision, so that the operator who holds a list can show that these and no others are gone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from psycopg.errors import LockNotAvailable
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    exc,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)

from services.domain.errors import Unavailable
from services.domain.instant import HOUR, SECOND, Instant
from services.domain.names import format_result
from services.results.changelog.log import list_writers, remove_entries
from services.results.exchange.subscribers import end_subscriptions
from services.results.exchange.tables import notifications
from services.results.idempotency import requests
from services.results.missing_reports.store import remove_with_keys
from services.results.records.partitions import list_partitions, month_of, month_start
from services.results.records.tables import deletions, report_keys, results, revision_reasons
from services.results.timeliness.tables import delays, national_delays, national_receive_times
from services.results.upload.tables import known_batches, upload_rejections, uploads
from services.runtime.ids import uuid7
from services.storage.collation import in_byte_order
from services.storage.engine import Database
from services.storage.process_lock import try_process_lock

STEP = 5_000
"""Rows that one transaction looks at: uploads go on between the steps."""
DROP_TRIES = 60
"""A month that is being read cannot be dropped; it is tried again and again, so that readers never wait for it."""
RETRY_SECONDS = 1.0

_LOCK_KEY = 0x48755070
"""Of the advisory lock that a purge holds from its beginning to its end."""

P = TypeVar("P")

_results = results
_keys = report_keys


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion record: everything filed before the horizon is gone."""

    deletion_id: str
    horizon: Instant
    result_count: int
    digest: str
    delete_time: Instant


RowPlace = tuple[Any, ...]
"""A row's primary key: where a pass over all rows of a table stands; empty at the beginning."""


class ReportPlace(NamedTuple):
    """Where a pass over all reports stands."""

    lab: str
    report_number: str


def purge(database: Database, older_than: Instant, now: Instant) -> Deletion:
    """Remove every result filed before an instant, with all that belongs to it; on PostgreSQL before its month.

    The horizon is set first, so that nothing more comes in before it; then everything is counted, and the record is
    complete before anything is removed: nothing is ever gone without one. Can be stopped and called again at any time:
    what is left is removed then, under a record of its own. One at a time, or two records would count the same.

    Raises:
        Unavailable: OVERLOADED, another purge is under way, or a month was read without pause and could not be dropped.
    """
    # A whole second, as it is shown.
    horizon = older_than - older_than % SECOND if database.is_sqlite else month_start(month_of(older_than))
    with try_process_lock(database, "purge", _LOCK_KEY) as is_held:
        if not is_held:
            raise Unavailable("OVERLOADED", "another purge is under way; wait for its end")
        return _remove(database, Deletion(uuid7(), horizon, 0, "", now))


def _remove(database: Database, deletion: Deletion) -> Deletion:
    horizon = deletion.horizon
    database.write_now(_announce, deletion)
    count, digest = database.read_long_now(_fingerprint, horizon)
    deletion = replace(deletion, result_count=count, digest=digest)
    database.write_now(_complete, deletion)
    database.write_now(remove_with_keys, horizon)
    _repeat(database, _delete_keys, horizon, ReportPlace("", ""))
    if database.is_sqlite:
        _repeat(database, _delete_results, horizon, 0)
    else:
        for partition in database.read_now(list_partitions):
            if partition.end <= horizon:
                _drop(database, partition.name)
    for table, is_trace in _traces(deletion):
        _repeat(database, partial(_delete_rows, table, is_trace), horizon, ())
    _repeat(database, end_subscriptions, horizon, b"")
    for writer_id in database.read_now(list_writers):
        while database.write_now(remove_entries, writer_id, horizon):
            pass
    return deletion


def _announce(connection: Connection, deletion: Deletion) -> None:
    """Set the horizon: uploads and corrections under way are waited for, all later ones see it."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE uploads, report_keys IN EXCLUSIVE MODE")
    connection.execute(insert(deletions).values(asdict(deletion)))


def _fingerprint(connection: Connection, horizon: Instant) -> tuple[int, str]:
    """How many revisions lie before the horizon, and a hash over their names."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    query = (
        select(_results.c.lab, _results.c.report_number, _results.c.revision)
        .where(_results.c.reference_time < horizon)
        .order_by(*in_byte_order(connection, _results.c.lab, _results.c.report_number), _results.c.revision)
    )
    digest = hashlib.sha256()
    count = 0
    for lab, number, revision in connection.execution_options(yield_per=STEP).execute(query):
        digest.update(format_result(lab, number, revision).encode() + b"\n")
        count += 1
    return count, digest.hexdigest()


def _complete(connection: Connection, deletion: Deletion) -> None:
    """Say what will be removed."""
    connection.execute(
        update(deletions)
        .where(deletions.c.deletion_id == deletion.deletion_id)
        .values(result_count=deletion.result_count, digest=deletion.digest)
    )


def _repeat(database: Database, step: Callable[[Connection, Instant, P], P | None], horizon: Instant, start: P) -> None:
    """Take step after step, each in a transaction of its own, from one position to the next."""
    position: P | None = start
    while position is not None:
        position = database.write_now(step, horizon, position)


def _delete_keys(connection: Connection, horizon: Instant, after: ReportPlace) -> ReportPlace | None:
    """Delete the keys of the next reports, as far as no revision of them is kept, and the reasons of their revisions.

    A report that was corrected to an earlier time keeps its key as long as an older revision is kept: otherwise that
    one could be uploaded again, and count for longer than the report that it is.
    """
    place = tuple_(_keys.c.lab, _keys.c.report_number)
    rest = select(_keys.c.lab, _keys.c.report_number).where(place > tuple_(*after))
    last = connection.execute(rest.order_by(_keys.c.lab, _keys.c.report_number).offset(STEP - 1).limit(1)).first()
    kept = (
        select(_results.c.lab)
        .where(
            _results.c.subject_key == _keys.c.subject_key,
            _results.c.reference_time >= horizon,
            _results.c.lab == _keys.c.lab,
            _results.c.report_number == _keys.c.report_number,
        )
        .exists()
    )
    doomed = [place > tuple_(*after), _keys.c.reference_time < horizon, or_(_keys.c.revision == 1, ~kept)]
    if last is not None:
        doomed.append(place <= tuple_(*last))
    # Held as claims are made, and only then deleted: an upload may be about to revise some of them.
    names = select(_keys.c.lab, _keys.c.report_number).where(*doomed)
    held = names.order_by(*in_byte_order(connection, _keys.c.lab, _keys.c.report_number)).with_for_update()
    deleted = connection.execute(
        delete(_keys).where(place.in_(held)).returning(_keys.c.lab, _keys.c.report_number, _keys.c.revision)
    )
    revised: dict[str, list[str]] = {}
    for lab, number, revision in deleted:
        if revision > 1:
            revised.setdefault(lab, []).append(number)
    reasons = revision_reasons
    for lab, numbers in revised.items():
        connection.execute(delete(reasons).where(reasons.c.lab == lab, reasons.c.report_number.in_(numbers)))
    return None if last is None else ReportPlace(*last)


def _delete_results(connection: Connection, horizon: Instant, after: int) -> int | None:
    """Delete what is before the horizon of the next rows of SQLite's table; the last one looked at."""
    last: int | None = connection.execute(
        text("SELECT rowid FROM results WHERE rowid > :after ORDER BY rowid LIMIT 1 OFFSET :step"),
        {"after": after, "step": STEP - 1},
    ).scalar()
    connection.execute(
        text("DELETE FROM results WHERE rowid > :after AND rowid <= :last AND reference_time < :horizon"),
        {"after": after, "last": 2**63 - 1 if last is None else last, "horizon": horizon},
    )
    return last


def _drop(database: Database, partition: str) -> None:
    for _ in range(DROP_TRIES):
        if database.write_now(_try_to_drop, partition):
            return
        time.sleep(RETRY_SECONDS)
    raise Unavailable("OVERLOADED", f"{partition} is read without pause; purge again to remove what is left")


def _try_to_drop(connection: Connection, partition: str) -> bool:
    """Drop a month unless somebody reads it for longer than all others may be kept waiting."""
    connection.exec_driver_sql("SET LOCAL lock_timeout = '300ms'")
    try:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {partition}")
    except exc.OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            return False
        raise
    return True


def _traces(deletion: Deletion) -> list[tuple[Table, ColumnElement[bool]]]:
    """What else speaks of that time, in the order in which it is to go."""
    rejections = upload_rejections
    theirs = and_(uploads.c.lab == rejections.c.lab, uploads.c.upload_id == rejections.c.upload_id)
    return [
        (uploads, uploads.c.update_time < deletion.horizon),
        (rejections, ~select(uploads.c.lab).where(theirs).exists()),
        (delays, delays.c.report_hour < deletion.horizon // HOUR),
        (national_delays, national_delays.c.report_hour < deletion.horizon // HOUR),
        (national_receive_times, national_receive_times.c.upload_time < deletion.horizon),
        (requests, requests.c.create_time < deletion.horizon),
        # A node that was away for so long subscribes to every subject again.
        (notifications, notifications.c.commit_time < deletion.horizon),
        # Of an earlier horizon: they are known no more. One that is not is judged once more when it comes.
        (known_batches, known_batches.c.commit_time <= deletion.delete_time),
    ]


def _delete_rows(
    table: Table, which: ColumnElement[bool], connection: Connection, _horizon: Instant, after: RowPlace
) -> RowPlace | None:
    """Delete some of the next rows of a table, in the order of its primary key; the last one looked at."""
    columns = list(table.primary_key)
    place = tuple_(*columns)
    step = [place > tuple_(*after)] if after else []
    last = connection.execute(select(*columns).where(*step).order_by(*columns).offset(STEP - 1).limit(1)).first()
    if last is not None:
        step.append(place <= tuple_(*last))
    connection.execute(delete(table).where(which, *step))
    return None if last is None else tuple(last)
