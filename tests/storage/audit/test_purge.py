"""Tests of the audit's purge: whole seals go, the chain stays checkable, and changes are kept longer than reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import delete

from services.audit.check import check_audit
from services.audit.keys import AuditKeys
from services.audit.purge import purge_audit
from services.audit.queries import export_events
from services.audit.sealer import Sealer
from services.audit.trail import Trail
from services.domain.instant import DAY, SECOND
from services.policy.tables import audit as tables
from services.policy.tables import deletion_counts
from services.runtime.audit import AuditKind, CallAudit, Subject, current_audit, record_change
from services.runtime.caller import Caller
from services.runtime.clock import FixedClock
from services.storage.deletion_counts import DeletionCounts
from services.storage.engine import Database, open_database
from tests.support.databases import MakeUrl

NOW = 1_789_999_980 * SECOND
"""A whole minute, as the times of seals are."""
KEYS = AuditKeys.of_secret(b"", "policy")
COUNTS = DeletionCounts(deletion_counts, "d1")


@pytest.fixture
def database(database_url: MakeUrl) -> Iterator[Database]:
    opened = open_database(database_url("policy"))
    yield opened
    opened.close()


async def fill(database: Database, clock: FixedClock, days: int) -> None:
    """Store a read and a change each day, under seals of that day, by processes that each live two days."""
    for day in range(days):
        if day % 2 == 0:
            trail = Trail(database, tables, KEYS, "410000", clock)
            sealer = Sealer(database, tables, KEYS, clock)
        call = CallAudit(trail, "s/M", "id", Caller("operator", "operators/1"), "", lambda: [Subject()])
        current_audit.set(call)
        await trail.record([call.event(AuditKind.READ, Subject())] * 3)
        await database.write(record_change)
        await sealer.seal()
        clock.advance(DAY)


def purge(database: Database, clock: FixedClock) -> int:
    return purge_audit(database, tables, KEYS, "410000", clock.now(), COUNTS)


def count(database: Database) -> dict[int, int]:
    """Return the number of rows of each kind."""
    return dict(Counter(event.kind for event in database.read_now(lambda it: list(export_events(it, tables, 0)))))


async def test_old_reads_go_and_changes_stay(database: Database) -> None:
    clock = FixedClock(NOW)
    await fill(database, clock, 6)
    assert purge(database, clock) == 0
    clock.advance(177 * DAY)
    assert purge(database, clock) == 9
    assert database.read_now(COUNTS.read) == {"policy_audit": 9}
    # The purge has recorded itself.
    assert count(database) == {AuditKind.READ: 9, AuditKind.CHANGE: 7}
    assert purge(database, clock) == 0
    report = database.read_long_now(check_audit, tables, KEYS)
    assert (report.faults, report.rows) == ([], 15)
    await fill(database, clock, 2)
    assert database.read_long_now(check_audit, tables, KEYS).faults == []


async def test_everything_goes_but_the_newest_seals(database: Database) -> None:
    """Writers without rows go too, and new rows begin with a writer of their own."""
    clock = FixedClock(NOW)
    await fill(database, clock, 4)
    clock.advance(4 * 365 * DAY)
    assert purge(database, clock) == 9 + 3
    await fill(database, clock, 2)
    report = database.read_long_now(check_audit, tables, KEYS)
    assert (report.faults, report.late) == ([], [])


async def test_a_theft_is_no_purge(database: Database) -> None:
    """Old seals that are removed without a record are found missing, also beside an earlier purge."""
    clock = FixedClock(NOW)
    await fill(database, clock, 6)
    clock.advance(177 * DAY)
    purge(database, clock)
    seals, packs = tables.seals, tables.packs
    database.write_now(lambda it: it.execute(delete(seals).where(seals.c.chain == 1, seals.c.number == 4)))
    database.write_now(lambda it: it.execute(delete(packs).where(packs.c.sequence < 13)))
    faults = database.read_long_now(check_audit, tables, KEYS).faults
    assert "missing: the seals of READS before 5, and no purge has recorded them" in faults
