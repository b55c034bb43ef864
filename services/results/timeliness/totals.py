"""Totals of delays by city and day, so that a summary of a country reads few rows.

An upload writes only the counts of its own laboratory, so uploads of one city never wait for each other. A background
job includes these counts in the totals, in short transactions. In each row of counts, `counted` says how many of the
row's `persons` the totals include. A row is new if the two numbers differ. No row is included while a summary reads the
totals and the new rows, so the summary always equals a sum over all rows.

A process of the previous release changes only `persons`. The row is then new as well.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Connection, Row, Table, bindparam, delete, func, select, update

from services.domain.errors import HutongError
from services.results.labs.tables import labs
from services.results.timeliness.tables import city_delays, city_national_delays, delays, national_delays
from services.results.timing import ResultsTiming
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit, share_until_commit
from services.storage.distributed import await_commits, commit_together
from services.storage.engine import Database
from services.storage.schema.online_indexes import find_missing
from services.storage.upsert import greater_of, insert_or_update

TOTALS: dict[Table, Table] = {delays: city_delays, national_delays: city_national_delays}
"""The totals of each table of counts."""
SHANGHAI_HOURS = 8
"""How many hours a day in Asia/Shanghai begins before the same day in UTC."""
DAY_HOURS = 24
ROWS_AT_ONCE = 2_000
"""The most rows of counts that one transaction includes. During the transaction, uploads of the rows' laboratories
wait."""
_ON_CITUS = 0
"""The number of the lock that is held until every machine of Citus has committed."""

_log = structlog.get_logger(__name__)


class TotalsMaintainer:
    """Includes new counts in the totals. The processes of a node take turns, step by step."""

    def __init__(self, database: Database, timing: ResultsTiming, rows_at_once: int = ROWS_AT_ONCE) -> None:
        self._database = database
        self._timing = timing
        self._rows_at_once = rows_at_once

    async def run(self) -> None:
        """Include new counts in the totals, again and again, until cancelled. A background job."""
        while True:
            try:
                await self.include_new()
            except HutongError as error:
                _log.warning("delays are not included in totals now", reason=error.reason)
            await asyncio.sleep(self._timing.totals_interval)

    async def include_new(self) -> None:
        """Include all new counts in steps. On SQLite, other transactions can commit between two steps.

        Do nothing while an index of the new counts is missing, because each step would read all counts.
        """
        if await self._database.read(find_missing, [index for table in TOTALS for index in table.indexes]):
            return
        for table in TOTALS:
            included = self._rows_at_once
            while included == self._rows_at_once:
                included = await self._database.write(include_step, table, self._rows_at_once)
                await asyncio.sleep(self._timing.totals_pause)


def include_step(connection: Connection, table: Table, limit: int) -> int:
    """Include up to `limit` new rows of a table of counts in its totals. Return how many rows were included."""
    lock_until_commit(connection, AdvisoryLock.DELAY_TOTALS)
    count, hour = table.c, table.c.report_hour
    day = (hour + SHANGHAI_HOURS) // DAY_HOURS
    query = (
        select(
            count.lab, hour, count.delay_class, count.persons, count.counted, day.label("day"), _city().label("city")
        )
        .add_columns(*([count.last_upload_time] if table is delays else []))
        .select_from(table.join(labs, labs.c.uscc == count.lab))
        .where(is_new(table))
        .order_by(hour, count.lab, count.delay_class)
        .limit(limit)
    )
    # Uploads lock the rows of a laboratory in the same order.
    rows = sorted(connection.execute(query).all(), key=tuple)
    if not rows:
        return 0
    commit_together(connection, AdvisoryLock.DELAY_TOTALS, _ON_CITUS, "report_keys.report_number")
    of_row = (
        count.lab == bindparam("of_lab"),
        hour == bindparam("of_hour"),
        count.delay_class == bindparam("of_class"),
    )
    connection.execute(
        update(table).where(*of_row).values(counted=bindparam("included")),
        [
            {"of_lab": row.lab, "of_hour": row.report_hour, "of_class": row.delay_class, "included": row.persons}
            for row in rows
        ],
    )
    _add(connection, TOTALS[table], rows)
    return len(rows)


def _add(connection: Connection, totals: Table, rows: list[Row[Any]]) -> None:
    added: defaultdict[tuple[int, str, int], int] = defaultdict(int)
    newest: defaultdict[tuple[int, str, int], int] = defaultdict(int)
    has_times = totals is city_delays
    for row in rows:
        key = (row.day, row.city, row.delay_class)
        added[key] += row.persons - row.counted
        if has_times:
            newest[key] = max(newest[key], row.last_upload_time)
    new = insert_or_update(connection, totals)
    changed = {"persons": totals.c.persons + new.excluded.persons}
    if has_times:
        newer = greater_of(connection, totals.c.last_upload_time, new.excluded.last_upload_time)
        changed["last_upload_time"] = newer
    connection.execute(
        new.on_conflict_do_update(index_elements=list(totals.primary_key), set_=changed),
        [
            {"report_day": day, "city": city, "delay_class": class_, "persons": persons}
            | ({"last_upload_time": newest[day, city, class_]} if has_times else {})
            for (day, city, class_), persons in sorted(added.items())
        ],
    )


def move_lab(connection: Connection, lab: str, region: str) -> None:
    """Prepare the totals for a laboratory that gets this region. Call this function before the region changes.

    If the laboratory moves to another city, everything of its old city is removed from the totals. The counts of the
    old city are then new again.
    """
    # The row is locked, so that no other transaction moves the laboratory before this one has.
    old = connection.execute(select(_city()).where(labs.c.uscc == lab).with_for_update()).scalar()
    if old is None or old == f"{region[:4]}00":
        return
    lock_until_commit(connection, AdvisoryLock.DELAY_TOTALS)
    commit_together(connection, AdvisoryLock.DELAY_TOTALS, _ON_CITUS, "report_keys.report_number")
    codes = list(connection.execute(select(labs.c.uscc).where(_city() == old)).scalars())
    for table, totals in TOTALS.items():
        connection.execute(delete(totals).where(totals.c.city == old))
        connection.execute(update(table).where(table.c.lab.in_(codes), table.c.counted != 0).values(counted=0))


def hold_totals(connection: Connection) -> None:
    """Let the next statements of a read transaction see the totals and the counts in one state.

    Until the transaction ends, the totals stay as they are.
    """
    share_until_commit(connection, AdvisoryLock.DELAY_TOTALS)
    await_commits(connection, AdvisoryLock.DELAY_TOTALS, [_ON_CITUS])


def is_new(table: Table) -> ColumnElement[bool]:
    """Return the condition under which a row of counts is new."""
    return table.c.persons != table.c.counted


def _city() -> ColumnElement[str]:
    return func.substr(labs.c.region, 1, 4).concat("00")
