"""PostgreSQL partitions of `results`, one for each month of Asia/Shanghai in which reports were issued.

Made ahead by the running service, and as they are needed: a batch names its months, and one not yet known to this
process is made in a transaction of its own before the batch's. Since no result is older than December 2019 or newer
than now, there are never many.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, exc

from services.domain.instant import SHANGHAI, Instant, from_datetime
from services.results.records.horizon import read_horizon

_LOCK_KEY = 0x48755061
"""Of the advisory lock under which partitions are made, so that two processes do not make the same one at once."""
LOCK_MS = 300
"""How long a try to make partitions waits for others that change the table."""
TRIES = 20
RETRY_SECONDS = 0.3
"""Between two tries. An upload into a month that cannot be made for so long ends with UNAVAILABLE."""

Month = tuple[int, int]
"""Year and month."""


def month_of(instant: Instant) -> Month:
    """The month of Asia/Shanghai that holds an instant."""
    moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)).astimezone(SHANGHAI)
    return moment.year, moment.month


def month_start(month: Month) -> Instant:
    """The first instant of a month."""
    return from_datetime(datetime(*month, 1, tzinfo=SHANGHAI))


def month_after(month: Month) -> Month:
    """The month after."""
    year, number = month
    return (year + 1, 1) if number == 12 else (year, number + 1)


def months_of(instants: Collection[Instant]) -> set[Month]:
    """The months that hold these instants, and no others between them."""
    if not instants:
        return set()
    first, last = month_of(min(instants)), month_of(max(instants))
    return {first} if first == last else set(map(month_of, set(instants)))


def months_ahead(instant: Instant) -> set[Month]:
    """The months that are to stand ready at an instant: its own and the next."""
    month = month_of(instant)
    return {month, month_after(month)}


def partition_name(month: Month) -> str:
    """The table that holds a month: "results_2022_08"."""
    return f"results_{month[0]:04d}_{month[1]:02d}"


@dataclass(frozen=True, slots=True)
class Partition:
    """A month's table; it holds what was filed in [start, end)."""

    name: str
    start: Instant
    end: Instant


def list_partitions(connection: Connection) -> list[Partition]:
    """The partitions there are, oldest first."""
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
    """Those of the months that have no partition."""
    names = {partition.name for partition in list_partitions(connection)}
    return {month for month in months if partition_name(month) not in names}


def make_partitions(connection: Connection, months: Iterable[Month]) -> bool:
    """Make the partitions of these months where they are missing, but none that retention has removed.

    Whether it could be done now: false when somebody else changes the table, or analyses it, and nothing was done.
    """
    if connection.dialect.name != "postgresql":
        return True
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_MS}")
    try:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
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
    """Make one apart and attach it, which neither waits for readers and writers nor holds them up.

    CREATE TABLE ... PARTITION OF wants the whole of `results` for itself: behind one long reader everybody would wait.
    """
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE results INCLUDING ALL)")
    connection.exec_driver_sql(f"ALTER TABLE results ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})")
