"""Limits how often callers ask for health. A flood of checks then costs no more than as many refused calls.

Health checks are answered under any load. One takes a third of the work of a light call. Without a limit, one
connection could take up the whole process with them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from hutong_texts import english
from prometheus_client import Counter

from services.domain.errors import ResourceExhausted
from services.domain.instant import SECOND
from services.runtime.caller import Caller
from services.runtime.server.accepting import RefusalStatus
from services.runtime.server.load import encode_refusal

PER_CONNECTION = 50
"""Calls of health a second on one connection. They take a hundredth of a core. Load balancers ask once in some seconds.
"""
PER_CALLER = 200
"""Calls of health a second of one caller over all its connections. A certificate that names no caller is a caller of
its own here."""
OF_NAMELESS = 500
"""Calls of health a second of all certificates that name no caller together. They take a tenth of a core."""
BURST_SECONDS = 2.0
"""How many seconds' worth of calls may come at once. On one connection that is more than the watches of a caller."""
NOTE_SECONDS = 10.0
"""How long after an admitted call its caller counts as the caller of the connection. Later, the connection of another
caller may have the same address."""
REMEMBERED = 10_000
"""The most connections and callers that are remembered. A caller that is forgotten may send a burst again. To be
forgotten, it must open many other connections, each of which costs a handshake."""

REFUSED = Counter(
    "hutong_health_refusals_total", "Calls of health refused because of their rate, by whose rate it was", ["rate_of"]
)


class HealthRate:
    """One limit for all methods of health together.

    The first call of a connection is admitted, because its caller is known only once the call is under way. If no call
    of a connection was admitted for NOTE_SECONDS, only the rate of the connection limits the next call.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paid_until: OrderedDict[Hashable, float] = OrderedDict()
        self._callers: OrderedDict[str, tuple[str, bool, float]] = OrderedDict()

    def refuse(self, connection: str, _left: float | None) -> RefusalStatus | None:
        """Return None for a call that is admitted now, and count it."""
        rates: list[tuple[str, Hashable, int]] = [("connection", ("connection", connection), PER_CONNECTION)]
        now = self._clock()
        owner, is_named, noted = self._callers.get(connection, ("", False, 0.0))
        if owner and now - noted < NOTE_SECONDS:
            rates.append(("caller", ("caller", owner), PER_CALLER))
            if not is_named:
                rates.append(("nameless", "nameless", OF_NAMELESS))
        for whose, key, rate in rates:
            if self._paid_until.get(key, now) - now > BURST_SECONDS - 1 / rate:
                REFUSED.labels(whose).inc()
                return _REFUSAL
        for _, key, rate in rates:
            self._paid_until[key] = max(self._paid_until.get(key, now), now) + 1 / rate
            self._paid_until.move_to_end(key)
        while len(self._paid_until) > REMEMBERED:
            self._paid_until.popitem(last=False)
        return None

    def end(self, _connection: str) -> None:
        """Do nothing, because only the beginnings of calls are counted."""

    def note_caller(self, caller: Caller) -> None:
        """Remember the caller of a connection."""
        self._callers[caller.peer] = owner_of(caller), bool(caller.role), self._clock()
        self._callers.move_to_end(caller.peer)
        if len(self._callers) > REMEMBERED:
            self._callers.popitem(last=False)


def owner_of(caller: Caller) -> str:
    """Return the name in a caller's certificate, or the certificate's hash if it names no caller.

    Several certificates of one caller have the same name.
    """
    return caller.certificate_name or caller.certificate_hash


_REFUSAL = encode_refusal(
    ResourceExhausted(
        "OVERLOADED",
        english("health is asked for too often; ask less often"),
        metadata={"limit": str(PER_CONNECTION), "what": "calls of health a second on one connection"},
        retry_after=SECOND,
    )
)
