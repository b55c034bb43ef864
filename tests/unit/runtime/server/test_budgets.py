"""Budgets of callers as time goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import ResourceExhausted
from services.domain.instant import HOUR, MINUTE, SECOND
from services.runtime.caller import Caller
from services.runtime.clock import FixedClock
from services.runtime.server.access.budget import NO_LIMIT, Budget
from services.runtime.server.access.budgets import AGAIN, CALLERS, Account, Accounts
from services.runtime.server.access.seen import SeenPersons

GATE = Caller("gate", "gates/410100/7", "410100")
NOW = 1_700_000_000 * SECOND


def account(**limits: int) -> tuple[Account, FixedClock]:
    clock = FixedClock(NOW)
    return Account(GATE, Budget(**limits), clock), clock


def refusal(call: Callable[[], object]) -> ResourceExhausted:
    """Return the error with which a call is refused."""
    with pytest.raises(ResourceExhausted) as caught:
        call()
    assert caught.value.reason == "BUDGET_EXCEEDED"
    return caught.value


@given(st.lists(st.integers(), max_size=300))
def test_persons_are_counted_as_a_set_counts_them(persons: list[int]) -> None:
    """Persons are counted by 32 bits of their hashes. The value 0 counts as 1."""
    seen, marks = SeenPersons(), set()
    for person in persons:
        mark = person & 0xFFFFFFFF or 1
        assert (person in seen) == (mark in marks)
        seen.add(person)
        marks.add(mark)
        assert person in seen
        assert seen.count == len(marks)


def test_an_hour_of_persons() -> None:
    """The hour begins with the first question.

    A known person costs nothing, and after the hour the count begins again.
    """
    asked, clock = account(persons_an_hour=3)
    for person in (1, 2, 3, 1, 2, 3):
        asked.ask_about(person)
    clock.advance(20 * MINUTE)
    assert refusal(lambda: asked.ask_about(4)).retry_after == 40 * MINUTE
    asked.ask_about(1)
    asked.ask_about(None)
    clock.advance(40 * MINUTE)
    for person in (4, 5, 6):
        asked.ask_about(person)
    refusal(lambda: asked.ask_about(1))


def test_the_same_person_is_asked_about_so_often_alone() -> None:
    """A new person may still be asked about. After the hour the count begins again."""
    asked, clock = account(persons_an_hour=2)
    for _ in range(1 + 2 * AGAIN):
        asked.ask_about(1)
    for _ in range(2):
        error = refusal(lambda: asked.ask_about(1))
        assert (error.metadata["limit"], error.retry_after) == (str(2 * AGAIN), HOUR)
    asked.ask_about(2)
    refusal(lambda: asked.ask_about(2))
    clock.advance(HOUR)
    asked.ask_about(1)
    asked.ask_about(1)
    unlimited, _ = account()
    for _ in range(100 * AGAIN):
        unlimited.ask_about(1)


def test_a_clock_that_is_set_back_begins_a_new_hour() -> None:
    """A caller is not shut out for longer than an hour."""
    asked, clock = account(persons_an_hour=1)
    asked.ask_about(1)
    clock.advance(-2 * HOUR)
    asked.ask_about(2)
    assert refusal(lambda: asked.ask_about(3)).retry_after == HOUR


def test_misses_stop_new_persons_alone() -> None:
    """The count of misses begins again with the hour."""
    asked, clock = account(misses_an_hour=2)
    asked.ask_about(1)
    asked.count_misses(2)
    assert refusal(lambda: asked.ask_about(2)).metadata["limit"] == "2"
    asked.ask_about(1)
    clock.advance(HOUR)
    asked.ask_about(2)


def test_calls_at_once() -> None:
    """A call that is refused counts for nothing, and one that has ended makes room."""
    asked, _ = account(calls=2, heavy_calls=1)
    with asked.open("calls", "heavy_calls"):
        assert refusal(lambda: asked.open("calls", "heavy_calls").__enter__()).metadata["what"] == (
            "heavy calls under way"
        )
        with asked.open("calls"):
            refusal(lambda: asked.open("calls").__enter__())
        with asked.open("calls"):
            assert not asked.is_idle
    assert asked.is_idle


def test_work_a_second() -> None:
    """A burst of five seconds at once, then as the rate allows; RetryInfo says when."""
    asked, clock = account(units_a_second=10)
    for _ in range(50):
        asked.pay(1)
    wait = refusal(lambda: asked.pay(1)).retry_after
    assert wait == SECOND // 10
    clock.advance(wait)
    asked.pay(1)
    refusal(lambda: asked.pay(1))
    clock.advance(-HOUR)
    refusal(lambda: asked.pay(1))
    clock.advance(SECOND)
    asked.pay(10)


def test_work_that_costs_more_than_a_burst_is_done_by_an_idle_caller() -> None:
    """The caller pays for the work afterwards."""
    asked, clock = account(units_a_second=1)
    asked.pay(20)
    refusal(lambda: asked.pay(1))
    clock.advance(20 * SECOND)
    asked.pay(20)


def test_only_callers_without_calls_under_way_are_forgotten() -> None:
    """The accounts that were used longest ago are forgotten first. A caller without a limit has no account."""
    accounts = Accounts(FixedClock(NOW), lambda caller: NO_LIMIT if caller.role == "node" else Budget(calls=1))
    assert accounts.of(Caller("node", "nodes/410000", "410000")) is None
    busy = accounts.of(GATE)
    assert busy is not None
    with busy.open("calls"):
        for number in range(CALLERS + 5):
            accounts.of(Caller("gate", f"gates/410100/x{number}", "410100"))
        assert accounts.of(GATE) is busy
