"""A caller whose calls are refused again and again gets rows up to a limit, then one row a minute with a count."""

from __future__ import annotations

from typing import Any, cast

import pytest

from services.audit.keys import AuditKeys
from services.audit.trail import ROWS_A_MINUTE, DenialLimit, Trail
from services.domain.errors import Unavailable
from services.domain.instant import MINUTE, Instant
from services.runtime.audit import AuditEvent, AuditKind
from services.runtime.clock import FixedClock
from services.storage.engine import Database
from services.verification.schema import audit as tables

PERSON = b"t" * 16


def event(caller: str, time: Instant = 0, kind: AuditKind = AuditKind.DENIAL, method: str = "S/M") -> AuditEvent:
    read = ("r", "gate", caller, "", "ipv4:1.2.3.4:5", method, 3, "410100", "results/x")
    return AuditEvent(int(kind), time, *read, PERSON, 7, "", 0, "C-1")


def test_the_rest_of_a_minute_is_one_row_for_each_method() -> None:
    """The row names no person.

    A call stores its own row alone. A call that is cancelled therefore loses no row of others.
    """
    limit = DenialLimit(3)
    assert limit.limit([event("a")] * 2) == [event("a")] * 2
    assert limit.limit([event("a")] * 4 + [event("a", method="S/N")]) == [event("a")]
    assert limit.limit([event("b")]) == [event("b")], "other callers have their own limit"
    later = event("a", MINUTE)
    assert limit.limit([later] * 4) == [later] * 3, "each minute begins anew"
    sums = limit.take_sums(MINUTE)
    assert [(it.method, it.item_count, it.time) for it in sums] == [("S/M", 3, 0), ("S/N", 1, 0)]
    assert {(it.caller, it.subject_tag, it.object, it.request_id, it.case_id) for it in sums} == {
        ("a", None, "", "", "")
    }
    assert [(it.item_count, it.time) for it in limit.take_sums()] == [(1, MINUTE)]


def test_reads_are_never_summed_up() -> None:
    limit = DenialLimit(1)
    read = event("a", kind=AuditKind.READ)
    assert limit.limit([read] * 5) == [read] * 5
    assert limit.limit([read, event("a"), event("a"), read]) == [read, event("a"), read]


def test_sums_are_taken_once_their_minute_is_over() -> None:
    """At the end of the service, sums are taken at once."""
    limit = DenialLimit(0)
    assert limit.limit([event("a", MINUTE)]) == []
    assert limit.take_sums(MINUTE + MINUTE // 2) == []
    assert [it.item_count for it in limit.take_sums(2 * MINUTE)] == [1]
    assert limit.take_sums(3 * MINUTE) == []
    limit.limit([event("a", 3 * MINUTE)])
    assert [it.item_count for it in limit.take_sums()] == [1]


def test_sums_that_could_not_be_stored_do_not_pile_up() -> None:
    """Such sums are added to those of the newest minute, however long the database is away."""
    limit = DenialLimit(0)
    for minute in range(100):
        limit.limit([event("a", minute * MINUTE)] * 2)
        limit.put_back(limit.take_sums(minute * MINUTE))
    assert [(it.item_count, it.time) for it in limit.take_sums()] == [(200, 99 * MINUTE)]


def test_sums_are_taken_after_the_clock_went_back() -> None:
    limit = DenialLimit(0)
    limit.limit([event("a", 9 * MINUTE)])
    assert [it.time for it in limit.take_sums(2 * MINUTE)] == [9 * MINUTE]


class Unreliable:
    """A database that stores no rows while it is away. It keeps the events of each transaction."""

    is_sqlite = True

    def __init__(self) -> None:
        self.is_away = False
        self.stored: list[AuditEvent] = []

    async def write(self, _work: Any, _own: Any, events: list[AuditEvent], *_: Any) -> None:
        if self.is_away:
            raise Unavailable("DATABASE_UNAVAILABLE", "away")
        self.stored += events


async def test_sums_are_kept_while_the_database_is_away() -> None:
    database = Unreliable()
    keys = AuditKeys.of_secret(b"s" * 32, "verification")
    trail = Trail(cast(Database, database), tables, keys, "410000", FixedClock(MINUTE))
    await trail.record([event("a")] * (ROWS_A_MINUTE + 5))
    database.is_away = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            await trail.record_sums()
    database.is_away = False
    await trail.record_sums()
    await trail.record_sums()
    assert [it.item_count for it in database.stored[ROWS_A_MINUTE:]] == [5]
