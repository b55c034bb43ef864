"""Purges. A purge removes everything before a horizon, and keeps a record that proves what was removed.

On PostgreSQL a purge drops whole months. On SQLite it deletes rows. The deletion record is kept for ever. It contains
the count of the removed revisions and a SHA-256 over their names: one name a line, ordered by laboratory and report
number (both in byte order) and revision. With this hash, an operator who has a list of names can show that exactly
these revisions were removed. Each transaction that removes rows also counts them, by store.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from hutong_texts import english
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, delete, exc, insert, select, text, tuple_, update

from services.domain.errors import Unavailable
from services.domain.instant import SECOND, Instant
from services.domain.names import format_result
from services.results.changelog.log import list_writers, remove_entries
from services.results.changelog.tables import changes
from services.results.exchange.subscribers import end_subscriptions
from services.results.exchange.tables import subscriptions
from services.results.exchange.upstream.acknowledgements import read_acknowledged
from services.results.holds.store import BEFORE_ANY_HELD, destroy_released, move_held, read_active_holds
from services.results.missing_reports.store import remove_with_keys
from services.results.missing_reports.tables import missing_reports
from services.results.records.model import ReportName
from services.results.records.partitions import list_partitions, month_of, month_start
from services.results.records.queries import KEYED, KeyedReport, hold_keys
from services.results.records.tables import deletions, report_keys, results, revision_reasons
from services.results.retention.model import Deletion, PurgePace, ResultsAges
from services.results.retention.names import LISTS, erase_from_lists, forget_answers
from services.results.retention.older_links import renew_links
from services.results.retention.stores import PurgedStore, list_stores
from services.results.retention.tables import deletion_counts
from services.runtime.ids import uuid7
from services.storage.advisory_locks import AdvisoryLock
from services.storage.columns import in_byte_order
from services.storage.connections import is_distributed
from services.storage.deletion_counts import DeletionCounts
from services.storage.distributed import require_settled
from services.storage.engine import Database
from services.storage.process_lock import try_process_lock

_FETCHED = 5_000
"""How many names are fetched at once while results are counted."""

P = TypeVar("P")

_results = results
_keys = report_keys

RowPosition = tuple[Any, ...]
"""The position of a pass over all rows of a table: the primary key of the last row that was examined; empty at the
beginning."""


class ReportPosition(NamedTuple):
    """The position of a pass over all reports: the name of the last report that was examined."""

    lab: str
    report_number: str


def purge(
    database: Database,
    older_than: Instant,
    now: Instant,
    pace: PurgePace | None = None,
    ages: ResultsAges | None = None,
    *,
    has_upstream: bool = False,
    key_version: int = 1,
    before_removal: Callable[[Deletion], None] | None = None,
    actor: str | None = None,
) -> Deletion:
    """Remove every result with a reference time before a horizon.

    Data that belongs to such a result is removed too, and so is data that is beyond its own age.

    The horizon is `older_than` on SQLite, and on PostgreSQL the beginning of the month of `older_than`. The horizon is
    set first, so that from then on nothing before it is stored. Then everything is counted, so that the record is
    complete before anything is removed. A purge may be stopped at any time. The next purge removes the rest, with its
    own record. Only one purge runs at a time, because two purges would count the same results. `actor` is the name of
    the operator.

    Results that a legal hold covers are moved before the count. Moved results that no hold covers any more are
    destroyed.

    `before_removal` is called with the complete record while every report still has its key. At a node with an
    upstream, changes that the upstream has not acknowledged are kept beyond their age. `key_version` is the version
    that the node writes. Links of an older version are renewed or removed (`older_links`).

    Raises:
        Unavailable: OVERLOADED, another purge is under way, or a month or SQLite's log was read all the time.
    """
    # Errors show the horizon in whole seconds, so it is rounded down to a second.
    horizon = older_than - older_than % SECOND if database.is_sqlite else month_start(month_of(older_than))
    pace, ages = pace or PurgePace(), ages or ResultsAges()
    with try_process_lock(database, "purge", AdvisoryLock.PURGE) as is_held:
        if not is_held:
            raise Unavailable(
                "OVERLOADED", english("another purge is under way, or a legal hold is being put; wait for its end")
            )
        deletion = Deletion(uuid7(), horizon, 0, "", now, actor)
        database.write_now(_set_horizon, deletion)
        counts = DeletionCounts(deletion_counts, deletion.deletion_id)
        for hold in database.read_now(read_active_holds):
            while database.write_now(move_held, counts, hold, horizon, now, pace.step_size):
                pass
        count, digest = database.read_long_now(count_and_hash, horizon)
        deletion = replace(deletion, result_count=count, digest=digest)
        database.write_now(_complete_record, deletion)
        if before_removal is not None:
            before_removal(deletion)
        _remove(database, deletion, pace, ages, has_upstream=has_upstream)
        _repeat(database, partial(destroy_released, counts, pace.step_size), horizon, BEFORE_ANY_HELD)
        _repeat(database, partial(renew_links, counts, key_version, now), horizon, "")
        if not database.is_log_emptied_now(pace.drop_tries, pace.drop_pause):
            raise Unavailable(
                "OVERLOADED", english("the database's log is read without pause; purge again to empty it")
            )
        return deletion


def _remove(database: Database, deletion: Deletion, pace: PurgePace, ages: ResultsAges, *, has_upstream: bool) -> None:
    horizon = deletion.horizon
    counts = DeletionCounts(deletion_counts, deletion.deletion_id)
    database.write_now(_remove_closed, counts, horizon)
    _repeat(database, partial(_delete_keys, counts, pace.step_size), horizon, ReportPosition("", ""))
    if database.is_sqlite:
        _repeat(database, partial(_delete_results, pace.step_size), horizon, 0)
    else:
        for partition in database.read_now(list_partitions):
            if partition.end <= horizon:
                _drop_month(database, partition.name, pace)
    for store in list_stores(deletion, ages):
        _repeat(database, partial(_delete_rows, counts, pace.step_size, store), horizon, ())
    _repeat(database, partial(_end_subscriptions, counts), horizon, b"")
    _remove_changes(database, counts, deletion, ages, has_upstream=has_upstream)
    for table in LISTS:
        erase_from_lists(database, counts, table, pace.entries)
    forget_answers(database, counts)


def _remove_closed(connection: Connection, counts: DeletionCounts, horizon: Instant) -> None:
    counts.add(connection, missing_reports.name, remove_with_keys(connection, horizon))


def _end_subscriptions(counts: DeletionCounts, connection: Connection, horizon: Instant, after: bytes) -> bytes | None:
    last, ended = end_subscriptions(connection, horizon, after)
    counts.add(connection, subscriptions.name, ended)
    return last


def _remove_changes(
    database: Database, counts: DeletionCounts, deletion: Deletion, ages: ResultsAges, *, has_upstream: bool
) -> None:
    """Remove the entries of the change log that are before the horizon or beyond their own age."""
    own_age = deletion.delete_time - ages.changes
    for writer_id in database.read_now(list_writers):
        while database.write_now(_remove_entries, counts, writer_id, deletion.horizon, None):
            pass
        up_to = database.read_now(read_acknowledged, writer_id) if has_upstream else None
        while database.write_now(_remove_entries, counts, writer_id, own_age, up_to):
            pass


def _remove_entries(
    connection: Connection, counts: DeletionCounts, writer_id: int, before: Instant, up_to: int | None
) -> bool:
    removed, may_have_more = remove_entries(connection, writer_id, before, up_to=up_to)
    counts.add(connection, changes.name, removed)
    return may_have_more


def _set_horizon(connection: Connection, deletion: Deletion) -> None:
    """Set the horizon once all open uploads and corrections have ended. All later transactions see the horizon."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE uploads, report_keys IN EXCLUSIVE MODE")
    connection.execute(insert(deletions).values(asdict(deletion)))


def count_and_hash(connection: Connection, horizon: Instant) -> tuple[int, str]:
    """Return how many revisions lie before the horizon, and a hash over their names."""
    # A lost machine of Citus may still have to repeat a commit. No lock waits for such a commit, so it is checked here.
    require_settled(connection)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    query = (
        select(_results.c.lab, _results.c.report_number, _results.c.revision)
        .where(_results.c.reference_time < horizon)
        .order_by(*in_byte_order(connection, _results.c.lab, _results.c.report_number), _results.c.revision)
    )
    digest = hashlib.sha256()
    count = 0
    for lab, number, revision in connection.execution_options(yield_per=_FETCHED).execute(query):
        digest.update(format_result(lab, number, revision).encode() + b"\n")
        count += 1
    return count, digest.hexdigest()


def _complete_record(connection: Connection, deletion: Deletion) -> None:
    """Store in the record what the purge will remove."""
    connection.execute(
        update(deletions)
        .where(deletions.c.deletion_id == deletion.deletion_id)
        .values(result_count=deletion.result_count, digest=deletion.digest)
    )


def _repeat(database: Database, step: Callable[[Connection, Instant, P], P | None], horizon: Instant, start: P) -> None:
    """Run a step until it returns None, each time in its own transaction.

    Each run begins at the position that the previous run returned.
    """
    position: P | None = start
    while position is not None:
        position = database.write_now(step, horizon, position)


def _delete_keys(
    counts: DeletionCounts, step_size: int, connection: Connection, horizon: Instant, after: ReportPosition
) -> ReportPosition | None:
    """Examine the next reports. Delete the keys of those without a kept revision, and the reasons of their revisions.

    A report that was corrected to an earlier time keeps its key while an older revision is kept. Without the key, the
    report could be uploaded again as it was before the correction. It would then count for longer than the correction
    allows.
    """
    key = tuple_(_keys.c.lab, _keys.c.report_number)
    rest = select(_keys.c.lab, _keys.c.report_number).where(key > tuple_(*after))
    last = connection.execute(rest.order_by(_keys.c.lab, _keys.c.report_number).offset(step_size - 1).limit(1)).first()
    conditions = [key > tuple_(*after), _keys.c.reference_time < horizon]
    if last is not None:
        conditions.append(key <= tuple_(*last))
    # The keys are locked before they are deleted, because an upload may be revising some of the reports. Uploads claim
    # keys in the same order, so that a purge and an upload never deadlock.
    names = select(*KEYED).where(*conditions)
    in_order = names.order_by(*in_byte_order(connection, _keys.c.lab, _keys.c.report_number))
    labs: list[str] = []
    if is_distributed(connection):
        labs = list(connection.execute(select(_keys.c.lab).distinct().where(*conditions)).scalars())
    held = [KeyedReport._make(row) for row in hold_keys(connection, in_order, labs)]
    kept = _find_kept(connection, [one for one in held if one.revision > 1], horizon)
    gone = [one for one in held if (one.lab, one.report_number) not in kept]
    of_labs: dict[str, list[str]] = {}
    for one in gone:
        of_labs.setdefault(one.lab, []).append(one.report_number)
    for lab, numbers in of_labs.items():
        connection.execute(delete(_keys).where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers)))
    counts.add(connection, _keys.name, len(gone))
    revised: dict[str, list[str]] = {}
    for one in gone:
        if one.revision > 1:
            revised.setdefault(one.lab, []).append(one.report_number)
    reasons = revision_reasons
    for lab, numbers in revised.items():
        of_reports = delete(reasons).where(reasons.c.lab == lab, reasons.c.report_number.in_(numbers))
        counts.add(connection, reasons.name, connection.execute(of_reports).rowcount)
    return None if last is None else ReportPosition(*last)


def _find_kept(connection: Connection, keyed: Sequence[KeyedReport], horizon: Instant) -> set[ReportName]:
    """Return those of the reports that have a revision at or after the horizon."""
    kept: set[ReportName] = set()
    for start in range(0, len(keyed), _FETCHED):
        some = {(one.lab, one.report_number): one.subject_key for one in keyed[start : start + _FETCHED]}
        query = select(_results.c.lab, _results.c.report_number, _results.c.subject_key).where(
            _results.c.subject_key.in_(set(some.values())),
            _results.c.reference_time >= horizon,
            _results.c.report_number.in_({number for _, number in some}),
        )
        kept.update((row[0], row[1]) for row in connection.execute(query) if some.get((row[0], row[1])) == row[2])
    return kept


def _delete_results(step_size: int, connection: Connection, horizon: Instant, after: int) -> int | None:
    """Delete the results before the horizon among the next rows of SQLite's table.

    Return the row id that was examined last.
    """
    last: int | None = connection.execute(
        text("SELECT rowid FROM results WHERE rowid > :after ORDER BY rowid LIMIT 1 OFFSET :step"),
        {"after": after, "step": step_size - 1},
    ).scalar()
    connection.execute(
        text("DELETE FROM results WHERE rowid > :after AND rowid <= :last AND reference_time < :horizon"),
        {"after": after, "last": 2**63 - 1 if last is None else last, "horizon": horizon},
    )
    return last


def _drop_month(database: Database, partition: str, pace: PurgePace) -> None:
    for _ in range(pace.drop_tries):
        if database.write_now(_try_to_drop, partition):
            return
        time.sleep(pace.drop_pause)
    raise Unavailable(
        "OVERLOADED",
        english("{partition} is read without pause; purge again to remove what is left", partition=partition),
    )


def _try_to_drop(connection: Connection, partition: str) -> bool:
    """Drop the table of a month. Return False if the month is still being read after 300 ms.

    New readers wait until this attempt ends.
    """
    connection.exec_driver_sql("SET LOCAL lock_timeout = '300ms'")
    try:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {partition}")
    except exc.OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            return False
        raise
    return True


def _delete_rows(
    counts: DeletionCounts,
    step_size: int,
    store: PurgedStore,
    connection: Connection,
    _horizon: Instant,
    after: RowPosition,
) -> RowPosition | None:
    """Examine the next rows of a table in order of primary key, and delete those that are old.

    Return the primary key of the last examined row; None if there are no more rows.
    """
    table = store.table
    columns = list(table.primary_key)
    key = tuple_(*columns)
    step = [key > tuple_(*after)] if after else []
    last = connection.execute(select(*columns).where(*step).order_by(*columns).offset(step_size - 1).limit(1)).first()
    if last is not None:
        step.append(key <= tuple_(*last))
    counts.add(connection, table.name, connection.execute(delete(table).where(store.is_old, *step)).rowcount)
    return None if last is None else tuple(last)
