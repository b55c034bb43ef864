"""Budgets that several workers share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import ResourceExhausted
from services.domain.instant import HOUR, MINUTE, SECOND
from services.runtime.caller import Caller
from services.runtime.clock import FixedClock
from services.runtime.server.access.budget import Budget
from services.runtime.server.access.budgets import Account, Accounts
from services.runtime.server.access.shared_counts import SharedCounts

GATE = Caller("gate", "gates/410100/7", "410100")
NOW = 1_700_000_000 * SECOND


class Group:
    """Workers that share the counts of their callers, with one clock."""

    def __init__(self, workers: int, budget: Budget) -> None:
        self.clock = FixedClock(NOW)
        self.accounts = [Accounts(self.clock, lambda _: budget, is_shared=True) for _ in range(workers)]
        self.counts = [SharedCounts(accounts, number) for number, accounts in enumerate(self.accounts)]

    def gate(self, worker: int) -> Account:
        """Return the gate's account at a worker."""
        account = self.accounts[worker].of(GATE)
        assert account is not None
        return account

    def exchange(self) -> None:
        """Let every worker send its counts to the others."""
        for sender in self.counts:
            if body := sender.take():
                for receiver in self.counts:
                    if receiver is not sender:
                        receiver.add(body)


def is_refused(call: Callable[[], object]) -> bool:
    """Return whether a budget refuses a call."""
    try:
        call()
    except ResourceExhausted:
        return True
    return False


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 8), st.booleans()), max_size=60))
def test_persons_count_once_in_the_group(steps: list[tuple[int, int, bool]]) -> None:
    """Workers that have exchanged their counts refuse the same persons as one process would."""
    group, one = Group(3, Budget(persons_an_hour=4)), Group(1, Budget(persons_an_hour=4))
    for worker, person, does_wait in steps:
        group.exchange()
        if does_wait:
            group.clock.advance(17 * MINUTE)
            one.clock.advance(17 * MINUTE)
        refused = is_refused(lambda: group.gate(worker).ask_about(person))  # noqa: B023 - called at once
        assert refused == is_refused(lambda: one.gate(0).ask_about(person))  # noqa: B023 - called at once


def test_misses_are_added_up() -> None:
    group = Group(2, Budget(misses_an_hour=4))
    for worker in (0, 1):
        group.gate(worker).ask_about(worker + 1)
        group.gate(worker).count_misses(2)
    assert not is_refused(lambda: group.gate(0).ask_about(3))
    group.exchange()
    assert all(is_refused(lambda: group.gate(worker).ask_about(4)) for worker in (0, 1))  # noqa: B023 - called at once
    group.clock.advance(HOUR)
    assert not is_refused(lambda: group.gate(1).ask_about(4))


def test_calls_under_way_are_added_up_until_they_end() -> None:
    group = Group(3, Budget(streams=2))
    with ExitStack() as under_way:
        under_way.enter_context(group.gate(0).open("streams"))
        under_way.enter_context(group.gate(1).open("streams"))
        group.exchange()
        with pytest.raises(ResourceExhausted), group.gate(2).open("streams"):
            pass
    group.exchange()
    with group.gate(2).open("streams"):
        pass


def test_a_worker_that_ended_has_nothing_under_way() -> None:
    group = Group(2, Budget(calls=1))
    with group.gate(0).open("calls"):
        group.exchange()
        with pytest.raises(ResourceExhausted), group.gate(1).open("calls"):
            pass
        group.counts[1].forget(0)
        with group.gate(1).open("calls"):
            pass


def test_a_new_worker_is_sent_what_is_under_way() -> None:
    group = Group(2, Budget(calls=1))
    with group.gate(0).open("calls"):
        assert group.counts[0].take()
        assert group.counts[0].take() == b""
        group.counts[0].send_all()
        group.exchange()
        with pytest.raises(ResourceExhausted), group.gate(1).open("calls"):
            pass


def test_work_is_paid_for_in_the_group() -> None:
    """Five seconds of work may come at once, wherever it is done."""
    group = Group(2, Budget(units_a_second=10))
    group.gate(0).pay(30)
    group.gate(1).pay(20)
    group.exchange()
    assert all(is_refused(lambda: group.gate(worker).pay(1)) for worker in (0, 1))  # noqa: B023 - called at once
    group.clock.advance(SECOND)
    assert not is_refused(lambda: group.gate(1).pay(10))


def test_calls_before_a_worker_joins_are_counted() -> None:
    """A worker accepts calls as soon as it listens, which is before it joins its group."""
    group = Group(1, Budget(persons_an_hour=1, calls=1))
    early = Accounts(group.clock, lambda _: Budget(persons_an_hour=1, calls=1), is_shared=True)
    account = early.of(GATE)
    assert account is not None
    account.ask_about(1)
    account.begin(("calls",))
    group.accounts.append(early)
    group.counts.append(SharedCounts(early, 1))
    group.exchange()
    assert is_refused(lambda: group.gate(0).ask_about(2))
    assert is_refused(lambda: group.gate(0).begin(("calls",)))
    account.end(("calls",))
    group.exchange()
    group.gate(0).begin(("calls",))
