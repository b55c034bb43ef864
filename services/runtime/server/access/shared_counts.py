"""The counts of callers that the workers of one group share, so that a budget holds for all workers together.

The connections of one caller may lead to different workers. Each worker counts by itself and sends its changes to the
others several times a second. A caller may therefore exceed a limit by what the other workers have admitted in the last
moment. A new worker knows only what is counted after its start, as a process does after a restart.
"""

from __future__ import annotations

import orjson

from services.runtime.caller import Caller
from services.runtime.server.access.budgets import Accounts


class SharedCounts:
    """Exchanges the counts of one worker's accounts with the other workers."""

    def __init__(self, accounts: Accounts, worker: int) -> None:
        """`worker` is this worker's number, which no other worker of the group has."""
        assert accounts.changed is not None
        self._accounts = accounts
        self._worker = worker
        self._changed = accounts.changed

    def take(self) -> bytes:
        """Return what has changed since the last call, for `add` of the other workers; empty without a change."""
        if not self._changed:
            return b""
        lines = []
        for account in self._changed.values():
            caller = account.caller
            window_end, spent, under_way = account.take_spending()
            counts = (window_end, spent.persons, spent.misses, spent.paid, under_way)
            lines.append((caller.role, caller.name, caller.region, *counts))
        self._changed.clear()
        return orjson.dumps((self._worker, lines))

    def add(self, body: bytes) -> None:
        """Count what another worker has sent."""
        worker, lines = orjson.loads(body)
        for role, name, region, window_end, persons, misses, paid, under_way in lines:
            account = self._accounts.account(Caller(role, name, region))
            account.add_spending(window_end, persons, misses, paid)
            if any(under_way):
                account.open_elsewhere[worker] = under_way
            else:
                account.open_elsewhere.pop(worker, None)

    def forget(self, worker: int) -> None:
        """Forget the calls under way at a worker that has ended. What their callers have used up stays counted."""
        for account in self._accounts:
            account.open_elsewhere.pop(worker, None)

    def send_all(self) -> None:
        """Let the next `take` return the calls under way of every caller, because a new worker does not know them."""
        self._changed.update((account.caller.name, account) for account in self._accounts if not account.is_idle)
