"""Budgets of callers: how many persons an hour, how many calls at once, and how much work a second.

The counts are in memory, so a restart resets them. Workers of one group share them (`shared_counts.py`). Processes that
were started separately do not.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from hutong.access.v1 import access_pb2
from hutong_texts import english
from prometheus_client import Counter

from services.domain.errors import ResourceExhausted, Violation
from services.domain.instant import HOUR, SECOND, Instant, Span
from services.runtime.caller import Caller
from services.runtime.clock import Clock
from services.runtime.server.access.asked import ASKED
from services.runtime.server.access.budget import NO_LIMIT, Budget
from services.runtime.server.access.seen import SeenPersons

MISSED = Counter("hutong_persons_missed_total", "Persons asked about of whom nothing is recorded", ["role"])
_UNDER_WAY = {
    "calls": english("calls under way"),
    "heavy_calls": english("heavy calls under way"),
    "streams": english("streams under way"),
}
"""What the error says that a caller has too much of, by the kind of its calls."""
REFUSED = Counter("hutong_budget_refusals_total", "Calls refused because of a budget", ["role", "what"])

UNITS = {access_pb2.COST_LIGHT: 1, access_pb2.COST_NORMAL: 2, access_pb2.COST_HEAVY: 20}
"""Units of work by the cost that the contract states for an RPC. A method without a stated cost counts as light."""
BURST: Span = 5 * SECOND
"""How much work a caller may cause at once: the work that its rate allows in this time. An application asks for much
when it starts."""
AGAIN = 20
"""How many more questions an hour a caller may ask about persons whom it asked about before, for each person of its
budget. Without a limit, one gate could ask about one person without end, in batches and on streams too. Each question
takes processor time and stores a row or a decision."""
CALLERS = 10_000
"""The most callers whose accounts are kept. A node has fewer callers. With 3,000 persons in each account, the accounts
take 320 MiB."""
BUSY_RETRY: Span = SECOND
"""How long a caller is asked to wait if it has too many calls under way."""


KINDS = ("calls", "heavy_calls", "streams")
"""The kinds of calls that are counted while they are under way."""


class Spending:
    """What a caller has used up in this process since the counts were last sent to the other workers.

    Attributes:
        persons: the hashes of new persons.
        misses: answers about persons without any record.
        paid: the price of the caller's work, as a span of time.
    """

    __slots__ = ("misses", "paid", "persons")

    def __init__(self) -> None:
        self.persons: list[int] = []
        self.misses = 0
        self.paid: Span = 0


class Account:
    """The counts of one caller.

    Attributes:
        open_elsewhere: by the number of each other worker, how many calls of each of KINDS are under way there.
    """

    __slots__ = (
        "_again",
        "_changed",
        "_clock",
        "_limits",
        "_missed",
        "_misses",
        "_most_again",
        "_open",
        "_paid_until",
        "_persons",
        "_rate",
        "_spending",
        "_window_end",
        "budget",
        "caller",
        "open_elsewhere",
    )

    def __init__(self, caller: Caller, budget: Budget, clock: Clock, changed: dict[str, Account] | None = None) -> None:
        """`changed` collects the accounts whose counts other workers do not know yet; None without other workers."""
        self.use(budget)
        self.caller = caller
        self._clock = clock
        self._missed = MISSED.labels(caller.role)
        self._persons = SeenPersons()
        self._misses = 0
        self._again = 0
        self._window_end: Instant = 0
        self._paid_until: Instant = 0
        self._open = dict.fromkeys(KINDS, 0)
        self._changed = changed
        self._spending = Spending()
        self.open_elsewhere: dict[int, Sequence[int]] = {}

    def use(self, budget: Budget) -> None:
        """Apply a budget from now on. The counts stay."""
        self.budget = budget
        self._rate = budget.units_a_second
        self._limits: dict[str, int | None] = {kind: getattr(budget, kind) for kind in KINDS}
        self._most_again = None if budget.persons_an_hour is None else AGAIN * budget.persons_an_hour

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way, here or at another worker."""
        return not any(self._open.values()) and not self.open_elsewhere

    @contextlib.contextmanager
    def open(self, *kinds: str) -> Iterator[None]:
        """Count a call of these kinds ("calls", "heavy_calls" or "streams") as under way while the block lasts.

        Raises:
            ResourceExhausted: BUDGET_EXCEEDED, too many calls of a kind are under way.
        """
        self.begin(kinds)
        try:
            yield
        finally:
            self.end(kinds)

    def begin(self, kinds: Sequence[str]) -> None:
        """Count a call of these kinds as under way until `end` is called.

        This costs a fifth of what `open` costs, which matters for each Verify call.

        Raises:
            ResourceExhausted: BUDGET_EXCEEDED, too many calls of a kind are under way.
        """
        under_way, limits = self._open, self._limits
        for kind in kinds:
            limit = limits[kind]
            if limit is not None:
                elsewhere = self._count_elsewhere(kind) if self.open_elsewhere else 0
                if under_way[kind] + elsewhere >= limit:
                    raise self._exceeded(_UNDER_WAY[kind], limit, BUSY_RETRY)
        for kind in kinds:
            under_way[kind] += 1
        if self._changed is not None:
            self._note_change()

    def end(self, kinds: Sequence[str]) -> None:
        """End what `begin` has counted."""
        under_way = self._open
        for kind in kinds:
            under_way[kind] -= 1
        if self._changed is not None:
            self._note_change()

    def pay(self, units: int, now: Instant | None = None) -> None:
        """Count work. `now` is the current instant, if the caller of this method has read the clock already.

        Raises:
            ResourceExhausted: BUDGET_EXCEEDED, the caller caused too much work in the last seconds.
        """
        rate = self._rate
        if rate is None:
            return
        if now is None:
            now = self._clock.now()
        price, until = units * SECOND // rate, self._paid_until
        if until > now:
            # If the clock was set back, the caller still waits no longer than a burst.
            owed = min(until - now, BURST)
            if owed + price > BURST:
                self._paid_until = now + owed
                raise self._exceeded(english("units of work a second"), rate, owed + price - BURST)
            self._paid_until = now + owed + price
        else:
            self._paid_until = now + price
        if self._changed is not None:
            self._spending.paid += price
            self._note_change()

    def ask_about(self, person: int | None, now: Instant | None = None) -> None:
        """Count a question about a person. `person` is a hash of the person; None if the question is about no person.

        A second question about a person within the hour counts as a question again. `now` is as in `pay`.

        Raises:
            ResourceExhausted: BUDGET_EXCEEDED, the caller asked about too many persons this hour, too many of them had
                no record, or it asked too many questions again.
        """
        if person is None:
            return
        if now is None:
            now = self._clock.now()
        if not 0 < self._window_end - now <= HOUR:
            self._begin_window(now + HOUR)
        ASKED.by_role[self.caller.role] += 1
        if person in self._persons:
            self._again += 1
            if self._most_again is not None and self._again > self._most_again:
                what = english("questions again an hour about the same persons")
                raise self._exceeded(what, self._most_again, self._window_end - now)
            return
        budget, wait = self.budget, self._window_end - now
        if budget.persons_an_hour is not None and self._persons.count >= budget.persons_an_hour:
            raise self._exceeded(english("distinct persons an hour"), budget.persons_an_hour, wait)
        if budget.misses_an_hour is not None and self._misses >= budget.misses_an_hour:
            raise self._exceeded(english("persons an hour of whom nothing is recorded"), budget.misses_an_hour, wait)
        self._persons.add(person)
        if self._changed is not None:
            self._spending.persons.append(person)
            self._note_change()

    def count_misses(self, misses: int) -> None:
        """Count answers about persons without any record."""
        if misses:
            self._misses += misses
            self._missed.inc(misses)
            if self._changed is not None:
                self._spending.misses += misses
                self._note_change()

    def take_spending(self) -> tuple[Instant, Spending, list[int]]:
        """Return the end of the hour, what was used up since the last call, and how many calls are under way."""
        spending, self._spending = self._spending, Spending()
        return self._window_end, spending, [self._open[kind] for kind in KINDS]

    def add_spending(self, window_end: Instant, persons: Sequence[int], misses: int, paid: Span) -> None:
        """Count what the caller has used up at another worker. The caller's hour ends there at `window_end`.

        Of the two ends of the hour the earlier one counts from then on.
        """
        now = self._clock.now()
        if 0 < window_end - now <= HOUR:
            if 0 < self._window_end - now <= HOUR:
                self._window_end = min(self._window_end, window_end)
            else:
                self._begin_window(window_end)
            for person in persons:
                self._persons.add(person)
            self._misses += misses
        self._paid_until = max(self._paid_until, now) + min(paid, BURST)

    def _begin_window(self, end: Instant) -> None:
        self._window_end = end
        self._persons = SeenPersons()
        self._misses = 0
        self._again = 0

    def _count_elsewhere(self, kind: str) -> int:
        return sum(counts[KINDS.index(kind)] for counts in self.open_elsewhere.values())

    def _note_change(self) -> None:
        if self._changed is not None:
            self._changed[self.caller.name] = self

    def _exceeded(self, what: str, limit: int, wait: Span) -> ResourceExhausted:
        REFUSED.labels(self.caller.role, what).inc()
        name = self.caller.name
        text = english("{name} may have {limit} {what}", name=name, limit=limit, what=what)
        return ResourceExhausted(
            "BUDGET_EXCEEDED",
            text,
            violations=[Violation("", "BUDGET_EXCEEDED", text, name)],
            metadata={"caller": name, "what": what, "limit": str(limit)},
            retry_after=max(wait, 1),
        )


class Accounts:
    """The accounts of the most recent callers.

    Attributes:
        changed: the accounts with counts that the other workers of the group do not know yet, by the names of the
            callers. None in a process without such workers.
    """

    def __init__(self, clock: Clock, budget_of: Callable[[Caller], Budget], *, is_shared: bool = False) -> None:
        """`is_shared` says that `SharedCounts` sends the counts to other workers, now or later."""
        self._clock = clock
        self._budget_of = budget_of
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self.changed: dict[str, Account] | None = {} if is_shared else None

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def of(self, caller: Caller) -> Account | None:
        """Return the account of a caller; None for a caller without any limit."""
        account = self._accounts.get(caller.name)
        if account is None:
            account = self.account(caller)
        else:
            self._accounts.move_to_end(caller.name)
        return None if account.budget is NO_LIMIT else account

    def account(self, caller: Caller) -> Account:
        """Return the account of a caller, with or without limits."""
        account = self._accounts.get(caller.name)
        if account is None:
            account = Account(caller, self._budget_of(caller), self._clock, self.changed)
            self._accounts[caller.name] = account
            self._forget_some()
        else:
            self._accounts.move_to_end(caller.name)
        return account

    def use_budgets(self, budget_of: Callable[[Caller], Budget]) -> None:
        """Apply other budgets from now on. The counts stay."""
        self._budget_of = budget_of
        for account in self._accounts.values():
            account.use(budget_of(account.caller))

    def _forget_some(self) -> None:
        if len(self._accounts) <= CALLERS:
            return
        for name, account in self._accounts.items():
            if account.is_idle:
                del self._accounts[name]
                return
