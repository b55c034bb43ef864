"""A caller whose calls are refused again and again gets rows up to a limit, then one row a minute with a count."""

from __future__ import annotations

from services.audit.trail import DenialLimit
from services.domain.instant import MINUTE, Instant
from services.runtime.audit import AuditEvent, AuditKind

PERSON = b"t" * 16


def event(caller: str, time: Instant = 0, kind: AuditKind = AuditKind.DENIAL, method: str = "S/M") -> AuditEvent:
    read = ("r", "gate", caller, "", "ipv4:1.2.3.4:5", method, 3, "410100", "results/x")
    return AuditEvent(int(kind), time, *read, PERSON, 7, "", 0, "C-1")


def test_the_rest_of_a_minute_is_one_row_for_each_method() -> None:
    """The row is stored with the first denial of a later minute, and names no person."""
    limit = DenialLimit(3)
    assert limit.limit([event("a")] * 2) == [event("a")] * 2
    assert limit.limit([event("a")] * 4 + [event("a", method="S/N")]) == [event("a")]
    assert limit.limit([event("b")]) == [event("b")], "other callers have their own limit"
    later = event("a", MINUTE)
    first, *sums = limit.limit([later])
    assert first == later
    assert [(it.method, it.item_count, it.time) for it in sums] == [("S/M", 3, 0), ("S/N", 1, 0)]
    assert {(it.caller, it.subject_tag, it.object, it.request_id, it.case_id) for it in sums} == {
        ("a", None, "", "", "")
    }
    assert limit.limit([later]) == [later], "each minute begins anew"


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
