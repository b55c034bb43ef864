"""PostgreSQL partitions of `results`, one for each month of Asia/Shanghai in which reports were issued.

The running service makes partitions in advance. If a batch has results of a month that this process does not know, the
partition of that month is made first, in its own transaction. The number of partitions stays small, because no result
is older than December 2019 or newer than now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, exc

from services.domain.instant import SHANGHAI, Instant, from_datetime
from services.results.records.horizon import read_horizon
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit

LOCK_MS = 300
"""How many milliseconds one attempt waits for transactions that change the table. Other transactions queue behind the
attempt."""

Month = tuple[int, int]
"""Year and month."""


def month_of(instant: Instant) -> Month:
    """Return the month of Asia/Shanghai that contains an instant."""
    moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)).astimezone(SHANGHAI)
    return moment.year, moment.month


def month_start(month: Month) -> Instant:
    """Return the first instant of a month."""
    return from_datetime(datetime(*month, 1, tzinfo=SHANGHAI))


def month_after(month: Month) -> Month:
    """Return the following month."""
    year, number = month
    return (year + 1, 1) if number == 12 else (year, number + 1)


def months_of(instants: Collection[Instant]) -> set[Month]:
    """Return the months that contain at least one of these instants."""
    if not instants:
        return set()
    first, last = month_of(min(instants)), month_of(max(instants))
    return {first} if first == last else set(map(month_of, set(instants)))


def months_ahead(instant: Instant) -> set[Month]:
    """Return the months that must be ready at an instant: the current month and the next."""
    month = month_of(instant)
    return {month, month_after(month)}


def partition_name(month: Month) -> str:
    """Return the name of a month's table, such as "results_2022_08"."""
    return f"results_{month[0]:04d}_{month[1]:02d}"


@dataclass(frozen=True, slots=True)
class Partition:
    """A month's table. It contains the results with a reference time in [start, end)."""

    name: str
    start: Instant
    end: Instant


def list_partitions(connection: Connection) -> list[Partition]:
    """Return the partitions that exist, oldest first."""
    rows = connection.exec_driver_sql(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'results'::regclass ORDER BY c.relname"
    )
    found = []
    for (name,) in rows:
        _, year, number = name.rsplit("_", 2)
        month = int(year), int(number)
        found.append(Partition(name, month_start(month), month_start(month_after(month))))
    return found


def find_missing(connection: Connection, months: Iterable[Month]) -> set[Month]:
    """Return the months that have no partition."""
    names = {partition.name for partition in list_partitions(connection)}
    return {month for month in months if partition_name(month) not in names}


def make_partitions(connection: Connection, months: Iterable[Month]) -> bool:
    """Make the missing partitions of these months, except those that retention has removed.

    Returns False and makes nothing while another transaction changes or analyses the table.
    """
    if connection.dialect.name != "postgresql":
        return True
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_MS}")
    try:
        lock_until_commit(connection, AdvisoryLock.PARTITIONS)
        horizon = read_horizon(connection)
        for month in sorted(find_missing(connection, months)):
            start, end = month_start(month), month_start(month_after(month))
            if horizon is None or end > horizon:
                _make_partition(connection, partition_name(month), start, end)
    except exc.OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            return False
        raise
    return True


def _make_partition(connection: Connection, name: str, start: Instant, end: Instant) -> None:
    """Create a table and attach it as a partition. Neither step blocks readers or writers, or waits for them.

    CREATE TABLE ... PARTITION OF needs an exclusive lock on `results`. While that statement waited for one long reader,
    every later reader and writer would wait behind it.
    """
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE results INCLUDING ALL)")
    connection.exec_driver_sql(f"ALTER TABLE results ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})")
